//! A control: the same scenario with one thing broken on purpose. It must fail, by the checks that it names.

use super::{Condition, Scenario, ScenarioError, Span, StepPath, TierPatch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What is broken, and which checks must see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// A short name: `--control NAME` runs it.
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
    pub red: Vec<String>,
    /// Checks that may fail as well. No other may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// What must have come about at some moments, or the control shows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// What must not have happened, or the control shows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoiled_by: Vec<Spoiler>,
}

/// A precondition: awaited before a step begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spoiler {
    /// A gateway or an agent went away or was restarted under load.
    Restarts,
}

const fn default_deadline() -> Span {
    Span::seconds(60)
}

impl Scenario {
    /// The scenario as one of its controls has it.
    ///
    /// # Errors
    /// If there is no control of that name, or what it changes does not fit.
    pub fn under(&self, path: &Path, name: &str) -> Result<Self, ScenarioError> {
        let known =
            || self.controls.iter().map(|control| control.name.as_str()).collect::<Vec<_>>().join(", ");
        let Some(control) = self.controls.iter().find(|control| control.name == name) else {
            let message = match known() {
                none if none.is_empty() => format!("there is no control {name:?}: the scenario has none"),
                known => format!("there is no control {name:?}; there are: {known}"),
            };
            return Err(ScenarioError::Nonsense { path: path.to_owned(), message });
        };
        let mut changed = self.clone();
        for (key, value) in &control.set {
            changed = changed.with(key, value)?;
        }
        changed.tier.patches.extend(control.patches.iter().cloned());
        changed.control = Some(name.to_owned());
        changed.check(path)?;
        Ok(changed)
    }

    /// The control that this is.
    pub fn as_control(&self) -> Option<&Control> {
        let name = self.control.as_ref()?;
        self.controls.iter().find(|control| control.name == *name)
    }
}
