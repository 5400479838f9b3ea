//! What a step is given: its place in the scenario, and what it shares with all other steps of the run.

use super::window::Window;
use super::{FaultError, This};
use crate::images::Images;
use crate::journal::Journal;
use crate::load::{LoadStatus, Probes};
use crate::record::{Event, Recorder};
use crate::sampling::Demand;
use crate::scenario::{FaultName, Rate, StepPath};
use crate::scope::Scope;
use crate::world::World;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// What the probes said longer ago says nothing about now.
const STALE: Duration = Duration::from_secs(10);

/// A step as it is carried out. Cheap to clone.
#[derive(Clone)]
pub struct Stage<'a> {
    /// What all steps of the run share.
    pub shared: &'a Shared<'a>,
    /// The step's place in the scenario.
    pub step: StepPath,
    /// What the `for-each` around the step is at.
    pub this: Option<This>,
}

/// What all steps of a run share.
pub struct Shared<'a> {
    /// The cluster, and what may be touched of it.
    pub access: Access<'a>,
    /// What watches and probes show.
    pub watched: Watched,
    /// How things are when all is well.
    pub usual: Usual,
    /// Emitters and sinks.
    pub probes: Probes,
    /// Which spans have to arrive.
    pub demand: Demand,
    /// The seed of whatever is drawn.
    pub seed: u64,
    /// Where everything is recorded.
    pub recorder: Recorder,
    /// What undoes a fault is in it before the fault begins.
    pub journal: Journal,
    /// Ends what is going on; what must be undone is undone all the same.
    pub cancel: CancellationToken,
    /// What steps know of each other.
    pub state: State,
}

/// The cluster, and what a run may touch of it.
pub struct Access<'a> {
    /// The API server.
    pub client: Client,
    /// The run's namespace: no pod of another one is this run's to evict, unless a drain moves it.
    pub namespace: String,
    /// The run's name.
    pub run: String,
    /// What the plan named.
    pub scope: Scope,
    /// The images that may be used.
    pub images: &'a Images,
}

/// What watches and probes show.
pub struct Watched {
    /// The objects that are there.
    pub world: watch::Receiver<World>,
    /// The load, once a second.
    pub status: watch::Receiver<LoadStatus>,
}

/// How things are when all is well.
#[derive(Debug, Clone, Copy)]
pub struct Usual {
    /// The number of gateways.
    pub gateways: usize,
    /// What a queue held at most before anything was done to the tier, in its own unit.
    pub queue: f64,
    /// The rate that the scenario asks for; none if its load has a profile.
    pub rate: Option<Rate>,
    /// The share of every rate that is really offered: less than all of it in a control.
    pub share: f64,
}

/// What steps of a run know of each other.
#[derive(Default)]
pub struct State {
    /// The number of faults so far: they are numbered from 0.
    faults: Mutex<usize>,
    /// The window of a backend that misbehaves, while it lasts.
    backend: Mutex<Option<Window>>,
    drained: Mutex<Drained>,
    /// Told whenever a drain is over.
    drain_over: Notify,
}

/// The nodes that a run drains.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// Those that a step began to drain.
    pub(super) ever: BTreeSet<String>,
    /// Those that are in a drain, and by which step.
    pub(super) now: BTreeMap<String, StepPath>,
}

impl<'a> Stage<'a> {
    /// The first step of a run.
    pub fn first(shared: &'a Shared<'a>) -> Self {
        Self { shared, step: StepPath::top(1), this: None }
    }

    /// Another step of the same run.
    #[must_use]
    pub fn at(&self, step: StepPath, this: Option<&This>) -> Self {
        Self { shared: self.shared, step, this: this.cloned() }
    }

    pub(super) fn begin(
        &self,
        name: FaultName,
        target: &str,
        gateways: Vec<String>,
    ) -> Result<usize, FaultError> {
        // Held until it is on record: faults that begin at the same time are there in the order of their numbers.
        let mut next = self.shared.state.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (fault, step) = (*next, self.step.clone());
        let target = target.to_owned();
        self.shared.recorder.event(Event::FaultStarted { fault, step, name, target, gateways })?;
        *next += 1;
        Ok(fault)
    }

    /// A fault is over: what became of it is on record, and is what comes back.
    pub(super) fn end(&self, fault: usize, result: Result<(), FaultError>) -> Result<(), FaultError> {
        let problem = result.as_ref().err().map(ToString::to_string);
        let blind = result.as_ref().err().is_some_and(FaultError::is_blind);
        self.shared.recorder.event(Event::FaultEnded { fault, problem, blind })?;
        result
    }

