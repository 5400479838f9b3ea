//! What a scenario must fulfil beside its types. Each rule says where it is broken, and what to do.

mod controls;
mod length;
mod steps;

pub use length::LONGEST_LOAD;

use super::place::ensure;
use super::{Place, Problem, Scenario, ScenarioError};
use std::path::Path;

impl Scenario {
    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<Problem> {
        check(self).and_then(|()| controls::check(self)).err()
    }

    /// The scenario, if it makes sense: what a file is held to, for one that is built in Rust. Relative paths in it count
    /// from the working directory.
    pub fn checked(mut self) -> Result<Self, ScenarioError> {
        self.problem().map_or(Ok(()), Err)?;
        self.resolve(Path::new(""));
        Ok(self)
    }
}

/// Everything but the controls.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    named(&scenario.name, &Place::of("name"))?;
    for (name, count) in [("gateways", scenario.tier.gateways), ("sinks", scenario.tier.sinks)] {
        ensure(count > 0, &Place::of("tier").then(name), format!("`{name}` must be above 0"))?;
    }
    for (number, patch) in scenario.tier.patches.iter().enumerate() {
        patch.check(&Place::of("tier.patches").then(number))?;
    }
    scenario.load.check(&Place::of("load"))?;
    let some = scenario.sabotage.sink_forgets_one_in != Some(0);
    ensure(some, &Place::of("sabotage.sink_forgets_one_in"), "`sink_forgets_one_in` must be above 0")?;
    steps::check(scenario)?;
    length::check(scenario)
}

fn named(name: &str, at: &Place) -> Result<(), Problem> {
    let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    ensure(good, at, format!("{name:?} is no name: letters, digits and dashes only"))
}

#[cfg(test)]
mod tests;
