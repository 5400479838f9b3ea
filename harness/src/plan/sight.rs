//! What is seen of a cluster before a run: what a plan is made from. No I/O.

use crate::labels::CORDONED_BY;
use crate::rights::Right;
use crate::world;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeMap;

/// The label of the nodes that carry the control plane; a worker is a node without it.
pub(super) const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// Of these taints a node rids itself when it is well: a plan does not count on them.
const PASSING: &str = "node.kubernetes.io/";
/// The workers of a cluster that the harness makes.
const NEW_WORKERS: usize = 3;

/// The objects of a kind, if they may be listed.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen<K> {
    /// All of them.
    All(Vec<K>),
    /// They may not be listed.
    Forbidden,
}

/// What the API server said about a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is there.
    pub allowed: bool,
    /// Why, in the authoriser's words; often empty.
    pub reason: String,
}

/// What is seen of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// Kubernetes' version.
    pub kubernetes: String,
    /// The nodes.
    pub nodes: Seen<Node>,
    /// The pods of all namespaces.
    pub pods: Seen<Pod>,
    /// The disruption budgets of all namespaces.
    pub budgets: Seen<PodDisruptionBudget>,
    /// Whether something serves the pods' metrics, which an HPA reads.
    pub metrics: bool,
    /// What the API server allows; none on a cluster that is still to be made, where everything is.
    pub answers: Option<BTreeMap<Right, Answer>>,
}

impl Answer {
    /// It was not asked for, so it is not known to be there.
    pub(super) fn not_asked() -> Self {
        Self { allowed: false, reason: "it was not asked".to_owned() }
    }
}

impl<K> Seen<K> {
    /// Those that are seen.
    pub fn all(&self) -> &[K] {
        match self {
            Self::All(all) => all,
            Self::Forbidden => &[],
        }
    }
}

impl Sight {
    /// A kind cluster as the harness makes it, before it is made: nobody else is there.
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
            nodes: Seen::All(nodes.filter_map(Result::ok).collect()),
            pods: Seen::All(Vec::new()),
            budgets: Seen::All(Vec::new()),
            metrics: true,
            answers: None,
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

/// Who cordoned a node, if it is.
pub(super) fn cordoned(node: &Node) -> Option<Cordoned> {
    let unschedulable = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    unschedulable.then(|| {
        node.annotations().get(CORDONED_BY).map_or(Cordoned::BySomebody, |run| Cordoned::ByRun(run.clone()))
    })
}

/// Who cordoned a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cordoned {
    /// A run that died: it is undone before the next.
    ByRun(String),
    /// Somebody: it stays.
    BySomebody,
}

/// Whether a node's labels and taints let a pod run there, cordoned or not.
pub(super) fn admits(node: &Node, pod: &PodSpec) -> bool {
    selected(node, pod) && repels(node, pod).is_none()
}

/// Whether a pod's node selector and required affinity are met.
pub(super) fn selected(node: &Node, pod: &PodSpec) -> bool {
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let selector = pod.node_selector.clone().unwrap_or_default();
    world::selected(&node.name_any(), node.labels(), &selector, required)
}

/// A taint that stays, and that a pod does not tolerate.
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
        let new = Sight::of_new("spanproof");
        let workers: Vec<_> = new.workers().map(ResourceExt::name_any).collect();
        assert_eq!(workers, ["spanproof-worker", "spanproof-worker2", "spanproof-worker3"]);
        assert!(new.nodes.all().iter().filter(|node| admits(node, &pod(json!({})))).all(is_worker));
    }
}
