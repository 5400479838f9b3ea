//! The Collectors' metrics: counters continue to grow, gauges stay.

use super::{Extension, LATER_MS, TIMES, WINDOW_S};
use spanproof_ledger::MetricsRecord;
use std::collections::BTreeMap;

/// Parts of the names of gauges.
const GAUGES: [&str; 4] = ["queue_size", "queue_capacity", "in_flight", "memory_rss"];

pub(super) fn extend(extension: &Extension, records: &[MetricsRecord]) -> Vec<MetricsRecord> {
    let cut_ms = extension.cut_ms(&extension.environment["sink_node"]);
    let window_ms = WINDOW_S * 1_000;
    let unix_ms = |record: &MetricsRecord| match record {
        MetricsRecord::Scraped { unix_ms, .. } | MetricsRecord::Silent { unix_ms, .. } => Some(*unix_ms),
        _ => None,
    };
    let cut = records.iter().position(|record| unix_ms(record).is_some_and(|at| at >= cut_ms));
    let (before, after) = records.split_at(cut.unwrap_or(records.len()));
    let growth = growth(before, cut_ms - window_ms);
    let window: Vec<_> =
        before.iter().filter(|record| unix_ms(record).is_some_and(|at| at >= cut_ms - window_ms)).collect();
    let mut all = before.to_vec();
    all.extend(
        (1..=TIMES)
            .flat_map(|time| window.iter().map(|record| later(record, time, &growth)).collect::<Vec<_>>()),
    );
    for record in after {
        match record {
            MetricsRecord::Sealed { .. } => all.push(MetricsRecord::Sealed { records: all.len() as u64 }),
            other => all.push(later(other, TIMES, &growth)),
        }
    }
    all
}

/// (process, metric) → its increase from `since_ms` to the end.
fn growth(records: &[MetricsRecord], since_ms: u64) -> BTreeMap<(u16, u16), f64> {
    let mut gauges = Vec::new();
    let (mut first, mut last) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        match record {
            MetricsRecord::Metric { id, name } if GAUGES.iter().any(|gauge| name.contains(gauge)) => {
                gauges.push(*id);
            }
            MetricsRecord::Scraped { unix_ms, target, values } => {
                for (metric, value) in values.iter().filter(|(metric, _)| !gauges.contains(metric)) {
                    if *unix_ms < since_ms {
                        first.insert((*target, *metric), *value);
                    }
                    last.insert((*target, *metric), *value);
                }
            }
            _ => {}
        }
    }
    last.into_iter().map(|(of, value)| (of, value - first.get(&of).copied().unwrap_or(0.0))).collect()
}

/// A record, shifted by a number of windows.
fn later(record: &MetricsRecord, windows: u64, growth: &BTreeMap<(u16, u16), f64>) -> MetricsRecord {
    debug_assert!(windows * WINDOW_S * 1_000 <= LATER_MS);
    let mut record = record.clone();
    let later_ms = windows * WINDOW_S * 1_000;
    match &mut record {
        MetricsRecord::Scraped { unix_ms, target, values } => {
            *unix_ms += later_ms;
            for (metric, value) in values {
                *value += windows as f64 * growth.get(&(*target, *metric)).copied().unwrap_or(0.0);
            }
        }
        MetricsRecord::Silent { unix_ms, .. } => *unix_ms += later_ms,
        _ => {}
    }
    record
}
