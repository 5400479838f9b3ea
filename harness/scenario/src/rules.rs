//! The rules for scenarios, besides their types. An error names the field, and where possible a remedy.

mod controls;
mod length;
mod sizes;
mod steps;
mod version;

pub use length::LONGEST_LOAD;
pub(crate) use sizes::{rate, share, some, time};
pub use steps::Surroundings;
pub(crate) use steps::{condition, one_pod};

use super::field_path::ensure;
use super::{FieldPath, Problem, Scenario, ScenarioError, Settle, empty};
use std::path::Path;

/// The longest name: run folders are named by the scenario, and by its control.
const LONGEST_NAME: usize = 63;
/// The largest number of patches of a tier.
const MOST_PATCHES: usize = 1_000;

impl Scenario {
    /// Returns the first rule that it breaks; none if it is valid.
    pub fn problem(&self) -> Option<Problem> {
        filled(self).and_then(|()| check(self)).and_then(|()| controls::check(self)).err()
    }

    /// Returns why its steps take too long, if so. A scenario that was run cannot be.
    pub fn too_long(&self) -> Option<Problem> {
        length::check(self).err()
    }

    /// Checks a scenario that is built in Rust by the same rules as a file. Relative paths in it count from the working
    /// directory.
    ///
    /// # Errors
    /// If it breaks a rule.
    pub fn checked(mut self) -> Result<Self, ScenarioError> {
        self.problem().map_or(Ok(()), Err)?;
        self.resolve(Path::new(""));
        Ok(self)
    }
}

/// Checks that no value is empty. Files are checked when they are read; this is for scenarios that are built in Rust.
fn filled(scenario: &Scenario) -> Result<(), Problem> {
    serde_json::to_value(scenario).map_or(Ok(()), |value| empty::check(&value, &FieldPath::root()))
}

/// Checks everything but the controls.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    named(&scenario.name, &FieldPath::of("name"))?;
    for (name, count) in [("gateways", scenario.tier.gateways), ("sinks", scenario.tier.sinks)] {
        ensure(count > 0, &FieldPath::of("tier").then(name), format!("`{name}` must be above 0"))?;
    }
    let patches = FieldPath::of("tier.patches");
    let few = scenario.tier.patches.len() <= MOST_PATCHES;
    ensure(few, &patches.then(MOST_PATCHES), format!("a tier has {MOST_PATCHES} patches at the most"))?;
    for (number, patch) in scenario.tier.patches.iter().enumerate() {
        patch.check(&patches.then(number))?;
    }
    scenario.load.check(&FieldPath::of("load"))?;
    let some = scenario.sabotage.sink_forgets_one_in != Some(0);
    ensure(some, &FieldPath::of("sabotage.sink_forgets_one_in"), "`sink_forgets_one_in` must be above 0")?;
    let Settle { tail, deadline } = scenario.settle;
    sizes::check(scenario)?;
    let within = "`tail` is longer than `deadline`, which ends the waiting in any case";
    ensure(tail.duration() <= deadline.duration(), &FieldPath::of("settle.tail"), within)?;
    steps::check(scenario)?;
    version::check(scenario)?;
    length::check(scenario)
}

fn named(name: &str, at: &FieldPath) -> Result<(), Problem> {
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    ensure(good, at, format!("{name:?} is no name: letters, digits and dashes only"))?;
    ensure(name.len() <= LONGEST_NAME, at, format!("a name has {LONGEST_NAME} letters at the most"))
}

#[cfg(test)]
mod tests;
