//! The nodes that may be drained: the pods that a drain moves besides the tier, their budgets, and what blocks a drain.

use super::budget::{HeadRoom, head_room};
use super::snapshot::{ClusterSnapshot, Cordoned, cordoned};
use crate::fault::drain::Disposition;
use crate::scenario::Drain;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node that may be drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// The name.
    pub node: String,
    /// The places of the steps that may drain it.
    pub steps: Vec<String>,
    /// The author of its cordon before the run; none if it is not cordoned.
    pub cordoned: Option<String>,
    /// The pods that a drain moves besides the tier.
    pub moves: Vec<Bystander>,
    /// The pods that block a drain.
    pub stops: Vec<BlockingPod>,
}

/// A pod that is not the run's, and that a drain moves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bystander {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The kind and name of its controller; none if nothing would replace it.
    pub owner: Option<String>,
    /// The way in which it is removed.
    pub how: Removal,
    /// The answer of its disruption budget.
    pub budget: HeadRoom,
}

/// The way in which a drain removes a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// Evicted.
    Evicted,
    /// Deleted: it has finished.
    Deleted,
    /// Awaited: it is terminating already.
    Awaited,
}

/// A pod that a drain may not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockingPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The place of the step that it blocks.
    pub step: String,
    /// The reason why it may not be moved, and what would allow it.
    pub why: String,
}

/// A drain of a scenario: its place, its options, and the nodes that it may drain.
#[derive(Debug, Clone)]
pub(super) struct PlannedDrain<'a> {
    pub(super) place: String,
    pub(super) options: &'a Drain,
    pub(super) nodes: Vec<String>,
}

/// Returns the plan of each node that may be drained. `own` is the namespace of the run.
pub(super) fn nodes(snapshot: &ClusterSnapshot, drains: &[PlannedDrain<'_>], own: &str) -> Vec<NodePlan> {
    let mut by_node: BTreeMap<&str, Vec<&PlannedDrain<'_>>> = BTreeMap::new();
    for drain in drains {
        for node in &drain.nodes {
            by_node.entry(node).or_default().push(drain);
        }
    }
    let found = |name: &str| snapshot.nodes.all().iter().find(|node| node.name_any() == name);
    let planned = by_node.into_iter().map(|(name, drains)| NodePlan {
        node: name.to_owned(),
        steps: drains.iter().map(|drain| drain.place.clone()).collect(),
        cordoned: found(name).and_then(by_whom),
        moves: moves(snapshot, name, &drains, own),
        stops: stops(snapshot, name, &drains, own),
    });
    planned.collect()
}

fn by_whom(node: &Node) -> Option<String> {
    Some(match cordoned(node)? {
        Cordoned::ByRun(run) => format!("left cordoned by run {run}: that is undone before the next run"),
        Cordoned::BySomebody => "cordoned by somebody else: it stays cordoned".to_owned(),
    })
}

fn moves(snapshot: &ClusterSnapshot, node: &str, drains: &[&PlannedDrain<'_>], own: &str) -> Vec<Bystander> {
    let mut moved: Vec<_> = others_on(snapshot, node, own)
        .filter_map(|pod| {
            let how = drains.iter().find_map(|drain| match Disposition::of(pod, drain.options) {
                Disposition::Evict => Some(Removal::Evicted),
                Disposition::Delete => Some(Removal::Deleted),
                Disposition::Await => Some(Removal::Awaited),
                Disposition::Leave(_) | Disposition::Refuse(_) => None,
            })?;
            Some(Bystander {
                namespace: pod.namespace().unwrap_or_default(),
                pod: pod.name_any(),
                owner: owner(pod),
                how,
                budget: head_room(pod, &snapshot.budgets),
            })
        })
        .collect();
    moved.sort();
    moved
}

fn stops(
    snapshot: &ClusterSnapshot,
    node: &str,
    drains: &[&PlannedDrain<'_>],
    own: &str,
) -> Vec<BlockingPod> {
    let stopped = drains.iter().flat_map(|drain| {
        others_on(snapshot, node, own).filter_map(|pod| {
            let Disposition::Refuse(why) = Disposition::of(pod, drain.options) else {
                return None;
            };
            let (namespace, step) = (pod.namespace().unwrap_or_default(), drain.place.clone());
            Some(BlockingPod { namespace, pod: pod.name_any(), step, why: why.to_owned() })
        })
    });
    stopped.collect()
}

fn others_on<'a>(
    snapshot: &'a ClusterSnapshot,
    node: &'a str,
    own: &'a str,
) -> impl Iterator<Item = &'a Pod> {
    snapshot.pods_on(node).filter(move |pod| pod.namespace().as_deref() != Some(own))
}

fn owner(pod: &Pod) -> Option<String> {
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    Some(format!("{} {}", controller.kind, controller.name))
}
