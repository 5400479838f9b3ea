//! The step `spike`.

use super::{Action, Changed, Surroundings, Traits};
use crate::field_path::ensure;
use crate::limits::{rate, some, time};
use crate::{FaultName, FieldPath, Measure, Problem, Rate, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A higher rate of the load for a while.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"rate": "8000/s", "hold": "60s"}]))]
pub struct Spike {
    /// Spans per second, over all emitters, instead of the load's own.
    pub rate: Rate,
    /// The duration; where there is an HPA, after it has scaled out.
    #[serde(default = "default_hold")]
    pub hold: Span,
    /// The timeout of the HPA to scale out, after which the spike ends.
    #[serde(default = "default_deadline")]
    pub deadline: Span,
}

impl Spike {
    /// A spike with the default deadline.
    pub const fn new(rate: Rate, hold: Span) -> Self {
        Self { rate, hold, deadline: default_deadline() }
    }
}

const fn default_hold() -> Span {
    Span::seconds(60)
}

const fn default_deadline() -> Span {
    Span::seconds(120)
}

impl Action for Spike {
    fn key(&self) -> &'static str {
        "spike"
    }

    fn name(&self) -> String {
        format!("spike of {}", self.rate)
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: vec![FaultName::Spike],
            evicts: false,
            changes: Some(Changed::Rate),
            rate: Some(self.rate),
            collector: None,
            deadline: Some(self.deadline),
            shortest: self.hold.duration(),
        }
    }

    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        rate(self.rate, &at.then("rate"))?;
        time(self.hold, &at.then("hold"))?;
        // With an HPA it lasts until that has scaled out.
        if !around.scenario.tier.has(Measure::Hpa) {
            some(self.hold, at, "hold")?;
        }
        let profile = "a `spike` changes load.rate, and load.profile takes its place";
        ensure(around.scenario.load.profile.is_empty(), at, profile)
            .map_err(|it| it.help("write the spike into the profile"))
    }
}
