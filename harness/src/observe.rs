//! Watches what there is to be seen of a run's namespace and of the nodes, for as long as the run takes:
//! every change is a line of the timeline, and so is every gap.

mod project;
mod usage;

pub(crate) use project::quantity_value;
pub use usage::watch_usage;

use crate::record::{Event, Recorder};
use crate::world::{Kind, Object, World};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{self, Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use project::Recorded;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a watch lives before it is asked for anew, in seconds.
const WATCH_SECONDS: u32 = 30;
/// A watch that failed may have been dead for as long as that before, and as its connection may hang.
const MAY_HAVE_BEEN_DEAD: f64 = 35.0;
const PAUSE: Duration = Duration::from_millis(500);
/// How often the API server is asked whether it is there: a watch by itself does not say that it is dead.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long it may take to say so.
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(3);

/// Where what is seen goes: the timeline, and the world as the faults see it.
#[derive(Clone)]
pub struct Observer {
    client: Client,
    namespace: String,
    recorder: Recorder,
    world: Arc<watch::Sender<World>>,
    end: CancellationToken,
}

impl Observer {
    /// Watches everything until `end`; what is seen can be awaited at the receiver.
    pub fn start(
        client: &Client,
        namespace: &str,
        recorder: &Recorder,
        end: &CancellationToken,
    ) -> watch::Receiver<World> {
        let (world, seen) = watch::channel(World::default());
        let observer = Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            recorder: recorder.clone(),
            world: Arc::new(world),
            end: end.clone(),
        };
        tokio::spawn(observer.clone().watch::<Node>(Api::all(client.clone()), Kind::Node));
        tokio::spawn(observer.clone().watch::<Pod>(observer.here(), Kind::Pod));
        tokio::spawn(observer.clone().watch::<Deployment>(observer.here(), Kind::Deployment));
        tokio::spawn(observer.clone().watch::<ReplicaSet>(observer.here(), Kind::ReplicaSet));
        tokio::spawn(observer.clone().watch::<DaemonSet>(observer.here(), Kind::DaemonSet));
        tokio::spawn(observer.clone().watch::<EndpointSlice>(observer.here(), Kind::EndpointSlice));
        tokio::spawn(
            observer.clone().watch::<PodDisruptionBudget>(observer.here(), Kind::PodDisruptionBudget),
        );
        tokio::spawn(
            observer.clone().watch::<HorizontalPodAutoscaler>(observer.here(), Kind::HorizontalPodAutoscaler),
        );
        tokio::spawn(observer.clone().heartbeat());
        tokio::spawn(observer.events());
        seen
    }

    fn here<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn saw(&self, events: Vec<Event>) {
        for event in events {
            // On record first: what somebody concludes from it stands behind it. A timeline that cannot be written
            // ends the run elsewhere.
            let _ = self.recorder.event(event.clone());
            match event {
                Event::Seen { name, object } => self.world.send_modify(|world| world.see(&name, object)),
                Event::Gone { kind, name } => self.world.send_modify(|world| world.lose(kind, &name)),
                _ => {}
            }
        }
    }

    /// Watches one kind. A connection that breaks is taken up again, and both are recorded.
    async fn watch<K>(self, objects: Api<K>, kind: Kind)
    where
        K: Resource<DynamicType = ()> + Recorded + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let wanted = watcher::Config::default().timeout(WATCH_SECONDS);
        let mut said = watcher(objects.clone(), wanted.clone()).boxed();
        let mut view = View::new(kind);
        let mut alive = self.recorder.clock().now();
        loop {
            let next = tokio::select! {
                next = said.next() => next,
                () = self.end.cancelled() => return,
            };
            let Some(next) = next else { return };
            let now = self.recorder.clock().now();
            let failed = next.is_err();
            let news = next.map(|event| trimmed(&event)).map_err(|error| error.to_string());
            self.saw(view.take(news, alive.max(now - MAY_HAVE_BEEN_DEAD)));
            alive = now;
            if failed {
                // Begun anew, with a list: a watch that is resumed does not say what it missed.
                tokio::time::sleep(PAUSE).await;
                said = watcher(objects.clone(), wanted.clone()).boxed();
            }
        }
    }

    /// Asks the API server whether it is there; while it is not, nothing is seen of anything.
    async fn heartbeat(self) {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut alive, mut synced) = (self.recorder.clock().now(), false);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.end.cancelled() => return,
            }
            let answer = match http::Request::get("/readyz").body(Vec::new()) {
                Ok(question) => {
                    tokio::time::timeout(HEARTBEAT_PATIENCE, self.client.request_text(question)).await
                }
                Err(_) => return,
            };
            let problem = match answer {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {}s", HEARTBEAT_PATIENCE.as_secs())),
            };
            let now = self.recorder.clock().now();
            if problem.is_none() != synced {
                synced = problem.is_none();
                let since = (!synced).then_some(alive);
                self.saw(vec![Event::Watch { kind: Kind::ApiServer, synced, since, problem }]);
            }
            if synced {
                alive = now;
            }
        }
    }

    /// What Kubernetes itself says happened, for people who read: nothing is judged by it.
    async fn events(self) {
        let objects: Api<v1::Event> = self.here();
        let mut said = watcher(objects, watcher::Config::default().timeout(WATCH_SECONDS)).boxed();
        loop {
            let next = tokio::select! {
                next = said.next() => next,
                () = self.end.cancelled() => return,
            };
            match next {
                Some(Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event))) => {
                    let object = &event.involved_object;
                    let names = [&object.kind, &object.name].map(|part| part.clone().unwrap_or_default());
                    self.saw(vec![Event::Kubernetes {
                        object: names.join("/"),
                        reason: event.reason.unwrap_or_default(),
                        message: event.message.unwrap_or_default(),
                    }]);
                }
                Some(Err(_)) => tokio::time::sleep(PAUSE).await,
                Some(Ok(_)) => {}
                None => return,
            }
        }
    }
}

