//! A control: the same scenario with one thing broken on purpose. It must fail, by the checks that it names.

use super::{CheckName, Condition, FieldPath, Problem, Scenario, Span, StepPath, TierPatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is broken, and which checks must see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// A short name: `--control NAME` runs it.
    #[schemars(regex(pattern = "^[A-Za-z0-9-]{1,63}$"))]
    pub name: String,
    /// Why the checks must go red.
    pub why: String,
    /// What is changed in the scenario: fields by their path with dots, as with `--set`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, serde_json::Value>,
    /// What is changed in the manifests, after the tier's own patches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<TierPatch>,
    /// The checks that must fail.
    pub red: Vec<CheckName>,
    /// Checks that may fail as well. No other may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<CheckName>,
    /// What must have come about at some moments, or the control shows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What must not have happened, or the control shows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoiled_by: Vec<Spoiler>,
}

/// A precondition: awaited before a step begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// What must have come about.
    pub is: Condition,
    /// Before which step, by its place: `3`, or `2.1`.
    pub before: StepPath,
    /// How long it is waited for.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
}

/// What would make a control red, or green, for another reason than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Spoiler {
    /// A gateway or an agent went away or was restarted under load, before the last fault was over.
    Restarts,
}

pub(super) const fn default_deadline() -> Span {
    Span::seconds(60)
}

impl Scenario {
    /// With what a control changes. Whether it makes sense is not asked.
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
            let unset = |unset: super::set::Unset| Problem { at, message: unset.message, help: unset.help };
            changed = changed.with(key, value).map_err(unset)?;
        }
        changed.tier.patches.extend(control.patches.iter().cloned());
        changed.control = Some(control.name.clone());
        Ok(changed)
    }

    /// The control that this is.
    pub fn as_control(&self) -> Option<&Control> {
        let name = self.control.as_ref()?;
        self.controls.iter().find(|control| control.name == *name)
    }
}
