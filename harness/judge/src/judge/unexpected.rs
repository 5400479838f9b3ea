//! The check `unexpected`: nothing arrived that no emitter of this run sent, and nothing was damaged.

use super::{Context, Finding, Verdict, emitters_incomplete, grouped, sinks_incomplete};
use serde_json::json;
use spanproof_ledger::SinkLedger;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, account, .. } = context;
    let counts = account.counts;
    let sum = |part: fn(&SinkLedger) -> u64| record.sinks.iter().map(part).fold(0, u64::saturating_add);
    let (foreign, damaged) = (sum(SinkLedger::foreign), sum(SinkLedger::damaged));
    let evidence = json!({
        "unexpected": counts.unexpected,
        "foreign": foreign,
        "damaged": damaged,
        "never_reserved": counts.unexpected.saturating_sub(foreign.saturating_add(damaged)),
    });
    // An emitter's reservations are known only when its ledger is whole.
    let incomplete = emitters_incomplete(record).or_else(|| sinks_incomplete(record));
    let ruling = if let Some(incomplete) = incomplete {
        (Verdict::Inconclusive, incomplete)
    } else if counts.delivered == 0 {
        (Verdict::Inconclusive, "nothing arrived".to_owned())
    } else if counts.unexpected > 0 {
        let unexpected = grouped(counts.unexpected);
        (Verdict::Fail, format!("{unexpected} spans arrived that no emitter of this run sent, or damaged"))
    } else {
        (Verdict::Pass, format!("each of {} delivered spans was sent by this run", grouped(counts.delivered)))
    };
    Some(Finding::new(ruling, evidence))
}
