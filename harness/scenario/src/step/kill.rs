//! The step `kill`.

use super::{Action, Surroundings, Traits, one_pod};
use crate::{FaultName, FieldPath, PodRole, PodSelector, Problem, Span, Targets};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pods whose Collectors to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("examples" = [{"pod": "random-gateway"}]))]
pub struct Kill {
    /// Every one of such pods at the same moment, determined when the step begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// One pod, determined when the step begins. Without it and `pods`: the busiest gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRole>,
    /// The timeout until they are killed and started again, and again until as many gateways are ready as before.
    pub deadline: Span,
}

impl Default for Kill {
    fn default() -> Self {
        Self { pods: None, pod: None, deadline: Span::seconds(120) }
    }
}

impl Kill {
    /// The pods whose Collectors to kill.
    pub fn targets(&self) -> Targets<PodSelector, PodRole> {
        let one = self.pod.unwrap_or(PodRole::BusiestGateway);
        self.pods.map_or(Targets::One(one), Targets::Each)
    }
}

impl Action for Kill {
    fn key(&self) -> &'static str {
        "kill"
    }

    fn name(&self) -> String {
        match self.targets() {
            Targets::Each(PodSelector::Gateways) => "kill all gateways at once".to_owned(),
            Targets::One(one) => format!("kill {}", one.name()),
        }
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: vec![FaultName::Kill],
            evicts: false,
            changes: None,
            rate: None,
            collector: None,
            deadline: Some(self.deadline),
            shortest: Duration::ZERO,
        }
    }

    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        one_pod(self.pods, self.pod, "`pods` kills several and `pod` one: say one of the two", around, at)
    }
}
