//! Pods that are bound to the control plane's nodes, which managed clusters do not show.

use super::DeployError;
use k8s_openapi::api::core::v1::{Node, PodSpec};
use kube::api::ListParams;
use kube::{Api, Client};

const LABEL: &str = "node-role.kubernetes.io/control-plane";

/// Returns true if the cluster shows nodes of the control plane.
pub(super) async fn has_control_plane(client: &Client) -> Result<bool, DeployError> {
    let some = ListParams::default().labels(LABEL).limit(1);
    let listed = Api::<Node>::all(client.clone()).list_metadata(&some).await;
    let error =
        |source| DeployError::Api { action: "list", object: "nodes".to_owned(), source: Box::new(source) };
    Ok(!listed.map_err(error)?.items.is_empty())
}

/// Removes a pod's binding to the control plane, for clusters that show no such node.
pub(super) fn anywhere(pod: &mut PodSpec) {
    if let Some(selector) = &mut pod.node_selector {
        selector.remove(LABEL);
    }
}
