//! Was the tier seen to be well before anything was done to it?

use super::{Context, Finding, Verdict};
use serde_json::json;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let ruling = match &context.story.steady {
        Some(Ok(t)) => (Verdict::Pass, format!("well under load from {t:.1}s on, before the first step")),
        Some(Err(reason)) => (Verdict::Inconclusive, format!("not well before the first step: {reason}")),
        None => (Verdict::Inconclusive, "it was never looked at".to_owned()),
    };
    Some(Finding::new(ruling, json!({})))
}
