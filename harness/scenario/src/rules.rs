//! What a scenario must fulfil beside its types. Each rule says where it is broken, and what to do.

mod controls;
mod length;
mod sizes;
mod steps;
mod version;

pub use length::LONGEST_LOAD;
pub(crate) use sizes::{SECOND, rate, share, some, time};
pub use steps::Surroundings;
pub(crate) use steps::{condition, one_pod};

use super::field_path::ensure;
use super::{FieldPath, Problem, Scenario, ScenarioError, Settle, bounds, empty};
use std::path::Path;

/// A run's folder is called by it, and a control's by both.
const LONGEST_NAME: usize = 63;

impl Scenario {
    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<Problem> {
        filled(self).and_then(|()| check(self)).and_then(|()| controls::check(self)).err()
    }

    /// Why nobody could take all of its steps, if so. One that was run could be taken.
    pub fn too_long(&self) -> Option<Problem> {
        length::check(self).err()
    }

    /// The scenario, if it makes sense: what a file is held to, for one that is built in Rust. Relative paths in it count
    /// from the working directory.
    pub fn checked(mut self) -> Result<Self, ScenarioError> {
        self.problem().map_or(Ok(()), Err)?;
        self.resolve(Path::new(""));
        Ok(self)
    }
}

/// Whether every value is one. Of a file that is known already; it may have been built.
fn filled(scenario: &Scenario) -> Result<(), Problem> {
    serde_json::to_value(scenario).map_or(Ok(()), |value| empty::check(&value, &FieldPath::root()))
}

/// Everything but the controls.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    named(&scenario.name, &FieldPath::of("name"))?;
    scenario.tier.check(&FieldPath::of("tier"))?;
    scenario.load.check(&FieldPath::of("load"))?;
    bounds::check(&scenario.sabotage, &FieldPath::of("sabotage"))?;
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
