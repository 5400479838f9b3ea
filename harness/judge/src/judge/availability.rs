//! The check `availability`: there were always enough ready gateways, and deliveries never paused for too long.

use super::floor::{self, Readiness};
use super::story::at;
use super::{Context, Finding, Ruling, Story, Verdict, rounded, sinks_incomplete};
use crate::record::Record;
use crate::scenario::FaultName;
use crate::world::Kind;
use serde_json::{Value, json};
use spanproof_ledger::SinkLedger;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, clocks, restarts, .. } = context;
    let Some((start, end)) = story.load else {
        return Some(Finding::inconclusive("there was no load"));
    };
    if Story::was_to_do_something(record) && story.faults.is_empty() {
        return Some(Finding::inconclusive("no fault was carried out"));
    }
    if let Some(gap) = story.gap(&[Kind::Pod], start, end) {
        return Some(Finding::inconclusive(gap));
    }
    let readiness = match floor::readiness(record, story, start, end) {
        Ok(readiness) => readiness,
        Err(why) => return Some(Finding::inconclusive(why)),
    };
    let Some(worst) = Readiness::worst(&readiness) else {
        return Some(Finding::inconclusive("the gateways were not watched from the beginning of the load"));
    };
    let shared = shared_nodes(story);
    // If the sink's clock does not agree with the run's, its pauses may be none.
    let agrees = clocks.sink.is_none();
    let gap = delivery_gap(record, story, |_| true).filter(|_| agrees);
    // Spans that wait for a sampler's decision are on their way.
    let sampling = record.environment.sampling.as_ref();
    let waits = sampling.map_or(0.0, |sampling| sampling.decision_wait_s.max(0.0));
    let limit = record.scenario.expect.delivery_gap.map(|limit| limit.duration().as_secs_f64() + waits);
    let facts = Facts {
        story,
        worst,
        shared: shared.iter().rfind(|shared| shared.at <= worst.t && worst.t <= shared.until),
        limit,
        unknown: clocks.sink.as_deref(),
        gap,
        // While a sink was away nothing could be delivered: that is not the tier's fault.
        excused: gap.filter(|gap| restarts.reach_into(*gap)),
        real: delivery_gap(record, story, |pause| !restarts.reach_into(pause)).filter(|_| agrees),
        restarts: restarts.describe(),
    };
    let remembered = pauses(record).into_iter().filter(|(from, to)| from.is_finite() && to.is_finite());
    let mut evidence = json!({
        "minimum": worst.floor.minimum,
        "asked": worst.floor.asked,
        "fewest": worst.ready,
        "since": worst.t,
        "step": story.step_at(worst.t),
        "ready": readiness.iter().map(|readiness| (readiness.t, readiness.ready)).collect::<Vec<_>>(),
        "minima": minima(&readiness),
        "shared_nodes": shared.iter().map(Shared::evidence).collect::<Vec<_>>(),
        "delivery_gap_s": gap.map(|(from, to)| rounded(to - from)),
        "delivery_gap": gap.map(|(from, to)| [rounded(from), rounded(to)]),
        "delivery_gap_limit_s": limit,
        "pauses": remembered.take(200).map(|(from, to)| [rounded(from), rounded(to)]).collect::<Vec<_>>(),
    });
    if !restarts.none() {
        evidence["probes"] = restarts.evidence();
    }
    Some(Finding::new(facts.decide(), evidence))
}

/// The facts that decide whether the tier was available.
struct Facts<'a> {
    story: &'a Story,
    /// The moment at which most gateways were missing, or else fewest ready.
    worst: &'a Readiness,
    /// The node that was drained or lost at that moment while more than one gateway was on it.
    shared: Option<&'a Shared>,
    /// The longest pause between deliveries that is allowed, in seconds.
    limit: Option<f64>,
    /// The reason why the sink's clock says nothing, if so.
    unknown: Option<&'a str>,
    /// The longest pause; none if it is not known.
    gap: Option<Stretch>,
    /// The same, if a sink was away in it.
    excused: Option<Stretch>,
    /// The longest pause in which no sink was away.
    real: Option<Stretch>,
    /// The restarts of probes, as the end of a sentence.
    restarts: String,
}

