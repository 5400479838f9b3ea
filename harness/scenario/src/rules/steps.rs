//! Rules for all steps. Each kind of step checks its own fields by itself.

use super::sizes::time;
use crate::field_path::ensure;
use crate::{
    Changed, Condition, FieldPath, ForEach, Measure, PodRole, PodSelector, Problem, Scenario, Shape, Step,
};
use std::collections::BTreeSet;

pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    Surroundings { scenario, this: None }.each(&scenario.steps, &FieldPath::of("steps"))
}

/// The surroundings of a step: its scenario, and what `this` means in it.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    this: Option<ItemKind>,
}

/// The kind of the items of a `for-each`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemKind {
    Node,
    Pod,
}

impl Surroundings<'_> {
    /// Returns whether `this` means something.
    pub(crate) const fn is_in_for_each(&self) -> bool {
        self.this.is_some()
    }

    fn each(self, steps: &[Step], at: &FieldPath) -> Result<(), Problem> {
        steps.iter().enumerate().try_for_each(|(number, step)| self.step(step, &at.then(number)))
    }

    /// Checks the steps in another one, of which there must be some.
    fn some(self, steps: &[Step], at: &FieldPath) -> Result<(), Problem> {
        ensure(!steps.is_empty(), at, "there are no steps in it")?;
        self.each(steps, at)
    }

    fn step(self, step: &Step, at: &FieldPath) -> Result<(), Problem> {
        let at = &at.then(step.key());
        match step.shape() {
            Shape::Action(action) => {
                if let Some(deadline) = action.traits().deadline {
                    let at = at.then("deadline");
                    time(deadline, &at)?;
                    ensure(!deadline.duration().is_zero(), &at, "`deadline` must be above 0")?;
                }
                action.check(self, at)
            }
            Shape::Sequence(steps) => self.some(steps, at),
            Shape::Parallel(branches) => {
                self.some(branches, at)?;
                apart(branches, at)
            }
            Shape::Repeat(repeat) => {
                ensure(repeat.times > 0, &at.then("times"), "`times` must be above 0")?;
                self.some(&repeat.steps, &at.then("steps"))
            }
            Shape::ForEach(each) => self.for_each(each, at),
        }
    }

    fn for_each(self, each: &ForEach, at: &FieldPath) -> Result<(), Problem> {
        let this = match (each.nodes, each.pods) {
            (Some(_), None) => ItemKind::Node,
            (None, Some(_)) => ItemKind::Pod,
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
        Surroundings { this: Some(this), ..self }.some(&each.steps, &at.then("steps"))
    }
}

/// Checks `pods` and `pod` of a step: at most one of the two, and `this` only if that is a pod.
///
/// # Errors
/// With the message `both`, if both are given; or if `this` is a node, or means nothing.
pub(crate) fn one_pod(
    pods: Option<PodSelector>,
    pod: Option<PodRole>,
    both: &str,
    around: Surroundings<'_>,
    at: &FieldPath,
) -> Result<(), Problem> {
    let Some(pod) = pod else { return Ok(()) };
    let at = at.then("pod");
    ensure(pods.is_none(), &at, both)?;
    match (pod, around.this) {
        (PodRole::This, None) => {
            Err(Problem::new(at, "there is no `for-each` around this, so nothing is `this`"))
        }
        (PodRole::This, Some(ItemKind::Node)) => {
            let message = "`this` is a node: the `for-each` around this goes through nodes";
            Err(Problem::new(at, message).help("write `for-each: {pods: gateways, …}`"))
        }
        (PodRole::This, Some(ItemKind::Pod)) | (PodRole::BusiestGateway | PodRole::RandomGateway, _) => {
            Ok(())
        }
    }
}

/// Checks that a condition can come about at all.
///
/// # Errors
/// If the tier lacks the HPA that the condition needs.
pub(crate) fn condition(scenario: &Scenario, condition: Condition, at: &FieldPath) -> Result<(), Problem> {
    let there = condition != Condition::ScaledIn || scenario.tier.has(Measure::Hpa);
    ensure(there, at, "`scaled-in` needs the HPA, which the tier does not have")
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
        let own = step.action().and_then(|action| action.traits().changes);
        own.into_iter().chain(step.inner().iter().flat_map(Self::by)).collect()
    }
}

/// Checks that no two branches of a `parallel` change the same part.
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
