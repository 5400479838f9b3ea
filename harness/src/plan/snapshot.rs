//! A snapshot of a cluster before a run, from which a plan is made. No I/O.

use crate::labels::CORDONED_BY;
use crate::rights::Right;
use crate::world;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeMap;

/// The label of nodes of the control plane; a worker is a node without it.
pub(super) const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// The prefix of taints that Kubernetes removes from a node that is well: a plan ignores them.
const PASSING: &str = "node.kubernetes.io/";
/// The number of workers of a cluster that the harness makes.
const NEW_WORKERS: usize = 3;

/// The objects of a kind, if this user may list them.
#[derive(Debug, Clone, PartialEq)]
pub enum Listing<K> {
    /// All objects.
    All(Vec<K>),
    /// This user may not list them.
    Forbidden,
}

/// The API server's decision on a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessDecision {
    /// True if it is granted.
    pub allowed: bool,
    /// The authoriser's reason; often empty.
    pub reason: String,
}

/// A cluster before a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSnapshot {
    /// Kubernetes' version.
    pub kubernetes: String,
    /// The nodes.
    pub nodes: Listing<Node>,
    /// The pods of all namespaces.
    pub pods: Listing<Pod>,
    /// The disruption budgets of all namespaces.
    pub budgets: Listing<PodDisruptionBudget>,
    /// True if the cluster serves the metrics of pods, which an HPA reads.
    pub metrics: bool,
    /// The decisions on rights; none on a cluster that is still to be made, where everything is granted.
    pub access: Option<BTreeMap<Right, AccessDecision>>,
}

impl AccessDecision {
    /// The decision on a right that was not asked for: it is not known to be granted.
    pub(super) fn not_asked() -> Self {
        Self { allowed: false, reason: "it was not asked".to_owned() }
    }
}

impl<K> Listing<K> {
    /// The objects; empty if they may not be listed.
    pub fn all(&self) -> &[K] {
        match self {
            Self::All(all) => all,
            Self::Forbidden => &[],
        }
    }
}

impl ClusterSnapshot {
    /// A kind cluster as the harness makes it, with no pods on it.
    pub fn of_new(cluster: &str) -> Self {
        let node = |name: String, spec: serde_json::Value, control: bool| {
            let labels = if control { json!({CONTROL_PLANE: ""}) } else { json!({}) };
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "spec": spec}))
        };
        let taints = json!({"taints": [{"key": CONTROL_PLANE, "effect": "NoSchedule"}]});
        let workers = (1..=NEW_WORKERS).map(|number| {
            let number = if number == 1 { String::new() } else { number.to_string() };
            node(format!("{cluster}-worker{number}"), json!({}), false)
        });
        let nodes = std::iter::once(node(format!("{cluster}-control-plane"), taints, true)).chain(workers);
        Self {
            kubernetes: String::new(),
            nodes: Listing::All(nodes.filter_map(Result::ok).collect()),
            pods: Listing::All(Vec::new()),
            budgets: Listing::All(Vec::new()),
            metrics: true,
            access: None,
        }
    }

    /// The nodes that are not of the control plane.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.all().iter().filter(|node| is_worker(node))
    }

    /// The pods on a node.
    pub(super) fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Pod> {
        let on =
            move |pod: &&Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node));
        self.pods.all().iter().filter(on)
    }
}

pub(super) fn is_worker(node: &Node) -> bool {
    !node.labels().contains_key(CONTROL_PLANE)
}

/// Returns who cordoned a node; none if it is not cordoned.
pub(super) fn cordoned(node: &Node) -> Option<Cordoned> {
    let unschedulable = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    unschedulable.then(|| {
        node.annotations().get(CORDONED_BY).map_or(Cordoned::BySomebody, |run| Cordoned::ByRun(run.clone()))
    })
}

/// The author of a cordon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cordoned {
    /// A run that was killed: its cordon is undone before the next run.
    ByRun(String),
    /// Somebody else: the cordon stays.
    BySomebody,
}

/// Returns whether a node's labels and taints let a pod run there, cordoned or not.
pub(super) fn admits(node: &Node, pod: &PodSpec) -> bool {
    selected(node, pod) && repels(node, pod).is_none()
}

/// Returns whether a node meets a pod's node selector and required affinity.
pub(super) fn selected(node: &Node, pod: &PodSpec) -> bool {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let selector = pod.node_selector.clone().unwrap_or_default();
    world::selected(&node.name_any(), node.labels(), &selector, required)
}

/// Returns a lasting taint that a pod does not tolerate.
pub(super) fn repels<'a>(node: &'a Node, pod: &PodSpec) -> Option<&'a Taint> {
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut taints =
        taints.filter(|taint| taint.effect != "PreferNoSchedule" && !taint.key.starts_with(PASSING));
    taints.find(|taint| !world::tolerated(tolerations, taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &serde_json::Value, taints: &serde_json::Value) -> Node {
        let node = json!({"metadata": {"name": "n1", "labels": labels}, "spec": {"taints": taints}});
        serde_json::from_value(node).unwrap()
    }

    fn pod(mut spec: serde_json::Value) -> PodSpec {
        spec["containers"] = json!([]);
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn a_taint_repels_what_does_not_tolerate_it() {
        let taints = json!([{"key": "team", "value": "db", "effect": "NoSchedule"}]);
        let tainted = node(&json!({}), &taints);
        for (toleration, admitted) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "team", "operator": "Exists"}), true),
            (json!({"key": "team", "value": "db"}), true),
            (json!({"key": "team", "value": "db", "effect": "NoSchedule"}), true),
            (json!({"key": "team", "value": "db", "effect": "NoExecute"}), false),
            (json!({"key": "team", "value": "web"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
        ] {
            let pod = pod(json!({"tolerations": [toleration]}));
            assert_eq!(admits(&tainted, &pod), admitted, "{toleration}");
        }
        // A node that is not ready yet will be; a preference repels nothing.
        let passing = json!([
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
            {"key": "x", "effect": "PreferNoSchedule"},
        ]);
        assert!(admits(&node(&json!({}), &passing), &pod(json!({}))));
    }

    #[test]
    fn selector_and_required_affinity_choose_nodes() {
        let there = node(&json!({"disk": "ssd", "cores": "8"}), &json!([]));
        let selects = |spec| selected(&there, &pod(spec));
        assert!(selects(json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(!selects(json!({"nodeSelector": {"disk": "hdd"}})));
        let affinity = |one: serde_json::Value| {
            let required = json!({"nodeSelectorTerms": [{"matchExpressions": [one]}]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
        };
        for (operator, values, met) in [
            ("In", json!(["ssd", "nvme"]), true),
            ("NotIn", json!(["ssd"]), false),
            ("Exists", json!([]), true),
            ("DoesNotExist", json!([]), false),
        ] {
            let one = json!({"key": "disk", "operator": operator, "values": values});
            assert_eq!(selects(affinity(one)), met, "{operator}");
        }
        assert!(selects(affinity(json!({"key": "cores", "operator": "Gt", "values": ["4"]}))));
        assert!(!selects(affinity(json!({"key": "cores", "operator": "Lt", "values": ["4"]}))));
    }

    #[test]
    fn a_new_cluster_has_three_workers_and_nobody_on_them() {
        let new = ClusterSnapshot::of_new("spanproof");
        let workers: Vec<_> = new.workers().map(ResourceExt::name_any).collect();
        assert_eq!(workers, ["spanproof-worker", "spanproof-worker2", "spanproof-worker3"]);
        assert!(new.nodes.all().iter().filter(|node| admits(node, &pod(json!({})))).all(is_worker));
    }
}
