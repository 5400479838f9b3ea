//! The check `queues`: the Collectors' queues grew in an outage, and were empty again in time. Of every hop that has queues.

use super::{Context, Finding, Ruling, Story, Verdict, rounded, story};
use crate::record::{Hop, Record, SettleEnd};
use serde_json::{Value, json};
use spanproof_ledger::{Metrics, MetricsTarget};
use std::collections::BTreeMap;

const SIZE: &str = "otelcol_exporter_queue_size";
/// The age, in milliseconds, above which an answer says nothing about a moment.
const FRESH_MS: u64 = 5_000;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    let outages = outages(record, story);
    let hops = match readable_hops(record, story, &outages) {
        Ok(hops) => hops,
        Err(unreadable) => return Some(Finding::inconclusive(unreadable)),
    };
    if hops.is_empty() {
        return None;
    }
    Some(match Queues::of(record, story, &hops) {
        Ok((queues, start, settled)) => queues.judge(&outages, start, settled),
        Err(unknown) => Finding::inconclusive(unknown),
    })
}

/// The hops whose queues are judged; none if no hop has queues, or if all has arrived in spite of queues that no metric tells
/// of: these hold at most what is sent once more.
///
/// # Errors
/// Names the hop whose queues would have to be read, and cannot be.
fn readable_hops<'a>(record: &'a Record, story: &Story, outages: &[Outage]) -> Result<Vec<&'a str>, String> {
    // Before hops were recorded, only agents had queues.
    if record.environment.hops.is_empty() {
        return Ok(vec![ENTRY]);
    }
    let hops: Vec<&Hop> = record.environment.hops.iter().filter(|hop| hop.queues).collect();
    let complete = matches!(story.settled, Some((SettleEnd::Complete, ..)));
    if let Some(hop) = hops.iter().find(|hop| !hop.readable)
        && (!outages.is_empty() || !complete)
    {
        return Err(format!("no metric tells what is in the queues of each {}", hop.name));
    }
    Ok(hops.into_iter().filter(|hop| hop.readable).map(|hop| hop.name.as_str()).collect())
}

/// The hop that applications send to: one on each node with an emitter.
const ENTRY: &str = "agent";

/// The place of a queue: an agent's is on its node, whichever process has it; any other is its pod's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum QueuePlace {
    Node(String),
    Pod { hop: String, pod: String, node: String },
}

impl QueuePlace {
    /// Returns its name in the evidence.
    fn key(&self) -> &str {
        match self {
            Self::Node(node) => node,
            Self::Pod { pod, .. } => pod,
        }
    }
}

impl std::fmt::Display for QueuePlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(node) => write!(out, "the queue on {node}"),
            Self::Pod { hop, pod, node } => write!(out, "the queue of the {hop} {pod} on {node}"),
        }
    }
}

/// A time in which the backend took nothing and every agent had to keep its spans.
pub(super) struct Outage {
    pub(super) start: f64,
    pub(super) end: f64,
    /// The moment at which the backend took everything again: another fault of it may have followed at once.
    pub(super) well: f64,
}

/// Returns the outages, in order. Faults of the backend that follow each other at once count as one.
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

/// Returns the last moment up to `until` at which every queue was seen to be empty.
pub(super) fn seen_empty(record: &Record, story: &Story, until: f64) -> Option<f64> {
    let metrics = record.metrics.as_ref()?;
    let (start, _) = story.load?;
    let mut places = by_node(record, story, metrics);
    for hop in record.environment.hops.iter().filter(|hop| hop.queues && hop.name != ENTRY) {
        places.extend(by_pod(&hop.name, story, metrics));
    }
    let queues = Queues { record, story, places, entry: true };
    let readable = record.environment.hops.iter().all(|hop| hop.readable || !hop.queues);
    let known = record.environment.streams.values().all(|node| queues.of_node(node).is_some());
    let empty = |t: &f64| queues.at(*t).values().all(|size| size.is_some_and(|size| size < 0.5));
    let seconds = std::iter::successors(Some(until), |t| Some(t - 1.0)).take_while(|t| *t >= start);
    if known && readable { seconds.take(LOOKS).find(empty) } else { None }
}

/// The number of seconds that are searched for empty queues.
const LOOKS: usize = 600;

