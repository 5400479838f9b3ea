//! Did the agents' queues grow when they had to, and were they empty again in time?

use super::{Check, Story, Verdict, rounded};
use crate::record::{Record, SettleEnd};
use serde_json::{Value, json};
use spanproof_ledger::{Metrics, Target};
use std::collections::BTreeMap;

const SIZE: &str = "otelcol_exporter_queue_size";
/// An answer that is older than this at the end, in milliseconds, says nothing about the end.
const FRESH_MS: u64 = 5_000;

pub(super) fn check(record: &Record, story: &Story) -> Option<Check> {
    let inconclusive = |reason: String| Some(Check::new("queues", Verdict::Inconclusive, reason, json!({})));
    let Some(metrics) = record.metrics.as_ref().filter(|metrics| metrics.sealed()) else {
        return inconclusive(
            "the log of the agents' metrics, metrics.log, is missing, or not sealed".to_owned(),
        );
    };
    let (Some((start, _)), Some(settled)) = (story.load, story.settled_at) else {
        return inconclusive("there was no load, or the rest was not waited for".to_owned());
    };
    let queues = Queues { record, story, by_node: by_node(record, story, metrics) };
    let unseen = record.environment.streams.values().find(|node| !queues.by_node.contains_key(node.as_str()));
    if let Some(node) = unseen {
        return inconclusive(format!("the agent on {node} never said how full its queue was"));
    }
    if matches!(story.settled, None | Some((SettleEnd::Interrupted, ..))) {
        return inconclusive("the rest was not waited for".to_owned());
    }
    let mut reasons = Vec::new();
    let mut felt = Vec::new();
    for outage in outages(record, story) {
        match queues.outage(&outage) {
            Ok((reason, evidence)) => {
                reasons.push(reason);
                felt.push(evidence);
            }
            Err((verdict, reason)) => {
                return Some(Check::new("queues", verdict, reason, json!({"outages": felt})));
            }
        }
    }
    let evidence =
        json!({"outages": felt, "at_the_end": queues.at(settled), "highest": queues.highest(start, settled)});
    let (verdict, reason) = queues.at_the_end(settled).unwrap_or_else(|| {
        reasons.push("empty at the end".to_owned());
        (Verdict::Pass, reasons.join("; "))
    });
    Some(Check::new("queues", verdict, reason, evidence))
}

/// A time in which the backend took nothing and every agent kept what it had.
pub(super) struct Outage {
    pub(super) start: f64,
    pub(super) end: f64,
    /// When the backend took everything again: another fault of it may have followed at once.
    pub(super) well: f64,
}

/// The outages, in order. Faults of the backend that follow each other at once are one trouble.
pub(super) fn outages(record: &Record, story: &Story) -> Vec<Outage> {
    let mut outages: Vec<Outage> = Vec::new();
    for (told, fault) in story.backend_faults(record) {
        let well = fault.over();
        match outages.last_mut().filter(|last| fault.start <= last.well) {
            Some(last) => {
                last.well = well;
                if told.is_outage() {
                    last.end = well;
                }
            }
            None if told.is_outage() => outages.push(Outage { start: fault.start, end: well, well }),
            None => {}
        }
    }
    outages
}

/// The last moment up to another one at which every agent's queue was seen to be empty.
pub(super) fn seen_empty(record: &Record, story: &Story, until: f64) -> Option<f64> {
    let metrics = record.metrics.as_ref()?;
    let (start, _) = story.load?;
    let queues = Queues { record, story, by_node: by_node(record, story, metrics) };
    let known = record.environment.streams.values().all(|node| queues.by_node.contains_key(node.as_str()));
    let empty = |t: &f64| queues.at(*t).values().all(|size| size.is_some_and(|size| size < 0.5));
    let seconds = std::iter::successors(Some(until), |t| Some(t - 1.0)).take_while(|t| *t >= start);
    if known { seconds.take(LOOKS).find(empty) } else { None }
}

/// So many seconds are looked through for an empty queue.
const LOOKS: usize = 600;

/// The processes that answered, by the node whose agent each was: one that was replaced has another address.
fn by_node<'a>(record: &Record, story: &Story, metrics: &'a Metrics) -> BTreeMap<String, Vec<&'a Target>> {
    let mut by_node: BTreeMap<String, Vec<&Target>> = BTreeMap::new();
    let pods = || story.pods.get("agent").into_iter().flatten().flat_map(|(_, pods)| pods);
    for target in metrics.of("agent") {
        let node = pods().find(|(_, pod)| pod.ip == target.address).map(|(_, pod)| pod.node.clone());
        if let Some(node) = node.filter(|node| record.environment.streams.values().any(|other| other == node))
        {
            by_node.entry(node).or_default().push(target);
        }
    }
    by_node
}

/// The one of a node's processes that answered last, and when.
fn latest<'a>(targets: &[&'a Target], until: u64) -> Option<(&'a Target, u64)> {
    let last = |target: &'a Target| {
        let behind = target.answered.partition_point(|at| *at <= until);
        Some((target, *target.answered.get(behind.checked_sub(1)?)?))
    };
    targets.iter().filter_map(|target| last(target)).max_by_key(|(_, at)| *at)
}

struct Queues<'a> {
    record: &'a Record,
    story: &'a Story,
    by_node: BTreeMap<String, Vec<&'a Target>>,
}

