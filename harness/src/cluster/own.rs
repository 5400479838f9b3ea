//! A kind cluster of the harness's own: made, or found and used again.

use super::kind::{self, Kind};
use super::lease::Lease;
use super::lock::Lock;
use super::reaper::Reaper;
use super::{Cluster, ClusterError, Ownership, Request, connect, up};
use crate::host::cache_dir;
use crate::images::Images;
use crate::progress;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A kind cluster of the harness's own.
pub(super) struct OwnCluster {
    pub(super) kind: Kind,
    pub(super) state: PathBuf,
    /// Keep it after the run.
    pub(super) keep: bool,
    pub(super) made_here: bool,
    pub(super) reaper: Option<Reaper>,
}

/// Acquires lock and lease, and makes the cluster, or uses the one that was kept.
pub(super) async fn acquire(name: &str, keep: bool, request: &Request) -> Result<Cluster, ClusterError> {
    let remaining = request.remaining_wait();
    let cache = cache_dir();
    let engine = kind::engine_version().await?;
    let kind = Kind::find(&cache).await?;
    let images = Images::read(&cache)?;
    images.check(&request.collectors).await?;

    let state = state(name);
    let lock = Lock::acquire(&state, name, remaining()).await?;
    let found = kind::nodes(name).await?;
    let kept = state.join("kept").exists();
    if let Some(owner) = lock.previous()
        && !kept
    {
        tracing::info!(
            target: progress::TARGET,
            "found what {} (process {}) left behind when it died: cleaning up",
            owner.run,
            owner.process.pid
        );
    }
    if !found.is_empty() && !kept {
        if lock.previous().is_none() {
            return Err(ClusterError::NotOurs { name: name.to_owned() });
        }
        kind.delete(name, &state).await?;
    }
    lock.record_owner()?;

    let use_kept = kept && !found.is_empty();
    let mut reaper = None;
    if !use_kept {
        // Should it be there: a mark of a cluster that somebody else has removed since.
        let _ = std::fs::remove_file(state.join("kept"));
        let armed = reaper.insert(Reaper::arm(kind.program(), name, &state, &lock)?);
        tracing::info!(target: progress::TARGET, "making the kind cluster {name} (engine {engine})");
        kind.create(name, &state, images.node(), armed).await?;
    }
    let client = client(name, &state).await?;
    let lease = Lease::acquire(&client, name, remaining()).await?;
    if use_kept {
        tracing::info!(target: progress::TARGET, "using the kind cluster {name}, which was kept");
    }
    let own = OwnCluster { kind, state, keep, made_here: !use_kept, reaper };
    let (name, settings) = (name.to_owned(), Vec::new());
    Ok(Cluster { name, client, images, settings, ownership: Ownership::Own(own), lease, lock })
}

impl OwnCluster {
    /// Loads the images that a run needs onto its nodes.
    pub(super) async fn load(&self, cluster: &Cluster, request: &Request) -> Result<(), ClusterError> {
        let Cluster { name, client, images, .. } = cluster;
        self.kind.load(name, &request.images(images)).await?;
        if self.made_here {
            let pinned = kind::pin_dns(client).await;
            pinned.map_err(|error| unreachable(name, &self.state, &error.to_string()))?;
        }
        Ok(())
    }

    /// Waits until it is up, and puts on it what else a run needs. Returns how it is set up.
    pub(super) async fn prepare(
        &self,
        cluster: &Cluster,
        request: &Request,
    ) -> Result<Vec<String>, ClusterError> {
        let Cluster { name, client, images, .. } = cluster;
        up::await_up(client, name).await?;
        if request.metrics {
            let timeout = Duration::from_secs(120);
            let added = crate::deploy::apply_metrics_server(client, &request.manifests, images, timeout);
            added.await.map_err(|source| ClusterError::MetricsServer { source: Box::new(source) })?;
        }
        Ok(kind::settings())
    }
}

/// Returns the folder of what is kept of a cluster between runs.
pub(super) fn state(name: &str) -> PathBuf {
    cache_dir().join("clusters").join(name)
}

/// Returns a client of the cluster whose kubeconfig is in `state`.
pub(super) async fn client(name: &str, state: &Path) -> Result<kube::Client, ClusterError> {
    let unreachable = |message: String| unreachable(name, state, &message);
    let read = Kubeconfig::read_from(state.join("kubeconfig")).map_err(|e| unreachable(e.to_string()))?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    connect(config.map_err(|e| unreachable(e.to_string()))?).await.map_err(unreachable)
}

fn unreachable(name: &str, state: &Path, message: &str) -> ClusterError {
    let help = format!(
        "tried the kubeconfig {}\n`spanproof run` makes a new cluster if this one is removed: kind delete cluster --name {name}",
        state.join("kubeconfig").display()
    );
    ClusterError::Unreachable { name: name.to_owned(), message: message.to_owned(), help }
}
