//! The check `steady-state`: the tier was seen to be well before the first step.

use super::{Context, Finding, Verdict};
use serde_json::json;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let ruling = match &context.story.steady {
        Some(Ok(t)) => (Verdict::Pass, format!("well under load from {t:.1}s on, before the first step")),
        Some(Err(reason)) => (Verdict::Inconclusive, format!("not well before the first step: {reason}")),
        None => (Verdict::Inconclusive, "the steady state was never checked".to_owned()),
    };
    Some(Finding::new(ruling, json!({})))
}
