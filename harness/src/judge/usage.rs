//! What was used in the steady part of a run: a measurement, not a check.

use super::Story;
use crate::judge::story::Series;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an application's containers used together while load was offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processors, on average.
    pub cores: f64,
    /// Memory that could not be taken from them, at most, in MiB.
    pub memory_mib: f64,
    /// The share of their periods in which they ran into a limit.
    pub throttled: f64,
}

/// By application; `harness` is this program itself. Empty where it could not be read.
pub(super) fn usage(story: &Story) -> BTreeMap<String, Usage> {
    // It is read every so often: the reading behind the load's end belongs to it.
    let Some((start, _)) = story.load else { return BTreeMap::new() };
    let end = story.last;
    let mut by_app: BTreeMap<String, (Usage, f64, f64)> = BTreeMap::new();
    for ((pod, _), series) in &story.usage {
        let app = pod.split('-').next().unwrap_or_default();
        let Some((first, last, seconds)) = ends(series, start, end) else { continue };
        let (usage, periods, throttled) = by_app.entry(app.to_owned()).or_default();
        usage.cores += (last.cpu_s - first.cpu_s).max(0.0) / seconds;
        usage.memory_mib += last.memory_bytes / 1_048_576.0;
        *periods += (last.periods - first.periods).max(0.0);
        *throttled += (last.throttled - first.throttled).max(0.0);
    }
    let mut all: BTreeMap<String, Usage> = by_app
        .into_iter()
        .map(|(app, (usage, periods, throttled))| {
            (app, Usage { throttled: if periods > 0.0 { throttled / periods } else { 0.0 }, ..usage })
        })
        .collect();
    if let Some((first, last, seconds)) = ends(&story.harness_usage, start, end) {
        let cores = (last - first).max(0.0) / seconds;
        all.insert("harness".to_owned(), Usage { cores, ..Usage::default() });
    }
    all
}

/// The first and the last value in a window, and the seconds between them.
fn ends<T: Copy>(series: &Series<T>, start: f64, end: f64) -> Option<(T, T, f64)> {
    let inside: Vec<&(f64, T)> = series.iter().filter(|(t, _)| (start..=end).contains(t)).collect();
    let (first, last) = (inside.first()?, inside.last()?);
    let seconds = last.0 - first.0;
    (seconds > 0.0).then_some((first.1, last.1, seconds))
}
