//! What a run that died left in a cluster, found and undone.

use crate::cluster::Images;
use crate::deploy::{self, Deployment, RUN_LABEL};
use crate::fault::CORDONED_BY;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// How long the removal of what is left may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Uncordons what a run cordoned, and removes its namespaces. Only under the cluster's lock, so nothing of
/// a run that lives is touched. What cannot be undone is said.
pub(crate) async fn restore(client: &Client, manifests: &Path, images: &Images, say: &(dyn Fn(&str) + Sync)) {
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default()).await;
    for node in listed.into_iter().flatten() {
        let Some(run) = node.annotations().get(CORDONED_BY) else {
            continue;
        };
        say(&format!("node {} was left cordoned by run {run}: uncordoning it", node.name_any()));
        let undone = nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(uncordon())).await;
        if let Err(error) = undone {
            say(&format!("node {} could not be uncordoned: {error}", node.name_any()));
        }
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let listed = namespaces.list(&ListParams::default().labels(RUN_LABEL)).await;
    for namespace in listed.into_iter().flatten() {
        let name = namespace.name_any();
        say(&format!(
            "namespace {name} was left by an earlier run: removing it, and its queues from the nodes"
        ));
        let run = namespace.labels().get(RUN_LABEL).cloned().unwrap_or_default();
        let left = Deployment::new(client.clone(), manifests, &run);
        // One that is on its way out admits nothing any more, so nothing can sweep its queues.
        let removed = match namespace.metadata.deletion_timestamp {
            Some(_) => deploy::remove_namespace(client, &name, PATIENCE).await,
            None => left.remove(images, PATIENCE).await,
        };
        if let Err(error) = removed {
            say(&format!("namespace {name}: {error}"));
        }
    }
}

/// The patch that undoes a cordon of this program's.
pub(crate) fn uncordon() -> serde_json::Value {
    json!({"metadata": {"annotations": {CORDONED_BY: null}}, "spec": {"unschedulable": null}})
}