impl Facts<'_> {
    fn decide(&self) -> Ruling {
        let Readiness { t, ready, floor } = self.worst;
        let (minimum, asked) = (floor.minimum, &floor.asked);
        if self.worst.missing() > 0 {
            let why = self.shared.map_or_else(String::new, |shared| format!("; {}", shared.describe()));
            let during = self.story.during(*t);
            let reason = format!(
                "{ready} ready gateways at {t:.1}s, {during}; the minimum is {minimum} ({asked}){why}"
            );
            return (Verdict::Fail, reason);
        }
        if let Some(ruling) = self.limit.and_then(|limit| self.too_long(limit)) {
            return ruling;
        }
        let longest = self.longest();
        let reason =
            format!("never fewer than {ready} ready gateways; the minimum is {minimum} ({asked}); {longest}");
        (Verdict::Pass, reason)
    }

    /// The ruling where a pause was longer than the limit, or where that is not known.
    fn too_long(&self, limit: f64) -> Option<Ruling> {
        if self.gap.is_none() {
            let why = self.unknown.unwrap_or("no delivery is on record");
            let reason = format!("{why}, so it is not known whether one came every {limit}s");
            return Some((Verdict::Inconclusive, reason));
        }
        let longer = |(from, to): &Stretch| to - from > limit;
        if let Some((from, to)) = self.real.filter(longer) {
            let during = self.story.during(from);
            let reason = format!("no delivery from {from:.1}s to {to:.1}s, {during}: longer than {limit}s");
            return Some((Verdict::Fail, reason));
        }
        let (from, to) = self.excused.filter(longer)?;
        let away = &self.restarts;
        let reason = format!(
            "no delivery from {from:.1}s to {to:.1}s, longer than {limit}s, but a sink was away then{away}"
        );
        Some((Verdict::Inconclusive, reason))
    }

    fn longest(&self) -> String {
        let longest = self.gap.map_or_else(
            || "the longest pause between deliveries is not known".to_owned(),
            |(from, to)| format!("the longest pause between deliveries was {:.1}s", to - from),
        );
        let restarts = &self.restarts;
        match self.excused {
            Some((from, _)) => format!("{longest}, from {from:.1}s on, when a sink was away{restarts}"),
            None => format!("{longest}{restarts}"),
        }
    }
}

/// Returns the minimum at each change of it.
fn minima(readiness: &[Readiness]) -> Vec<(f64, u32)> {
    let mut minima: Vec<(f64, u32)> =
        readiness.iter().map(|readiness| (readiness.t, readiness.floor.minimum)).collect();
    minima.dedup_by_key(|(_, minimum)| *minimum);
    minima
}

/// A node that was drained or lost while more than one gateway was on it.
struct Shared {
    node: String,
    gateways: Vec<String>,
    lost: bool,
    at: f64,
    until: f64,
}

impl Shared {
    fn describe(&self) -> String {
        let (gateways, node) = (self.gateways.join(" and "), &self.node);
        let how = if self.lost { "was lost" } else { "was drained" };
        format!("{gateways} were on the same node, {node}, which {how} at {:.1}s", self.at)
    }

    fn evidence(&self) -> Value {
        json!({
            "node": self.node,
            "gateways": self.gateways,
            "at": rounded(self.at),
            "until": rounded(self.until),
            "how": if self.lost { "lost" } else { "drained" },
        })
    }
}

/// Returns every node that was drained, or became unready, while it held more than one gateway.
fn shared_nodes(story: &Story) -> Vec<Shared> {
    let drained = story.faults_called(&FaultName::Drain);
    let drained = drained.map(|fault| (fault.start, fault.over(), &fault.target, false));
    let mut gone: Vec<(f64, f64, &String, bool)> = drained.collect();
    for (index, (t, nodes)) in story.nodes.iter().enumerate() {
        let before = index.checked_sub(1).map_or(&[][..], |index| story.nodes[index].1.as_slice());
        let was_ready = |name: &String| before.iter().any(|(other, node)| other == name && node.ready);
        let is_ready = |name: &String| nodes.iter().any(|(other, node)| other == name && node.ready);
        let lost = before.iter().map(|(name, _)| name).filter(|name| was_ready(name) && !is_ready(name));
        gone.extend(lost.map(|name| {
            let back = story.nodes[index..]
                .iter()
                .find(|(_, nodes)| nodes.iter().any(|(other, node)| other == name && node.ready));
            (*t, back.map_or(story.last, |(t, _)| *t), name, true)
        }));
    }
    gone.sort_by(|a, b| a.0.total_cmp(&b.0));
    let shared = gone.into_iter().filter_map(|(t, until, node, lost)| {
        let pods = at(story.pods.get("gateway")?, t)?;
        let here = pods.iter().filter(|(_, pod)| pod.node == *node);
        let gateways: Vec<String> = here.map(|(name, _)| name.clone()).collect();
        (gateways.len() > 1).then(|| Shared { node: node.clone(), gateways, lost, at: t, until })
    });
    shared.collect()
}

/// A stretch of the run's clock, in seconds.
type Stretch = (f64, f64);