/// Returns the processes that answered, by the node whose agent each was: a replaced one has another address.
fn by_node<'a>(
    record: &Record,
    story: &Story,
    metrics: &'a Metrics,
) -> BTreeMap<QueuePlace, Vec<&'a MetricsTarget>> {
    let mut by_node: BTreeMap<QueuePlace, Vec<&MetricsTarget>> = BTreeMap::new();
    let pods = || story.pods.get("agent").into_iter().flatten().flat_map(|(_, pods)| pods);
    for target in metrics.of("agent") {
        let node = pods().find(|(_, pod)| pod.ip == target.address).map(|(_, pod)| pod.node.clone());
        if let Some(node) = node.filter(|node| record.environment.streams.values().any(|other| other == node))
        {
            by_node.entry(QueuePlace::Node(node)).or_default().push(target);
        }
    }
    by_node
}

/// Returns the processes of another hop that answered, by pod; and the pods that never did.
fn by_pod<'a>(
    hop: &'a str,
    story: &Story,
    metrics: &'a Metrics,
) -> BTreeMap<QueuePlace, Vec<&'a MetricsTarget>> {
    let mut by_pod: BTreeMap<QueuePlace, Vec<&MetricsTarget>> = BTreeMap::new();
    for (name, pod) in story.pods.get(hop).into_iter().flatten().flat_map(|(_, pods)| pods) {
        if pod.ip.is_empty() {
            continue;
        }
        let place = QueuePlace::Pod { hop: hop.to_owned(), pod: name.clone(), node: pod.node.clone() };
        let ours = || metrics.of(hop).filter(|target| target.address == pod.ip).collect();
        by_pod.entry(place).or_insert_with(ours);
    }
    by_pod
}

/// Returns a size if it is one: finite, and not negative.
fn known(size: f64) -> Option<f64> {
    (size.is_finite() && size >= 0.0).then_some(size)
}

/// Returns the content of a Collector's queue when the tier was taken down, or at its last reading after that.
pub(super) fn when_it_went(record: &Record, story: &Story, hop: &Hop, pod: &str, start: f64) -> Option<f64> {
    let metrics = record.metrics.as_ref().filter(|metrics| metrics.sealed() && hop.queues)?;
    let pods = story.pods.get(&hop.name).into_iter().flatten().flat_map(|(_, pods)| pods);
    let mut addresses = pods.filter(|(name, _)| name == pod).map(|(_, pod)| &pod.ip);
    let address = addresses.rfind(|ip| !ip.is_empty())?;
    let targets: Vec<&MetricsTarget> = metrics.of(&hop.name).filter(|it| it.address == *address).collect();
    let (target, answered) = latest(&targets, u64::MAX)?;
    let start = record.unix_ms(&record.environment.sink_node, start);
    (start.saturating_sub(answered) <= FRESH_MS).then(|| target.at(SIZE, answered).and_then(known))?
}

/// Returns the process that answered last, and the moment.
fn latest<'a>(targets: &[&'a MetricsTarget], until: u64) -> Option<(&'a MetricsTarget, u64)> {
    let last = |target: &'a MetricsTarget| {
        let next = target.answered.partition_point(|at| *at <= until);
        Some((target, *target.answered.get(next.checked_sub(1)?)?))
    };
    targets.iter().filter_map(|target| last(target)).max_by_key(|(_, at)| *at)
}

/// Returns the same by the names of the places.
fn named<T: serde::Serialize>(by_place: BTreeMap<&QueuePlace, T>) -> BTreeMap<String, T> {
    by_place.into_iter().map(|(place, it)| (place.key().to_owned(), it)).collect()
}

/// Returns `true` if two queues are of one hop: these count in one unit.
fn of_one_hop(one: &QueuePlace, other: &QueuePlace) -> bool {
    match (one, other) {
        (QueuePlace::Node(_), QueuePlace::Node(_)) => true,
        (QueuePlace::Pod { hop: one, .. }, QueuePlace::Pod { hop: other, .. }) => one == other,
        (QueuePlace::Node(_), QueuePlace::Pod { .. }) | (QueuePlace::Pod { .. }, QueuePlace::Node(_)) => {
            false
        }
    }
}

struct Queues<'a> {
    record: &'a Record,
    story: &'a Story,
    places: BTreeMap<QueuePlace, Vec<&'a MetricsTarget>>,
    /// `true` if the agents have queues.
    entry: bool,
}

