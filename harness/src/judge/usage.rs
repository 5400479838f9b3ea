//! What was used in the steady part of a run: a measurement, not a check.

use super::{Story, rounded};
use crate::judge::story::UsageStory;
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

impl Usage {
    fn of(cores: f64, memory_mib: f64, throttled: f64) -> Self {
        Self { cores: rounded(cores), memory_mib: rounded(memory_mib), throttled: rounded(throttled) }
    }
}

/// By application; `harness` is this program itself. Empty where it could not be read.
pub(super) fn usage(story: &Story) -> BTreeMap<String, Usage> {
    let Some((start, end)) = story.load else { return BTreeMap::new() };
    // It is read every so often: the reading behind the load's end belongs to it.
    let behind = story.harness_usage.iter().map(|(t, _)| *t).find(|t| *t >= end);
    let end = behind.map_or(story.last, |t| t + 2.0);
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for ((pod, _), series) in &story.usage {
        let inside: Vec<&(f64, UsageStory)> =
            series.iter().filter(|(t, _)| (start..=end).contains(t)).collect();
        let (Some((from, first)), Some((to, last))) = (inside.first(), inside.last()) else { continue };
        let sum = sums.entry(pod.split('-').next().unwrap_or_default()).or_default();
        sum.cpu_s += (last.cpu_s - first.cpu_s).max(0.0);
        sum.periods += (last.periods - first.periods).max(0.0);
        sum.throttled += (last.throttled - first.throttled).max(0.0);
        (sum.from, sum.to) = (sum.from.min(*from), sum.to.max(*to));
        for (t, used) in inside {
            // The readings of one round are a moment apart.
            *sum.memory.entry((t / 5.0).round().to_bits()).or_default() += used.memory_bytes;
        }
    }
    let mut all: BTreeMap<String, Usage> =
        sums.iter().filter_map(|(app, sum)| Some(((*app).to_owned(), sum.usage()?))).collect();
    let own: Vec<&(f64, f64)> =
        story.harness_usage.iter().filter(|(t, _)| (start..=end).contains(t)).collect();
    if let (Some((from, first)), Some((to, last))) = (own.first(), own.last())
        && to > from
    {
        all.insert("harness".to_owned(), Usage::of((last - first) / (to - from), 0.0, 0.0));
    }
    all
}

/// What an application's containers used between the first and the last reading of any of them.
struct Sum {
    cpu_s: f64,
    periods: f64,
    throttled: f64,
    from: f64,
    to: f64,
    /// By round of readings: bytes of all containers.
    memory: BTreeMap<u64, f64>,
}

impl Default for Sum {
    fn default() -> Self {
        let (from, to) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { cpu_s: 0.0, periods: 0.0, throttled: 0.0, from, to, memory: BTreeMap::new() }
    }
}

impl Sum {
    fn usage(&self) -> Option<Usage> {
        let seconds = self.to - self.from;
        let memory = self.memory.values().copied().fold(0.0, f64::max) / 1_048_576.0;
        let throttled = if self.periods > 0.0 { self.throttled / self.periods } else { 0.0 };
        (seconds > 0.0).then(|| Usage::of(self.cpu_s / seconds, memory, throttled))
    }
}
