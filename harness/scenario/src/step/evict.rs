//! The step `evict`.

use super::{Action, Surroundings, Traits, one_pod};
use crate::{FaultName, FieldPath, PodRole, PodSelector, Problem, Span, Targets};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pods to evict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("examples" = [{"pods": "gateways"}]))]
pub struct Evict {
    /// Every one of such pods at the same moment, determined when the step begins. Without it and `pod`: all gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// One pod, determined when the step begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRole>,
    /// The timeout of the evictions, and again of the replacements to be ready.
    pub deadline: Span,
}

impl Default for Evict {
    fn default() -> Self {
        Self { pods: None, pod: None, deadline: Span::seconds(120) }
    }
}

impl Evict {
    /// The pods to evict.
    pub fn targets(&self) -> Targets<PodSelector, PodRole> {
        let each = self.pods.unwrap_or(PodSelector::Gateways);
        self.pod.map_or(Targets::Each(each), Targets::One)
    }

    /// The name of its fault.
    pub fn fault(&self) -> FaultName {
        match self.targets() {
            Targets::Each(_) => FaultName::EvictAll,
            Targets::One(_) => FaultName::Evict,
        }
    }
}

impl Action for Evict {
    fn key(&self) -> &'static str {
        "evict"
    }

    fn name(&self) -> String {
        match self.targets() {
            Targets::Each(PodSelector::Gateways) => "evict all gateways at once".to_owned(),
            Targets::One(one) => format!("evict {}", one.name()),
        }
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: vec![self.fault()],
            evicts: true,
            changes: None,
            rate: None,
            collector: None,
            deadline: Some(self.deadline),
            shortest: Duration::ZERO,
        }
    }

    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        one_pod(self.pods, self.pod, "`pods` evicts several and `pod` one: say one of the two", around, at)
    }
}
