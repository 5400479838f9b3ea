//! Everything that carries a run's label or annotation, whatever its journal says.

use crate::labels::{self, CORDONED_BY, RUN_LABEL};
use crate::undo::{Undo, UndoError, labelled};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeSet;

/// Returns the undos of what a run, or any run, left in a cluster: nodes, namespaces, then everything else.
pub(super) async fn found(client: &Client, run: Option<&str>) -> Result<Vec<Undo>, UndoError> {
    let is_asked = |name: &String| run.is_none_or(|run| run == name);
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list_metadata(&ListParams::default()).await;
    let listed = listed.map_err(UndoError::api("list", &"nodes"))?;
    let mut undos: Vec<Undo> = listed
        .iter()
        .filter_map(|node| Some((node.name_any(), node.annotations().get(CORDONED_BY)?)))
        .filter(|(_, by)| is_asked(by))
        .map(|(node, by)| Undo::cordon(&node, by))
        .collect();

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let listed = namespaces.list_metadata(&ListParams::default().labels(&labels::selector(run))).await;
    let listed = listed.map_err(UndoError::api("list", &"namespaces"))?;
    // The one that is swept from belongs to the same run.
    let runs: BTreeSet<_> =
        listed.iter().filter_map(|namespace| namespace.labels().get(RUN_LABEL).cloned()).collect();
    undos.extend(runs.iter().map(|run| Undo::namespace(run)));

    for (run, object) in labelled(client, run).await? {
        // What is in the run's namespaces goes with them.
        let within = [labels::namespace_of(&run), labels::sweep_namespace_of(&run)];
        if object.namespace.as_ref().is_none_or(|namespace| !within.contains(namespace)) {
            undos.push(Undo::objects(&run, vec![object]));
        }
    }
    Ok(undos)
}
