//! Faults planted by hand into recorded runs.

use crate::folders::{Ledger, RUNS, folder, resealed, unsealed};
use spanproof_judge::record::{Entry, Event, Record};
use spanproof_judge::world::{Budget, Object};
use spanproof_judge::{Check, Judgement, Verdict, judge};
use spanproof_ledger::{Metrics, MetricsRecord, SinkLedger, SinkRecord, log};
use std::sync::OnceLock;

/// The check of that name.
pub(crate) fn check<'a>(judgement: &'a Judgement, name: &str) -> &'a Check {
    judgement.checks.iter().find(|check| check.name.as_str() == name).unwrap()
}

/// Numbers the lines anew, as if the record had been so from the beginning.
pub(crate) fn renumber(record: &mut Record) {
    record.timeline.sort_by(|a, b| a.t.total_cmp(&b.t));
    for (n, entry) in (0..).zip(&mut record.timeline) {
        entry.n = n;
    }
}

/// The record with these events as well, at that moment.
pub(crate) fn with(record: &Record, t: f64, events: impl IntoIterator<Item = Event>) -> Record {
    let mut record = record.clone();
    let at = record.timeline.partition_point(|entry| entry.t <= t);
    let entries = events.into_iter().map(|event| Entry { n: 0, t, event });
    record.timeline.splice(at..at, entries);
    renumber(&mut record);
    record
}

/// Changes every pod, budget or autoscaler as it was seen.
pub(crate) fn altered(record: &Record, mut change: impl FnMut(f64, &str, &mut Object)) -> Record {
    let mut record = record.clone();
    for entry in &mut record.timeline {
        if let Event::Seen { name, object } = &mut entry.event {
            change(entry.t, name, object);
        }
    }
    record
}

pub(crate) fn budgets(record: &Record, change: impl Fn(f64, &mut Budget)) -> Record {
    altered(record, |t, _, object| {
        if let Object::PodDisruptionBudget(budget) = object {
            change(t, budget);
        }
    })
}

/// An object is like this.
pub(crate) fn seen(name: &str, object: Object) -> Event {
    Event::Seen { name: name.to_owned(), object }
}

/// A recorded run, read once.
pub(crate) fn recorded(name: &str) -> Record {
    static READ: OnceLock<Vec<(&'static str, Record)>> = OnceLock::new();
    let all = READ.get_or_init(|| RUNS.map(|name| (name, Record::read(&folder(name)).unwrap())).into());
    all.iter().find(|(other, _)| *other == name).unwrap().1.clone()
}

/// The checks that are not passed are these, and the first of them says this.
#[track_caller]
pub(crate) fn only(record: &Record, names: &[&str], verdict: Verdict, says: &str) {
    let judgement = judge(record);
    let others: Vec<_> = judgement.checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    let found: Vec<&str> = others.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(found, names, "{others:#?}");
    assert_eq!(judgement.verdict, verdict, "{others:#?}");
    let first = check(&judgement, names[0]);
    assert_eq!(first.verdict, verdict, "{first:#?}");
    assert!(first.reason.contains(says), "{}", first.reason);
}

/// The check of that name comes to this, and says that.
#[track_caller]
pub(crate) fn says(record: &Record, name: &str, verdict: Verdict, says: &str) -> Check {
    let check = check(&judge(record), name).clone();
    assert_eq!(check.verdict, verdict, "{check:#?}");
    assert!(check.reason.contains(says), "{}", check.reason);
    check
}

/// The moment of the first event like this.
pub(crate) fn when(record: &Record, wanted: impl Fn(&Event) -> bool) -> f64 {
    record.timeline.iter().find(|entry| wanted(&entry.event)).unwrap().t
}

pub(crate) fn is_fault_start(event: &Event) -> bool {
    matches!(event, Event::FaultStarted { .. })
}

/// The records of a file of a recorded run.
pub(crate) fn records<R: log::Record>(run: &str, file: &str) -> Vec<R> {
    log::decode(&std::fs::read(folder(run).join(file)).unwrap()).unwrap().records
}

/// The sink's ledger with its records changed, and a seal that agrees with them.
pub(crate) fn sink(run: &str, change: impl Fn(&mut Vec<SinkRecord>)) -> SinkLedger {
    SinkLedger::from_records(&changed(run, "ledgers/sink-0.ledger", change)).unwrap()
}

/// The metrics with their records changed, and a seal that agrees with them.
pub(crate) fn metrics(run: &str, change: impl Fn(&mut Vec<MetricsRecord>)) -> Metrics {
    Metrics::from_records(&changed(run, "metrics.log", change)).unwrap()
}

fn changed<R: Ledger>(run: &str, file: &str, change: impl Fn(&mut Vec<R>)) -> Vec<R> {
    let mut records = records::<R>(run, file);
    unsealed(change)(&mut records);
    resealed(records)
}