/// What a watch says, of trimmed objects.
#[derive(Debug, Clone)]
enum Said {
    ListBegins,
    Listed(String, Object),
    ListEnds,
    Is(String, Object),
    Gone(String),
}

fn trimmed<K: Recorded + Resource<DynamicType = ()>>(event: &watcher::Event<K>) -> Said {
    let name = |object: &K| project::name(object.meta());
    match event {
        watcher::Event::Init => Said::ListBegins,
        watcher::Event::InitApply(object) => Said::Listed(name(object), object.recorded()),
        watcher::Event::InitDone => Said::ListEnds,
        watcher::Event::Apply(object) => Said::Is(name(object), object.recorded()),
        watcher::Event::Delete(object) => Said::Gone(name(object)),
    }
}

/// The objects of a kind as far as the watch has told. No I/O.
#[derive(Debug)]
struct View {
    kind: Kind,
    objects: BTreeMap<String, Object>,
    /// What a re-list has told so far; it takes the place of `objects` when it is complete.
    listed: Option<BTreeMap<String, Object>>,
    synced: bool,
}

impl View {
    const fn new(kind: Kind) -> Self {
        Self { kind, objects: BTreeMap::new(), listed: None, synced: false }
    }

    /// Takes in what the watch says; the events to be recorded. `alive` is its last sign of life before this one.
    fn take(&mut self, said: Result<Said, String>, alive: f64) -> Vec<Event> {
        match said {
            Ok(Said::Is(name, object)) => self.is(name, object).into_iter().collect(),
            Ok(Said::Gone(name)) => self.gone(name).into_iter().collect(),
            Ok(Said::ListBegins) => {
                self.listed = Some(BTreeMap::new());
                Vec::new()
            }
            Ok(Said::Listed(name, object)) => {
                self.listed.get_or_insert_default().insert(name, object);
                Vec::new()
            }
            Ok(Said::ListEnds) => {
                let listed = self.listed.take().unwrap_or_default();
                let lost: Vec<_> =
                    self.objects.keys().filter(|name| !listed.contains_key(*name)).cloned().collect();
                let mut events: Vec<_> = lost.into_iter().filter_map(|name| self.gone(name)).collect();
                events.extend(listed.into_iter().filter_map(|(name, object)| self.is(name, object)));
                if !self.synced {
                    self.synced = true;
                    events.push(Event::Watch { kind: self.kind, synced: true, since: None, problem: None });
                }
                events
            }
            Err(problem) if self.synced => {
                self.synced = false;
                vec![Event::Watch {
                    kind: self.kind,
                    synced: false,
                    since: Some(alive),
                    problem: Some(problem),
                }]
            }
            Err(_) => Vec::new(),
        }
    }

    fn is(&mut self, name: String, object: Object) -> Option<Event> {
        let before = self.objects.insert(name.clone(), object.clone());
        (before.as_ref() != Some(&object)).then_some(Event::Seen { name, object })
    }

    fn gone(&mut self, name: String) -> Option<Event> {
        self.objects.remove(&name)?;
        Some(Event::Gone { kind: self.kind, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    fn pod(name: &str, ready: bool) -> (String, Object) {
        (name.to_owned(), Object::Pod(world::Pod { ready, ..world::Pod::default() }))
    }

    fn seen((name, object): (String, Object)) -> Event {
        Event::Seen { name, object }
    }

    fn synced(synced: bool) -> Event {
        let problem = (!synced).then(|| "connection lost".to_owned());
        Event::Watch { kind: Kind::Pod, synced, since: (!synced).then_some(7.0), problem }
    }

    #[test]
    fn a_relist_replaces_what_was_known_only_when_it_is_complete() {
        let mut view = View::new(Kind::Pod);
        let listed = |(name, object)| Said::Listed(name, object);
        for said in [Said::ListBegins, listed(pod("a", true)), listed(pod("b", true))] {
            assert!(view.take(Ok(said), 7.0).is_empty(), "half a list is nothing");
        }
        let whole = view.take(Ok(Said::ListEnds), 7.0);
        assert_eq!(whole, [seen(pod("a", true)), seen(pod("b", true)), synced(true)]);
        let (name, object) = pod("a", false);
        assert_eq!(view.take(Ok(Said::Is(name.clone(), object.clone())), 7.0), [seen(pod("a", false))]);
        assert!(view.take(Ok(Said::Is(name, object)), 7.0).is_empty(), "nothing changed");

        assert_eq!(view.take(Err("connection lost".to_owned()), 7.0), [synced(false)]);
        assert!(view.take(Err("again".to_owned()), 7.0).is_empty());
        view.take(Ok(Said::ListBegins), 7.0);
        view.take(Ok(listed(pod("b", true))), 7.0);
        let gone = Event::Gone { kind: Kind::Pod, name: "a".to_owned() };
        assert_eq!(
            view.take(Ok(Said::ListEnds), 7.0),
            [gone, synced(true)],
            "a was deleted while nobody looked"
        );
    }
}
