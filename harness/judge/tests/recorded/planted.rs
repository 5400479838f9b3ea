//! Faults planted by hand into recorded runs.

use spanproof_judge::record::{Entry, Event, Record};
use spanproof_judge::world::{Budget, Object};
use spanproof_judge::{Check, Judgement};

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
    let behind = record.timeline.partition_point(|entry| entry.t <= t);
    let entries = events.into_iter().map(|event| Entry { n: 0, t, event });
    record.timeline.splice(behind..behind, entries);
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
