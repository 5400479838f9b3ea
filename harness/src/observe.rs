//! Watches what there is to be seen of a run's namespace and of the nodes, for as long as the run takes:
//! every change is a line of the timeline, and so is every gap.

mod project;
mod usage;

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

/// How long a watch lives before it is asked for anew, in seconds: a connection that is dead without a word
/// is noticed then.
const WATCH_SECONDS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(500);

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
        loop {
            let next = tokio::select! {
                next = said.next() => next,
                () = self.end.cancelled() => return,
            };
            let Some(next) = next else { return };
            if next.is_err() {
                // Begun anew, with a list: a watch that is resumed does not say what it missed.
                tokio::time::sleep(PAUSE).await;
                said = watcher(objects.clone(), wanted.clone()).boxed();
            }
            let said = next.map(|event| trimmed(&event)).map_err(|error| error.to_string());
            self.saw(view.take(said));
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

    /// Takes in what the watch says; the events to be recorded.
    fn take(&mut self, said: Result<Said, String>) -> Vec<Event> {
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
                    events.push(Event::Watch { kind: self.kind, synced: true, problem: None });
                }
                events
            }
            Err(problem) if self.synced => {
                self.synced = false;
                vec![Event::Watch { kind: self.kind, synced: false, problem: Some(problem) }]
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
        Event::Watch { kind: Kind::Pod, synced, problem: (!synced).then(|| "connection lost".to_owned()) }
    }

    #[test]
    fn a_relist_replaces_what_was_known_only_when_it_is_complete() {
        let mut view = View::new(Kind::Pod);
        let listed = |(name, object)| Said::Listed(name, object);
        for said in [Said::ListBegins, listed(pod("a", true)), listed(pod("b", true))] {
            assert!(view.take(Ok(said)).is_empty(), "half a list is nothing");
        }
        let whole = view.take(Ok(Said::ListEnds));
        assert_eq!(whole, [seen(pod("a", true)), seen(pod("b", true)), synced(true)]);
        let (name, object) = pod("a", false);
        assert_eq!(view.take(Ok(Said::Is(name.clone(), object.clone()))), [seen(pod("a", false))]);
        assert!(view.take(Ok(Said::Is(name, object))).is_empty(), "nothing changed");

        assert_eq!(view.take(Err("connection lost".to_owned())), [synced(false)]);
        assert!(view.take(Err("again".to_owned())).is_empty());
        view.take(Ok(Said::ListBegins));
        view.take(Ok(listed(pod("b", true))));
        let gone = Event::Gone { kind: Kind::Pod, name: "a".to_owned() };
        assert_eq!(view.take(Ok(Said::ListEnds)), [gone, synced(true)], "a was deleted while nobody looked");
    }
}
