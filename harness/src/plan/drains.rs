//! For each node that may be drained: whom that moves besides the tier, what guards those, and what would stop it.

use super::budget::{HeadRoom, head_room};
use super::sight::{Cordoned, Sight, cordoned};
use crate::fault::drain::Disposition;
use crate::scenario::Drain;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node that may be drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Its name.
    pub node: String,
    /// The steps that may drain it, by their places.
    pub steps: Vec<String>,
    /// Who cordoned it before the run, if somebody did.
    pub cordoned: Option<String>,
    /// Whom a drain moves, besides the tier.
    pub moves: Vec<Bystander>,
    /// What would stop a drain.
    pub stops: Vec<Stop>,
}

/// Somebody else's pod that a drain moves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bystander {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Kind and name of what keeps it; none if nothing would replace it.
    pub owner: Option<String>,
    /// What is done with it.
    pub how: How,
    /// What its disruption budget says to that.
    pub budget: HeadRoom,
}

/// What a drain does with a pod that it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is evicted.
    Evicted,
    /// It has finished, and is deleted.
    Deleted,
    /// It is on its way out already, and awaited.
    Awaited,
}

/// A pod that a drain may not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The step that would be stopped.
    pub step: String,
    /// Why, and what would allow it.
    pub why: String,
}

/// A drain of a scenario: its place, what it may do, and the nodes that it may be about.
#[derive(Debug, Clone)]
pub(super) struct DrainAt<'a> {
    pub(super) place: String,
    pub(super) options: &'a Drain,
    pub(super) nodes: Vec<String>,
}

/// What becomes of each node that may be drained.
pub(super) fn nodes(sight: &Sight, drains: &[DrainAt<'_>], own: &str) -> Vec<NodePlan> {
    let mut by_node: BTreeMap<&str, Vec<&DrainAt<'_>>> = BTreeMap::new();
    for drain in drains {
        for node in &drain.nodes {
            by_node.entry(node).or_default().push(drain);
        }
    }
    let found = |name: &str| sight.nodes.all().iter().find(|node| node.name_any() == name);
    let planned = by_node.into_iter().map(|(name, drains)| NodePlan {
        node: name.to_owned(),
        steps: drains.iter().map(|drain| drain.place.clone()).collect(),
        cordoned: found(name).and_then(by_whom),
        moves: moves(sight, name, &drains, own),
        stops: stops(sight, name, &drains, own),
    });
    planned.collect()
}

fn by_whom(node: &Node) -> Option<String> {
    Some(match cordoned(node)? {
        Cordoned::ByRun(run) => format!("left cordoned by run {run}: that is undone before the next run"),
        Cordoned::BySomebody => "cordoned by somebody: it stays so".to_owned(),
    })
}

fn moves(sight: &Sight, node: &str, drains: &[&DrainAt<'_>], own: &str) -> Vec<Bystander> {
    let mut moved: Vec<_> = others_on(sight, node, own)
        .filter_map(|pod| {
            let how = drains.iter().find_map(|drain| match Disposition::of(pod, drain.options) {
                Disposition::Evict => Some(How::Evicted),
                Disposition::Delete => Some(How::Deleted),
                Disposition::Await => Some(How::Awaited),
                Disposition::Leave(_) | Disposition::Refuse(_) => None,
            })?;
            Some(Bystander {
                namespace: pod.namespace().unwrap_or_default(),
                pod: pod.name_any(),
                owner: owner(pod),
                how,
                budget: head_room(pod, &sight.budgets),
            })
        })
        .collect();
    moved.sort();
    moved
}

fn stops(sight: &Sight, node: &str, drains: &[&DrainAt<'_>], own: &str) -> Vec<Stop> {
    let stopped = drains.iter().flat_map(|drain| {
        others_on(sight, node, own).filter_map(|pod| {
            let Disposition::Refuse(why) = Disposition::of(pod, drain.options) else {
                return None;
            };
            let (namespace, step) = (pod.namespace().unwrap_or_default(), drain.place.clone());
            Some(Stop { namespace, pod: pod.name_any(), step, why: why.to_owned() })
        })
    });
    stopped.collect()
}

fn others_on<'a>(sight: &'a Sight, node: &'a str, own: &'a str) -> impl Iterator<Item = &'a Pod> {
    sight.pods_on(node).filter(move |pod| pod.namespace().as_deref() != Some(own))
}

fn owner(pod: &Pod) -> Option<String> {
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    Some(format!("{} {}", controller.kind, controller.name))
}
