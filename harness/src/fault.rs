//! What is done to the cluster: one file a fault, each with its window, its effect, and its undoing.

pub mod drain;
mod evict_all;
mod eviction;

pub use evict_all::evict_all;

use crate::record::{Event, Gateway, RecordError, Recorder};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The annotation of a node that a run cordoned: whose undoing it is.
pub const CORDONED_BY: &str = "spanproof/cordoned-by";

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
    /// There is nothing to do it to.
    #[error("there is nothing to {0}")]
    NoTarget(&'static str),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The timeline cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl FaultError {
    fn api(action: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Api { action, object, source: Box::new(source) }
    }
}

/// What faults work with.
pub struct Stage {
    /// The cluster.
    pub client: Client,
    /// The run's namespace: no pod of another one is this run's to evict, unless a drain moves it.
    pub namespace: String,
    /// The run's name.
    pub run: String,
    /// Where everything is recorded.
    pub recorder: Recorder,
    /// The gateways, as a watch shows them.
    pub gateways: watch::Receiver<Vec<Gateway>>,
    /// How many gateways there are when all is well.
    pub wanted: usize,
    /// Ends what is going on; what must be undone is undone all the same.
    pub cancel: CancellationToken,
    /// Numbers the faults of the run.
    pub faults: AtomicUsize,
}

impl Stage {
    fn begin(&self, name: &str, target: &str, gateways: Vec<String>) -> Result<usize, FaultError> {
        let fault = self.faults.fetch_add(1, Ordering::Relaxed);
        let (name, target) = (name.to_owned(), target.to_owned());
        self.recorder.event(Event::FaultStarted { fault, name, target, gateways })?;
        Ok(fault)
    }

    fn gateways_on(&self, node: &str) -> Vec<String> {
        self.gateways.borrow().iter().filter(|pod| pod.node == node).map(|pod| pod.pod.clone()).collect()
    }

    /// Waits until as many gateways are ready as there must be, and none is on its way out.
    async fn await_gateways(&self, patience: Duration) -> Result<(), FaultError> {
        let wanted = self.wanted;
        let mut gateways = self.gateways.clone();
        let whole = |pods: &Vec<Gateway>| {
            pods.iter().filter(|pod| pod.ready).count() >= wanted && pods.iter().all(|pod| !pod.terminating)
        };
        let awaited =
            tokio::time::timeout(patience, gateways.wait_for(whole)).await.is_ok_and(|seen| seen.is_ok());
        if awaited {
            return Ok(());
        }
        let now = self.gateways.borrow();
        let state =
            now.iter().map(|pod| format!("{} ready={} terminating={}", pod.pod, pod.ready, pod.terminating));
        Err(FaultError::Deadline {
            awaited: format!("{wanted} ready gateways, and none on its way out"),
            waited: patience,
            state: state.collect::<Vec<_>>().join(", "),
        })
    }

    /// The nodes that hold a gateway, each once, in order.
    pub fn nodes_with_gateway(&self) -> Vec<String> {
        let mut nodes: Vec<_> = self.gateways.borrow().iter().map(|pod| pod.node.clone()).collect();
        nodes.sort();
        nodes.dedup();
        nodes.retain(|node| !node.is_empty());
        nodes
    }

    async fn gateway_pods(&self) -> Result<Vec<Pod>, FaultError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = ListParams::default().labels("app.kubernetes.io/name=gateway");
        let listed = pods.list(&labels).await.map_err(FaultError::api("list", "gateways"))?;
        Ok(listed.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
    }
}
