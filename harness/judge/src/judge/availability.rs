//! Were there always enough ready gateways, and did deliveries never stop for too long? Two series.

use super::floor::{self, Held};
use super::story::at;
use super::{Context, Finding, Story, Verdict, rounded, sinks_untold};
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
    let held = match floor::held(record, story, start, end) {
        Ok(held) => held,
        Err(why) => return Some(Finding::inconclusive(why)),
    };
    let Some(worst) = Held::worst(&held) else {
        return Some(Finding::inconclusive("the gateways were not watched from the beginning of the load"));
    };
    let (since, fewest, minimum, asked) = (worst.t, worst.ready, worst.floor.minimum, &worst.floor.asked);
    // Where its clock is not the run's, what the sink calls a pause may be none.
    let told = clocks.sink.is_none();
    let gap = delivery_gap(record, story, |_| true).filter(|_| told);
    // While a sink was away nothing could be delivered: that is no doing of the tier's.
    let excused = gap.filter(|gap| restarts.reach_into(*gap));
    let real = delivery_gap(record, story, |pause| !restarts.reach_into(pause)).filter(|_| told);
    let longest = gap.map_or_else(
        || "how long deliveries paused is not known".to_owned(),
        |(from, to)| format!("the longest pause between deliveries was {:.1}s", to - from),
    );
    let longest = match excused {
        Some((from, _)) => format!("{longest}, from {from:.1}s on, when a sink was away{}", restarts.said()),
        None => format!("{longest}{}", restarts.said()),
    };
    let remembered = pauses(record).into_iter().filter(|(from, to)| from.is_finite() && to.is_finite());
    // What waits for a sampler's decision is on its way.
    let waits =
        record.environment.sampling.as_ref().map_or(0.0, |sampling| sampling.decision_wait_s.max(0.0));
    let limit = record.scenario.expect.delivery_gap.map(|limit| limit.duration().as_secs_f64() + waits);
    let shared = shared_nodes(story);
    let mut evidence = json!({
        "minimum": minimum,
        "asked": asked,
        "fewest": fewest,
        "since": since,
        "step": story.step_at(since),
        "ready": held.iter().map(|held| (held.t, held.ready)).collect::<Vec<_>>(),
        "minima": minima(&held),
        "shared_nodes": shared.iter().map(Shared::evidence).collect::<Vec<_>>(),
        "delivery_gap_s": gap.map(|(from, to)| rounded(to - from)),
        "delivery_gap": gap.map(|(from, to)| [rounded(from), rounded(to)]),
        "delivery_gap_limit_s": limit,
        "pauses": remembered.take(200).map(|(from, to)| [rounded(from), rounded(to)]).collect::<Vec<_>>(),
    });
    if !restarts.none() {
        evidence["probes"] = restarts.evidence();
    }
    let ruling = if worst.missing() > 0 {
        let during = story.during(since);
        let why = shared.iter().rfind(|shared| shared.at <= since && since <= shared.until);
        let why = why.map_or_else(String::new, |shared| format!("; {}", shared.said()));
        (
            Verdict::Fail,
            format!(
                "{fewest} ready gateways at {since:.1}s, {during}; the minimum is {minimum} ({asked}){why}"
            ),
        )
    } else if let (Some(limit), None) = (limit, gap) {
        let why = clocks.sink.as_deref().unwrap_or("no delivery is on record");
        (Verdict::Inconclusive, format!("{why}, so it is not known whether one came every {limit}s"))
    } else if let (Some(limit), Some((from, to))) = (limit, real)
        && to - from > limit
    {
        let during = story.during(from);
        (Verdict::Fail, format!("no delivery from {from:.1}s to {to:.1}s, {during}: longer than {limit}s"))
    } else if let (Some(limit), Some((from, to))) = (limit, excused)
        && to - from > limit
    {
        let away = restarts.said();
        (
            Verdict::Inconclusive,
            format!(
                "no delivery from {from:.1}s to {to:.1}s, longer than {limit}s, but a sink was away then{away}"
            ),
        )
    } else {
        let never = format!("never fewer than {fewest} ready gateways; the minimum is {minimum} ({asked})");
        (Verdict::Pass, format!("{never}; {longest}"))
    };
    Some(Finding::new(ruling, evidence))
}

/// What had to be ready, at each change.
fn minima(held: &[Held]) -> Vec<(f64, u32)> {
    let mut minima: Vec<(f64, u32)> = held.iter().map(|held| (held.t, held.floor.minimum)).collect();
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
    fn said(&self) -> String {
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

/// Every node that was drained, or was not ready any more, while it held more than one gateway.
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

/// From when to when, in seconds on the run's clock.
type Stretch = (f64, f64);

/// Every pause between two deliveries that was long enough to be remembered, and the time before the first and behind
/// the last: a stretch in which no sink was delivered anything.
fn pauses(record: &Record) -> Vec<Stretch> {
    let of_each = record.sinks.iter().map(|sink| quiet(record, sink));
    of_each.reduce(|all, sink| common(&all, &sink)).unwrap_or_default()
}

/// When a sink was delivered nothing, in order.
fn quiet(record: &Record, sink: &SinkLedger) -> Vec<Stretch> {
    let moment = |unix_ms| record.moment(&record.environment.sink_node, unix_ms);
    // The second in which the first one arrived: its beginning, so that no pause looks longer than it was.
    let Some((second, ..)) = sink.by_second().next() else {
        return vec![(f64::NEG_INFINITY, f64::INFINITY)];
    };
    let between = sink.pauses().iter().map(|(from, to)| (moment(*from), moment(*to)));
    std::iter::once((f64::NEG_INFINITY, moment(second * 1_000)))
        .chain(between)
        .chain([(moment(sink.last_delivery_ms()), f64::INFINITY)])
        .collect()
}

/// What two lists of stretches, each in order, have in common.
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

/// The longest time without a delivery while the tier was steady and load was offered, on the run's clock;
/// none if a sink's ledger, which tells, is missing or not sealed.
fn delivery_gap(record: &Record, story: &Story, counts: impl Fn(Stretch) -> bool) -> Option<Stretch> {
    if sinks_untold(record).is_some() {
        return None;
    }
    let (start, end) = story.load?;
    let start = story.steady_at().unwrap_or(start);
    let clipped = pauses(record).into_iter().map(|(from, to)| (from.max(start), to.min(end)));
    let real = clipped.filter(|(from, to)| from < to).filter(|pause| counts(*pause));
    // Without a pause that was long enough to be remembered, none was longer than that.
    let none = (start, start + spanproof_ledger::PAUSE_MS as f64 / 1e3);
    Some(real.max_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))).unwrap_or(none))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
        let ends = prop::collection::btree_set(0u32..60, 0..20);
        ends.prop_map(|ends| {
            let ends: Vec<f64> = ends.into_iter().map(f64::from).collect();
            ends.as_chunks::<2>().0.iter().map(|[from, to]| (*from, *to)).collect()
        })
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
