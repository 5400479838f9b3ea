//! A cluster that was there: looked at before anything is written to it, and left as it was found.

use super::context::{Context, Opened};
use super::kind::{self, Kind};
use super::lease::Lease;
use super::lock::Lock;
use super::{Cluster, ClusterError, Home, Request};
use crate::deploy;
use crate::guard;
use crate::host::cache_dir;
use crate::images::Images;
use crate::location::Location;
use crate::progress;
use kube::{Client, ResourceExt};
use std::time::Duration;

/// Two gateways, each on a node of its own.
const FEWEST_WORKERS: usize = 2;
/// How long metrics-server may take to be there, or to be gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster that was there.
pub(super) struct Foreign {
    /// kind's name for it, if its nodes are containers of this machine's engine.
    kind_name: Option<String>,
    has_control_plane: bool,
    /// Whether metrics-server may have been added.
    metrics: bool,
    /// What leads to it, for a journal.
    location: Location,
}

/// Looks at the cluster, and takes lock and lease if a run may work there.
pub(super) async fn hold(context: &Context, request: &Request) -> Result<Cluster, ClusterError> {
    let patience = request.patience();
    guard::confirmed(&context.name, context.yes_really.as_deref())?;
    let opened = context.open().await?;
    guard::allow(&opened.sight, &context.config, context.yes_really.as_deref())?;
    let workers = opened.workers();
    if workers < FEWEST_WORKERS {
        return Err(ClusterError::TooFewWorkers { name: context.name.clone(), workers });
    }
    let images = Images::read(&cache_dir())?;

    let (lock, lease) = take(&opened, &context.name, patience).await?;
    let foreign = Foreign {
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
        home: Home::Foreign(foreign),
        lease,
        lock,
    })
}

/// Takes the lock, for this machine, and the lease.
pub(super) async fn take(
    opened: &Opened,
    name: &str,
    patience: impl Fn() -> Duration,
) -> Result<(Lock, Lease), ClusterError> {
    let state = cache_dir().join("contexts").join(&opened.uid);
    let lock = Lock::await_free(&state, name, patience()).await?;
    lock.own()?;
    let lease = Lease::take(&opened.client, name, patience()).await;
    let lease = lease.inspect_err(|_| lock.forget())?;
    Ok((lock, lease))
}

/// kind's name for a cluster whose nodes are containers of this machine's engine.
async fn kind_name(opened: &Opened) -> Option<String> {
    let name = opened.kind_name()?;
    let containers = kind::nodes(name).await.ok()?;
    opened.nodes.iter().all(|node| containers.contains(&node.name_any())).then(|| name.to_owned())
}

impl Foreign {
    pub(super) const fn location(&self) -> &Location {
        &self.location
    }

    /// Puts on it what a run needs, and says what else there is. How it is set up.
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
        let mut settings = vec![format!("a cluster that was there, by the context {name}")];
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
            let added = deploy::lend_metrics_server(client, &request.manifests, images, PATIENCE).await;
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
        let removed = deploy::remove_metrics_server(client, PATIENCE).await;
        removed.map_err(|source| ClusterError::MetricsServer { source: Box::new(source) })
    }
}
