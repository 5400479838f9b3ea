//! Were there ever fewer ready gateways than the PDB's manifest asks for?

use super::{Check, Story, Verdict};
use crate::record::Record;
use serde_json::json;

pub(super) fn check(record: &Record, story: &Story) -> Option<Check> {
    let minimum = record.environment.pdb_minimum as usize;
    let inconclusive =
        |reason: &str| Some(Check::new("ready-gateways", Verdict::Inconclusive, reason, json!({})));
    let Some((start, end)) = story.load else {
        return inconclusive("there was no load");
    };
    if minimum == 0 {
        return inconclusive("the PDB's manifest asks for no minimum");
    }
    if Story::was_to_do_something(record) && story.faults.is_empty() {
        return inconclusive("no fault was carried out");
    }
    let Some((fewest, since)) = story.fewest_ready(start, end) else {
        return inconclusive("the gateways were not watched from the beginning of the load");
    };
    let gaps: Vec<_> = story.gaps.iter().filter(|(from, to)| *from < end && *to > start).collect();
    let evidence = json!({
        "minimum": minimum,
        "fewest": fewest,
        "since": since,
        "step": story.step_at(since),
        "gaps_of_the_watch": gaps,
    });
    let (verdict, reason) = if let Some((from, to)) = gaps.first() {
        (Verdict::Inconclusive, format!("nobody saw the gateways from {from:.1}s to {to:.1}s"))
    } else if fewest < minimum {
        let during = story.during(since);
        (Verdict::Fail, format!("{fewest} ready gateways at {since:.1}s, {during}; the minimum is {minimum}"))
    } else {
        (Verdict::Pass, format!("never fewer than {fewest}; the minimum is {minimum}"))
    };
    Some(Check::new("ready-gateways", verdict, reason, evidence))
}
