//! What each step does, among whom its targets are resolved when it begins, and how long it may take.

use super::drains::DrainAt;
use super::ground::Ground;
use crate::extent::{Between, Takes};
use crate::fault::{self, About, Candidates};
use crate::scenario::{Drain, ForEach, PodSelector, Shape, Step, Targets};
use serde::{Deserialize, Serialize};

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Where it is in the scenario: `2`, or `3.n.1`, where `n` is the round of what is repeated.
    pub place: String,
    /// What it does.
    pub what: String,
    /// What it is done to.
    pub about: Option<About>,
    /// How long it takes.
    pub takes: Takes,
    /// The steps in it, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepPlan>,
}

/// The steps of a scenario, and what else a walk through them tells.
pub(super) struct Walk<'a> {
    ground: &'a Ground<'a>,
    /// Every drain in them.
    pub(super) drains: Vec<DrainAt<'a>>,
    /// How many nodes are drained at the same time, at the most.
    pub(super) together: u32,
    /// Whether no two gateways share a node, as far as there are nodes.
    spread: bool,
}

/// What the `for-each` around a step is at: nodes, or the nodes of pods.
type This<'t> = Option<&'t [String]>;

impl<'a> Walk<'a> {
    pub(super) const fn new(ground: &'a Ground<'a>) -> Self {
        Self { ground, drains: Vec::new(), together: 0, spread: ground.spread }
    }

    /// Every step, in order.
    pub(super) fn all(&mut self, steps: &'a [Step]) -> Vec<StepPlan> {
        let (steps, together) = self.in_order(steps, |number| number.to_string(), None);
        self.together = together;
        steps
    }

    fn in_order(
        &mut self,
        steps: &'a [Step],
        place: impl Fn(usize) -> String,
        this: This<'_>,
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

    /// A step, and how many nodes it drains at the same time.
    fn step(&mut self, step: &'a Step, place: &str, this: This<'_>) -> (StepPlan, u32) {
        let Some(action) = fault::of(step) else {
            return self.holding(step, place, this);
        };
        let candidates = self.candidates(this);
        let (about, takes) = (action.about(&candidates), action.takes(&candidates));
        let drained = if let (Step::Drain(drain), Some(about)) = (step, &about) {
            self.drained(drain, about, place)
        } else {
            0
        };
        (StepPlan { place: place.to_owned(), what: step.name(), about, takes, steps: Vec::new() }, drained)
    }

    /// Among whom the targets of the next step are.
    fn candidates<'t>(&'t self, this: This<'t>) -> Candidates<'t> {
        let ground = self.ground;
        Candidates {
            workers: &ground.workers,
            hosts: &ground.hosts,
            gateways: ground.gateways,
            agents: ground.agents(),
            sinks: ground.sinks,
            hpa: ground.has_hpa(),
            nodes_with_gateway: ground.nodes_with_gateway(self.spread),
            this,
        }
    }

    /// Takes down a drain; returns how many nodes it drains at the same time.
    fn drained(&mut self, drain: &'a Drain, about: &About, place: &str) -> u32 {
        self.drains.push(DrainAt { place: place.to_owned(), options: drain, nodes: about.among.clone() });
        let drained = if drain.at_once { about.number.most } else { about.number.most.min(1) };
        self.spread &= drained < 2;
        drained
    }

    /// A step that holds others.
    fn holding(&mut self, step: &'a Step, place: &str, this: This<'_>) -> (StepPlan, u32) {
        let inner = |number: usize| format!("{place}.{number}");
        let of_round = |number: usize| format!("{place}.n.{number}");
        let shape = step.shape();
        // What an inner step does to the spread is there in the next round, and beside it.
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
        let in_order = steps.iter().fold(Takes::default(), |all, step| all.then(step.takes));
        let (takes, together) = match shape {
            Shape::Parallel(branches) => {
                let takes = steps.iter().fold(Takes::default(), |all, step| all.and(step.takes));
                // Each branch may have its own.
                (takes, self.beside(branches, &steps))
            }
            Shape::Repeat(repeat) => (in_order.times(Between::exactly(repeat.times)), together),
            Shape::ForEach(_) => {
                let rounds = about.as_ref().map_or(Between::exactly(1), |about| about.number);
                (in_order.times(rounds), together)
            }
            Shape::Action(_) | Shape::Sequence(_) => (in_order, together),
        };
        (StepPlan { place: place.to_owned(), what: step.name(), about, takes, steps }, together)
    }

    /// How many nodes the branches of a `parallel` drain at the same time, all together.
    fn beside(&self, branches: &[Step], plans: &[StepPlan]) -> u32 {
        let each = branches.iter().zip(plans).map(|(branch, plan)| drained_by(branch, plan));
        each.fold(0, u32::saturating_add).min(self.ground.count_workers())
    }

    fn rounds(&self, each: &ForEach) -> (About, Vec<String>) {
        let candidates = self.candidates(None);
        if let Some(nodes) = each.nodes {
            let about = candidates.each_node(nodes);
            let among = about.among.clone();
            return (about, among);
        }
        let pods = candidates.pods(Targets::Each(each.pods.unwrap_or(PodSelector::Gateways)));
        (About { at_once: false, ..pods }, self.ground.hosts.clone())
    }
}

/// How many nodes a planned step drains at the same time.
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

/// Whether a step may drain more than one node at the same time.
fn drains_several(step: &Step) -> bool {
    matches!(step, Step::Drain(drain) if drain.at_once)
        || matches!(step.shape(), Shape::Parallel(_))
        || step.inner().iter().any(drains_several)
}
