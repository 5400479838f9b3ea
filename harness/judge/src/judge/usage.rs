//! The resources used while load was offered: a measurement, not a check.

use super::{Story, rounded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The resources that an application's containers used together while load was offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processors, on average.
    pub cores: f64,
    /// Memory that could not be taken from them, at most, in MiB.
    pub memory_mib: f64,
    /// The share of their periods in which they ran into a limit.
    pub throttled: f64,
}

impl Usage {
    fn of(cores: f64, memory_mib: f64, throttled: f64) -> Self {
        Self { cores: rounded(cores), memory_mib: rounded(memory_mib), throttled: rounded(throttled) }
    }
}

/// Returns the usage by application; `harness` is this program itself. Empty where it could not be read.
///
/// It is counted from the last round of readings before the load began to the first after its end. A container that is first
/// seen in between began in between, with nothing used.
pub(super) fn usage(story: &Story) -> BTreeMap<String, Usage> {
    let Some((start, end)) = story.load else { return BTreeMap::new() };
    // A round begins with the harness's own reading.
    let rounds = story.harness_usage.iter().map(|(t, _)| *t);
    let from = rounds.clone().rfind(|t| *t <= start).or_else(|| rounds.clone().next());
    let to = rounds.clone().find(|t| *t >= end).or_else(|| rounds.clone().next_back());
    let (Some(from), Some(to)) = (from, to) else { return BTreeMap::new() };
    let seconds = to - from;
    if seconds <= 0.0 {
        return BTreeMap::new();
    }
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for ((pod, _), series) in &story.usage {
        let inside = || series.iter().filter(|(t, _)| (from..to + ROUND).contains(t));
        let mut before =
            inside().next().filter(|(t, _)| *t < from + ROUND).map(|(_, used)| *used).unwrap_or_default();
        let sum = sums.entry(pod.split('-').next().unwrap_or_default()).or_default();
        for (t, used) in inside() {
            sum.cpu_s += increase(before.cpu_s, used.cpu_s);
            sum.periods += increase(before.periods, used.periods);
            sum.throttled += increase(before.throttled, used.throttled);
            before = *used;
            // The readings of one round are a moment apart.
            *sum.memory.entry((t / ROUND).round().to_bits()).or_default() += used.memory_bytes;
        }
    }
    let mut all: BTreeMap<String, Usage> =
        sums.iter().map(|(app, sum)| ((*app).to_owned(), sum.usage(seconds))).collect();
    let own = |t: f64| story.harness_usage.iter().find(|(at, _)| *at >= t).map_or(0.0, |(_, used)| *used);
    all.insert("harness".to_owned(), Usage::of((own(to) - own(from)) / seconds, 0.0, 0.0));
    all
}

/// The increase of a counter from one reading to the next: a restarted container counts from 0 again.
fn increase(before: f64, now: f64) -> f64 {
    if now >= before { now - before } else { now }
}

/// The length of a round of readings, in seconds.
const ROUND: f64 = 5.0;

/// The sums over an application's containers.
#[derive(Default)]
struct Sum {
    cpu_s: f64,
    periods: f64,
    throttled: f64,
    /// By round of readings: bytes of all containers.
    memory: BTreeMap<u64, f64>,
}

impl Sum {
    fn usage(&self, seconds: f64) -> Usage {
        let memory = self.memory.values().copied().fold(0.0, f64::max) / 1_048_576.0;
        let throttled = if self.periods > 0.0 { self.throttled / self.periods } else { 0.0 };
        Usage::of(self.cpu_s / seconds, memory, throttled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_container_counts_from_zero_again() {
        let readings = [3.0, 3.5, 0.2, 0.9];
        let sum: f64 = readings.windows(2).map(|pair| increase(pair[0], pair[1])).sum();
        assert!((sum - 1.4).abs() < 1e-9, "{sum}");
    }
}
