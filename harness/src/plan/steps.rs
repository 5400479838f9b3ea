//! What each step does, among whom its targets are resolved when it begins, and how long it may take.

use super::drains::DrainAt;
use super::ground::Ground;
use crate::extent::{Between, Takes};
use crate::fault;
use crate::scenario::{
    Answers, Backend, Drain, Evict, ForEach, NodeRole, NodeSelector, Part, PodSelector, Spike, Step, Targets,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

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

/// Whom a step is about. Who of them it is, is seen when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What is looked for.
    pub who: String,
    /// How many that are.
    pub number: Between,
    /// Among whom they are: nodes, or objects by kind and name whose pods they are.
    pub among: Vec<String>,
    /// Whether it is done to all of them at the same time.
    pub at_once: bool,
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
        let what = step.name();
        let leaf = |about: Option<About>, takes: Takes| StepPlan {
            place: place.to_owned(),
            what: what.clone(),
            about,
            takes,
            steps: Vec::new(),
        };
        match step {
            Step::Drain(drain) => {
                let (about, takes) = self.drain(drain, place, this);
                let drained = if drain.at_once { about.number.most } else { about.number.most.min(1) };
                self.spread &= drained < 2;
                (leaf(Some(about), takes), drained)
            }
            Step::Evict(evict) => (leaf(Some(self.evicted(*evict)), evicting(*evict)), 0),
            Step::Upgrade(upgrade) => {
                let (number, object) = match upgrade.what {
                    Part::Gateways => (self.ground.gateways, "Deployment/gateway"),
                    Part::Agents => (self.ground.agents(), "DaemonSet/agent"),
                };
                let about = About::of_object(upgrade.what.name(), number, object);
                (leaf(Some(about), Takes::up_to(upgrade.deadline.duration())), 0)
            }
            Step::Spike(spike) => {
                let about = About::of_object("the emitters", self.ground.agents(), "DaemonSet/emit");
                (leaf(Some(about), spiking(*spike, self.ground.has_hpa())), 0)
            }
            Step::Backend(backend) => {
                let sinks = Between::exactly(self.ground.sinks);
                let about = About::of_object("the sinks", sinks, "StatefulSet/sink");
                (leaf(Some(about), misbehaving(backend)), 0)
            }
            Step::Wait(wait) => (leaf(None, Takes::up_to(wait.deadline.duration())), 0),
            Step::Hold(span) => (leaf(None, Takes::exactly(span.duration())), 0),
            Step::Sequence(_) | Step::Parallel(_) | Step::Repeat(_) | Step::ForEach(_) => {
                self.holding(step, place, this)
            }
        }
    }

    /// A step that holds others.
    fn holding(&mut self, step: &'a Step, place: &str, this: This<'_>) -> (StepPlan, u32) {
        let inner = |number: usize| format!("{place}.{number}");
        let of_round = |number: usize| format!("{place}.n.{number}");
        // What an inner step does to the spread is there in the next round, and beside it.
        if step.inner().iter().any(drains_several) || matches!(step, Step::Parallel(_)) {
            self.spread = false;
        }
        let (about, (steps, together)) = match step {
            Step::Repeat(repeat) => (None, self.in_order(&repeat.steps, of_round, this)),
            Step::ForEach(each) => {
                let (about, nodes) = self.rounds(each);
                (Some(about), self.in_order(&each.steps, of_round, Some(&nodes)))
            }
            _ => (None, self.in_order(step.inner(), inner, this)),
        };
        let one_after_the_other = steps.iter().fold(Takes::default(), |all, step| all.then(step.takes));
        let takes = match (step, &about) {
            (Step::Parallel(_), _) => steps.iter().fold(Takes::default(), |all, step| all.and(step.takes)),
            (Step::Repeat(repeat), _) => one_after_the_other.times(Between::exactly(repeat.times)),
            (_, Some(about)) => one_after_the_other.times(about.number),
            _ => one_after_the_other,
        };
        let together = match step {
            // Each branch may have its own.
            Step::Parallel(branches) => self.beside(branches, &steps),
            _ => together,
        };
        (StepPlan { place: place.to_owned(), what: step.name(), about, takes, steps }, together)
    }

    /// How many nodes the branches of a `parallel` drain at the same time, all together.
    fn beside(&self, branches: &[Step], plans: &[StepPlan]) -> u32 {
        let each = branches.iter().zip(plans).map(|(branch, plan)| drained_by(branch, plan));
        each.fold(0, u32::saturating_add).min(self.ground.count_workers())
    }

    fn rounds(&self, each: &ForEach) -> (About, Vec<String>) {
        let ground = self.ground;
        if let Some(nodes) = each.nodes {
            let about = self.each_node(nodes);
            let among = about.among.clone();
            return (about, among);
        }
        (About::of_object("each gateway", ground.gateways, "Deployment/gateway"), ground.hosts.clone())
    }

    fn each_node(&self, each: NodeSelector) -> About {
        let ground = self.ground;
        let (number, among) = match each {
            NodeSelector::Worker => (Between::exactly(ground.count_workers()), &ground.workers),
            NodeSelector::WorkerWithGateway => (ground.nodes_with_gateway(self.spread), &ground.hosts),
        };
        About { who: each.name().to_owned(), number, among: among.clone(), at_once: false }
    }

    fn drain(&mut self, drain: &'a Drain, place: &str, this: This<'_>) -> (About, Takes) {
        let mut about = match drain.nodes() {
            Targets::Each(each) => self.each_node(each),
            Targets::One(role) => {
                let among = match role {
                    NodeRole::Random => self.ground.workers.clone(),
                    NodeRole::This => this.unwrap_or_default().to_vec(),
                    NodeRole::NotYetDrained | NodeRole::WithBusiestGateway | NodeRole::RandomWithGateway => {
                        self.ground.hosts.clone()
                    }
                };
                About { who: role.name().to_owned(), number: Between::exactly(1), among, at_once: false }
            }
        };
        about.at_once = drain.at_once;
        self.drains.push(DrainAt { place: place.to_owned(), options: drain, nodes: about.among.clone() });
        // Until nothing is left on it; held; uncordoned, until as many gateways are ready as before.
        let (deadline, hold) = (drain.deadline.duration(), drain.hold.duration());
        let one = Takes::exactly(hold).then(Takes::up_to(deadline.saturating_mul(2)));
        let takes = if drain.at_once { one } else { one.times(about.number) };
        (about, takes)
    }

    fn evicted(&self, evict: Evict) -> About {
        let (who, number) = match evict.targets() {
            Targets::Each(each @ PodSelector::Gateways) => (each.name(), self.ground.gateways),
            Targets::One(role) => (role.name(), Between::exactly(1)),
        };
        let mut about = About::of_object(who, number, "Deployment/gateway");
        about.at_once = matches!(evict.targets(), Targets::Each(_));
        about
    }
}

