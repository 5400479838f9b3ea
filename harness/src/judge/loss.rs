//! Was every acknowledged span delivered? Each that was not is named, with the step that it was sent in
//! and the hop that it was lost at.

use super::{Check, Story, Verdict, grouped};
use crate::record::{Record, SettleEnd};
use serde_json::{Value, json};
use spanproof_ledger::{Account, EmitterLedger, Range, Stream};
use std::collections::BTreeMap;

/// So many lost ranges are named in the evidence; the ledgers have all of them.
const NAMED: usize = 10_000;

pub(super) fn check(record: &Record, story: &Story, account: &Account) -> Option<Check> {
    let evidence = evidence(record, story, account);
    let counts = account.counts;
    let (verdict, reason) = match assumption_broken(record, story, account) {
        Some(reason) => (Verdict::Inconclusive, reason),
        None if counts.lost > 0 => (Verdict::Fail, reason(record, story, account)),
        None => (
            Verdict::Pass,
            format!(
                "all {} acknowledged spans were delivered ({} more than once)",
                grouped(counts.acknowledged),
                grouped(counts.duplicated)
            ),
        ),
    };
    Some(Check::new("loss", verdict, reason, evidence))
}

fn assumption_broken(record: &Record, story: &Story, account: &Account) -> Option<String> {
    let expected = record.environment.streams.len();
    if record.emitters.len() != expected || expected == 0 {
        return Some(format!("{} of {expected} emitters' ledgers are there", record.emitters.len()));
    }
    if let Some(open) = record.emitters.iter().find(|emitter| emitter.seal().is_none()) {
        return Some(format!("the ledger of stream {} is not sealed", open.stream()));
    }
    if record.sinks.is_empty() || record.sinks.iter().any(|sink| sink.seal().is_none()) {
        return Some("the sink's ledger is missing, or not sealed".to_owned());
    }
    let tags = record
        .emitters
        .iter()
        .map(EmitterLedger::run_tag)
        .chain(record.sinks.iter().map(spanproof_ledger::SinkLedger::run_tag));
    let tags: std::collections::BTreeSet<u64> = tags.collect();
    if tags.len() != 1 {
        return Some("the ledgers are of different runs".to_owned());
    }
    if account.counts.acknowledged == 0 {
        return Some("no span was acknowledged".to_owned());
    }
    match story.settled {
        Some((SettleEnd::Complete | SettleEnd::Quiet, ..)) => None,
        Some((SettleEnd::Deadline, outstanding, _)) => Some(format!(
            "{} spans had not arrived at the deadline, and more may have been on its way",
            grouped(outstanding)
        )),
        Some((SettleEnd::Interrupted, ..)) | None => Some("the rest was not waited for".to_owned()),
    }
}

/// Each lost range with the moment (seconds on the run's clock) that it was first sent.
fn lost<'a>(
    record: &'a Record,
    account: &'a Account,
) -> impl Iterator<Item = (Stream, Range, Option<f64>)> + 'a {
    let began = record.began_unix_ms() as f64;
    account.streams.iter().flat_map(move |(stream, account)| {
        account.lost.iter().map(move |range| {
            let emitter = record.emitters.iter().find(|emitter| emitter.stream() == *stream);
            let sent = emitter.and_then(|emitter| emitter.emitted_at(range.start));
            (*stream, range, sent.map(|unix_ms| (unix_ms as f64 - began) / 1e3))
        })
    })
}

fn step(story: &Story, sent: Option<f64>) -> String {
    sent.map_or_else(|| "an unknown step".to_owned(), |t| story.step_at(t))
}

fn reason(record: &Record, story: &Story, account: &Account) -> String {
    let mut by_step: BTreeMap<String, u64> = BTreeMap::new();
    for (_, range, sent) in lost(record, account) {
        let during = sent.map_or_else(|| "at an unknown moment".to_owned(), |t| story.during(t));
        *by_step.entry(during).or_default() += range.count();
    }
    let by_step: Vec<_> =
        by_step.iter().map(|(during, spans)| format!("{} sent {during}", grouped(*spans))).collect();
    let first = lost(record, account).next();
    let first = first.map_or_else(String::new, |(stream, range, _)| {
        let node = record.environment.streams.get(&stream).map_or("?", String::as_str);
        format!("; the first: {range} of stream {stream} ({node})")
    });
    format!(
        "{} of {} acknowledged spans never arrived (vanished between agent and backend): {}{first}",
        grouped(account.counts.lost),
        grouped(account.counts.acknowledged),
        by_step.join(", ")
    )
}

fn evidence(record: &Record, story: &Story, account: &Account) -> Value {
    let ranges: Vec<Value> = lost(record, account)
        .take(NAMED)
        .map(|(stream, range, sent)| {
            json!({
                "stream": stream,
                "node": record.environment.streams.get(&stream),
                "first": range.start,
                "last": range.end - 1,
                "sent": sent,
                "step": step(story, sent),
                // No sink refuses anything yet: what did not arrive went between agent and backend.
                "hop": "vanished between agent and backend",
            })
        })
        .collect();
    let all: usize = account.streams.values().map(|stream| stream.lost.ranges()).sum();
    json!({
        "lost": account.counts.lost,
        "lost_ranges": ranges,
        "lost_ranges_not_named": all.saturating_sub(NAMED),
        "settled": story.settled.map(|(end, ..)| end),
        "worst_retry_pause_s": story.settled.map(|(.., pause)| pause),
    })
}
