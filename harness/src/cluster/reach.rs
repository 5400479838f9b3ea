//! The cluster of a run that died, to undo what it did.

use super::lock::Lock;
use super::{ClusterError, Images, connect, kind};
use crate::journal::Place;
use kube::Client;
use std::path::Path;

/// A cluster that is there, held by this process alone.
pub(crate) struct Reached {
    client: Client,
    images: Images,
    /// Held as long as this is.
    _lock: Option<Lock>,
}

impl Reached {
    /// To talk to its API server.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }
    /// The images that it may use.
    pub(crate) const fn images(&self) -> &Images {
        &self.images
    }
}

/// Takes a cluster's lock, and connects; none if the cluster is gone.
pub(crate) async fn reach(
    place: &Place,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Option<Reached>, ClusterError> {
    let cache = super::cache_dir();
    match place {
        Place::Kind { cluster } => reach_kind(&cache, cluster, say).await,
        Place::Context { context, kubeconfig } => {
            let client = connect(context, kubeconfig, Some(context)).await?;
            Ok(Some(Reached { client, images: Images::read(&cache)?, _lock: None }))
        }
    }
}

async fn reach_kind(
    cache: &Path,
    cluster: &str,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Option<Reached>, ClusterError> {
    kind::engine_version().await?;
    let kind = kind::Kind::find(cache).await?;
    let state = cache.join("clusters").join(cluster);
    let lock = Lock::await_reaper(&state, cluster, say).await?;
    let there = !kind.nodes(cluster).await?.is_empty();
    if there && !state.join("kept").exists() {
        // The run made it, and its reaper did not get to remove it.
        if lock.previous().is_none() {
            return Err(ClusterError::NotOurs { name: cluster.to_owned() });
        }
        say(&format!("removing the kind cluster {cluster}, which was not to be kept"));
        kind.delete(cluster, &state).await?;
        lock.forget();
        return Ok(None);
    }
    if !there {
        lock.forget();
        return Ok(None);
    }
    lock.own()?;
    let client = connect(cluster, &state.join("kubeconfig"), None).await?;
    let images = Images::read(cache)?;
    // Without the probe's image the nodes cannot be swept; all else can be undone.
    if let Err(error) = kind.load(cluster, &[images.probe()]).await {
        say(&format!("the nodes may not have the image that sweeps them: {error}"));
    }
    Ok(Some(Reached { client, images, _lock: Some(lock) }))
}