impl<'a> Queues<'a> {
    /// The queues of these hops; with the load's beginning, and the end of waiting for the rest.
    ///
    /// # Errors
    /// Says what is not on record.
    fn of(record: &'a Record, story: &'a Story, hops: &[&'a str]) -> Result<(Self, f64, f64), String> {
        let Some(metrics) = record.metrics.as_ref().filter(|metrics| metrics.sealed()) else {
            return Err(
                "the log of the Collectors' metrics, metrics.log, is missing, or not sealed".to_owned()
            );
        };
        let (Some((start, _)), Some(settled)) = (story.load, story.settled_at) else {
            return Err("there was no load, or the rest was not waited for".to_owned());
        };
        let mut places = BTreeMap::new();
        for hop in hops {
            places.extend(if *hop == ENTRY {
                by_node(record, story, metrics)
            } else {
                by_pod(hop, story, metrics)
            });
        }
        let entry = hops.contains(&ENTRY);
        let queues = Self { record, story, places, entry };
        let mut nodes = record.environment.streams.values().filter(|_| entry);
        if let Some(node) = nodes.find(|node| queues.of_node(node).is_none()) {
            return Err(format!("the agent on {node} never said how full its queue was"));
        }
        if matches!(story.settled, None | Some((SettleEnd::Interrupted, ..))) {
            return Err("the rest was not waited for".to_owned());
        }
        Ok((queues, start, settled))
    }

    /// Each outage in turn, and then the end: the first that is wrong decides.
    fn judge(&self, outages: &[Outage], start: f64, settled: f64) -> Finding {
        let (mut reasons, mut felt) = (Vec::new(), Vec::new());
        for outage in outages {
            match self.outage(outage) {
                Ok((reason, evidence)) => {
                    reasons.push(reason);
                    felt.push(evidence);
                }
                Err(ruling) => return Finding::new(ruling, json!({"outages": felt})),
            }
        }
        let (at_the_end, highest) = (named(self.at(settled)), named(self.highest(start, settled)));
        let evidence = json!({"outages": felt, "at_the_end": at_the_end, "highest": highest});
        let ruling = self.at_the_end(settled).unwrap_or_else(|| {
            reasons.push("empty at the end".to_owned());
            (Verdict::Pass, reasons.join("; "))
        });
        Finding::new(ruling, evidence)
    }

    fn ms(&self, t: f64) -> u64 {
        self.record.unix_ms(&self.record.environment.sink_node, t)
    }

    fn of_node(&self, node: &str) -> Option<&Vec<&MetricsTarget>> {
        self.places.get(&QueuePlace::Node(node.to_owned()))
    }

    /// Returns the largest size at each place in a window, of the processes that answered in it.
    fn highest(&self, from: f64, to: f64) -> BTreeMap<&QueuePlace, f64> {
        let (from, to) = (self.ms(from), self.ms(to));
        let highest = |targets: &[&MetricsTarget]| {
            let targets =
                targets.iter().filter(|target| target.answered.iter().any(|at| (from..=to).contains(at)));
            targets.filter_map(|target| target.highest(SIZE, from, to)).map(|(_, size)| size).reduce(f64::max)
        };
        let highest =
            self.places.iter().filter_map(|(place, targets)| Some((place, known(highest(targets)?)?)));
        highest.collect()
    }

    /// Returns the content of each queue at a moment; none where it was not known. A pod that is gone has no queue.
    fn at(&self, t: f64) -> BTreeMap<&QueuePlace, Option<f64>> {
        let until = self.ms(t);
        let size = |targets: &[&MetricsTarget]| {
            let (target, answered) = latest(targets, until)?;
            (until.saturating_sub(answered) <= FRESH_MS).then(|| target.at(SIZE, until))?.and_then(known)
        };
        let there = self.places.iter().filter(|(place, _)| self.is_there(place, t));
        there.map(|(place, targets)| (place, size(targets))).collect()
    }

    fn is_there(&self, place: &QueuePlace, t: f64) -> bool {
        match place {
            QueuePlace::Node(_) => true,
            QueuePlace::Pod { hop, pod, .. } => {
                let there = self.story.pods.get(hop).and_then(|series| story::at(series, t));
                there.into_iter().flatten().any(|(name, _)| name == pod)
            }
        }
    }

    fn at_the_end(&self, settled: f64) -> Option<Ruling> {
        let at_the_end = self.at(settled);
        if let Some((place, _)) = at_the_end.iter().find(|(_, size)| size.is_none()) {
            return Some((Verdict::Inconclusive, format!("it is not known what {place} held at the end")));
        }
        let (place, size) = at_the_end.iter().find(|(_, size)| size.is_some_and(|size| size >= 0.5))?;
        let size = size.unwrap_or_default();
        Some((Verdict::Fail, format!("{place} still held {size:.0} at the end")))
    }

    /// Checks that every queue grew while the backend took nothing, and was as before in time.
    fn outage(&self, outage: &Outage) -> Result<(String, Value), Ruling> {
        let Outage { start, end, well } = *outage;
        // The usual size was seen before the first fault.
        let begin = self.story.load.map_or(start, |(begin, _)| begin);
        let first = self.story.faults.first().map_or(start, |fault| fault.start);
        let (before, during) = (self.highest(begin, first), self.highest(start, end));
        let usual = |place: &QueuePlace| {
            let alike = before.iter().filter(|(other, _)| of_one_hop(other, place));
            alike.map(|(_, size)| *size).fold(0.0, f64::max)
        };
        let grew = |place: &QueuePlace| {
            let (grown, usual) = (during.get(place).copied().unwrap_or_default(), usual(place));
            if grown > usual { Ok(()) } else { Err((grown, usual)) }
        };
        // If a later hop's queues take the spans, the agents' queues need not grow.
        let later =
            self.places.keys().any(|place| matches!(place, QueuePlace::Pod { .. }) && grew(place).is_ok());
        let nodes = self.record.environment.streams.values().filter(|_| self.entry && !later);
        for place in nodes.map(|node| QueuePlace::Node(node.clone())) {
            if let Err((grown, usual)) = grew(&place) {
                let reason = format!(
                    "{place} did not grow while the backend took nothing: {grown:.0}, and {usual:.0} before"
                );
                return Err((Verdict::Inconclusive, reason));
            }
        }
        if !self.entry && !later {
            let reason = "no queue grew while the backend took nothing".to_owned();
            return Err((Verdict::Inconclusive, reason));
        }
        let limit = self.record.scenario.expect.queues_empty_within.duration().as_secs_f64();
        let mut slowest = 0.0;
        for (place, targets) in &self.places {
            let took = self.recovered(targets, well, usual(place)).map(|recovered| recovered - well);
            // A queue that went before it had to be empty is for `loss` to judge.
            if took.is_none() && !self.is_there(place, well + limit) {
                continue;
            }
            if took.is_none_or(|took| took > limit) {
                return Err(self.too_slow(place, targets, well, took, limit));
            }
            slowest = f64::max(slowest, took.unwrap_or_default());
        }
        let most: f64 =
            during.iter().filter(|(place, _)| matches!(place, QueuePlace::Node(_))).map(|(_, it)| it).sum();
        let grew = if later {
            "a later hop's queues grew in the outage and all".to_owned()
        } else {
            format!("all grew in the outage (to {:.1} MB together) and", most / 1e6)
        };
        let reason = format!("{grew} were as before {slowest:.0}s after it");
        let usual = before.values().copied().fold(0.0, f64::max);
        Ok((reason, json!({"usual": usual, "highest": named(during), "recovered_s": rounded(slowest)})))
    }

    /// Returns the moment at which a queue was at most this full again, by the first of its processes to say so.
    fn recovered(&self, targets: &[&MetricsTarget], end: f64, usual: f64) -> Option<f64> {
        let end = self.ms(end);
        let low = |target: &MetricsTarget| {
            let answers = target.answered.iter().copied().filter(|at| *at >= end);
            answers.into_iter().find(|at| target.at(SIZE, *at).is_some_and(|size| size <= usual))
        };
        let first = targets.iter().filter_map(|target| low(target)).min()?;
        Some(self.record.moment(&self.record.environment.sink_node, first))
    }

    /// Returns the ruling on a queue that was not seen to come down in time: it did not, or it was not seen.
    fn too_slow(
        &self,
        place: &QueuePlace,
        targets: &[&MetricsTarget],
        end: f64,
        took: Option<f64>,
        limit: f64,
    ) -> Ruling {
        let (from, to) = (self.ms(end), self.ms(end + took.unwrap_or(limit)));
        let mut answered: Vec<u64> =
            targets.iter().flat_map(|target| target.answered.iter().copied()).collect();
        answered.retain(|at| (from..=to).contains(at));
        answered.sort_unstable();
        let looks: Vec<u64> = std::iter::once(from).chain(answered).chain([to]).collect();
        if looks.windows(2).any(|pair| pair[1] - pair[0] > FRESH_MS) {
            return (Verdict::Inconclusive, format!("{place} was not observed throughout after the outage"));
        }
        match took {
            None if self.story.last - end < limit => {
                (Verdict::Inconclusive, format!("the run ended before {place} had to be empty"))
            }
            None => (Verdict::Fail, format!("{place} never came down again")),
            Some(took) => {
                (Verdict::Fail, format!("{place} took {took:.0}s to come down; the limit is {limit}s"))
            }
        }
    }
}
