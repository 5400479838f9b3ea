//! The rights that a scenario needs.

use super::drains::{NodePlan, Removal};
use super::snapshot::ClusterSnapshot;
use crate::deploy::{Manifest, RunManifests};
use crate::fault::{self, BystanderNamespaces};
use crate::rights::{Purpose, RequiredRights, Right, Within};
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A right, its purposes, and whether it is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightPlan {
    /// The right.
    #[serde(flatten)]
    pub right: Right,
    /// Its purposes.
    pub uses: BTreeSet<Purpose>,
    /// True if a run is worth nothing without it.
    pub required: bool,
    /// True if it is granted.
    pub allowed: bool,
    /// The authoriser's reason for not granting it; often empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Returns the rights that a scenario needs. `drained` are the nodes that may be drained.
pub(super) fn required(
    scenario: &Scenario,
    made: &RunManifests,
    snapshot: &ClusterSnapshot,
    drained: &[NodePlan],
) -> RequiredRights {
    let mut rights = RequiredRights::default();
    let here = Within::Namespace(&made.namespace);
    rights.add(
        &Purpose::Lock,
        Within::Namespace("default"),
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update", "delete"],
    );
    deploying(&mut rights, made, here);
    observing(&mut rights, here);
    lending(&mut rights, made, snapshot);
    let bystanders = bystander_namespaces(drained);
    for step in scenario.all_steps().filter_map(fault::of) {
        step.add_rights(&mut rights, here, &bystanders);
    }
    rights
}

fn deploying(rights: &mut RequiredRights, made: &RunManifests, here: Within<'_>) {
    let watched = ["list", "watch"];
    for object in made.all() {
        // A server-side apply is a patch, and also a creation where the object does not exist yet.
        rights.add_object(&Purpose::Deploy, object, &["create", "patch"]);
        if matches!(object, Manifest::Deployment(_) | Manifest::DaemonSet(_) | Manifest::StatefulSet(_)) {
            rights.add_object(&Purpose::Deploy, object, &watched);
            rights.add_object(&Purpose::Remove, object, &["delete"]);
        }
        // Deleting the namespace leaves objects of the whole cluster.
        if matches!(object, Manifest::ClusterRole(_) | Manifest::ClusterRoleBinding(_)) {
            rights.add_object(&Purpose::Remove, object, &["deletecollection"]);
        }
    }
    rights.add(&Purpose::Deploy, here, "", "pods", &["list"]);
    rights.add(&Purpose::Deploy, Within::Cluster, "", "nodes", &["list"]);
    // The namespace is deleted last; namespaces that an earlier run left are found by their label.
    rights.add(&Purpose::Remove, Within::Cluster, "", "namespaces", &["get", "list", "watch", "delete"]);
    rights.add(&Purpose::Remove, here, "", "pods", &["list", "watch", "deletecollection"]);
    // A port is forwarded over a WebSocket: a GET, and from Kubernetes 1.35 on also a creation.
    rights.add(&Purpose::Load, here, "", "pods/portforward", &["get", "create"]);
    rights.add(&Purpose::Load, here, "", "pods", &["list"]);
}

/// Rights to add a metrics server where the cluster has none, and to remove it again.
fn lending(rights: &mut RequiredRights, made: &RunManifests, snapshot: &ClusterSnapshot) {
    for object in &made.lent {
        // Whether the cluster has one is asked in any case.
        if matches!(object, Manifest::APIService(_)) {
            rights.add_object(&Purpose::Deploy, object, &["get"]);
        }
        if snapshot.metrics {
            continue;
        }
        rights.add_object(&Purpose::Deploy, object, &["get", "create", "patch"]);
        rights.add_object(&Purpose::Remove, object, &["list", "delete"]);
        if matches!(object, Manifest::Deployment(_) | Manifest::APIService(_)) {
            rights.add_object(&Purpose::Deploy, object, &["list", "watch"]);
        }
        if let (Manifest::Deployment(_), Some(namespace)) = (object, &object.metadata().namespace) {
            let verbs = ["list", "watch", "deletecollection"];
            rights.add(&Purpose::Remove, Within::Namespace(namespace), "", "pods", &verbs);
        }
    }
}

fn observing(rights: &mut RequiredRights, here: Within<'_>) {
    let watched = ["list", "watch"];
    rights.add(&Purpose::Observe, Within::Cluster, "", "nodes", &watched);
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
        rights.add(&Purpose::Observe, here, group, resource, &watched);
    }
    rights.add(&Purpose::Observe, Within::Cluster, "", "/readyz", &["get"]);
    rights.add(&Purpose::Observe, Within::Cluster, "", "/version", &["get"]);
    rights.add(&Purpose::Explain, Within::Cluster, "", "nodes/proxy", &["get"]);
    rights.add(&Purpose::Explain, here, "", "pods/log", &["get"]);
}

/// Returns the namespaces whose pods drains move besides the tier.
fn bystander_namespaces(drained: &[NodePlan]) -> BystanderNamespaces<'_> {
    let mut namespaces = BystanderNamespaces::default();
    for pod in drained.iter().flat_map(|node| &node.moves) {
        namespaces.evicted.insert(pod.namespace.as_str());
        if pod.how == Removal::Deleted {
            namespaces.deleted.insert(pod.namespace.as_str());
        }
    }
    namespaces
}

impl RightPlan {
    /// Joins a right with the decision on it; without one, on a cluster that is still to be made, it is granted.
    pub(super) fn of(
        right: Right,
        uses: BTreeSet<Purpose>,
        decision: Option<&super::snapshot::AccessDecision>,
    ) -> Self {
        let required = uses.iter().any(Purpose::is_required);
        let (allowed, reason) = decision.map_or((true, String::new()), |it| (it.allowed, it.reason.clone()));
        let reason = if allowed { String::new() } else { reason };
        Self { right, uses, required, allowed, reason }
    }

    /// Returns whether it is not granted, and a run is worth nothing without it.
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
        let uses: Vec<_> = self.uses.iter().map(Purpose::name).collect();
        write!(f, "{verb} {resource}{group} {within}, to {}", uses.join(", "))?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}
