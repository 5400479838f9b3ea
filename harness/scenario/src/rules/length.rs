//! Rules for the shortest duration of a scenario's load, and for its number of steps.

use crate::limits::LONGEST_LOAD;
use crate::{FieldPath, Problem, Scenario, Shape, Step};
use std::time::Duration;

/// The largest number of steps that are taken: a `repeat` can ask for more than anybody reads in a timeline.
const MOST_STEPS: u64 = 10_000;

/// Checks duration and number of steps. An error names the step that exceeds the limit.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let mut least = scenario.steady.duration();
    let most = humantime::format_duration(LONGEST_LOAD);
    if least > LONGEST_LOAD {
        let message = format!("the load ends after {most}");
        return Err(Problem::new(FieldPath::of("steady"), message));
    }
    let mut taken = 0_u64;
    for (number, step) in scenario.steps.iter().enumerate() {
        let at = || FieldPath::of("steps").then(number);
        least = least.saturating_add(shortest(step));
        if least > LONGEST_LOAD {
            let least = humantime::format_duration(least);
            let message =
                format!("with this step the load goes on for {least} or more; it ends after {most}");
            return Err(Problem::new(at(), message).help("make several scenarios of it"));
        }
        taken = taken.saturating_add(count(step));
        if taken > MOST_STEPS {
            let message =
                format!("with this it comes to {taken} steps; {MOST_STEPS} can be taken at the most");
            return Err(Problem::new(at(), message).help("repeat it less often"));
        }
    }
    Ok(())
}

/// Returns the duration of a step if it never has to wait.
fn shortest(step: &Step) -> Duration {
    let inner = || step.inner().iter().map(shortest);
    let in_order = || inner().fold(Duration::ZERO, Duration::saturating_add);
    match step.shape() {
        Shape::Action(action) => action.traits().shortest,
        Shape::Parallel(_) => inner().max().unwrap_or_default(),
        Shape::Repeat(repeat) => in_order().saturating_mul(repeat.times),
        // A `for-each` has one round at the least.
        Shape::Sequence(_) | Shape::ForEach(_) => in_order(),
    }
}

/// Returns the number of actions that are taken.
fn count(step: &Step) -> u64 {
    let inner = || step.inner().iter().map(count).fold(0, u64::saturating_add);
    match step.shape() {
        Shape::Action(_) => 1,
        Shape::Repeat(repeat) => inner().saturating_mul(repeat.times.into()),
        Shape::Sequence(_) | Shape::Parallel(_) | Shape::ForEach(_) => inner(),
    }
}
