//! The findings of a plan: obstacles, and warnings.

use super::blind;
use super::budget::{self, HeadRoom};
use super::drains::NodePlan;
use super::foreseen_on;
use super::known::BudgetCoverage;
use super::layout::Layout;
use super::rights::RightPlan;
use super::snapshot::Listing;
use super::tier::TierPlan;
use crate::extent::CountRange;
use crate::scenario::{NodeRole, Scenario, Shape, Step};
use std::collections::BTreeSet;

/// Returns the number of drains that need a node that no step has drained yet.
fn fresh_drains(steps: &[Step]) -> u64 {
    let each = steps.iter().map(|step| match (step, step.shape()) {
        (Step::Drain(drain), _) => u64::from(drain.node == Some(NodeRole::NotYetDrained)),
        (_, Shape::Repeat(repeat)) => fresh_drains(&repeat.steps).saturating_mul(repeat.times.into()),
        (_, Shape::Action(_) | Shape::Sequence(_) | Shape::Parallel(_) | Shape::ForEach(_)) => {
            fresh_drains(step.inner())
        }
    });
    each.fold(0, u64::saturating_add)
}

/// A plan without its findings.
pub(super) struct Draft<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) layout: &'a Layout<'a>,
    pub(super) tier: &'a TierPlan,
    pub(super) nodes: &'a [NodePlan],
    pub(super) rights: &'a [RightPlan],
    /// The largest number of nodes that are drained at the same time.
    pub(super) together: u32,
}