    pub(super) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, FaultError>>,
    ) -> Result<T, FaultError> {
        tokio::select! {
            done = work => done,
            () = self.shared.cancel.cancelled() => Err(FaultError::Interrupted),
        }
    }

    pub(super) fn drained(&self) -> MutexGuard<'_, Drained> {
        self.shared.state.drained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Told whenever a drain is over.
    pub(super) fn drain_over(&self) -> &Notify {
        &self.shared.state.drain_over
    }

    /// Sets the window of a backend that misbehaves; returns the one that was set.
    pub(super) fn set_backend_window(&self, window: Option<Window>) -> Option<Window> {
        std::mem::replace(
            &mut *self.shared.state.backend.lock().unwrap_or_else(PoisonError::into_inner),
            window,
        )
    }

    pub(super) fn gateways_on(&self, node: &str) -> Vec<String> {
        let world = self.shared.watched.world.borrow();
        world.pods("gateway").filter(|(_, pod)| pod.node == node).map(|(name, _)| name.to_owned()).collect()
    }

    /// Waits until the world is as it should be.
    pub(super) async fn await_world(
        &self,
        awaited: &str,
        timeout: Duration,
        mut condition: impl FnMut(&World) -> bool,
        state: impl Fn(&World) -> String,
    ) -> Result<(), FaultError> {
        let mut world = self.shared.watched.world.clone();
        let seen = tokio::time::timeout(timeout, world.wait_for(|world| condition(world))).await;
        if seen.is_ok_and(|seen| seen.is_ok()) {
            return Ok(());
        }
        let (awaited, state) = (awaited.to_owned(), state(&self.shared.watched.world.borrow()));
        Err(FaultError::Deadline { awaited, waited: timeout, state })
    }

    /// Waits until the load stands as it should.
    pub(super) async fn await_load(
        &self,
        awaited: &str,
        timeout: Duration,
        mut condition: impl FnMut(&LoadStatus) -> bool,
    ) -> Result<(), FaultError> {
        let mut status = self.shared.watched.status.clone();
        let seen = tokio::time::timeout(timeout, status.wait_for(|status| condition(status))).await;
        if seen.is_ok_and(|seen| seen.is_ok()) {
            return Ok(());
        }
        if self.shared.watched.status.borrow().at.elapsed() > STALE {
            return Err(FaultError::Blind { awaited: awaited.to_owned() });
        }
        let state = self.shared.watched.status.borrow().summary();
        Err(FaultError::Deadline { awaited: awaited.to_owned(), waited: timeout, state })
    }

    /// Waits until as many gateways are ready as there must be, and none is on its way out.
    pub(super) async fn await_gateways(&self, timeout: Duration) -> Result<(), FaultError> {
        let wanted = self.shared.usual.gateways;
        let whole = |world: &World| {
            world.ready("gateway") >= wanted && world.pods("gateway").all(|(_, pod)| !pod.terminating)
        };
        let awaited = format!("{wanted} ready gateways, and none on its way out");
        self.await_world(&awaited, timeout, whole, |world| pods_state(world, "gateway")).await
    }

    /// The nodes that hold a gateway, each once, in order.
    pub fn nodes_with_gateway(&self) -> Vec<String> {
        let world = self.shared.watched.world.borrow();
        let mut nodes: Vec<_> = world.pods("gateway").map(|(_, pod)| pod.node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes.retain(|node| !node.is_empty());
        nodes
    }

    pub(super) async fn gateway_pods(&self) -> Result<Vec<Pod>, FaultError> {
        let pods: Api<Pod> =
            Api::namespaced(self.shared.access.client.clone(), &self.shared.access.namespace);
        let labels = ListParams::default().labels("app.kubernetes.io/name=gateway");
        let listed = pods.list(&labels).await.map_err(FaultError::api("list", "gateways"))?;
        // One that has finished is left behind by the kubelet, and is a gateway no more.
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        let finished = |pod: &Pod| matches!(phase(pod).as_deref(), Some("Failed" | "Succeeded"));
        let there = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && !finished(pod);
        Ok(listed.items.into_iter().filter(there).collect())
    }
}

/// How an application's pods stand, for a message.
pub(super) fn pods_state(world: &World, app: &str) -> String {
    let states = world.pods(app).map(|(name, pod)| {
        format!("{name} ready={} terminating={} {}", pod.ready, pod.terminating, pod.image)
    });
    states.collect::<Vec<_>>().join(", ")
}
