//! The check `faults`: each fault was seen to have its effect, and to be undone.

use super::{Context, Finding, Story, Verdict};
use crate::world::Kind;
use serde_json::json;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    if !Story::was_to_do_something(record) {
        return None;
    }
    let problem = |fault: &super::story::FaultStory| fault.problem.clone().unwrap_or_default();
    let evidence = json!(
        story
            .faults
            .iter()
            .map(|fault| json!({
                "fault": fault.name,
                "target": fault.target,
                "landed": fault.landed,
                "healed": fault.healed,
                "problem": fault.problem,
            }))
            .collect::<Vec<_>>()
    );
    let not_landed = story.faults.iter().find(|fault| !fault.landed);
    let not_healed = story.faults.iter().find(|fault| !fault.healed);
    let ruling = if story.interrupted {
        (Verdict::Inconclusive, "the run was interrupted".to_owned())
    } else if story.faults.is_empty() {
        (Verdict::Inconclusive, "no fault was carried out".to_owned())
    } else if let Some(fault) = not_landed {
        (
            Verdict::Inconclusive,
            format!("{} of {} was not seen to land: {}", fault.name, fault.target, problem(fault)),
        )
    } else if let Some(fault) = not_healed {
        let what = format!("{} of {}", fault.name, fault.target);
        let unseen = story.gap(&[Kind::Pod, Kind::Node], fault.start, fault.over());
        match unseen.or_else(|| fault.blind.then(|| problem(fault))) {
            Some(why) => (Verdict::Inconclusive, format!("the outcome of {what} was not seen: {why}")),
            None => (Verdict::Fail, format!("after {what} the tier did not recover: {}", problem(fault))),
        }
    } else if let Some(missing) = story.step_missing(record) {
        (Verdict::Inconclusive, missing)
    } else {
        (Verdict::Pass, format!("{} landed, and healed", story.faults.len()))
    };
    Some(Finding::new(ruling, evidence))
}
