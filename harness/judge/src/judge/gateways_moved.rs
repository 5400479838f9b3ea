//! The check `gateways-moved`: each drain moved a gateway. A drain that moved none has shown nothing.

use super::{Context, Finding, Verdict};
use crate::scenario::{FaultName, NodeRole, NodeSelector, Step, Targets};
use serde_json::json;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    let drain_of = |step: &Step| {
        let Step::Drain(drain) = step else { return None };
        Some(drain.nodes())
    };
    if !record.scenario.all_steps().any(|step| drain_of(step).is_some()) {
        return None;
    }
    // A scenario that drains any worker may meet one without a gateway.
    let must = |fault: &super::story::FaultStory| {
        let nodes = record.scenario.step_at(&fault.step).and_then(drain_of);
        !matches!(
            nodes,
            Some(Targets::Each(NodeSelector::Worker) | Targets::One(NodeRole::Random | NodeRole::This))
        )
    };
    let faults: Vec<_> = story.faults_called(&FaultName::Drain).collect();
    let moved = |fault: &super::story::FaultStory| {
        fault.gone.iter().filter(|pod| fault.gateways.contains(pod)).count()
    };
    let evidence = json!(
        faults
            .iter()
            .map(|fault| json!({
                "node": fault.target,
                "gateways": fault.gateways,
                "moved": moved(fault),
                "evictions_asked_for": fault.tries,
                "refused_by_the_budget": fault.refused,
            }))
            .collect::<Vec<_>>()
    );
    let none_moved =
        faults.iter().find(|fault| moved(fault) == 0 && (must(fault) || !fault.gateways.is_empty()));
    let total: usize = faults.iter().map(|fault| moved(fault)).sum();
    let ruling = if faults.is_empty() {
        (Verdict::Inconclusive, "no node was drained".to_owned())
    } else if let Some(fault) = none_moved {
        let why = fault.problem.as_deref().unwrap_or("no gateway was seen to go");
        // An eviction that was requested and not granted is the tier's fault; one that was never requested is not.
        let verdict =
            if fault.answered > 0 && !story.interrupted { Verdict::Fail } else { Verdict::Inconclusive };
        (verdict, format!("the drain of {} moved no gateway: {why}", fault.target))
    } else if total == 0 {
        (Verdict::Inconclusive, "no drain met a gateway".to_owned())
    } else {
        (Verdict::Pass, format!("{total} gateways were moved by {} drains", faults.len()))
    };
    Some(Finding::new(ruling, evidence))
}
