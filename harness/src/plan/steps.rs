//! The steps of a plan: what each does, the candidates for its targets, and its duration.

use super::drains::PlannedDrain;
use super::layout::Layout;
use crate::extent::{CountRange, DurationRange};
use crate::fault::{self, Candidates, StepTargets};
use crate::scenario::{Drain, ForEach, PodSelector, Shape, Step, Targets};
use serde::{Deserialize, Serialize};

/// A planned step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Its place in the scenario: `2`, or `3.n.1` where `n` stands for each round of a `repeat` or `for-each`.
    pub place: String,
    /// Its name.
    pub what: String,
    /// Its targets; none if it has none.
    pub about: Option<StepTargets>,
    /// The duration.
    pub takes: DurationRange,
    /// The steps in it, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepPlan>,
}

/// Plans the steps of a scenario, and collects its drains.
pub(super) struct StepPlanner<'a> {
    layout: &'a Layout<'a>,
    /// The drains.
    pub(super) drains: Vec<PlannedDrain<'a>>,
    /// The largest number of nodes that are drained at the same time.
    pub(super) together: u32,
    /// True if no two gateways share a node while there are enough nodes.
    spread: bool,
}

impl<'a> StepPlanner<'a> {
    pub(super) const fn new(layout: &'a Layout<'a>) -> Self {
        Self { layout, drains: Vec::new(), together: 0, spread: layout.spread }
    }

    /// Plans steps, in order.
    pub(super) fn all(&mut self, steps: &'a [Step]) -> Vec<StepPlan> {
        let (steps, together) = self.in_order(steps, |number| number.to_string(), None);
        self.together = together;
        steps
    }

    fn in_order(
        &mut self,
        steps: &'a [Step],
        place: impl Fn(usize) -> String,
        this: Option<&[String]>,
    ) -> (Vec<StepPlan>, u32) {
        let mut together = 0;
        let planned = (1..).zip(steps).map(|(number, step)| {
            let (step, drained) = self.step(step, &place(number), this);
            together = together.max(drained);
            step
        });
        let planned = planned.collect();
        (planned, together)
    }

    /// Plans a step; also returns how many nodes it drains at the same time.
    fn step(&mut self, step: &'a Step, place: &str, this: Option<&[String]>) -> (StepPlan, u32) {
        let Some(action) = fault::of(step) else {
            return self.holding(step, place, this);
        };
        let candidates = self.candidates(this);
        let (about, takes) = (action.planned_targets(&candidates), action.planned_duration(&candidates));
        let drained = if let (Step::Drain(drain), Some(about)) = (step, &about) {
            self.drained(drain, about, place)
        } else {
            0
        };
        (StepPlan { place: place.to_owned(), what: step.name(), about, takes, steps: Vec::new() }, drained)
    }

    /// Returns the candidates for the targets of the next step. `this`: the nodes that a `for-each` around it goes
    /// through.
    fn candidates<'t>(&'t self, this: Option<&'t [String]>) -> Candidates<'t> {
        let layout = self.layout;
        Candidates {
            workers: &layout.workers,
            hosts: &layout.hosts,
            gateways: layout.gateways,
            agents: layout.agents(),
            sinks: layout.sinks,
            hpa: layout.has_hpa(),
            nodes_with_gateway: layout.nodes_with_gateway(self.spread),
            this,
        }
    }

    /// Collects a drain; returns how many nodes it drains at the same time.
    fn drained(&mut self, drain: &'a Drain, about: &StepTargets, place: &str) -> u32 {
        self.drains.push(PlannedDrain {
            place: place.to_owned(),
            options: drain,
            nodes: about.among.clone(),
        });
        let drained = if drain.at_once { about.number.most } else { about.number.most.min(1) };
        self.spread &= drained < 2;
        drained
    }

    /// Plans a step that holds others; also returns how many nodes it drains at the same time.
    fn holding(&mut self, step: &'a Step, place: &str, this: Option<&[String]>) -> (StepPlan, u32) {
        let inner = |number: usize| format!("{place}.{number}");
        let of_round = |number: usize| format!("{place}.n.{number}");
        let shape = step.shape();
        // A drain of several nodes changes the spread for the next round, and for other branches.
        if step.inner().iter().any(drains_several) || matches!(shape, Shape::Parallel(_)) {
            self.spread = false;
        }
        let (about, (steps, together)) = match shape {
            Shape::Repeat(repeat) => (None, self.in_order(&repeat.steps, of_round, this)),
            Shape::ForEach(each) => {
                let (about, nodes) = self.rounds(each);
                (Some(about), self.in_order(&each.steps, of_round, Some(&nodes)))
            }
            Shape::Action(_) | Shape::Sequence(_) | Shape::Parallel(_) => {
                (None, self.in_order(step.inner(), inner, this))
            }
        };
        let in_order = steps.iter().fold(DurationRange::default(), |all, step| all.then(step.takes));
        let (takes, together) = match shape {
            Shape::Parallel(branches) => {
                let takes = steps.iter().fold(DurationRange::default(), |all, step| all.and(step.takes));
                // Branches may drain different nodes.
                (takes, self.beside(branches, &steps))
            }
            Shape::Repeat(repeat) => (in_order.times(CountRange::exactly(repeat.times)), together),
            Shape::ForEach(_) => {
                let rounds = about.as_ref().map_or(CountRange::exactly(1), |about| about.number);
                (in_order.times(rounds), together)
            }
            Shape::Action(_) | Shape::Sequence(_) => (in_order, together),
        };
        (StepPlan { place: place.to_owned(), what: step.name(), about, takes, steps }, together)
    }

    /// Returns how many nodes the branches of a `parallel` drain at the same time, all together.
    fn beside(&self, branches: &[Step], plans: &[StepPlan]) -> u32 {
        let each = branches.iter().zip(plans).map(|(branch, plan)| drained_by(branch, plan));
        each.fold(0, u32::saturating_add).min(self.layout.count_workers())
    }

    fn rounds(&self, each: &ForEach) -> (StepTargets, Vec<String>) {
        let candidates = self.candidates(None);
        if let Some(nodes) = each.nodes {
            let about = candidates.each_node(nodes);
            let among = about.among.clone();
            return (about, among);
        }
        let pods = candidates.pods(Targets::Each(each.pods.unwrap_or(PodSelector::Gateways)));
        (StepTargets { at_once: false, ..pods }, self.layout.hosts.clone())
    }
}

/// Returns how many nodes a planned step drains at the same time.
fn drained_by(step: &Step, plan: &StepPlan) -> u32 {
    if let Step::Drain(drain) = step {
        return plan.about.as_ref().filter(|_| drain.at_once).map_or(1, |about| about.number.most);
    }
    let inner = step.inner().iter().zip(&plan.steps).map(|(step, plan)| drained_by(step, plan));
    match step.shape() {
        Shape::Parallel(_) => inner.fold(0, u32::saturating_add),
        Shape::Action(_) | Shape::Sequence(_) | Shape::Repeat(_) | Shape::ForEach(_) => {
            inner.max().unwrap_or_default()
        }
    }
}

/// Returns whether a step may drain more than one node at the same time.
fn drains_several(step: &Step) -> bool {
    matches!(step, Step::Drain(drain) if drain.at_once)
        || matches!(step.shape(), Shape::Parallel(_))
        || step.inner().iter().any(drains_several)
}
