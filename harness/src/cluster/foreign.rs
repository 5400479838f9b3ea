//! A cluster that was there: looked at before anything is written to it, and left as it was found.

use super::context::{Context, Opened};
use super::kind::{self, Kind};
use super::lease::Lease;
use super::lock::Lock;
use super::{Cluster, ClusterError, Ownership, Request};
use crate::deploy;
use crate::guard;
use crate::host::cache_dir;
use crate::images::Images;
use crate::location::Location;
use crate::progress;
use kube::{Client, ResourceExt};
use std::time::Duration;

/// The number of workers that two gateways on different nodes need.
const FEWEST_WORKERS: usize = 2;
/// The longest time until metrics-server is available, or gone.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A cluster that was there.
pub(super) struct ForeignCluster {
    /// The name that kind has for it, if its nodes are containers of this machine's engine.
    kind_name: Option<String>,
    has_control_plane: bool,
    /// True if metrics-server may have been added.
    metrics: bool,
    /// Its location, for a journal.
    location: Location,
}

/// Inspects the cluster, and acquires lock and lease if a run may work there.
pub(super) async fn acquire(context: &Context, request: &Request) -> Result<Cluster, ClusterError> {
    let remaining = request.remaining_wait();
    guard::confirmed(&context.name, context.yes_really.as_deref())?;
    let opened = context.open().await?;
    guard::allow(&opened.facts, &context.config, context.yes_really.as_deref())?;
    let workers = opened.workers();
    if workers < FEWEST_WORKERS {
        return Err(ClusterError::TooFewWorkers { name: context.name.clone(), workers });
    }
    let images = Images::read(&cache_dir())?;

    let (lock, lease) = acquire_lock_and_lease(&opened, &context.name, remaining).await?;
    let foreign = ForeignCluster {
        kind_name: kind_name(&opened).await,
        has_control_plane: opened.has_control_plane(),
        metrics: request.metrics,
        location: Location::Context {
            context: context.name.clone(),
            kubeconfigs: context.kubeconfigs.clone(),
            uid: opened.uid,
        },
    };
    Ok(Cluster {
        name: context.name.clone(),
        client: opened.client,
        images,
        settings: Vec::new(),
        ownership: Ownership::Foreign(foreign),
        lease,
        lock,
    })
}

/// Acquires the lock, for this machine, and the lease.
pub(super) async fn acquire_lock_and_lease(
    opened: &Opened,
    name: &str,
    remaining: impl Fn() -> Duration,
) -> Result<(Lock, Lease), ClusterError> {
    let state = cache_dir().join("contexts").join(&opened.uid);
    let lock = Lock::acquire(&state, name, remaining()).await?;
    lock.record_owner()?;
    let lease = Lease::acquire(&opened.client, name, remaining()).await;
    let lease = lease.inspect_err(|_| lock.forget())?;
    Ok((lock, lease))
}

/// Returns the name that kind has for a cluster whose nodes are containers of this machine's engine.
async fn kind_name(opened: &Opened) -> Option<String> {
    let name = opened.kind_name()?;
    let containers = kind::nodes(name).await.ok()?;
    opened.nodes.iter().all(|node| containers.contains(&node.name_any())).then(|| name.to_owned())
}

impl ForeignCluster {
    pub(super) const fn location(&self) -> &Location {
        &self.location
    }

    /// Installs what a run needs. Returns the cluster's settings.
    pub(super) async fn prepare(
        &self,
        cluster: &Cluster,
        request: &Request,
    ) -> Result<Vec<String>, ClusterError> {
        let Cluster { name, client, images, .. } = cluster;
        if !self.has_control_plane {
            tracing::info!(
                target: progress::TARGET,
                "no node is marked as one of the control plane: the sinks run on workers, and a drain of such a worker \
                 takes a sink's ledger away"
            );
        }
        let mut settings = vec![format!("an existing cluster, by the context {name}")];
        let needed = request.images(images);
        if let Some(kind_name) = &self.kind_name {
            images.check(&request.collectors).await?;
            Kind::find(&cache_dir()).await?.load(kind_name, &needed).await?;
        } else {
            let names: Vec<_> = needed.iter().map(|image| image.image.as_str()).collect();
            let note = format!("its nodes must have, or be able to pull: {}", names.join(", "));
            tracing::info!(target: progress::TARGET, "{note}");
            settings.push(note);
        }
        if request.metrics {
            let added = deploy::lend_metrics_server(client, &request.manifests, images, TIMEOUT).await;
            let added = added.map_err(|source| ClusterError::MetricsServer { source: Box::new(source) })?;
            settings.push(
                if added { "metrics-server of the harness's" } else { "metrics of its own" }.to_owned(),
            );
        }
        Ok(settings)
    }

    /// Removes what this added.
    pub(super) async fn tidy(&self, client: &Client) -> Result<(), ClusterError> {
        if !self.metrics {
            return Ok(());
        }
        let removed = deploy::remove_metrics_server(client, TIMEOUT).await;
        removed.map_err(|source| ClusterError::MetricsServer { source: Box::new(source) })
    }
}
