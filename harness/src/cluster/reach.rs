//! The cluster of a run that died, to undo what it did.

use super::context::{Context, ContextError};
use super::lease::Lease;
use super::lock::Lock;
use super::{ClusterError, Images, foreign, kind, own};
use crate::config::Config;
use crate::deploy;
use crate::location::Location;
use crate::progress;
use kube::Client;
use std::time::Duration;

/// The longest time until metrics-server is gone.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A cluster that is there, held by this process alone.
pub(crate) struct Reached {
    client: Client,
    images: Images,
    is_own: bool,
    lease: Lease,
    /// The lock, held until this is dropped.
    lock: Lock,
}

impl Reached {
    /// Returns a client of its API server.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }
    /// The images that it may use.
    pub(crate) const fn images(&self) -> &Images {
        &self.images
    }

    /// Removes what belongs to no run in particular, and releases the cluster.
    pub(crate) async fn release(self) -> Result<(), ClusterError> {
        let mut tidied = Ok(());
        if !self.is_own {
            tidied = deploy::remove_metrics_server(&self.client, TIMEOUT).await;
            self.lock.forget();
        }
        self.lease.release().await?;
        tidied.map_err(|source| ClusterError::MetricsServer { source: Box::new(source) })
    }
}

/// Acquires a cluster's lock and lease, and connects. Returns none if the cluster is gone.
pub(crate) async fn reach(place: &Location) -> Result<Option<Reached>, ClusterError> {
    match place {
        Location::Kind { cluster } => reach_kind(cluster).await,
        Location::Context { context, kubeconfigs, uid } => {
            let context = Context {
                name: context.clone(),
                kubeconfigs: kubeconfigs.clone(),
                // It was allowed to do what is undone now.
                yes_really: None,
                config: Config::default(),
            };
            reach_context(&context, uid).await.map(Some)
        }
    }
}

async fn reach_context(context: &Context, uid: &str) -> Result<Reached, ClusterError> {
    let opened = context.open().await?;
    if opened.uid != uid {
        let (name, uid) = (context.name.clone(), uid.to_owned());
        return Err(ContextError::Elsewhere { name, uid }.into());
    }
    let images = Images::read(&super::cache_dir())?;
    let (lock, lease) = foreign::acquire_lock_and_lease(&opened, &context.name, || Duration::ZERO).await?;
    Ok(Reached { client: opened.client, images, is_own: false, lease, lock })
}

async fn reach_kind(cluster: &str) -> Result<Option<Reached>, ClusterError> {
    kind::engine_version().await?;
    let cache = super::cache_dir();
    let kind = kind::Kind::find(&cache).await?;
    let state = own::state(cluster);
    let lock = Lock::acquire(&state, cluster, Duration::ZERO).await?;
    let there = !kind::nodes(cluster).await?.is_empty();
    if there && !state.join("kept").exists() {
        // The run made it, and its reaper did not get to remove it.
        if lock.previous().is_none() {
            return Err(ClusterError::NotOurs { name: cluster.to_owned() });
        }
        tracing::info!(
            target: progress::TARGET,
            "removing the kind cluster {cluster}, which was not to be kept"
        );
        kind.delete(cluster, &state).await?;
        lock.forget();
        return Ok(None);
    }
    if !there {
        lock.forget();
        return Ok(None);
    }
    lock.record_owner()?;
    let client = own::client(cluster, &state).await?;
    let lease = Lease::acquire(&client, cluster, Duration::ZERO).await?;
    let images = Images::read(&cache)?;
    // Without the probe's image the nodes cannot be swept; all else can be undone.
    if let Err(error) = kind.load(cluster, &[images.probe()]).await {
        tracing::info!(
            target: progress::TARGET,
            "the nodes may lack the image that removes queues and ledgers from their disks: {error}"
        );
    }
    Ok(Some(Reached { client, images, is_own: true, lease, lock }))
}
