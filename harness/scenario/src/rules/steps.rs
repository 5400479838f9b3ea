//! Rules for all steps. Each kind of step checks its own fields by itself.

use crate::field_path::ensure;
use crate::limits::time;
use crate::step::{ItemKind, Surroundings};
use crate::{Changed, FieldPath, ForEach, Problem, Scenario, Shape, Step};
use std::collections::BTreeSet;

pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    Walk(Surroundings::top(scenario)).each(&scenario.steps, &FieldPath::of("steps"))
}

/// A walk through the steps.
#[derive(Clone, Copy)]
struct Walk<'a>(Surroundings<'a>);

impl Walk<'_> {
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
                action.check(self.0, at)
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
        Self(self.0.within(this)).some(&each.steps, &at.then("steps"))
    }
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
