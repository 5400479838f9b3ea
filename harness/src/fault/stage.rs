//! The environment of a step: its place in the scenario, and the state that all steps of a run share.

use super::window::Window;
use super::{FaultError, ForEachItem};
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
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The age at which a report of the probes is no longer current.
const STALE: Duration = Duration::from_secs(10);

/// The environment of a step that is carried out. Cheap to clone.
#[derive(Clone)]
pub struct Stage<'a> {
    /// The environment of all steps of the run.
    pub shared: &'a Shared<'a>,
    /// The step's place in the scenario.
    pub step: StepPath,
    /// The current item of the `for-each` around the step; none if there is no `for-each`.
    pub this: Option<ForEachItem>,
}

/// The environment of all steps of a run.
pub struct Shared<'a> {
    /// The cluster, and what may be touched in it.
    pub access: Access<'a>,
    /// The state of cluster and load.
    pub watched: Watched,
    /// The state of tier and load before the first step.
    pub usual: Usual,
    /// Emitters and sinks.
    pub probes: Probes,
    /// The spans that must arrive.
    pub demand: Demand,
    /// The seed of random choices.
    pub seed: u64,
    /// The writer of the timeline.
    pub recorder: Recorder,
    /// The journal: the undo of a fault is in it before the fault begins.
    pub journal: Journal,
    /// Cancels the steps; faults are undone all the same.
    pub cancel: CancellationToken,
    /// The state that steps change.
    pub state: State,
}

/// The cluster, and what a run may touch in it.
pub struct Access<'a> {
    /// The API server.
    pub client: Client,
    /// The run's namespace: no pod of another one is evicted, unless a drain moves it.
    pub namespace: String,
    /// The run's name.
    pub run: String,
    /// The objects, nodes and namespaces that the plan named.
    pub scope: Scope,
    /// The images that may be used.
    pub images: &'a Images,
}

/// The state of cluster and load, as watches and probes report it.
pub struct Watched {
    /// The objects of the cluster.
    pub world: watch::Receiver<World>,
    /// The load, updated once a second.
    pub status: watch::Receiver<LoadStatus>,
}

/// The state of tier and load before the first step.
#[derive(Debug, Clone, Copy)]
pub struct Usual {
    /// The number of gateways.
    pub gateways: usize,
    /// The largest size of a queue, in its own unit.
    pub queue: f64,
    /// The load's own rate; none if it has a profile.
    pub rate: Option<Rate>,
    /// The share of every rate that is really offered: below 1 in a control.
    pub share: f64,
}

/// The state that the steps of a run change, and see of each other.
#[derive(Default)]
pub struct State {
    /// The number of faults so far, which is the number of the next one.
    faults: Mutex<usize>,
    /// The window of a backend that misbehaves, while it lasts.
    backend: Mutex<Option<Window>>,
    drained: Mutex<Drained>,
    /// Notified whenever a drain is over.
    drain_over: Notify,
}

/// The nodes that a run drains.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// The nodes that a step has begun to drain.
    pub(super) ever: BTreeSet<String>,
    /// The nodes that a step drains now, with the step.
    pub(super) now: BTreeMap<String, StepPath>,
}

impl<'a> Stage<'a> {
    /// The environment of the first step of a run.
    pub fn first(shared: &'a Shared<'a>) -> Self {
        Self { shared, step: StepPath::top(1), this: None }
    }

    /// The environment of another step of the same run.
    #[must_use]
    pub fn at(&self, step: StepPath, this: Option<&ForEachItem>) -> Self {
        Self { shared: self.shared, step, this: this.cloned() }
    }

    pub(super) fn begin(
        &self,
        name: FaultName,
        target: &str,
        gateways: Vec<String>,
    ) -> Result<usize, FaultError> {
        // Locked until it is on record, so that faults are there in the order of their numbers.
        let mut next = self.shared.state.faults.lock();
        let (fault, step) = (*next, self.step.clone());
        let target = target.to_owned();
        self.shared.recorder.event(Event::FaultStarted { fault, step, name, target, gateways })?;
        *next += 1;
        Ok(fault)
    }

    /// Puts the end of a fault on record, and returns its result.
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
        self.shared.state.drained.lock()
    }

    /// Notified whenever a drain is over.
    pub(super) fn drain_over(&self) -> &Notify {
        &self.shared.state.drain_over
    }

    /// Sets the window of the misbehaving backend; returns the previous one.
    pub(super) fn set_backend_window(&self, window: Option<Window>) -> Option<Window> {
        std::mem::replace(&mut *self.shared.state.backend.lock(), window)
    }

    pub(super) fn gateways_on(&self, node: &str) -> Vec<String> {
        let world = self.shared.watched.world.borrow();
        world.pods("gateway").filter(|(_, pod)| pod.node == node).map(|(name, _)| name.to_owned()).collect()
    }

    /// Waits until the objects of the cluster fulfil a condition. `state` describes them after the timeout.
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

    /// Waits until the load fulfils a condition.
    ///
    /// # Errors
    /// [`FaultError::Deadline`] after the timeout, or [`FaultError::Blind`] if the probes have not reported for a
    /// while.
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

    /// Waits until as many gateways are ready as before the first step, and none is terminating.
    pub(super) async fn await_gateways(&self, timeout: Duration) -> Result<(), FaultError> {
        let wanted = self.shared.usual.gateways;
        let whole = |world: &World| {
            world.ready("gateway") >= wanted && world.pods("gateway").all(|(_, pod)| !pod.terminating)
        };
        let awaited = format!("{wanted} ready gateways, and none terminating");
        self.await_world(&awaited, timeout, whole, |world| pods_state(world, "gateway")).await
    }

    /// Returns the names of the nodes that hold a gateway, sorted.
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
        // The kubelet leaves pods that have finished: they are no gateways any more.
        let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
        let finished = |pod: &Pod| matches!(phase(pod).as_deref(), Some("Failed" | "Succeeded"));
        let there = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && !finished(pod);
        Ok(listed.items.into_iter().filter(there).collect())
    }
}

/// Describes the state of an application's pods, for a message.
pub(super) fn pods_state(world: &World, app: &str) -> String {
    let states = world.pods(app).map(|(name, pod)| {
        format!("{name} ready={} terminating={} {}", pod.ready, pod.terminating, pod.image)
    });
    states.collect::<Vec<_>>().join(", ")
}
