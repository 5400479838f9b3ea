//! Queues that did not grow or come down, planted in recorded runs.

use crate::planted::{metrics, only, recorded, when};
use spanproof_judge::Verdict;
use spanproof_judge::record::Event;
use spanproof_ledger::{Metrics, MetricsRecord};

const SIZE: &str = "otelcol_exporter_queue_size";

/// Changes each value of the queues' sizes, with its moment.
fn sizes(run: &str, change: impl Fn(u64, &mut f64)) -> Metrics {
    metrics(run, |records| {
        let number = records.iter().find_map(|record| match record {
            MetricsRecord::Metric { id, name } if name == SIZE => Some(*id),
            _ => None,
        });
        let number = number.unwrap();
        for record in records {
            if let MetricsRecord::Scraped { unix_ms, values, .. } = record {
                values
                    .iter_mut()
                    .filter(|(id, _)| *id == number)
                    .for_each(|(_, value)| change(*unix_ms, value));
            }
        }
    })
}

#[test]
fn an_outage_that_no_queue_felt_has_shown_nothing() {
    let mut record = recorded("agent-upgrade");
    record.metrics = Some(sizes("agent-upgrade", |_, value| *value = value.min(10.0)));
    only(&record, &["queues"], Verdict::Inconclusive, "did not grow while the backend took nothing");
}

#[test]
fn a_queue_that_came_down_too_late_is_red() {
    let mut record = recorded("agent-upgrade");
    record.scenario.expect.queues_empty_within = "0s".parse().unwrap();
    only(&record, &["queues"], Verdict::Fail, "to come down; the limit is 0s");
}

#[test]
fn a_queue_that_is_not_empty_at_the_end_is_red() {
    let mut record = recorded("two-drains");
    let end = when(&record, |event| *event == Event::LoadStopped);
    let end = record.unix_ms(&record.environment.sink_node, end);
    record.metrics = Some(sizes("two-drains", |t, value| {
        if t > end {
            *value = 5.0;
        }
    }));
    only(&record, &["queues"], Verdict::Fail, "still held 5 at the end");
}

#[test]
fn metrics_that_are_missing_or_break_off_say_nothing() {
    let mut record = recorded("two-drains");
    record.metrics = None;
    only(&record, &["queues"], Verdict::Inconclusive, "missing, or not sealed");
    let end = when(&record, |event| *event == Event::LoadStopped);
    let end = record.unix_ms(&record.environment.sink_node, end - 10.0);
    record.metrics = Some(metrics("two-drains", |records| {
        records.retain(|record| !matches!(record, MetricsRecord::Scraped { unix_ms, .. } if *unix_ms > end));
    }));
    only(&record, &["queues"], Verdict::Inconclusive, "it is not known what the queue on");
}
