//! The typed scenario, as people write it in YAML: the tier, its load, the steps that are taken, and the limits that the
//! checks apply. The crate reads scenario files and the files that they name, and nothing else.

#![deny(clippy::wildcard_enum_match_arm)]

mod backend;
mod bounds;
mod build;
mod check_name;
mod code;
mod control;
mod empty;
mod error;
mod expect;
mod fault_name;
mod field_path;
pub mod given;
mod limits;
mod load;
mod parameters;
mod path;
pub mod profile;
mod quantity;
mod rules;
mod schema;
mod set;
mod shape;
mod source;
mod step;
mod target;
mod tier;
mod tree;
pub mod yaml;

pub use backend::{Answers, Backend, OneIn, Slow};
pub use bounds::grouped;
pub use check_name::CheckName;
pub use code::Code;
pub use control::{Control, Need, Spoiler};
pub use empty::empty_in;
pub use error::ScenarioError;
pub use expect::{Expect, Sabotage, Settle};
pub use fault_name::FaultName;
pub use field_path::{FieldPath, Problem};
pub use limits::LONGEST_LOAD;
pub use load::{Load, Protocol, Tls};
pub use parameters::Parameter;
pub use path::StepPath;
pub use quantity::{Allowance, Bytes, Rate, Share, Span};
pub use schema::schema;
pub use source::Source;
pub use step::*;
pub use target::{NodeRole, NodeSelector, PodRole, PodSelector, Targets};
pub use tier::{Measure, Samples, Tier, TierPatch};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A scenario: the tier, its load, the steps that are taken, and the limits that the checks apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name for run folders and reports: letters, digits and dashes.
    #[schemars(regex(pattern = "^[A-Za-z0-9-]{1,63}$"))]
    pub name: String,
    /// The purpose of the scenario, in a sentence or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Parameters: `${name}` stands for the value of one, and `--set name=value` changes it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// The tier under test.
    #[serde(default)]
    pub tier: Tier,
    /// The load that the emitters offer.
    #[serde(default)]
    pub load: Load,
    /// The time for which the tier must be well, under load, before the first step. At least `1s`.
    #[serde(default = "default_steady")]
    pub steady: Span,
    /// The steps that are taken, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// The limits that the checks apply.
    #[serde(default)]
    pub expect: Expect,
    /// The wait for the rest at the end of a run.
    #[serde(default)]
    pub settle: Settle,
    /// Sabotage of the measurement itself, for scenarios that must fail.
    #[serde(default, skip_serializing_if = "Sabotage::is_none")]
    pub sabotage: Sabotage,
    /// The same scenario with one thing broken on purpose. Each must fail, by the checks that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// The name of the control that was run. Written by the harness into a run folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

const fn default_steady() -> Span {
    Span::seconds(15)
}

impl Scenario {
    /// Reads a scenario file and applies `--set KEY=VALUE`. A key is the name of a parameter, or the path of a field with dots.
    pub fn load(path: &Path, sets: &[(String, String)]) -> Result<Self, ScenarioError> {
        Self::located(path, sets).map(|(scenario, _)| scenario)
    }

    /// Reads a scenario file as [`Self::load`] does, and returns its source as well, which knows the places in it.
    pub fn located(path: &Path, sets: &[(String, String)]) -> Result<(Self, Source), ScenarioError> {
        let unread = |why| ScenarioError::Read { path: path.to_owned(), why };
        let text = given::short_text(path).map_err(unread)?;
        let (mut scenario, source) = Self::sensible(path, &text, sets)?;
        scenario.resolve(&folder(path)?);
        Ok((scenario, source))
    }

    /// Parses the text of a scenario, without checking the rules: it may be the record of a run. Messages name `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        Source::read(path, text, &[]).map(|(scenario, _)| scenario)
    }

    /// Parses the text of a scenario, applies what is set, and checks the rules. An error names the `--set` that causes it.
    fn sensible(path: &Path, text: &str, sets: &[(String, String)]) -> Result<(Self, Source), ScenarioError> {
        let read = |sets: &[(String, String)]| {
            let (scenario, source) = Source::read(path, text, sets)?;
            scenario.problem().map_or(Ok(()), |problem| Err(source.invalid(problem)))?;
            Ok((scenario, source))
        };
        let error = match read(sets) {
            Ok(read) => return Ok(read),
            Err(error @ ScenarioError::Set { .. }) => return Err(error),
            Err(error) => error,
        };
        // An error that occurs without any set is one of the file; otherwise the first set with which it occurs has it.
        read(&[])?;
        for (number, (key, value)) in (1..).zip(sets) {
            if let Err(error) = read(&sets[..number]) {
                let (key, value, message) = (key.clone(), value.clone(), error.to_string());
                return Err(ScenarioError::Set { key, value, message, help: error.help() });
            }
        }
        Err(error)
    }

    /// Fills in defaults and makes paths absolute.
    fn resolve(&mut self, folder: &Path) {
        self.load.resolve(folder);
        if let Some(manifests) = &mut self.tier.manifests {
            *manifests = folder.join(&*manifests);
        }
    }

    /// Returns the versions of the Collector that it needs.
    pub fn collectors(&self) -> impl Iterator<Item = &str> {
        let later = self.all_steps().filter_map(|step| step.action()?.traits().collector);
        std::iter::once(self.tier.collector.as_str()).chain(later)
    }
}

/// Returns the folder of a scenario's file, at which relative paths in it start.
fn folder(path: &Path) -> Result<PathBuf, ScenarioError> {
    let path = std::path::absolute(path)
        .map_err(|why| ScenarioError::Read { path: path.to_owned(), why: why.into() })?;
    Ok(path.parent().unwrap_or(&path).to_owned())
}

#[cfg(test)]
mod tests;
