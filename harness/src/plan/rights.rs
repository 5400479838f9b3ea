//! What the API server must allow for a scenario to be carried out.

use super::drains::{How, NodePlan};
use super::sight::Sight;
use crate::deploy::{Made, Manifest};
use crate::fault::{self, Moved};
use crate::rights::{Asking, Needs, Right, Use, Within};
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A right, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightPlan {
    /// The right.
    #[serde(flatten)]
    pub right: Right,
    /// What it is for.
    pub uses: BTreeSet<Use>,
    /// Whether a run is worth nothing without it.
    pub required: bool,
    /// Whether it is there.
    pub allowed: bool,
    /// Why not, in the authoriser's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What must be allowed for a scenario; `drained` are the nodes that may be, with who is on them.
pub(super) fn needs(scenario: &Scenario, made: &Made, sight: &Sight, drained: &[NodePlan]) -> Needs {
    let mut asking = Asking(Needs::new());
    let here = Within::Namespace(&made.namespace);
    asking.ask(
        &Use::Lock,
        Within::Namespace("default"),
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update", "delete"],
    );
    deploying(&mut asking, made, here);
    observing(&mut asking, here);
    lending(&mut asking, made, sight);
    let moved = moved(drained);
    for step in scenario.all_steps().filter_map(fault::of) {
        step.rights(&mut asking, here, &moved);
    }
    asking.0
}

fn deploying(asking: &mut Asking, made: &Made, here: Within<'_>) {
    let watched = ["list", "watch"];
    for object in made.all() {
        // Applied server-side: that is a patch, and where nothing is there yet a creation as well.
        asking.object(&Use::Deploy, object, &["create", "patch"]);
        if matches!(object, Manifest::Deployment(_) | Manifest::DaemonSet(_) | Manifest::StatefulSet(_)) {
            asking.object(&Use::Deploy, object, &watched);
            asking.object(&Use::Remove, object, &["delete"]);
        }
        // What is the whole cluster's does not go with the namespace.
        if matches!(object, Manifest::ClusterRole(_) | Manifest::ClusterRoleBinding(_)) {
            asking.object(&Use::Remove, object, &["deletecollection"]);
        }
    }
    asking.ask(&Use::Deploy, here, "", "pods", &["list"]);
    asking.ask(&Use::Deploy, Within::Cluster, "", "nodes", &["list"]);
    // The namespace goes last, and what an earlier run left is found by its label.
    asking.ask(&Use::Remove, Within::Cluster, "", "namespaces", &["get", "list", "watch", "delete"]);
    asking.ask(&Use::Remove, here, "", "pods", &["list", "watch", "deletecollection"]);
    // A port is forwarded over a WebSocket: that is a GET, and from Kubernetes 1.35 on a creation as well.
    asking.ask(&Use::Load, here, "", "pods/portforward", &["get", "create"]);
    asking.ask(&Use::Load, here, "", "pods", &["list"]);
}

/// Adding what serves metrics where nothing does, and taking it away again.
fn lending(asking: &mut Asking, made: &Made, sight: &Sight) {
    for object in &made.lent {
        // Whether there is something is asked in any case.
        if matches!(object, Manifest::APIService(_)) {
            asking.object(&Use::Deploy, object, &["get"]);
        }
        if sight.metrics {
            continue;
        }
        asking.object(&Use::Deploy, object, &["get", "create", "patch"]);
        asking.object(&Use::Remove, object, &["list", "delete"]);
        if matches!(object, Manifest::Deployment(_) | Manifest::APIService(_)) {
            asking.object(&Use::Deploy, object, &["list", "watch"]);
        }
        if let (Manifest::Deployment(_), Some(namespace)) = (object, &object.metadata().namespace) {
            let verbs = ["list", "watch", "deletecollection"];
            asking.ask(&Use::Remove, Within::Namespace(namespace), "", "pods", &verbs);
        }
    }
}

fn observing(asking: &mut Asking, here: Within<'_>) {
    let watched = ["list", "watch"];
    asking.ask(&Use::Observe, Within::Cluster, "", "nodes", &watched);
    for (group, resource) in [
        ("", "pods"),
        ("", "events"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "daemonsets"),
        ("discovery.k8s.io", "endpointslices"),
        ("policy", "poddisruptionbudgets"),
        ("autoscaling", "horizontalpodautoscalers"),
    ] {
        asking.ask(&Use::Observe, here, group, resource, &watched);
    }
    asking.ask(&Use::Observe, Within::Cluster, "", "/readyz", &["get"]);
    asking.ask(&Use::Observe, Within::Cluster, "", "/version", &["get"]);
    asking.ask(&Use::Explain, Within::Cluster, "", "nodes/proxy", &["get"]);
    asking.ask(&Use::Explain, here, "", "pods/log", &["get"]);
}

/// The namespaces of whom drains move besides the tier.
fn moved(drained: &[NodePlan]) -> Moved<'_> {
    let mut moved = Moved::default();
    for pod in drained.iter().flat_map(|node| &node.moves) {
        moved.evicted.insert(pod.namespace.as_str());
        if pod.how == How::Deleted {
            moved.deleted.insert(pod.namespace.as_str());
        }
    }
    moved
}

impl RightPlan {
    /// A right with its answer.
    pub(super) fn of(right: Right, uses: BTreeSet<Use>, answer: Option<&super::sight::Answer>) -> Self {
        let required = uses.iter().any(Use::is_required);
        // On a cluster that is still to be made everything is allowed; what was not asked elsewhere is not known to be.
        let (allowed, reason) = answer.map_or((true, String::new()), |it| (it.allowed, it.reason.clone()));
        let reason = if allowed { String::new() } else { reason };
        Self { right, uses, required, allowed, reason }
    }

    /// Whether it is missing, and a run is worth nothing without it.
    pub const fn is_missing(&self) -> bool {
        self.required && !self.allowed
    }
}

impl std::fmt::Display for RightPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Right { verb, group, resource, namespace } = &self.right;
        let group = if group.is_empty() { String::new() } else { format!(".{group}") };
        let within =
            namespace.as_deref().map_or("cluster-wide".to_owned(), |name| format!("in namespace {name}"));
        let uses: Vec<_> = self.uses.iter().map(Use::name).collect();
        write!(f, "{verb} {resource}{group} {within}, to {}", uses.join(", "))?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}
