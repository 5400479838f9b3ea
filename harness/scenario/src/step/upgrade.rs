//! The step `upgrade`.

use super::{Action, Changed, Surroundings, Traits};
use crate::{FaultName, FieldPath, Problem, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The part of the tier to roll, and its new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"what": "gateways", "to": "0.160.0"}]))]
pub struct Upgrade {
    /// The part to roll.
    pub what: Part,
    /// The version to roll to.
    pub to: String,
    /// The timeout of the roll-out.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
}

/// A part of the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The gateways' Deployment.
    Gateways,
    /// The agents' `DaemonSet`.
    Agents,
}

impl Part {
    /// The name of its workload in the manifests.
    pub const fn app(self) -> &'static str {
        match self {
            Self::Gateways => "gateway",
            Self::Agents => "agent",
        }
    }

    /// The name in reports, as in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateways => "gateways",
            Self::Agents => "agents",
        }
    }
}

impl Upgrade {
    /// A roll-out with the default deadline.
    pub fn new(what: Part, to: impl Into<String>) -> Self {
        Self { what, to: to.into(), deadline: default_deadline() }
    }
}

const fn default_deadline() -> Span {
    Span::seconds(180)
}

impl Action for Upgrade {
    fn key(&self) -> &'static str {
        "upgrade"
    }

    fn name(&self) -> String {
        format!("roll the {} to {}", self.what.name(), self.to)
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: vec![FaultName::Upgrade],
            evicts: false,
            changes: Some(match self.what {
                Part::Gateways => Changed::Gateways,
                Part::Agents => Changed::Agents,
            }),
            rate: None,
            collector: Some(&self.to),
            deadline: Some(self.deadline),
            shortest: Duration::ZERO,
        }
    }

    /// Nothing: that it replaces something depends on earlier roll-outs, which `rules::version` checks.
    fn check(&self, _around: Surroundings<'_>, _at: &FieldPath) -> Result<(), Problem> {
        Ok(())
    }
}
