//! What is done to the cluster: one file a fault, each with its window, its effect, and its undoing.

pub(crate) mod backend;
pub mod drain;
mod evict;
mod eviction;
pub(crate) mod spike;
mod target;
mod upgrade;
mod wait;

pub use backend::backend;
pub use evict::evict;
pub use spike::spike;
pub use target::{This, rounds};
pub use upgrade::upgrade;
pub use wait::{need, wait};

use crate::images::Images;
use crate::journal::{Journal, JournalError};
use crate::load::{LinkError, LoadStatus, Probes};
use crate::record::{Event, RecordError, Recorder};
use crate::sampling::Demand;
use crate::scenario::{Rate, StepPath};
use crate::scope::{OutOfScope, Scope};
use crate::world::World;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Why a fault did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The API server could not be asked.
    #[error("{action} {object}: {source}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        object: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// A pod may not be moved by this drain.
    #[error("pod {pod} on {node} {why}")]
    NotAllowed {
        /// The pod.
        pod: String,
        /// Its node.
        node: String,
        /// Why not, and what would allow it.
        why: &'static str,
    },
    /// An eviction was refused for good.
    #[error("evicting {pod}: {why}")]
    Refused {
        /// The pod.
        pod: String,
        /// What the API server said.
        why: String,
    },
    /// The deadline passed.
    #[error("waited {}s for {awaited}; {state}", waited.as_secs())]
    Deadline {
        /// What was awaited.
        awaited: String,
        /// How long.
        waited: Duration,
        /// How things stood.
        state: String,
    },
    /// No plan named it.
    #[error(transparent)]
    OutOfScope(#[from] OutOfScope),
    /// There is nothing to do it to.
    #[error("there is no such target: {0}")]
    NoTarget(String),
    /// A spike ends with the load's own rate, and there is none.
    #[error("the load has a profile, which a spike would end")]
    HasProfile,
    /// The set-up has no image for this.
    #[error("there is no image for the Collector {0}")]
    NoImage(String),
    /// A probe could not be told what to do.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The probes did not say how the load stands.
    #[error("the probes did not answer, so it was not seen whether it came about: {awaited}")]
    Blind {
        /// What was awaited.
        awaited: String,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The timeline cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What undoes it cannot be written down, so it is not done.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the probes said longer ago says nothing about now.
const STALE: Duration = Duration::from_secs(10);

impl FaultError {
    /// Whether the harness could not see or do what it should: that is no doing of the tier's.
    const fn is_blind(&self) -> bool {
        matches!(
            self,
            Self::Api { .. }
                | Self::OutOfScope(_)
                | Self::Link(_)
                | Self::Blind { .. }
                | Self::Record(_)
                | Self::Journal(_)
                | Self::Interrupted
        )
    }

    fn api(action: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Api { action, object, source: Box::new(source) }
    }
}

/// What faults work with. Cheap to clone: every step has its own, with its place.
#[derive(Clone)]
pub struct Stage<'a> {
    /// The cluster.
    pub client: Client,
    /// The run's namespace: no pod of another one is this run's to evict, unless a drain moves it.
    pub namespace: String,
    /// What may be touched.
    pub scope: Arc<Scope>,
    /// The run's name.
    pub run: String,
    /// The seed of whatever is drawn.
    pub seed: u64,
    /// Where everything is recorded.
    pub recorder: Recorder,
    /// What undoes a fault is in it before the fault begins.
    pub journal: Journal,
    /// What there is, as watches show it.
    pub world: watch::Receiver<World>,
    /// How many gateways there are when all is well.
    pub wanted: usize,
    /// The images that may be used.
    pub images: &'a Images,
    /// Emitters and sink.
    pub probes: Probes,
    /// How the load stands, once a second.
    pub status: watch::Receiver<LoadStatus>,
    /// The rate that the scenario asks for; none if its load has a profile.
    pub rate: Option<Rate>,
    /// The share of every rate that is really offered: less than all of it in a control.
    pub share: f64,
    /// What a queue held at most before anything was done to the tier.
    pub usual_queue: f64,
    /// What has to arrive.
    pub demand: Demand,
    /// Ends what is going on; what must be undone is undone all the same.
    pub cancel: CancellationToken,
    /// Where in the scenario this is.
    pub step: StepPath,
    /// What the `for-each` around this is at.
    pub this: Option<This>,
    /// How many faults the run has had: they are numbered from 0.
    pub faults: Arc<Mutex<usize>>,
    /// The fault of a backend that misbehaves, with its entry in the journal, while it lasts.
    pub backend: Arc<Mutex<Option<(usize, u64)>>>,
    /// The nodes that this run drains.
    pub drained: Arc<Mutex<Drained>>,
}

/// The nodes that a run drains.
#[derive(Debug, Default)]
pub struct Drained {
    /// Those that a step began to drain.
    ever: BTreeSet<String>,
    /// Those that are in a drain, and by which step.
    now: BTreeMap<String, StepPath>,
    /// Told whenever a drain is over.
    over: Arc<Notify>,
}

impl Stage<'_> {
    /// The same at another place of the scenario.
    #[must_use]
    pub fn at(&self, step: StepPath, this: Option<&This>) -> Self {
        Self { step, this: this.cloned(), ..self.clone() }
    }

    fn begin(&self, name: &str, target: &str, gateways: Vec<String>) -> Result<usize, FaultError> {
        // Held until it is on record: faults that begin at the same time are there in the order of their numbers.
        let mut next = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (fault, step) = (*next, self.step.clone());
        let (name, target) = (name.into(), target.to_owned());
        self.recorder.event(Event::FaultStarted { fault, step, name, target, gateways })?;
        *next += 1;
        Ok(fault)
    }

    /// A fault is over: what became of it is on record, and is what comes back.
    fn end(&self, fault: usize, result: Result<(), FaultError>) -> Result<(), FaultError> {
        let problem = result.as_ref().err().map(ToString::to_string);
        let blind = result.as_ref().err().is_some_and(FaultError::is_blind);
        self.recorder.event(Event::FaultEnded { fault, problem, blind })?;
        result
    }

    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, FaultError>>,
    ) -> Result<T, FaultError> {
        tokio::select! {
            done = work => done,
            () = self.cancel.cancelled() => Err(FaultError::Interrupted),
        }
    }

    fn drained(&self) -> MutexGuard<'_, Drained> {
        self.drained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gateways_on(&self, node: &str) -> Vec<String> {
        let world = self.world.borrow();
        world.pods("gateway").filter(|(_, pod)| pod.node == node).map(|(name, _)| name.to_owned()).collect()
    }

    /// Waits until the world is as it should be.
    async fn await_world(
        &self,
        awaited: &str,
        patience: Duration,
        mut condition: impl FnMut(&World) -> bool,
        state: impl Fn(&World) -> String,
    ) -> Result<(), FaultError> {
        let mut world = self.world.clone();
        let seen = tokio::time::timeout(patience, world.wait_for(|world| condition(world))).await;
        if seen.is_ok_and(|seen| seen.is_ok()) {
            return Ok(());
        }
        let (awaited, state) = (awaited.to_owned(), state(&self.world.borrow()));
        Err(FaultError::Deadline { awaited, waited: patience, state })
    }

    /// Waits until the load stands as it should.
    async fn await_load(
        &self,
        awaited: &str,
        patience: Duration,
        mut condition: impl FnMut(&LoadStatus) -> bool,
    ) -> Result<(), FaultError> {
        let mut status = self.status.clone();
        let seen = tokio::time::timeout(patience, status.wait_for(|status| condition(status))).await;
        if seen.is_ok_and(|seen| seen.is_ok()) {
            return Ok(());
        }
        if self.status.borrow().at.elapsed() > STALE {
            return Err(FaultError::Blind { awaited: awaited.to_owned() });
        }
        let state = self.status.borrow().summary();
        Err(FaultError::Deadline { awaited: awaited.to_owned(), waited: patience, state })
    }

    /// Waits until as many gateways are ready as there must be, and none is on its way out.
    async fn await_gateways(&self, patience: Duration) -> Result<(), FaultError> {
        let wanted = self.wanted;
        let whole = |world: &World| {
            world.ready("gateway") >= wanted && world.pods("gateway").all(|(_, pod)| !pod.terminating)
        };
        let awaited = format!("{wanted} ready gateways, and none on its way out");
        self.await_world(&awaited, patience, whole, |world| pods_state(world, "gateway")).await
    }

    /// The nodes that hold a gateway, each once, in order.
    pub fn nodes_with_gateway(&self) -> Vec<String> {
        let world = self.world.borrow();
        let mut nodes: Vec<_> = world.pods("gateway").map(|(_, pod)| pod.node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes.retain(|node| !node.is_empty());
        nodes
    }

    async fn gateway_pods(&self) -> Result<Vec<Pod>, FaultError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
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
fn pods_state(world: &World, app: &str) -> String {
    let states = world.pods(app).map(|(name, pod)| {
        format!("{name} ready={} terminating={} {}", pod.ready, pod.terminating, pod.image)
    });
    states.collect::<Vec<_>>().join(", ")
}
