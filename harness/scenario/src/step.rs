//! The steps of a scenario. One file each, and one line in the list below.

mod backend;
mod drain;
mod evict;
mod flow;
mod hold;
mod kill;
mod spike;
mod surroundings;
mod upgrade;
mod wait;

use super::backend::Backend;
pub use drain::Drain;
pub use evict::Evict;
pub use flow::{ForEach, Repeat};
pub use hold::Hold;
pub use kill::Kill;
pub use spike::Spike;
pub use surroundings::Surroundings;
use surroundings::one_pod;
pub(crate) use surroundings::{ItemKind, condition};
pub use upgrade::{Part, Upgrade};
pub use wait::{Condition, Wait};

use super::{FaultName, FieldPath, Problem, Rate, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A step that is no container of other steps. Its methods and traits are all that rules, plan, run and judge know of it:
/// none has a default, so that none can be forgotten.
pub trait Action {
    /// The key in scenarios.
    fn key(&self) -> &'static str;

    /// The name in reports.
    fn name(&self) -> String;

    /// Its traits.
    fn traits(&self) -> Traits<'_>;

    /// Checks its fields, except for their types and the deadline. `at` is its place in the scenario.
    ///
    /// # Errors
    /// If a field is out of range, or does not go with another field or with the surroundings of the step.
    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem>;
}

/// The traits of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Traits<'a> {
    /// The names of the faults that it may begin; empty if it is no fault.
    pub faults: Vec<FaultName>,
    /// `true` if it uses the Eviction API, which a `PodDisruptionBudget` guards.
    pub evicts: bool,
    /// The part of the tier, the load or the backend that it changes, and that no other step may change at the same
    /// time.
    pub changes: Option<Changed>,
    /// The rate that the emitters offer during it, if it changes that.
    pub rate: Option<Rate>,
    /// The version of the Collector that it needs.
    pub collector: Option<&'a str>,
    /// Its `deadline`, which must be above 0.
    pub deadline: Option<Span>,
    /// Its duration if it never has to wait.
    pub shortest: Duration,
}

/// The structure of a step: an action, or a container of other steps.
#[derive(Clone, Copy)]
pub enum Shape<'a> {
    /// No container.
    Action(&'a dyn Action),
    /// Steps one after the other.
    Sequence(&'a [Step]),
    /// Steps at the same time.
    Parallel(&'a [Step]),
    /// The same steps several times.
    Repeat(&'a Repeat),
    /// The same steps for each node or pod.
    ForEach(&'a ForEach),
}

macro_rules! steps {
    ($($(#[$about:meta])* $action:ident),* $(,)?) => {
        /// A step of a scenario.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum Step {
            $($(#[$about])* $action($action),)*
            /// Steps one after the other, as one: for a branch of a `parallel`.
            Sequence(Vec<Step>),
            /// All of these at the same time; it is over when all of them are.
            Parallel(Vec<Step>),
            /// The same steps several times.
            Repeat(Repeat),
            /// The same steps for each node, or each pod: one after the other.
            ForEach(ForEach),
        }

        impl Step {
            /// Returns its structure, by which every traversal of steps goes.
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
    /// Wait until a condition holds.
    Wait,
    /// Do nothing for a while.
    Hold,
}

/// A part that only one step may change at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// The rate of the load.
    Rate,
    /// The answers of the backend.
    Backend,
    /// The version of the gateways.
    Gateways,
    /// The version of the agents.
    Agents,
}

impl Step {
    /// The action; none if it holds other steps.
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

    /// Returns whether it may begin a fault.
    pub fn is_fault(&self) -> bool {
        self.action().is_some_and(|action| !action.traits().faults.is_empty())
    }

    /// Returns whether it uses the Eviction API itself, and not only through steps in it.
    pub fn evicts(&self) -> bool {
        self.action().is_some_and(|action| action.traits().evicts)
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