impl About {
    fn of_object(who: &str, number: Between, object: &str) -> Self {
        Self { who: who.to_owned(), number, among: vec![object.to_owned()], at_once: false }
    }
}

/// How many nodes a planned step drains at the same time.
fn drained_by(step: &Step, plan: &StepPlan) -> u32 {
    let inner = step.inner().iter().zip(&plan.steps).map(|(step, plan)| drained_by(step, plan));
    match (step, &plan.about) {
        (Step::Drain(drain), Some(about)) if drain.at_once => about.number.most,
        (Step::Drain(_), _) => 1,
        (Step::Parallel(_), _) => inner.fold(0, u32::saturating_add),
        _ => inner.max().unwrap_or_default(),
    }
}

/// Whether a step may drain more than one node at the same time.
fn drains_several(step: &Step) -> bool {
    matches!(step, Step::Drain(drain) if drain.at_once)
        || matches!(step, Step::Parallel(_))
        || step.inner().iter().any(drains_several)
}

/// Until they are granted; until as many gateways are ready as before.
fn evicting(evict: Evict) -> Takes {
    Takes::up_to(evict.deadline.duration().saturating_mul(2))
}

fn spiking(spike: Spike, hpa: bool) -> Takes {
    let out = if hpa { spike.deadline.duration() } else { Duration::ZERO };
    let seen = Takes { least: fault::spike::MEASURED, most: fault::spike::PATIENCE };
    seen.then(Takes::up_to(out)).then(Takes::exactly(spike.hold.duration()))
}

/// Until it is felt, which counts as a part of how long it lasts; and until it is over.
fn misbehaving(backend: &Backend) -> Takes {
    let change = fault::backend::PATIENCE;
    match backend.lasts {
        Some(lasts) if backend.answers != Answers::Ok => {
            let lasts = lasts.duration();
            Takes { least: lasts, most: lasts.max(change) }.then(Takes::up_to(change))
        }
        _ => Takes::up_to(change),
    }
}
