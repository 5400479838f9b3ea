//! Did anything arrive that no emitter of this run sent?

use super::{Check, Verdict, grouped, sinks_untold};
use crate::record::Record;
use serde_json::json;
use spanproof_ledger::Account;

pub(super) fn check(record: &Record, account: &Account) -> Option<Check> {
    let counts = account.counts;
    let foreign: u64 = record.sinks.iter().map(spanproof_ledger::SinkLedger::foreign).sum();
    let damaged: u64 = record.sinks.iter().map(spanproof_ledger::SinkLedger::damaged).sum();
    let evidence = json!({
        "unexpected": counts.unexpected,
        "foreign": foreign,
        "damaged": damaged,
        "never_reserved": counts.unexpected - foreign - damaged,
    });
    let sealed = sinks_untold(record).is_none();
    let complete = record.emitters.len() == record.environment.streams.len();
    let (verdict, reason) = if !sealed || !complete || counts.delivered == 0 {
        (Verdict::Inconclusive, "ledgers are missing or not sealed, or nothing arrived".to_owned())
    } else if counts.unexpected > 0 {
        let unexpected = grouped(counts.unexpected);
        (Verdict::Fail, format!("{unexpected} spans arrived that no emitter of this run sent, or damaged"))
    } else {
        (Verdict::Pass, format!("each of {} delivered spans was sent by this run", grouped(counts.delivered)))
    };
    Some(Check::new("unexpected", verdict, reason, evidence))
}
