//! Were there always enough ready gateways, and did deliveries never stop for too long? Two series.

use super::{Check, Story, Verdict, rounded};
use crate::record::Record;
use crate::world::Kind;
use serde_json::json;

pub(super) fn check(record: &Record, story: &Story) -> Option<Check> {
    let minimum = record.environment.pdb_minimum as usize;
    let inconclusive =
        |reason: &str| Some(Check::new("availability", Verdict::Inconclusive, reason, json!({})));
    let Some((start, end)) = story.load else {
        return inconclusive("there was no load");
    };
    if minimum == 0 {
        return inconclusive("the PDB's manifest asks for no minimum");
    }
    if Story::was_to_do_something(record) && story.faults.is_empty() {
        return inconclusive("no fault was carried out");
    }
    if let Some(gap) = story.gap(&[Kind::Pod], start, end) {
        return inconclusive(&gap);
    }
    let Some(ready) = story.ready_within("gateway", start, end) else {
        return inconclusive("the gateways were not watched from the beginning of the load");
    };
    let fewest = ready.iter().min_by_key(|(_, ready)| *ready).copied();
    let (since, fewest) = fewest.unwrap_or_default();
    let gap = delivery_gap(record, story);
    let longest = gap.map_or_else(
        || "how long deliveries paused is not known".to_owned(),
        |(from, to)| format!("the longest pause between deliveries was {:.1}s", to - from),
    );
    let limit = record.scenario.expect.delivery_gap.map(|limit| limit.duration().as_secs_f64());
    let evidence = json!({
        "minimum": minimum,
        "fewest": fewest,
        "since": since,
        "step": story.step_at(since),
        "ready": ready,
        "delivery_gap_s": gap.map(|(from, to)| rounded(to - from)),
        "delivery_gap": gap.map(|(from, to)| [rounded(from), rounded(to)]),
        "delivery_gap_limit_s": limit,
        "pauses": pauses(record).take(200).map(|(from, to)| [rounded(from), rounded(to)]).collect::<Vec<_>>(),
    });
    let (verdict, reason) = if fewest < minimum {
        let during = story.during(since);
        (Verdict::Fail, format!("{fewest} ready gateways at {since:.1}s, {during}; the minimum is {minimum}"))
    } else if let (Some(limit), None) = (limit, gap) {
        (Verdict::Inconclusive, format!("no delivery is on record, so not whether one came every {limit}s"))
    } else if let (Some(limit), Some((from, to))) = (limit, gap)
        && to - from > limit
    {
        let during = story.during(from);
        (Verdict::Fail, format!("no delivery from {from:.1}s to {to:.1}s, {during}: longer than {limit}s"))
    } else {
        let never = format!("never fewer than {fewest} ready gateways; the minimum is {minimum}");
        (Verdict::Pass, format!("{never}; {longest}"))
    };
    Some(Check::new("availability", verdict, reason, evidence))
}

/// Every pause between two deliveries that was long enough to be remembered, on the run's clock.
fn pauses(record: &Record) -> impl Iterator<Item = (f64, f64)> {
    let moment = |unix_ms| record.moment(&record.environment.sink_node, unix_ms);
    let all = record.sinks.iter().flat_map(spanproof_ledger::SinkLedger::pauses);
    all.map(move |(from, to)| (moment(*from), moment(*to)))
}

/// The longest time without a delivery while the tier was steady and load was offered, on the run's clock;
/// none if there is not exactly one sink with a sealed ledger, which tells.
fn delivery_gap(record: &Record, story: &Story) -> Option<(f64, f64)> {
    let [sink] = record.sinks.as_slice() else { return None };
    sink.seal()?;
    let (start, end) = story.load?;
    let start = story.steady_at().unwrap_or(start);
    let last = record.moment(&record.environment.sink_node, sink.last_delivery_ms());
    let clipped = pauses(record).chain([(last, end)]).map(|(from, to)| (from.max(start), to.min(end)));
    let real = clipped.filter(|(from, to)| from < to);
    // Without a pause that was long enough to be remembered, none was longer than that.
    let none = (start, start + spanproof_ledger::PAUSE_MS as f64 / 1e3);
    Some(real.max_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))).unwrap_or(none))
}
