//! Cordons, which an annotation assigns to their run. A cordon of somebody else's is left alone.

use super::{UndoError, UndoOutcome};
use crate::labels::CORDONED_BY;
use backon::{ConstantBuilder, Retryable};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// The number of attempts to patch a node that changes meanwhile.
const TRIES: usize = 5;
/// The taint that the control plane adds to an unschedulable node, and removes again.
const TAINT: &str = "node.kubernetes.io/unschedulable";

/// A node's cordon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// The node.
    pub node: String,
    /// The run that cordons it.
    pub run: String,
}

impl Cordon {
    /// A run's, of a node.
    pub(crate) fn new(node: &str, run: &str) -> Self {
        Self { node: node.to_owned(), run: run.to_owned() }
    }

    pub(super) fn describe(&self) -> String {
        format!("the cordon of node {}", self.node)
    }

    /// Marks the node unschedulable, with the run's annotation. Returns false if somebody else has cordoned it.
    pub(crate) async fn set(&self, client: &Client) -> Result<bool, kube::Error> {
        let mark =
            json!({"metadata": {"annotations": {CORDONED_BY: self.run}}, "spec": {"unschedulable": true}});
        let changed = self.change(client, &mark, |node| !unschedulable(node));
        Ok(changed.await?.is_some())
    }

    /// Makes the node schedulable again, if the cordon is still the run's.
    pub(crate) async fn lift(&self, client: &Client) -> Result<UndoOutcome, kube::Error> {
        let mark = json!({"metadata": {"annotations": {CORDONED_BY: null}}, "spec": {"unschedulable": null}});
        let before = self.change(client, &mark, |node| self.marks(node)).await?;
        // Somebody may have uncordoned it by hand: then only the annotation was left.
        Ok(if before.as_ref().is_some_and(unschedulable) {
            UndoOutcome::Undone
        } else {
            UndoOutcome::NothingToDo
        })
    }

    /// Patches the node if that is called for, as it is then: who changes it meanwhile is not overruled. The node as it
    /// was; none if it was left alone, or is not there.
    async fn change(
        &self,
        client: &Client,
        patch: &Value,
        called_for: impl Fn(&Node) -> bool,
    ) -> Result<Option<Node>, kube::Error> {
        let nodes: Api<Node> = Api::all(client.clone());
        let change = || async {
            let Some(found) = nodes.get_opt(&self.node).await?.filter(&called_for) else {
                return Ok(None);
            };
            let mut patch = patch.clone();
            patch["metadata"]["resourceVersion"] = json!(found.resource_version());
            nodes.patch(&self.node, &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(Some(found))
        };
        let at_once = ConstantBuilder::new().with_delay(Duration::ZERO).with_max_times(TRIES - 1);
        let is_conflict =
            |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_conflict());
        change.retry(at_once).when(is_conflict).await
    }

    pub(super) async fn undo(&self, client: &Client) -> Result<UndoOutcome, UndoError> {
        self.lift(client).await.map_err(UndoError::api("uncordon", &self.node))
    }

    pub(super) async fn left(&self, client: &Client) -> Result<Option<String>, UndoError> {
        let nodes: Api<Node> = Api::all(client.clone());
        let node = nodes.get_opt(&self.node).await.map_err(UndoError::api("get node", &self.node))?;
        Ok(node.and_then(|node| self.left_on(&node)))
    }

    fn left_on(&self, node: &Node) -> Option<String> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        let tainted = taints.is_some_and(|all| all.iter().any(|taint| taint.key == TAINT));
        if self.marks(node) {
            Some("the run's annotation is still there".to_owned())
        } else if tainted && !unschedulable(node) {
            Some(format!("the taint {TAINT} is still there"))
        } else {
            None
        }
    }

    fn marks(&self, node: &Node) -> bool {
        node.annotations().get(CORDONED_BY) == Some(&self.run)
    }
}

fn unschedulable(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_cordon_is_told_apart_from_somebody_elses() {
        let cordon = Cordon::new("worker", "abc");
        let left = |annotations: Value, spec: Value| {
            let node = json!({"metadata": {"annotations": annotations}, "spec": spec});
            cordon.left_on(&serde_json::from_value(node).unwrap()).is_some()
        };
        let (cordoned, tainted) =
            (json!({"unschedulable": true}), json!({"taints": [{"key": TAINT, "effect": "NoSchedule"}]}));
        let theirs = json!({"unschedulable": true, "taints": [{"key": TAINT, "effect": "NoSchedule"}]});
        assert!(left(json!({CORDONED_BY: "abc"}), cordoned.clone()));
        assert!(left(json!({CORDONED_BY: "abc"}), json!({})), "the annotation alone");
        assert!(left(json!({}), tainted), "the control plane has not seen it yet");
        assert!(!left(json!({}), json!({})));
        assert!(!left(json!({}), theirs.clone()), "somebody else's");
        assert!(!left(json!({CORDONED_BY: "another"}), theirs), "another run's");
    }
}
