//! A control: the same scenario with one thing broken on purpose. It must fail, by the checks that it names.

use super::{CheckName, Condition, FieldPath, Problem, Scenario, Span, StepPath, TierPatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The scenario with something broken on purpose, and the checks that must fail by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// A short name: `--control NAME` runs it.
    #[schemars(regex(pattern = "^[A-Za-z0-9-]{1,63}$"))]
    pub name: String,
    /// The reason why the checks must fail.
    pub why: String,
    /// Fields of the scenario that are set, by their paths with dots, as with `--set`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, serde_json::Value>,
    /// Changes of the manifests, applied after those of the tier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<TierPatch>,
    /// The checks that must fail.
    pub red: Vec<CheckName>,
    /// Checks that may fail as well. No others may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<CheckName>,
    /// Conditions without which the control shows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// Events after which the control shows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoiled_by: Vec<Spoiler>,
}

/// A condition that is awaited before a step begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// The condition.
    pub is: Condition,
    /// The step that must not begin before it, by its place: `3`, or `2.1`.
    pub before: StepPath,
    /// The time after which the wait is given up.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
}

/// An event that makes a control's result worthless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Spoiler {
    /// A gateway or an agent went away or restarted under load before the last fault was over.
    Restarts,
}

pub(super) const fn default_deadline() -> Span {
    Span::seconds(60)
}

impl Scenario {
    /// Returns the scenario as a control changes it, without checking it.
    pub(super) fn changed_by(&self, control: &Control, at: &FieldPath) -> Result<Self, Problem> {
        let mut changed = self.clone();
        for (key, value) in &control.set {
            let at = at.then("set").then(key);
            if self.parameters.contains_key(key) {
                let message = format!("`{key}` is a parameter, whose value is in its places already");
                return Err(
                    Problem::new(at, message).help("set the fields that it stands in, by their paths")
                );
            }
            let unset =
                |unset: super::set::SetError| Problem { at, message: unset.message, help: unset.help };
            changed = changed.with(key, value).map_err(unset)?;
        }
        changed.tier.patches.extend(control.patches.iter().cloned());
        changed.control = Some(control.name.clone());
        Ok(changed)
    }

    /// Returns the control that this scenario is a run of.
    pub fn as_control(&self) -> Option<&Control> {
        let name = self.control.as_ref()?;
        self.controls.iter().find(|control| control.name == *name)
    }
}