/// Returns every pause between two deliveries that was long enough to be recorded, and the time before the first and after
/// the last: in these no sink was delivered anything.
fn pauses(record: &Record) -> Vec<Stretch> {
    let of_each = record.sinks.iter().map(|sink| quiet(record, sink));
    of_each.reduce(|all, sink| common(&all, &sink)).unwrap_or_default()
}

/// Returns the times in which a sink was delivered nothing, in order.
fn quiet(record: &Record, sink: &SinkLedger) -> Vec<Stretch> {
    let moment = |unix_ms| record.moment(&record.environment.sink_node, unix_ms);
    // A pause ends at the beginning of the second of the first delivery, so that none looks longer than it was.
    let Some((second, ..)) = sink.by_second().next() else {
        return vec![(f64::NEG_INFINITY, f64::INFINITY)];
    };
    let between = sink.pauses().iter().map(|(from, to)| (moment(*from), moment(*to)));
    std::iter::once((f64::NEG_INFINITY, moment(second * 1_000)))
        .chain(between)
        .chain([(moment(sink.last_delivery_ms()), f64::INFINITY)])
        .collect()
}

/// Returns the intersection of two lists of stretches, each in order.
fn common(left: &[Stretch], right: &[Stretch]) -> Vec<Stretch> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut both = Vec::new();
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let (from, to) = (one.0.max(other.0), one.1.min(other.1));
        if from < to {
            both.push((from, to));
        }
        if one.1 < other.1 {
            left.next()
        } else {
            right.next()
        };
    }
    both
}

/// Returns the longest time without a delivery while the tier was steady and load was offered, on the run's clock; none if a
/// sink's ledger is missing or not sealed.
fn delivery_gap(record: &Record, story: &Story, counts: impl Fn(Stretch) -> bool) -> Option<Stretch> {
    if sinks_incomplete(record).is_some() {
        return None;
    }
    let (start, end) = story.load?;
    let start = story.steady_at().unwrap_or(start);
    let clipped = pauses(record).into_iter().map(|(from, to)| (from.max(start), to.min(end)));
    let real = clipped.filter(|(from, to)| from < to).filter(|pause| counts(*pause));
    // Without a recorded pause, none was longer than the shortest that is recorded.
    let none = (start, start + spanproof_ledger::PAUSE_MS as f64 / 1e3);
    Some(real.max_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))).unwrap_or(none))
}

#[cfg(test)]
mod tests {
    use super::super::floor::Floor;
    use super::*;
    use proptest::prelude::*;

    fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
        let ends = prop::collection::btree_set(0u32..60, 0..20);
        ends.prop_map(|ends| {
            let ends: Vec<f64> = ends.into_iter().map(f64::from).collect();
            ends.as_chunks::<2>().0.iter().map(|[from, to]| (*from, *to)).collect()
        })
    }

    #[test]
    fn a_pause_fails_unless_a_sink_was_away() {
        let readiness =
            |ready| Readiness { t: 3.0, floor: Floor { minimum: 1, asked: "x".to_owned() }, ready };
        let (short, enough, story) = (readiness(0), readiness(1), Story::default());
        let facts = |worst, gap, excused, real| Facts {
            story: &story,
            worst,
            shared: None,
            limit: Some(5.0),
            unknown: None,
            gap,
            excused,
            real,
            restarts: String::new(),
        };
        let (long, brief) = (Some((10.0, 16.0)), Some((10.0, 12.0)));
        for (facts, verdict, words) in [
            (facts(&short, long, None, long), Verdict::Fail, "0 ready gateways at 3.0s"),
            (facts(&enough, None, None, None), Verdict::Inconclusive, "no delivery is on record"),
            (facts(&enough, long, None, long), Verdict::Fail, "no delivery from 10.0s to 16.0s"),
            (facts(&enough, long, long, brief), Verdict::Inconclusive, "a sink was away then"),
            (
                facts(&enough, brief, None, brief),
                Verdict::Pass,
                "the longest pause between deliveries was 2.0s",
            ),
            (Facts { limit: None, ..facts(&enough, long, None, long) }, Verdict::Pass, "was 6.0s"),
        ] {
            let (found, reason) = facts.decide();
            assert!(found == verdict && reason.contains(words), "{words}: {found:?}: {reason}");
        }
    }

    proptest! {
        /// A moment is in what two lists have in common if, and only if, it is in both.
        #[test]
        fn a_pause_counts_only_where_no_sink_was_delivered_anything(left in stretches(), right in stretches()) {
            let within = |all: &[Stretch], t: f64| all.iter().any(|(from, to)| (*from..*to).contains(&t));
            let both = common(&left, &right);
            for t in (0..120).map(|half| f64::from(half) / 2.0 + 0.25) {
                prop_assert_eq!(within(&both, t), within(&left, t) && within(&right, t));
            }
        }
    }
}
