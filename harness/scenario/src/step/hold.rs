//! The step `hold`.

use super::{Action, Surroundings, Traits};
use crate::field_path::ensure;
use crate::limits::time;
use crate::{FieldPath, Problem, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The time for which nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("examples" = ["30s"]))]
pub struct Hold(pub Span);

impl Action for Hold {
    fn key(&self) -> &'static str {
        "hold"
    }

    fn name(&self) -> String {
        format!("hold {}", self.0)
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: Vec::new(),
            evicts: false,
            changes: None,
            rate: None,
            collector: None,
            deadline: None,
            shortest: self.0.duration(),
        }
    }

    fn check(&self, _around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        time(self.0, at)?;
        let does = !self.0.duration().is_zero();
        ensure(does, at, "it does nothing").map_err(|problem| problem.help("leave the step out"))
    }
}
