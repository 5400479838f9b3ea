//! metrics-server, which an HPA on CPU reads: added, and removed again where it was added to the user's cluster.

use super::control_plane::{anywhere, has_control_plane};
use super::manifest::{self, Manifest};
use super::{DeployError, patch_images, ready};
use crate::images::Images;
use crate::labels::MANAGED_BY;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

const NAMESPACE: &str = "kube-system";
/// The APIService of resource metrics, whatever serves it.
const METRICS_API: &str = "v1beta1.metrics.k8s.io";

/// Adds metrics-server to a cluster of the harness's own, and waits until it answers.
pub async fn apply_metrics_server(
    client: &Client,
    manifests: &Path,
    images: &Images,
    timeout: Duration,
) -> Result<(), DeployError> {
    apply(client, &read(client, manifests, images).await?, timeout).await
}

/// Adds metrics-server to the user's cluster, unless resource metrics are served already. Returns true if it was
/// added: then it carries the label by which it is removed.
pub async fn lend_metrics_server(
    client: &Client,
    manifests: &Path,
    images: &Images,
    timeout: Duration,
) -> Result<bool, DeployError> {
    let apis: Api<APIService> = Api::all(client.clone());
    let there = apis.get_opt(METRICS_API).await.map_err(error("read", METRICS_API))?;
    if there.is_some_and(|there| !is_ours(&there)) {
        return Ok(false);
    }
    let mut objects = read(client, manifests, images).await?;
    for object in &mut objects {
        let (key, value) = MANAGED_BY;
        object.label(key, value);
        object.label_pods(key, value);
    }
    for object in &objects {
        let labels = object.labels_there(client).await?;
        if labels.is_some_and(|labels| labels.get(MANAGED_BY.0).is_none_or(|by| by != MANAGED_BY.1)) {
            return Err(DeployError::Foreign { object: object.called() });
        }
    }
    apply(client, &objects, timeout).await?;
    Ok(true)
}

/// Removes the metrics-server that was added to the user's cluster, by its label, however far a run that died had
/// come.
pub async fn remove_metrics_server(client: &Client, timeout: Duration) -> Result<(), DeployError> {
    // First what would lead others to it, then itself.
    remove_all::<APIService>(Api::all(client.clone())).await?;
    remove_all::<Service>(Api::namespaced(client.clone(), NAMESPACE)).await?;
    remove_all::<Deployment>(Api::namespaced(client.clone(), NAMESPACE)).await?;
    remove_all::<ClusterRoleBinding>(Api::all(client.clone())).await?;
    remove_all::<ClusterRole>(Api::all(client.clone())).await?;
    remove_all::<RoleBinding>(Api::namespaced(client.clone(), NAMESPACE)).await?;
    remove_all::<ServiceAccount>(Api::namespaced(client.clone(), NAMESPACE)).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    if labelled_of(&pods).await?.is_empty() {
        return Ok(());
    }
    let now = DeleteParams::default().grace_period(0);
    pods.delete_collection(&now, &labelled()).await.map_err(error("delete", "metrics-server's pods"))?;
    ready::await_no_pods(client, NAMESPACE, &labelled(), timeout).await
}

async fn read(client: &Client, manifests: &Path, images: &Images) -> Result<Vec<Manifest>, DeployError> {
    let mut objects = manifest::read(&manifests.join("metrics-server"))?;
    let control_plane = has_control_plane(client).await?;
    for object in &mut objects {
        patch_images(object, "", images)?;
        if let Some(pod) = object.pod_spec_mut().filter(|_| !control_plane) {
            anywhere(pod);
        }
    }
    Ok(objects)
}

async fn apply(client: &Client, objects: &[Manifest], timeout: Duration) -> Result<(), DeployError> {
    for object in objects {
        object.apply(client).await?;
    }
    for object in objects {
        object.await_ready(client, timeout).await?;
    }
    Ok(())
}

fn labelled() -> ListParams {
    ListParams::default().labels(&format!("{}={},k8s-app=metrics-server", MANAGED_BY.0, MANAGED_BY.1))
}

fn is_ours(object: &impl ResourceExt) -> bool {
    object.labels().get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1)
}

/// Returns the names of the objects that carry the label. Objects that this user may not list were not made by this
/// user.
async fn labelled_of<K>(objects: &Api<K>) -> Result<Vec<String>, DeployError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match objects.list_metadata(&labelled()).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Vec::new()),
        listed => {
            Ok(listed.map_err(error("list", &K::kind(&())))?.iter().map(ResourceExt::name_any).collect())
        }
    }
}

async fn remove_all<K>(objects: Api<K>) -> Result<(), DeployError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    for name in labelled_of(&objects).await? {
        match objects.delete(&name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted.map_err(error("delete", &format!("{} {name}", K::kind(&()))))?),
        }
    }
    Ok(())
}

fn error(action: &'static str, object: &str) -> impl FnOnce(kube::Error) -> DeployError {
    move |source| DeployError::Api { action, object: object.to_owned(), source: Box::new(source) }
}
