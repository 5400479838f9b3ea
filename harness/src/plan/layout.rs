//! The layout of a tier on a cluster: the workers, those that may hold a gateway, and the number of gateways.

use super::parts::Parts;
use super::room::{Host, Room};
use super::snapshot::{ClusterSnapshot, Cordoned, admits, cordoned, is_worker, selected};
use crate::deploy::RunManifests;
use crate::extent::CountRange;
use crate::scenario::Scenario;
use k8s_openapi::api::core::v1::{Node, PodSpec};
use kube::ResourceExt;

/// The layout of a tier on a cluster.
pub(super) struct Layout<'a> {
    /// The tier's parts.
    pub(super) parts: Parts<'a>,
    /// The cluster.
    pub(super) snapshot: &'a ClusterSnapshot,
    /// The names of all workers, sorted.
    pub(super) workers: Vec<String>,
    /// The names of the workers that may hold a gateway, sorted.
    pub(super) hosts: Vec<String>,
    /// The nodes of the control plane that may hold a gateway as well: no step may touch those.
    pub(super) stray: Vec<String>,
    /// The number of gateways when all is well.
    pub(super) gateways: CountRange,
    /// The number of sinks.
    pub(super) sinks: u32,
    /// True if gateways must be on different nodes while there are enough nodes.
    pub(super) spread: bool,
    hpa: bool,
    made: &'a RunManifests,
}

impl<'a> Layout<'a> {
    pub(super) fn of(scenario: &'a Scenario, made: &'a RunManifests, snapshot: &'a ClusterSnapshot) -> Self {
        let parts = Parts::of(&made.tier);
        let default = PodSpec::default();
        let pod = parts.gateway_pod().unwrap_or(&default);
        let may_hold = |node: &&Node| admits(node, pod) && cordoned(node) != Some(Cordoned::BySomebody);
        let sorted = |nodes: &mut dyn Iterator<Item = &Node>| {
            let mut names: Vec<_> = nodes.map(ResourceExt::name_any).collect();
            names.sort();
            names
        };
        let control = snapshot.nodes.all().iter().filter(|node| !is_worker(node));
        Self {
            parts,
            snapshot,
            workers: sorted(&mut snapshot.workers()),
            hosts: sorted(&mut snapshot.workers().filter(may_hold)),
            stray: sorted(&mut control.filter(may_hold)),
            gateways: parts.gateways(),
            sinks: scenario.tier.sinks.into(),
            spread: hard_spread(pod).is_some(),
            hpa: scenario.tier.has(crate::scenario::Measure::Hpa),
            made,
        }
    }

    pub(super) fn count_workers(&self) -> u32 {
        count(self.workers.len())
    }

    /// The number of agents, and of emitters: one on each worker.
    pub(super) fn agents(&self) -> CountRange {
        CountRange::exactly(self.count_workers())
    }

    /// The objects that would be made.
    pub(super) const fn made(&self) -> &'a RunManifests {
        self.made
    }

    pub(super) const fn has_hpa(&self) -> bool {
        self.hpa
    }

    /// Returns whether an HPA, if there is one, finds metrics.
    pub(super) const fn metrics(&self) -> bool {
        self.snapshot.metrics || self.made.lent.is_empty()
    }

    pub(super) fn has_control_plane(&self) -> bool {
        let nodes = self.snapshot.nodes.all();
        nodes.is_empty() || nodes.iter().any(|node| !is_worker(node))
    }

    /// Returns the number of workers that hold a gateway. `spread`: no two gateways share a worker.
    pub(super) fn nodes_with_gateway(&self, spread: bool) -> CountRange {
        let least = if spread { self.gateways.least } else { self.gateways.least.min(1) };
        CountRange { least, most: self.gateways.most }.capped(count(self.hosts.len()))
    }

    /// Returns the room for gateways on the workers.
    pub(super) fn room(&self) -> Room {
        let default = PodSpec::default();
        let pod = self.parts.gateway_pod().unwrap_or(&default);
        let nodes = self.snapshot.nodes.all().iter();
        let hosts = nodes.clone().filter(|node| self.hosts.contains(&node.name_any()));
        let hard = hard_spread(pod);
        // A node that is ruled out by its taints counts as one without gateways, unless `nodeTaintsPolicy` is `Honor`.
        let honoured = hard.is_some_and(|one| one.node_taints_policy.as_deref() == Some("Honor"));
        let counted = nodes.filter(|node| selected(node, pod)).count();
        Room {
            hosts: hosts.map(|node| Host::of(node, self.snapshot, pod, self.made)).collect(),
            skew: hard.map(|one| u32::try_from(one.max_skew).unwrap_or(1)),
            empty_domain: !honoured && counted > self.hosts.len(),
            cordoned_count: !honoured,
        }
    }
}

fn hard_spread(pod: &PodSpec) -> Option<&k8s_openapi::api::core::v1::TopologySpreadConstraint> {
    let mut constraints = pod.topology_spread_constraints.iter().flatten();
    constraints
        .find(|one| one.topology_key == "kubernetes.io/hostname" && one.when_unsatisfiable == "DoNotSchedule")
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
