//! The typed scenario, as people write it in YAML: what the tier is, what load it is under, what is done to it, and what
//! is demanded of it. It reads its own files and nothing else.

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
pub use check_name::CheckName;
pub use code::Code;
pub use control::{Control, Need, Spoiler};
pub use empty::empty_in;
pub use error::ScenarioError;
pub use expect::{Expect, Sabotage, Settle};
pub use fault_name::FaultName;
pub use field_path::{FieldPath, Problem};
pub use load::{Load, Protocol, Tls};
pub use parameters::Parameter;
pub use path::StepPath;
pub use quantity::{Allowance, Bytes, Rate, Share, Span};
pub use rules::{LONGEST_LOAD, Surroundings};
pub use schema::schema;
pub use source::Source;
pub use step::{
    Action, Changed, Condition, Drain, Evict, ForEach, Hold, Kill, Part, Repeat, Shape, Spike, Step, Upgrade,
    Wait,
};
pub use target::{NodeRole, NodeSelector, PodRole, PodSelector, Targets};
pub use tier::{Measure, Samples, Tier, TierPatch};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the tier is, what load it is under, what is done to it, and what is demanded of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A short name, for run folders and reports: letters, digits and dashes.
    #[schemars(regex(pattern = "^[A-Za-z0-9-]{1,63}$"))]
    pub name: String,
    /// What it is for, in a sentence or two.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What `${name}` in this file stands for; `--set name=value` sets it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// The tier under test.
    #[serde(default)]
    pub tier: Tier,
    /// What the emitters offer.
    #[serde(default)]
    pub load: Load,
    /// How long the tier must be seen to be well, under load, before the first step.
    #[serde(default = "default_steady")]
    pub steady: Span,
    /// What is done, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What the checks demand.
    #[serde(default)]
    pub expect: Expect,
    /// How the end of a run is awaited.
    #[serde(default)]
    pub settle: Settle,
    /// What is broken on purpose. For controls: scenarios that must fail.
    #[serde(default, skip_serializing_if = "Sabotage::is_none")]
    pub sabotage: Sabotage,
    /// The same scenario with one thing broken on purpose: each must fail, by the checks that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// Which of the controls this is. Written by the harness into a run's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

const fn default_steady() -> Span {
    Span::seconds(15)
}

impl Scenario {
    /// Reads a scenario file, with `--set KEY=VALUE` applied: the key is a parameter's name, or a field's path with dots.
    pub fn load(path: &Path, sets: &[(String, String)]) -> Result<Self, ScenarioError> {
        Self::located(path, sets).map(|(scenario, _)| scenario)
    }

    /// Reads a scenario file as [`Self::load`] does; and what says where in it something is.
    pub fn located(path: &Path, sets: &[(String, String)]) -> Result<(Self, Source), ScenarioError> {
        let unread = |why| ScenarioError::Read { path: path.to_owned(), why };
        let text = given::short_text(path).map_err(unread)?;
        let (mut scenario, source) = Self::sensible(path, &text, sets)?;
        scenario.resolve(&folder(path)?);
        Ok((scenario, source))
    }

    /// Reads a scenario's text; `path` is what messages name. Whether it makes sense is not asked: it may be a record of
    /// what was run.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        Source::read(path, text, &[]).map(|(scenario, _)| scenario)
    }

    /// A scenario that makes sense, with what is set; or what is wrong, and with which `--set`.
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
        // What is wrong without any is wrong in the file; else it is the first one with which it is wrong.
        read(&[])?;
        for (number, (key, value)) in (1..).zip(sets) {
            if let Err(error) = read(&sets[..number]) {
                let (key, value, message) = (key.clone(), value.clone(), error.to_string());
                return Err(ScenarioError::Set { key, value, message, help: error.help() });
            }
        }
        Err(error)
    }

    /// What is not said is said from here on, and files are found from anywhere.
    fn resolve(&mut self, folder: &Path) {
        self.load.resolve(folder);
        if let Some(manifests) = &mut self.tier.manifests {
            *manifests = folder.join(&*manifests);
        }
    }

    /// The Collectors' versions that it needs.
    pub fn collectors(&self) -> impl Iterator<Item = &str> {
        let later = self.all_steps().filter_map(|step| step.action()?.collector());
        std::iter::once(self.tier.collector.as_str()).chain(later)
    }
}

/// The folder of a scenario's file, from which the files that it names are found.
fn folder(path: &Path) -> Result<PathBuf, ScenarioError> {
    let path = std::path::absolute(path)
        .map_err(|why| ScenarioError::Read { path: path.to_owned(), why: why.into() })?;
    Ok(path.parent().unwrap_or(&path).to_owned())
}

#[cfg(test)]
mod tests;
