//! The cluster of a run: a kind cluster of the harness's own, deleted after the run, or one that the user names,
//! which stays. One process at a time holds it.

pub mod context;
mod error;
mod foreign;
mod kind;
pub mod lease;
mod lock;
mod own;
mod owner;
mod reach;
mod reaper;
mod up;

pub use context::{Context, ContextError};
pub use error::ClusterError;
pub use lease::LeaseError;
pub use lock::LockError;
pub use owner::Owner;
pub(crate) use reach::reach;

use crate::guard::{self, Reason};
use crate::host::cache_dir;
use crate::images::{Image, Images};
use crate::location::Location;
use crate::progress;
use foreign::ForeignCluster;
use kube::{Client, Config};
use lease::Lease;
use lock::Lock;
use own::OwnCluster;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A choice of cluster.
#[derive(Debug, Clone)]
pub enum ClusterChoice {
    /// A kind cluster of the harness's own.
    Kind {
        /// Its name.
        name: String,
        /// Keep it, and the lock's file, after the run.
        keep: bool,
    },
    /// The one that a context of the user's leads to. It stays.
    Context(Context),
}

impl ClusterChoice {
    /// The cluster's name, or the context's.
    pub fn name(&self) -> &str {
        match self {
            Self::Kind { name, .. } => name,
            Self::Context(context) => &context.name,
        }
    }
}

/// A request for a cluster.
#[derive(Debug, Clone)]
pub struct Request {
    /// The cluster.
    pub cluster: ClusterChoice,
    /// The longest wait for a cluster that somebody else uses.
    pub wait: Duration,
    /// The Collector versions whose images its nodes must have.
    pub collectors: Vec<String>,
    /// True if an HPA is among the scenarios: then metrics-server is needed.
    pub metrics: bool,
    /// The folder of the manifests.
    pub manifests: PathBuf,
}

impl Request {
    /// The images that a run needs on the nodes.
    fn images<'a>(&self, images: &'a Images) -> Vec<&'a Image> {
        let mut needed = vec![images.probe()];
        needed.extend(self.collectors.iter().filter_map(|version| images.collector(version)));
        if self.metrics {
            needed.push(images.metrics_server());
        }
        needed
    }

    /// Returns the rest of the wait, counted from this call.
    fn remaining_wait(&self) -> impl Fn() -> Duration + use<> {
        let (began, wait) = (Instant::now(), self.wait);
        move || wait.saturating_sub(began.elapsed())
    }
}

/// A cluster, held by this process alone.
pub struct Cluster {
    name: String,
    client: Client,
    images: Images,
    settings: Vec<String>,
    ownership: Ownership,
    lease: Lease,
    /// The lock, held until this is dropped.
    lock: Lock,
}

/// The ownership of a cluster, with what each case needs.
enum Ownership {
    Own(OwnCluster),
    Foreign(ForeignCluster),
}

impl Cluster {
    /// Acquires lock and lease, and makes the cluster if it does not exist. It is not ready for a run before
    /// [`Self::prepare`]: in between, what runs that died left in it can be undone.
    pub async fn acquire(request: &Request, cancel: &CancellationToken) -> Result<Self, ClusterError> {
        let cluster = match &request.cluster {
            ClusterChoice::Kind { name, keep } => {
                unless_cancelled(cancel, own::acquire(name, *keep, request)).await
            }
            ClusterChoice::Context(context) => {
                unless_cancelled(cancel, foreign::acquire(context, request)).await
            }
        }?;
        let loaded = match &cluster.ownership {
            Ownership::Own(own) => unless_cancelled(cancel, own.load(&cluster, request)).await,
            Ownership::Foreign(_) => Ok(()),
        };
        match loaded {
            Ok(()) => Ok(cluster),
            Err(error) => Err(cluster.abandon(error).await),
        }
    }

