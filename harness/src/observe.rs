//! Watches a run's namespace and the nodes for as long as the run takes: every change is a line of the timeline, and
//! so is every gap.

mod pending;
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
use kube::api::{ListParams, ObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use pending::{Pending, Versions};
use project::Recorded;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The lifetime of a watch request, in seconds.
const WATCH_SECONDS: u32 = 30;
/// A watch that failed may have been dead for as long as that before, and as its connection may hang.
const MAY_HAVE_BEEN_DEAD: f64 = 35.0;
const PAUSE: Duration = Duration::from_millis(500);
/// The interval between checks that a watch is up to date.
const LOOK: Duration = Duration::from_secs(10);
/// The longest time for a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest time until a watch has delivered everything that a list has.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval between requests to the API server: a watch by itself does not tell that it is dead.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The longest wait for its answer.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// An observer: it writes what it sees to the timeline, and keeps the world that the faults read.
#[derive(Clone)]
pub struct Observer {
    client: Client,
    namespace: String,
    recorder: Recorder,
    world: Arc<watch::Sender<World>>,
    end: CancellationToken,
}

/// The sender that is notified when a watch has caught up.
type Waiter = oneshot::Sender<()>;

/// The watches, which can be asked to catch up.
pub struct Watches {
    recorder: Recorder,
    each: Vec<(Kind, mpsc::Sender<Waiter>)>,
}

impl Watches {
    /// Waits until each watch has delivered everything that has happened by now. One that cannot is recorded with a
    /// gap since it last had.
    pub async fn catch_up(&self) {
        let ask = async |sender: &mpsc::Sender<Waiter>| {
            let (waiter, caught_up) = oneshot::channel();
            sender.send(waiter).await.is_ok() && caught_up.await.is_ok()
        };
        // A list, and what it waits for, and as much again for a list that was going on already.
        let timeout = (LIST_TIMEOUT + CATCH_UP_TIMEOUT) * 2;
        let all = self.each.iter().map(async |(kind, sender)| {
            (*kind, tokio::time::timeout(timeout, ask(sender)).await.is_ok_and(|caught_up| caught_up))
        });
        for (kind, caught_up) in futures::future::join_all(all).await {
            if !caught_up {
                let since = Some((self.recorder.clock().now() - MAY_HAVE_BEEN_DEAD).max(0.0));
                let problem = Some("it does not answer".to_owned());
                let _ = self.recorder.event(Event::Watch { kind, synced: false, since, problem });
            }
        }
    }
}

impl Observer {
    /// Watches everything until `end`; the receiver has what is seen.
    pub fn start(
        client: &Client,
        namespace: &str,
        recorder: &Recorder,
        end: &CancellationToken,
    ) -> (watch::Receiver<World>, Watches) {
        let (world, seen) = watch::channel(World::default());
        let observer = Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            recorder: recorder.clone(),
            world: Arc::new(world),
            end: end.clone(),
        };
        let mut each = Vec::new();
        let mut asked = |kind: Kind| {
            let (sender, asks) = mpsc::channel(1);
            each.push((kind, sender));
            (kind, asks)
        };
        tokio::spawn(observer.clone().watch::<Node>(Api::all(client.clone()), asked(Kind::Node)));
        tokio::spawn(observer.clone().watch::<Pod>(observer.here(), asked(Kind::Pod)));
        tokio::spawn(observer.clone().watch::<Deployment>(observer.here(), asked(Kind::Deployment)));
        tokio::spawn(observer.clone().watch::<ReplicaSet>(observer.here(), asked(Kind::ReplicaSet)));
        tokio::spawn(observer.clone().watch::<DaemonSet>(observer.here(), asked(Kind::DaemonSet)));
        tokio::spawn(observer.clone().watch::<EndpointSlice>(observer.here(), asked(Kind::EndpointSlice)));
        tokio::spawn(
            observer.clone().watch::<PodDisruptionBudget>(observer.here(), asked(Kind::PodDisruptionBudget)),
        );
        tokio::spawn(
            observer
                .clone()
                .watch::<HorizontalPodAutoscaler>(observer.here(), asked(Kind::HorizontalPodAutoscaler)),
        );
        tokio::spawn(observer.clone().heartbeat());
        tokio::spawn(observer.events());
        (seen, Watches { recorder: recorder.clone(), each })
    }

    fn here<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn record(&self, events: Vec<Event>) {
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

    /// Watches one kind. Breaking and reconnecting are recorded; so is a watch that does not catch up: see [`pending`].
    async fn watch<K>(self, objects: Api<K>, (kind, mut asks): (Kind, mpsc::Receiver<Waiter>))
    where
        K: Resource<DynamicType = ()> + Recorded + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let wanted = watcher::Config::default().timeout(WATCH_SECONDS);
        let mut said = watcher(objects.clone(), wanted.clone()).boxed();
        let mut view = View::new(kind);
        let now = || self.recorder.clock().now();
        // The last sign of life, and the last moment up to which everything was delivered.
        let (mut alive, mut complete_until) = (now(), now());
        let (mut pending, mut waiters) = (None::<Pending>, Vec::<Waiter>::new());
        let mut until = Instant::now();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Why the watch is not to be believed.
            let mut problem = None;
            let look = tokio::select! {
                next = said.next() => {
                    let Some(next) = next else { return };
                    match next {
                        Ok(event) => {
                            let news = trimmed(&event);
                            if let (Some(pending), WatchEvent::Gone(name)) = (&mut pending, &news) {
                                pending.deleted(name);
                            }
                            self.record(view.take(Ok(news), alive));
                            alive = now();
                        }
                        Err(error) => problem = Some((error.to_string(), alive.max(now() - MAY_HAVE_BEEN_DEAD))),
                    }
                    false
                }
                _ = looks.tick() => pending.is_none() && view.synced,
                Some(waiter) = asks.recv() => {
                    waiters.push(waiter);
                    true
                }
                () = tokio::time::sleep_until(until), if pending.is_some() => {
                    let missing = pending.as_ref().map(Pending::missing).unwrap_or_default();
                    let seconds = CATCH_UP_TIMEOUT.as_secs();
                    problem = Some((format!("it did not deliver {missing} within {seconds}s"), complete_until));
                    false
                }
                () = self.end.cancelled() => return,
            };
            if look && view.synced {
                let asked = now();
                let all = ListParams::default();
                match tokio::time::timeout(LIST_TIMEOUT, objects.list_metadata(&all)).await {
                    Ok(Ok(listed)) => {
                        let listed = listed
                            .items
                            .iter()
                            .map(|it| (project::name(&it.metadata), version(&it.metadata)));
                        pending = Some(Pending::of(asked, listed.collect(), &view.delivered));
                        until = Instant::now() + CATCH_UP_TIMEOUT;
                    }
                    // That the API server does not answer is noticed elsewhere; but who asks now must know now.
                    _ if waiters.is_empty() => {}
                    _ => problem = Some(("the objects could not be listed".to_owned(), complete_until)),
                }
            }
            if let Some((why, since)) = problem {
                self.record(view.take(Err(why), since));
                // Begun anew, with a list: a watch that is resumed does not say what it missed.
                tokio::time::sleep(PAUSE).await;
                said = watcher(objects.clone(), wanted.clone()).boxed();
                (alive, pending) = (now(), None);
            }
            if pending.as_mut().is_some_and(|pending| pending.advance(&view.delivered)) {
                complete_until = pending.take().map_or(complete_until, |pending| pending.asked);
            }
            // While there is a gap on record, nothing is to be waited for.
            if pending.is_none() {
                for waiter in waiters.drain(..) {
                    // Who asked may have gone.
                    let _ = waiter.send(());
                }
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
                    tokio::time::timeout(HEARTBEAT_TIMEOUT, self.client.request_text(question)).await
                }
                Err(_) => return,
            };
            let problem = match answer {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {}s", HEARTBEAT_TIMEOUT.as_secs())),
            };
            let now = self.recorder.clock().now();
            if problem.is_none() != synced {
                synced = problem.is_none();
                let since = (!synced).then_some(alive);
                self.record(vec![Event::Watch { kind: Kind::ApiServer, synced, since, problem }]);
            }
            if synced {
                alive = now;
            }
        }
    }

    /// Records Kubernetes' own events, for people who read: nothing is judged by them.
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
                    self.record(vec![Event::Kubernetes {
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

/// An event of a watch, with trimmed objects.
#[derive(Debug, Clone)]
enum WatchEvent {
    ListBegins,
    Listed(String, Object, String),
    ListEnds,
    Is(String, Object, String),
    Gone(String),
}

fn trimmed<K: Recorded + Resource<DynamicType = ()>>(event: &watcher::Event<K>) -> WatchEvent {
    let name = |object: &K| project::name(object.meta());
    match event {
        watcher::Event::Init => WatchEvent::ListBegins,
        watcher::Event::InitApply(object) => {
            WatchEvent::Listed(name(object), object.recorded(), version(object.meta()))
        }
        watcher::Event::InitDone => WatchEvent::ListEnds,
        watcher::Event::Apply(object) => {
            WatchEvent::Is(name(object), object.recorded(), version(object.meta()))
        }
        watcher::Event::Delete(object) => WatchEvent::Gone(name(object)),
    }
}

fn version(metadata: &ObjectMeta) -> String {
    metadata.resource_version.clone().unwrap_or_default()
}

/// The objects of a kind, as far as the watch has delivered them. No I/O.
#[derive(Debug)]
struct View {
    kind: Kind,
    objects: BTreeMap<String, Object>,
    /// The versions of them.
    delivered: Versions,
    /// The objects of a list that is still going on; they replace `objects` when it is complete.
    listed: Option<BTreeMap<String, (Object, String)>>,
    synced: bool,
}

impl View {
    const fn new(kind: Kind) -> Self {
        Self { kind, objects: BTreeMap::new(), delivered: Versions::new(), listed: None, synced: false }
    }

    /// Takes in an event of the watch. Returns the events to be recorded. `alive` is the watch's last sign of life
    /// before this one.
    fn take(&mut self, said: Result<WatchEvent, String>, alive: f64) -> Vec<Event> {
        match said {
            Ok(WatchEvent::Is(name, object, version)) => self.is(name, object, version).into_iter().collect(),
            Ok(WatchEvent::Gone(name)) => self.gone(name).into_iter().collect(),
            Ok(WatchEvent::ListBegins) => {
                self.listed = Some(BTreeMap::new());
                Vec::new()
            }
            Ok(WatchEvent::Listed(name, object, version)) => {
                self.listed.get_or_insert_default().insert(name, (object, version));
                Vec::new()
            }
            Ok(WatchEvent::ListEnds) => {
                let listed = self.listed.take().unwrap_or_default();
                let lost: Vec<_> =
                    self.objects.keys().filter(|name| !listed.contains_key(*name)).cloned().collect();
                let mut events: Vec<_> = lost.into_iter().filter_map(|name| self.gone(name)).collect();
                events.extend(
                    listed.into_iter().filter_map(|(name, (object, version))| self.is(name, object, version)),
                );
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

    fn is(&mut self, name: String, object: Object, version: String) -> Option<Event> {
        self.delivered.insert(name.clone(), version);
        let before = self.objects.insert(name.clone(), object.clone());
        (before.as_ref() != Some(&object)).then_some(Event::Seen { name, object })
    }

    fn gone(&mut self, name: String) -> Option<Event> {
        self.delivered.remove(&name);
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
        let listed = |(name, object)| WatchEvent::Listed(name, object, "1".to_owned());
        for said in [WatchEvent::ListBegins, listed(pod("a", true)), listed(pod("b", true))] {
            assert!(view.take(Ok(said), 7.0).is_empty(), "half a list is nothing");
        }
        let whole = view.take(Ok(WatchEvent::ListEnds), 7.0);
        assert_eq!(whole, [seen(pod("a", true)), seen(pod("b", true)), synced(true)]);
        let (name, object) = pod("a", false);
        assert_eq!(
            view.take(Ok(WatchEvent::Is(name.clone(), object.clone(), "2".to_owned())), 7.0),
            [seen(pod("a", false))]
        );
        assert!(
            view.take(Ok(WatchEvent::Is(name, object, "3".to_owned())), 7.0).is_empty(),
            "nothing changed"
        );

        assert_eq!(
            view.delivered.get("a").map(String::as_str),
            Some("3"),
            "also where nothing that is recorded changed"
        );

        assert_eq!(view.take(Err("connection lost".to_owned()), 7.0), [synced(false)]);
        assert!(view.take(Err("again".to_owned()), 7.0).is_empty());
        view.take(Ok(WatchEvent::ListBegins), 7.0);
        view.take(Ok(listed(pod("b", true))), 7.0);
        let gone = Event::Gone { kind: Kind::Pod, name: "a".to_owned() };
        assert_eq!(
            view.take(Ok(WatchEvent::ListEnds), 7.0),
            [gone, synced(true)],
            "a was deleted while nobody looked"
        );
    }
}
