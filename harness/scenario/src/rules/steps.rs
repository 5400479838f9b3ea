//! What steps must fulfil.

use crate::field_path::ensure;
use crate::{
    Condition, Drain, Evict, FieldPath, ForEach, Measure, NodeRole, Part, PodRole, Problem, Scenario, Step,
};
use std::collections::BTreeSet;

pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    Around { scenario, this: None }.each(&scenario.steps, &FieldPath::of("steps"))
}

/// What `this` is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum This {
    Node,
    Pod,
}

/// What is around a step.
#[derive(Clone, Copy)]
struct Around<'a> {
    scenario: &'a Scenario,
    this: Option<This>,
}

impl Around<'_> {
    fn each(self, steps: &[Step], at: &FieldPath) -> Result<(), Problem> {
        steps.iter().enumerate().try_for_each(|(number, step)| self.step(step, &at.then(number)))
    }

    /// Steps that another one is made of: there must be some.
    fn some(self, steps: &[Step], at: &FieldPath) -> Result<(), Problem> {
        ensure(!steps.is_empty(), at, "there are no steps in it")?;
        self.each(steps, at)
    }

    fn step(self, step: &Step, at: &FieldPath) -> Result<(), Problem> {
        let at = &at.then(step.key());
        let deadline = match step {
            Step::Drain(drain) => Some(drain.deadline),
            Step::Evict(evict) => Some(evict.deadline),
            Step::Upgrade(upgrade) => Some(upgrade.deadline),
            Step::Spike(spike) => Some(spike.deadline),
            Step::Wait(wait) => Some(wait.deadline),
            _ => None,
        };
        let some = deadline.is_none_or(|deadline| !deadline.duration().is_zero());
        ensure(some, &at.then("deadline"), "`deadline` must be above 0")?;
        match step {
            Step::Drain(drain) => self.drain(drain, at),
            Step::Evict(evict) => self.evict(*evict, at),
            Step::Spike(_) => {
                let profile = "a `spike` changes load.rate, and load.profile takes its place";
                let free = self.scenario.load.profile.is_empty();
                ensure(free, at, profile).map_err(|it| it.help("write the spike into the profile"))
            }
            Step::Backend(backend) => {
                let free = self.scenario.sabotage.sink_forgets_one_in.is_none();
                ensure(free, at, "it would end sabotage.sink_forgets_one_in")
                    .map_err(|problem| problem.help("use `backend: {answers: {forget: …}}` instead"))?;
                backend.check(at)
            }
            Step::Wait(wait) => condition(self.scenario, wait.what, &at.then("for")),
            Step::Upgrade(_) | Step::Hold(_) => Ok(()),
            Step::Sequence(steps) => self.some(steps, at),
            Step::Parallel(branches) => {
                self.some(branches, at)?;
                apart(branches, at)
            }
            Step::Repeat(repeat) => {
                ensure(repeat.times > 0, &at.then("times"), "`times` must be above 0")?;
                self.some(&repeat.steps, &at.then("steps"))
            }
            Step::ForEach(each) => self.for_each(each, at),
        }
    }

    fn drain(self, drain: &Drain, at: &FieldPath) -> Result<(), Problem> {
        let Some(node) = drain.node else { return Ok(()) };
        let one = "`each` drains several nodes and `node` one: say one of the two";
        ensure(drain.each.is_none(), &at.then("node"), one)?;
        let several = "one node cannot be drained `at_once` with others";
        ensure(!drain.at_once, &at.then("at_once"), several)
            .map_err(|it| it.help("say `each`, or leave `at_once` out"))?;
        let around = node != NodeRole::This || self.this.is_some();
        ensure(around, &at.then("node"), "there is no `for-each` around this, so nothing is `this`")
    }

    fn evict(self, evict: Evict, at: &FieldPath) -> Result<(), Problem> {
        let Some(pod) = evict.pod else { return Ok(()) };
        let one = "`pods` evicts several and `pod` one: say one of the two";
        ensure(evict.pods.is_none(), &at.then("pod"), one)?;
        match (pod, self.this) {
            (PodRole::This, None) => {
                let message = "there is no `for-each` around this, so nothing is `this`";
                Err(Problem::new(at.then("pod"), message))
            }
            (PodRole::This, Some(This::Node)) => {
                let message = "`this` is a node: the `for-each` around this goes through nodes";
                Err(Problem::new(at.then("pod"), message).help("write `for-each: {pods: gateways, …}`"))
            }
            _ => Ok(()),
        }
    }

    fn for_each(self, each: &ForEach, at: &FieldPath) -> Result<(), Problem> {
        let this = match (each.nodes, each.pods) {
            (Some(_), None) => This::Node,
            (None, Some(_)) => This::Pod,
            (Some(_), Some(_)) => {
                let message = "it goes through `nodes` or through `pods`: say one of the two";
                return Err(Problem::new(at.then("pods"), message));
            }
            (None, None) => {
                let message = "it does not say what it goes through";
                let help = "add `nodes: worker-with-gateway`, or `pods: gateways`";
                return Err(Problem::new(at.clone(), message).help(help));
            }
        };
        Around { this: Some(this), ..self }.some(&each.steps, &at.then("steps"))
    }
}

/// Whether something can come about at all.
pub(super) fn condition(scenario: &Scenario, condition: Condition, at: &FieldPath) -> Result<(), Problem> {
    let there = condition != Condition::ScaledIn || scenario.tier.has(Measure::Hpa);
    ensure(there, at, "`scaled-in` needs the HPA, which the tier does not have")
}

/// What only one step can change at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Rate,
    Backend,
    Gateways,
    Agents,
}

impl Changed {
    const fn does(self) -> &'static str {
        match self {
            Self::Rate => "changes the load's rate",
            Self::Backend => "changes how the backend answers",
            Self::Gateways => "rolls the gateways",
            Self::Agents => "rolls the agents",
        }
    }

    fn by(step: &Step) -> BTreeSet<Self> {
        let own = match step {
            Step::Spike(_) => Some(Self::Rate),
            Step::Backend(_) => Some(Self::Backend),
            Step::Upgrade(upgrade) => Some(match upgrade.what {
                Part::Gateways => Self::Gateways,
                Part::Agents => Self::Agents,
            }),
            _ => None,
        };
        own.into_iter().chain(step.inner().iter().flat_map(Self::by)).collect()
    }
}

/// Whether the branches of a `parallel` keep out of each other's way.
fn apart(branches: &[Step], at: &FieldPath) -> Result<(), Problem> {
    let mut taken = BTreeSet::new();
    for (number, branch) in branches.iter().enumerate() {
        let changed = Changed::by(branch);
        if let Some(both) = changed.intersection(&taken).next() {
            let message = format!("an earlier branch {}, and so does this one", both.does());
            return Err(Problem::new(at.then(number), message).help("put both into one `sequence`"));
        }
        taken.extend(changed);
    }
    Ok(())
}
