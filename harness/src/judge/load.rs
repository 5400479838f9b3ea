//! Was there as much load as the scenario asks for? Without it no other check says much.

use super::{Check, Story, Verdict};
use crate::record::Record;
use serde_json::json;
use spanproof_ledger::EmitterLedger;

pub(super) fn check(record: &Record, story: &Story) -> Option<Check> {
    let floor = record.scenario.load.floor.fraction() * story.asked_rate;
    let inconclusive = |reason: String| Some(Check::new("load", Verdict::Inconclusive, reason, json!({})));
    let Some((start, end)) = story.load else {
        return inconclusive("there was no load".to_owned());
    };
    if record.emitters.is_empty() || record.emitters.len() != record.environment.streams.len() {
        return inconclusive("emitters' ledgers are missing".to_owned());
    }
    // Before the first fault, and all of it.
    let first_fault = story.faults.first().map_or(end, |fault| fault.start);
    let before = achieved(record, start, first_fault);
    let (Some(before), Some(whole)) = (before, achieved(record, start, end)) else {
        return inconclusive("the load was too short to have a rate".to_owned());
    };
    let evidence = json!({
        "asked_per_s": story.asked_rate,
        "floor_per_s": floor,
        "before_the_first_fault_per_s": before.round(),
        "whole_per_s": whole.round(),
    });
    let asked = format!("of {:.0}/s asked for", story.asked_rate);
    let (verdict, reason) = if before < floor {
        (Verdict::Inconclusive, format!("only {before:.0}/s {asked} before the first fault: under the floor"))
    } else if whole < floor {
        (Verdict::Inconclusive, format!("only {whole:.0}/s {asked}: under the floor"))
    } else {
        (Verdict::Pass, format!("{whole:.0}/s {asked}"))
    };
    Some(Check::new("load", verdict, reason, evidence))
}

/// Spans per second of all emitters in a window of the run's clock; none if one has no two seconds in it.
fn achieved(record: &Record, from: f64, to: f64) -> Option<f64> {
    let began = record.began_unix_ms() as f64;
    record.emitters.iter().map(|emitter| rate(emitter, began + from * 1e3, began + to * 1e3)).sum()
}

/// From the first to the last second that begins in the window: a second that is missing counts as idle.
fn rate(emitter: &EmitterLedger, from_ms: f64, to_ms: f64) -> Option<f64> {
    let seconds: Vec<_> = emitter
        .emitted_by_second()
        .map(|(unix_ms, spans)| (unix_ms as f64, spans))
        .filter(|(unix_ms, _)| (from_ms..to_ms).contains(unix_ms))
        .collect();
    let (first, last) = (seconds.first()?.0, seconds.last()?.0);
    let spans: u64 = seconds[..seconds.len() - 1].iter().map(|(_, spans)| spans).sum();
    (last > first).then(|| spans as f64 / (last - first) * 1e3)
}