    /// Installs what a run needs, and waits until the cluster is up.
    pub async fn prepare(
        mut self,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Self, ClusterError> {
        let prepared = match &self.ownership {
            Ownership::Own(own) => unless_cancelled(cancel, Box::pin(own.prepare(&self, request))).await,
            Ownership::Foreign(foreign) => unless_cancelled(cancel, foreign.prepare(&self, request)).await,
        };
        match prepared {
            Ok(settings) => {
                self.settings = settings;
                Ok(self)
            }
            Err(error) => Err(self.abandon(error).await),
        }
    }

    /// Releases a cluster that cannot be made ready. A cluster that was only partly made is dropped: its reaper
    /// deletes it.
    pub(crate) async fn abandon(self, error: ClusterError) -> ClusterError {
        if self.stays()
            && let Err(error) = self.release().await
        {
            tracing::info!(target: progress::TARGET, "{error}");
        }
        error
    }

    /// Returns its name, or that of the context that leads to it.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Returns its location, for a journal.
    pub fn location(&self) -> Location {
        match &self.ownership {
            Ownership::Own(_) => Location::Kind { cluster: self.name.clone() },
            Ownership::Foreign(foreign) => foreign.location().clone(),
        }
    }
    /// Returns a client of its API server.
    pub const fn client(&self) -> &Client {
        &self.client
    }
    /// The images that it may use.
    pub const fn images(&self) -> &Images {
        &self.images
    }
    /// Returns its settings, for the record.
    pub fn settings(&self) -> &[String] {
        &self.settings
    }
    /// The kubeconfig of a cluster of the harness's own.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        match &self.ownership {
            Ownership::Own(own) => Some(own.state.join("kubeconfig")),
            Ownership::Foreign(_) => None,
        }
    }
    /// Returns true for a cluster of the harness's own.
    pub const fn is_own(&self) -> bool {
        matches!(self.ownership, Ownership::Own(_))
    }
    /// Returns true if this process made it.
    pub const fn made_here(&self) -> bool {
        match &self.ownership {
            Ownership::Own(own) => own.made_here,
            Ownership::Foreign(_) => false,
        }
    }
    /// Returns true if it stays after this process has released it.
    pub const fn stays(&self) -> bool {
        match &self.ownership {
            Ownership::Own(own) => own.keep || !own.made_here,
            Ownership::Foreign(_) => true,
        }
    }
    /// Returns true if it would stay if this process ended at once.
    pub const fn outlives(&self) -> bool {
        match &self.ownership {
            Ownership::Own(own) => own.reaper.is_none(),
            Ownership::Foreign(_) => true,
        }
    }
    /// Waits until another process has taken the cluster over, which ends what this one may do there. Returns that
    /// process.
    pub async fn lost(&self) -> String {
        self.lease.lost().await
    }

    /// Releases it: deletes it, unless it stays.
    pub async fn release(self) -> Result<(), ClusterError> {
        let stays = self.stays();
        let Self { name, client, ownership, lease, lock, .. } = self;
        match ownership {
            Ownership::Own(mut own) => {
                if stays {
                    let path = own.state.join("kept");
                    std::fs::write(&path, b"").map_err(|source| ClusterError::State { path, source })?;
                } else {
                    own.kind.delete(&name, &own.state).await?;
                    lock.forget();
                }
                if let Some(reaper) = own.reaper.take() {
                    reaper.disarm();
                }
                if stays {
                    lease.release().await?;
                }
                Ok(())
            }
            Ownership::Foreign(foreign) => {
                // What is somebody else's by now is theirs to tidy up.
                let tidied = if lease.is_lost() { Ok(()) } else { foreign.tidy(&client).await };
                let released = lease.release().await;
                lock.forget();
                tidied?;
                Ok(released?)
            }
        }
    }
}

/// A cluster that is looked at, and neither held nor changed.
pub struct Visited {
    /// A client of its API server.
    pub client: Client,
    /// The reasons why a run would be refused there.
    pub reasons: Vec<Reason>,
}

/// Connects to a cluster, to look only. None, if it is a kind cluster that is still to be made.
pub async fn visit(place: &ClusterChoice) -> Result<Option<Visited>, ClusterError> {
    match place {
        ClusterChoice::Kind { name, .. } => {
            let state = own::state(name);
            if !state.join("kubeconfig").exists() {
                return Ok(None);
            }
            Ok(Some(Visited { client: own::client(name, &state).await?, reasons: Vec::new() }))
        }
        ClusterChoice::Context(context) => {
            let confirmed = guard::confirmed(&context.name, context.yes_really.as_deref())?;
            let opened = context.open().await?;
            let mut reasons = guard::reasons(&opened.facts, &context.config);
            reasons.retain(|_| !confirmed);
            Ok(Some(Visited { client: opened.client, reasons }))
        }
    }
}

/// Returns the message that this process waits for another one.
fn waiting(cluster: &str, by: &str, timeout: Duration) -> String {
    let timeout = humantime::format_duration(Duration::from_secs(timeout.as_secs()));
    format!("waiting for up to {timeout}: the cluster {cluster} is in use by {by}")
}

/// A future's outcome, or that the user gave up.
async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    future: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    tokio::select! {
        done = future => done,
        () = cancel.cancelled() => Err(ClusterError::Interrupted),
    }
}

/// Returns a client of an API server that has answered.
async fn connect(mut config: Config) -> Result<Client, String> {
    // The client would try again by itself what was answered with 429 or 503: an eviction that a budget refused
    // would look like one that took long.
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| error.to_string())?;
    match tokio::time::timeout(Duration::from_secs(15), client.apiserver_version()).await {
        Ok(answered) => answered.map(|_| client).map_err(|error| error.to_string()),
        Err(_) => Err("no answer within 15s".to_owned()),
    }
}
