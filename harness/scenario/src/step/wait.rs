//! The step `wait`.

use super::{Action, Surroundings, Traits};
use crate::{FieldPath, Problem, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The condition to wait for, and its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"for": "delivered", "deadline": "60s"}]))]
pub struct Wait {
    /// The condition.
    #[serde(rename = "for")]
    pub what: Condition,
    /// The timeout.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
}

/// A condition of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// As many gateways are ready as before the first step, and none is terminating.
    GatewaysReady,
    /// Every span that was acknowledged when the wait began has been delivered.
    Delivered,
    /// Every agent's queue has held something for a while.
    QueuesFill,
    /// Every agent's queue is empty.
    QueuesEmpty,
    /// The HPA has scaled in to its minimum.
    ScaledIn,
}

impl Condition {
    /// The name in reports and in timelines: the judge finds a control's precondition by it, so it stays as it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GatewaysReady => "as many gateways to be ready as there must be",
            Self::Delivered => "what is acknowledged by now to be delivered",
            Self::QueuesFill => "every agent's queue to hold something",
            Self::QueuesEmpty => "every agent's queue to be empty",
            Self::ScaledIn => "the HPA to have gone in to its minimum",
        }
    }
}

impl Wait {
    /// A wait with the default deadline.
    pub const fn new(what: Condition) -> Self {
        Self { what, deadline: default_deadline() }
    }
}

const fn default_deadline() -> Span {
    Span::seconds(120)
}

impl Action for Wait {
    fn key(&self) -> &'static str {
        "wait"
    }

    fn name(&self) -> String {
        format!("wait for {}", self.what.name())
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: Vec::new(),
            evicts: false,
            changes: None,
            rate: None,
            collector: None,
            deadline: Some(self.deadline),
            shortest: Duration::ZERO,
        }
    }

    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        super::condition(around.scenario, self.what, &at.then("for"))
    }
}
