//! The steps: what is done, one after the other. One file each, and one line in the list below.

mod backend;
mod drain;
mod evict;
mod flow;
mod hold;
mod kill;
mod spike;
mod upgrade;
mod wait;

use super::backend::Backend;
pub use drain::Drain;
pub use evict::Evict;
pub use flow::{ForEach, Repeat};
pub use hold::Hold;
pub use kill::Kill;
pub use spike::Spike;
pub use upgrade::{Part, Upgrade};
pub use wait::{Condition, Wait};

use super::rules::Surroundings;
use super::{FaultName, FieldPath, Problem, Rate, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A step that does something by itself, unlike those that hold others. What it says of itself is all that rules, plan,
/// run and judge know of it: no method has a default, so that nothing can be forgotten.
pub trait Action {
    /// The key in scenarios.
    fn key(&self) -> &'static str;

    /// The name in reports.
    fn name(&self) -> String;

    /// Returns the names of the faults that it may begin; none if it is no fault.
    fn faults(&self) -> Vec<FaultName>;

    /// Whether it goes through the Eviction API, which a `PodDisruptionBudget` guards.
    fn evicts(&self) -> bool;

    /// Returns what of the tier, the load or the backend it changes, and no other step can change at the same time.
    fn changes(&self) -> Option<Changed>;

    /// The rate that it lets the emitters offer, where it changes that.
    fn rate(&self) -> Option<Rate>;

    /// The Collector's version that it needs.
    fn collector(&self) -> Option<&str>;

    /// The deadline of what it awaits, which must be above 0.
    fn deadline(&self) -> Option<Span>;

    /// The time that it takes if nothing has to be awaited.
    fn shortest(&self) -> Duration;

    /// Checks what its fields must fulfil besides their types and the deadline. `at` is its place in the scenario.
    ///
    /// # Errors
    /// If a field is out of range, or does not go with another one or with what is around the step.
    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem>;
}

/// A step by what holds it together: an action, or a way in which other steps are taken.
#[derive(Clone, Copy)]
pub enum Shape<'a> {
    /// It does something by itself.
    Action(&'a dyn Action),
    /// These steps, one after the other.
    Sequence(&'a [Step]),
    /// These steps at the same time.
    Parallel(&'a [Step]),
    /// The same steps several times.
    Repeat(&'a Repeat),
    /// The same steps for each node or pod.
    ForEach(&'a ForEach),
}

macro_rules! steps {
    ($($(#[$about:meta])* $action:ident),* $(,)?) => {
        /// One thing that is done.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Step {
            $($(#[$about])* $action($action),)*
            /// Steps one after the other, as one: for a branch of a `parallel`.
            Sequence(Vec<Step>),
            /// All of these at the same time; it is over when each of them is.
            Parallel(Vec<Step>),
            /// The same steps several times.
            Repeat(Repeat),
            /// The same steps for each node, or each pod: one after the other.
            ForEach(ForEach),
        }

        impl Step {
            /// Returns its shape: what every walk through steps goes by.
            pub fn shape(&self) -> Shape<'_> {
                match self {
                    $(Self::$action(action) => Shape::Action(action),)*
                    Self::Sequence(steps) => Shape::Sequence(steps),
                    Self::Parallel(branches) => Shape::Parallel(branches),
                    Self::Repeat(repeat) => Shape::Repeat(repeat),
                    Self::ForEach(each) => Shape::ForEach(each),
                }
            }
        }
    };
}

steps! {
    /// Drain nodes as `kubectl drain` does it, and uncordon each.
    Drain,
    /// Evict pods through the Eviction API, all at the same moment.
    Evict,
    /// Kill the Collectors in pods with SIGKILL, all at the same moment.
    Kill,
    /// Roll a part of the tier to another version of the Collector.
    Upgrade,
    /// Offer more load for a while.
    Spike,
    /// From now on the backend answers like this.
    Backend,
    /// Wait until something has come about.
    Wait,
    /// Do nothing for a while.
    Hold,
}

/// What only one step can change at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// The load's rate.
    Rate,
    /// How the backend answers.
    Backend,
    /// The gateways' version.
    Gateways,
    /// The agents' version.
    Agents,
}

impl Step {
    /// The action, unless it holds other steps.
    pub fn action(&self) -> Option<&dyn Action> {
        match self.shape() {
            Shape::Action(action) => Some(action),
            Shape::Sequence(_) | Shape::Parallel(_) | Shape::Repeat(_) | Shape::ForEach(_) => None,
        }
    }

    /// The name in reports.
    pub fn name(&self) -> String {
        match self.shape() {
            Shape::Action(action) => action.name(),
            Shape::Sequence(steps) => format!("{} steps", steps.len()),
            Shape::Parallel(branches) => format!("{} branches at the same time", branches.len()),
            Shape::Repeat(repeat) => repeat.name(),
            Shape::ForEach(each) => format!("for {}", each.name()),
        }
    }

    /// The key in scenarios.
    pub(super) fn key(&self) -> &'static str {
        match self.shape() {
            Shape::Action(action) => action.key(),
            Shape::Sequence(_) => "sequence",
            Shape::Parallel(_) => "parallel",
            Shape::Repeat(_) => "repeat",
            Shape::ForEach(_) => "for-each",
        }
    }

    /// The steps in it, each once.
    pub fn inner(&self) -> &[Self] {
        match self.shape() {
            Shape::Action(_) => &[],
            Shape::Sequence(steps) | Shape::Parallel(steps) => steps,
            Shape::Repeat(repeat) => &repeat.steps,
            Shape::ForEach(each) => &each.steps,
        }
    }

    /// Whether a fault begins with it.
    pub fn is_fault(&self) -> bool {
        self.action().is_some_and(|action| !action.faults().is_empty())
    }

    /// Whether it goes through the Eviction API by itself.
    pub fn evicts(&self) -> bool {
        self.action().is_some_and(Action::evicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;
    use serde_json::{Value, json};

    #[test]
    fn every_action_has_an_example_that_makes_sense_under_its_key() {
        let schema: Value = serde_json::from_str(&crate::schema()).unwrap();
        let variants = schema["$defs"]["Step"]["oneOf"].as_array().unwrap();
        let mut keys = Vec::new();
        for (key, value) in variants.iter().flat_map(|variant| variant["properties"].as_object().unwrap()) {
            let reference = value["$ref"].as_str().unwrap_or_default();
            let Some(examples) = schema.pointer(reference.trim_start_matches('#')).map(|it| &it["examples"])
            else {
                continue;
            };
            for example in examples.as_array().into_iter().flatten() {
                let step: Step = serde_json::from_value(json!({key: example})).unwrap();
                assert_eq!(step.key(), key);
                let problem = Scenario::new("example").step(step).problem();
                assert!(problem.is_none(), "{key}: {example}: {problem:?}");
                keys.push(key.clone());
            }
        }
        let held = ["sequence", "parallel", "repeat", "for-each"];
        let actions = variants.iter().flat_map(|variant| variant["properties"].as_object().unwrap().keys());
        let actions: Vec<_> = actions.filter(|key| !held.contains(&key.as_str())).collect();
        assert_eq!(keys.iter().collect::<Vec<_>>(), actions, "an action without an example");
    }
}
