//! Where a plan is made: the workers, those of them that may hold a gateway, and how many gateways there are.

use super::parts::Parts;
use super::room::{Host, Room};
use super::sight::{Cordoned, Sight, admits, cordoned, is_worker, selected};
use crate::deploy::Made;
use crate::extent::Between;
use crate::scenario::Scenario;
use k8s_openapi::api::core::v1::{Node, PodSpec};
use kube::ResourceExt;

/// What is there, and what would be.
pub(super) struct Ground<'a> {
    /// The tier's parts.
    pub(super) parts: Parts<'a>,
    /// What is seen.
    pub(super) sight: &'a Sight,
    /// Every worker, by name.
    pub(super) workers: Vec<String>,
    /// The workers that may hold a gateway.
    pub(super) hosts: Vec<String>,
    /// Nodes of the control plane that may, too: no step may touch those.
    pub(super) stray: Vec<String>,
    /// How many gateways there are when all is well.
    pub(super) gateways: Between,
    /// How many sinks.
    pub(super) sinks: u32,
    /// Whether gateways must be on different nodes, as far as there are nodes.
    pub(super) spread: bool,
    hpa: bool,
    made: &'a Made,
}

impl<'a> Ground<'a> {
    pub(super) fn of(scenario: &'a Scenario, made: &'a Made, sight: &'a Sight) -> Self {
        let parts = Parts::of(&made.tier);
        let default = PodSpec::default();
        let pod = parts.gateway_pod().unwrap_or(&default);
        let may_hold = |node: &&Node| admits(node, pod) && cordoned(node) != Some(Cordoned::BySomebody);
        let sorted = |nodes: &mut dyn Iterator<Item = &Node>| {
            let mut names: Vec<_> = nodes.map(ResourceExt::name_any).collect();
            names.sort();
            names
        };
        let control = sight.nodes.all().iter().filter(|node| !is_worker(node));
        Self {
            parts,
            sight,
            workers: sorted(&mut sight.workers()),
            hosts: sorted(&mut sight.workers().filter(may_hold)),
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

    /// How many agents there are, and emitters: one a worker.
    pub(super) fn agents(&self) -> Between {
        Between::exactly(self.count_workers())
    }

    /// All that would be made.
    pub(super) const fn made(&self) -> &'a Made {
        self.made
    }

    pub(super) const fn has_hpa(&self) -> bool {
        self.hpa
    }

    /// Whether an HPA, if there is one, finds metrics.
    pub(super) const fn metrics(&self) -> bool {
        self.sight.metrics || self.made.lent.is_empty()
    }

    pub(super) fn has_control_plane(&self) -> bool {
        let nodes = self.sight.nodes.all();
        nodes.is_empty() || nodes.iter().any(|node| !is_worker(node))
    }

    /// How many workers hold a gateway; `spread` says whether no two gateways share one.
    pub(super) fn nodes_with_gateway(&self, spread: bool) -> Between {
        let least = if spread { self.gateways.least } else { self.gateways.least.min(1) };
        Between { least, most: self.gateways.most }.of(count(self.hosts.len()))
    }

    /// What room the nodes have for gateways.
    pub(super) fn room(&self) -> Room {
        let default = PodSpec::default();
        let pod = self.parts.gateway_pod().unwrap_or(&default);
        let nodes = self.sight.nodes.all().iter();
        let hosts = nodes.clone().filter(|node| self.hosts.contains(&node.name_any()));
        let hard = hard_spread(pod);
        // A node that is left out for its taints counts as one that holds no gateway, unless taints are honoured.
        let honoured = hard.is_some_and(|one| one.node_taints_policy.as_deref() == Some("Honor"));
        let counted = nodes.filter(|node| selected(node, pod)).count();
        Room {
            hosts: hosts.map(|node| Host::of(node, self.sight, pod, self.made)).collect(),
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