impl Draft<'_> {
    /// Returns the reasons why it cannot be carried out.
    pub(super) fn obstacles(&self) -> Vec<String> {
        let missing = self.rights.iter().filter(|right| right.is_missing());
        let mut found: Vec<String> = missing.map(|right| format!("may not {right}")).collect();
        if self.layout.hosts.is_empty() && !matches!(self.layout.snapshot.nodes, Listing::Forbidden) {
            found.push("no worker can hold a gateway: each is cordoned, tainted, or not selected".to_owned());
        }
        for node in self.nodes {
            found.extend(node.stops.iter().map(|stop| {
                let (place, pod, why) = (&stop.step, &stop.pod, &stop.why);
                format!("step {place} would stop at {}: pod {}/{pod} {why}", node.node, stop.namespace)
            }));
            found.extend(node.moves.iter().filter_map(|moved| {
                let always = matches!(moved.budget, HeadRoom::Refuses { always: true, .. });
                let never = always || matches!(moved.budget, HeadRoom::Several { .. });
                let (node, pod, said) = (&node.node, &moved.pod, &moved.budget);
                never.then(|| {
                    format!("a drain of {node} cannot finish: pod {}/{pod}: {said}", moved.namespace)
                })
            }));
        }
        found.extend(self.own_budget());
        found.extend(self.fresh());
        found
    }

    /// Returns an obstacle if more drains need a node that was not drained yet than there are workers.
    fn fresh(&self) -> Option<String> {
        let (wanted, there) = (fresh_drains(&self.scenario.steps), self.layout.hosts.len());
        let seen = !self.layout.hosts.is_empty();
        (seen && wanted > there as u64).then(|| {
            format!(
                "{wanted} drains are of a worker that was not drained yet, and {there} workers can hold a gateway: \
                 the next one finds none"
            )
        })
    }

    /// Returns an obstacle if the tier's own budget never grants the evictions of the steps.
    fn own_budget(&self) -> Option<String> {
        let pdb = self.layout.parts.pdb?;
        if !self.scenario.all_steps().any(Step::evicts) {
            return None;
        }
        let number = self.layout.gateways.least;
        let demanded = budget::demand(pdb).healthy(number);
        if self.tier.evictions == Some(0) {
            let coverage =
                BudgetCoverage::of(&self.layout.parts, self.layout.made(), Some(self.layout.count_workers()));
            return Some(coverage.warning().map_or_else(
                || {
                    format!(
                        "the tier's PDB demands {demanded} of {number} gateways, so it grants no eviction: no drain can finish"
                    )
                },
                |warning| format!("{warning}: no drain can finish"),
            ));
        }
        let room = self.layout.room().unlimited().placed(number, self.together);
        (self.together > 0 && room < demanded).then(|| {
            format!(
                "while {} drained only {room} gateways can be placed, and the tier's PDB demands {demanded}: \
                 the drains cannot finish",
                workers_are(self.together)
            )
        })
    }

    /// Returns the warnings.
    pub(super) fn warnings(&self) -> Vec<String> {
        let optional = self.rights.iter().filter(|right| !right.required && !right.allowed);
        let mut found: Vec<String> =
            optional.map(|right| format!("may not {right}: details that need it are left out")).collect();
        if !self.tier.outside.is_empty() {
            let outside = self.tier.outside.join(", ");
            found.push(format!("made for the whole cluster, and removed by the run's label: {outside}"));
        }
        found.extend(self.layout.stray.iter().map(|node| {
            format!(
                "{node} is of the control plane and may be given a gateway: a step that targets it is refused"
            )
        }));
        if !self.layout.metrics() {
            let lent =
                "nothing serves metrics, which the HPA reads: metrics-server is added to kube-system for it";
            found.push(lent.to_owned());
        }
        if !self.layout.has_control_plane() {
            let sinks = "no node is of the control plane: the sinks are on workers, and a drain that moves one loses \
                         its ledger";
            found.push(sinks.to_owned());
        }
        found.extend(blind::warnings(&self.layout.parts));
        found.extend(foreseen_on(self.scenario, self.layout.made(), Some(self.layout)));
        found.extend(self.cordoned());
        found.extend(self.no_room());
        if self.nodes.is_empty() {
            return found;
        }
        if self.layout.snapshot.pods == Listing::Forbidden {
            found.push(
                "pods of other namespaces may not be listed: which pods a drain moves is not known"
                    .to_owned(),
            );
        }
        found.extend(self.budgets());
        found
    }

    fn cordoned(&self) -> Vec<String> {
        let out: Vec<_> =
            self.layout.workers.iter().filter(|node| !self.layout.hosts.contains(node)).collect();
        let said =
            |node: &&String| format!("{node} takes no gateway: it is cordoned, tainted, or not selected");
        if self.layout.hosts.is_empty() { Vec::new() } else { out.iter().map(said).collect() }
    }

    fn budgets(&self) -> Vec<String> {
        let moved = self.nodes.iter().flat_map(|node| &node.moves);
        let refusing: BTreeSet<String> = moved
            .filter_map(|moved| {
                let HeadRoom::Refuses { budget, always: false, .. } = &moved.budget else { return None };
                Some(format!("{}/{budget}", moved.namespace))
            })
            .collect();
        let said = refusing.iter().map(|budget| {
            format!(
                "PDB {budget} refuses evictions now: a drain that moves its pods waits, up to its deadline"
            )
        });
        said.collect()
    }

    /// Returns warnings if there is no room for all gateways, with every node there or while some are drained.
    fn no_room(&self) -> Vec<String> {
        let (room, CountRange { least, most }) = (self.layout.room(), self.layout.gateways);
        let skew = if self.layout.spread {
            ", by what is free and by the spread constraint"
        } else {
            ", by what is free"
        };
        let short = |wanted: u32, drained: u32| {
            let placed = room.placed(wanted, drained);
            (placed < wanted).then_some(placed)
        };
        if let Some(placed) = short(least, 0) {
            return vec![format!("there is room for {placed} of {least} gateways{skew}")];
        }
        let during = |drained: u32| {
            short(least, drained).filter(|_| drained > 0).map(|placed| {
                let workers = workers_are(drained);
                format!("while {workers} drained there is room for {placed} of {least} gateways{skew}")
            })
        };
        let at_most = short(most, 0);
        let at_most = at_most
            .map(|placed| format!("the HPA's {most} gateways do not all find room: {placed} do{skew}"));
        during(self.together).into_iter().chain(at_most).collect()
    }
}

fn workers_are(number: u32) -> String {
    if number == 1 { "1 worker is".to_owned() } else { format!("{number} workers are") }
}
