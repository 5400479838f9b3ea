//! The steps that hold others, and have fields.

use super::Step;
use crate::{NodeSelector, PodSelector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The same steps several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// The number of rounds.
    #[schemars(range(min = 1))]
    pub times: u32,
    /// The steps of each round.
    pub steps: Vec<Step>,
}

/// The same steps for each node, or each pod: one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// Nodes, or else `pods`. They are determined when the step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeSelector>,
    /// Pods, or else `nodes`. They are determined when the step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// The steps for each; in these, `this` is the current node or pod.
    pub steps: Vec<Step>,
}

impl Repeat {
    /// The name in reports.
    pub(super) fn name(&self) -> String {
        match &self.steps[..] {
            [one] => format!("{} times: {}", self.times, one.name()),
            several => format!("{} times {} steps", self.times, several.len()),
        }
    }
}

impl ForEach {
    /// The name of the nodes or pods that it goes through.
    pub fn name(&self) -> String {
        match (self.nodes, self.pods) {
            (Some(nodes), _) => nodes.name().to_owned(),
            (None, Some(pods)) => pods.name().to_owned(),
            (None, None) => "nothing".to_owned(),
        }
    }
}
