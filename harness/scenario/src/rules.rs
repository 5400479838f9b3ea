//! The rules that a scenario must fulfil besides its types. A broken rule is reported with its place and what to do.

mod controls;
mod length;
mod sizes;
mod steps;
mod version;

use super::field_path::ensure;
use super::{FieldPath, Problem, Scenario, ScenarioError, Settle, bounds, empty};
use std::path::Path;

/// The largest length of a name: run folders are named by it.
const LONGEST_NAME: usize = 63;

impl Scenario {
    /// Returns the first problem with the scenario, if there is one.
    pub fn problem(&self) -> Option<Problem> {
        filled(self).and_then(|()| check(self)).and_then(|()| controls::check(self)).err()
    }

    /// Returns the problem if its steps are too many or take too long for a run.
    pub fn too_long(&self) -> Option<Problem> {
        length::check(self).err()
    }

    /// Checks a scenario that is built in Rust by the same rules as a file. Relative paths in it start at the working
    /// directory.
    pub fn checked(mut self) -> Result<Self, ScenarioError> {
        self.problem().map_or(Ok(()), Err)?;
        self.resolve(Path::new(""));
        Ok(self)
    }
}

/// Checks that no value is empty, for scenarios that are built in Rust.
fn filled(scenario: &Scenario) -> Result<(), Problem> {
    serde_json::to_value(scenario).map_or(Ok(()), |value| empty::check(&value, &FieldPath::root()))
}

/// Checks every rule but those for controls.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    named(&scenario.name, &FieldPath::of("name"))?;
    scenario.tier.check(&FieldPath::of("tier"))?;
    scenario.load.check(&FieldPath::of("load"))?;
    bounds::check(&scenario.sabotage, &FieldPath::of("sabotage"))?;
    let Settle { tail, deadline } = scenario.settle;
    sizes::check(scenario)?;
    let within = "`tail` is longer than `deadline`, which ends the wait in any case";
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