type Finding = (Verdict, String);

impl Queues<'_> {
    fn ms(&self, t: f64) -> u64 {
        self.record.unix_ms(&self.record.environment.sink_node, t)
    }

    /// The highest size on each node in a window, of those that answered in it.
    fn highest(&self, from: f64, to: f64) -> BTreeMap<&str, f64> {
        let (from, to) = (self.ms(from), self.ms(to));
        let highest = |targets: &[&Target]| {
            let targets =
                targets.iter().filter(|target| target.answered.iter().any(|at| (from..=to).contains(at)));
            targets.filter_map(|target| target.highest(SIZE, from, to)).map(|(_, size)| size).reduce(f64::max)
        };
        self.by_node.iter().filter_map(|(node, targets)| Some((node.as_str(), highest(targets)?))).collect()
    }

    /// What each node's queue held at a moment; none where it was not known.
    fn at(&self, t: f64) -> BTreeMap<&str, Option<f64>> {
        let until = self.ms(t);
        let size = |targets: &[&Target]| {
            let (target, answered) = latest(targets, until)?;
            (until.saturating_sub(answered) <= FRESH_MS).then(|| target.at(SIZE, until))?
        };
        self.by_node.iter().map(|(node, targets)| (node.as_str(), size(targets))).collect()
    }

    fn at_the_end(&self, settled: f64) -> Option<Finding> {
        let at_the_end = self.at(settled);
        if let Some((node, _)) = at_the_end.iter().find(|(_, size)| size.is_none()) {
            return Some((
                Verdict::Inconclusive,
                format!("nobody knows what the queue on {node} held at the end"),
            ));
        }
        let (node, size) = at_the_end.iter().find(|(_, size)| size.is_some_and(|size| size >= 0.5))?;
        let size = size.unwrap_or_default();
        Some((Verdict::Fail, format!("the queue on {node} still held {size:.0} at the end")))
    }

    /// Every queue grew while the backend took nothing, and was as before in time.
    fn outage(&self, outage: &Outage) -> Result<(String, Value), Finding> {
        let Outage { start, end, well } = *outage;
        // What is usual was seen before anything was done to the tier.
        let begin = self.story.load.map_or(start, |(begin, _)| begin);
        let first = self.story.faults.first().map_or(start, |fault| fault.start);
        let (before, during) = (self.highest(begin, first), self.highest(start, end));
        let usual = before.values().copied().fold(0.0, f64::max);
        for node in self.record.environment.streams.values() {
            let grown = during.get(node.as_str()).copied().unwrap_or_default();
            if grown <= usual {
                let reason = format!(
                    "the queue on {node} did not grow while the backend took nothing: {grown:.0}, and {usual:.0} before"
                );
                return Err((Verdict::Inconclusive, reason));
            }
        }
        let limit = self.record.scenario.expect.queues_empty_within.duration().as_secs_f64();
        let mut slowest = 0.0;
        for (node, targets) in &self.by_node {
            let took = self.recovered(targets, well, usual).map(|recovered| recovered - well);
            if took.is_none_or(|took| took > limit) {
                return Err(self.too_slow(node, targets, well, took, limit));
            }
            slowest = f64::max(slowest, took.unwrap_or_default());
        }
        let most: f64 = during.values().sum();
        let reason = format!(
            "all grew in the outage (to {:.1} MB together) and were as before {slowest:.0}s after it",
            most / 1e6
        );
        Ok((reason, json!({"usual": usual, "highest": during, "recovered_s": rounded(slowest)})))
    }

    /// When a node's queue was at most this full again, by whichever of its processes said so first.
    fn recovered(&self, targets: &[&Target], end: f64, usual: f64) -> Option<f64> {
        let end = self.ms(end);
        let low = |target: &Target| {
            let answers = target.answered.iter().copied().filter(|at| *at >= end);
            answers.into_iter().find(|at| target.at(SIZE, *at).is_some_and(|size| size <= usual))
        };
        let first = targets.iter().filter_map(|target| low(target)).min()?;
        Some(self.record.moment(&self.record.environment.sink_node, first))
    }

    /// A queue was not seen to come down in time: it did not, or nobody saw it.
    fn too_slow(&self, node: &str, targets: &[&Target], end: f64, took: Option<f64>, limit: f64) -> Finding {
        let (from, to) = (self.ms(end), self.ms(end + took.unwrap_or(limit)));
        let mut answered: Vec<u64> =
            targets.iter().flat_map(|target| target.answered.iter().copied()).collect();
        answered.retain(|at| (from..=to).contains(at));
        answered.sort_unstable();
        let looks: Vec<u64> = std::iter::once(from).chain(answered).chain([to]).collect();
        if looks.windows(2).any(|pair| pair[1] - pair[0] > FRESH_MS) {
            return (
                Verdict::Inconclusive,
                format!("nobody saw the queue on {node} all the while after the outage"),
            );
        }
        match took {
            None if self.story.last - end < limit => {
                (Verdict::Inconclusive, format!("the run ended before the queue on {node} had to be empty"))
            }
            None => (Verdict::Fail, format!("the queue on {node} never came down again")),
            Some(took) => (
                Verdict::Fail,
                format!("the queue on {node} took {took:.0}s to come down; the limit is {limit}s"),
            ),
        }
    }
}
