//! The check `loss`: every acknowledged span was delivered. Each that was not is named, with the step in which it was sent and
//! the hop at which it was lost.

use super::gateways::Gateways;
use super::remains::Remains;
use super::restarts::Restarts;
use super::traces::{self, Traces};
use super::{
    Context, Finding, Ruling, Story, Verdict, emitters_incomplete, grouped, latency, queues, rounded,
    sinks_incomplete,
};
use crate::record::{Keeps, Record, SettleEnd};
use crate::scenario::Code;
use serde_json::{Value, json};
use spanproof_ledger::{Account, Counts, EmitterLedger, PARTIAL, Range, SinkLedger, Stream, UNANSWERED};
use std::collections::{BTreeMap, BTreeSet};

/// The number of lost ranges that the evidence names; the ledgers have all of them.
const NAMED: usize = 10_000;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, account, remains, restarts, .. } = context;
    let sampled = context.traces.as_ref();
    let lost = lost(record, story, account, sampled);
    let mut evidence = evidence(context, &lost);
    if let Some(sampled) = sampled {
        evidence["sampling"] = sampled.evidence();
    }
    if !restarts.none() {
        evidence["probes"] = restarts.evidence();
    }
    let incomplete = assumption_broken(record, story, account, remains);
    let facts = Facts {
        counts: account.counts,
        incomplete: incomplete.or_else(|| traces::unknown(record).map(str::to_owned)),
        doubt: restarts.doubt().filter(|_| may_have_come(record, story, restarts, &lost)),
        by_policy: sampled.and_then(|sampled| sampled.judge(account.counts)),
        lost: reason(record, story, account, &lost),
        split: sampled.map(Traces::split).unwrap_or_default(),
        taken_down: story.take_down.is_some(),
        holders: remains.holders(),
        late: story.hops_gone.iter().map(|hop| hop.arrived).sum(),
    };
    let (verdict, reason) = facts.decide();
    Some(Finding::new((verdict, reason + &restarts.describe()), evidence))
}

/// The facts that decide about loss.
#[derive(Debug, Clone)]
struct Facts {
    counts: Counts,
    /// The reason why it is not known what arrived, if so.
    incomplete: Option<String>,
    /// The reason why everything that is missing may have arrived all the same, if so.
    doubt: Option<String>,
    /// The ruling of a tier that samples, where nothing that is known by name is missing.
    by_policy: Option<Ruling>,
    /// The loss in words, with its steps and hops.
    lost: String,
    /// The traces that came in part, as the end of a sentence.
    split: String,
    taken_down: bool,
    /// The Collectors that may still hold something.
    holders: String,
    /// The number of spans that arrived only when the tier was taken down.
    late: u64,
}

impl Facts {
    fn decide(self) -> Ruling {
        if let Some(incomplete) = self.incomplete {
            return (Verdict::Inconclusive, incomplete);
        }
        let Self { counts, lost, .. } = self;
        let stranded = (counts.stranded > 0).then(|| {
            let (counted, holders) = (grouped(counts.stranded), &self.holders);
            format!("{counted} acknowledged spans are stranded: they did not arrive, and {holders}")
        });
        if counts.lost > 0 {
            if let Some(doubt) = self.doubt {
                return (Verdict::Inconclusive, format!("{doubt}; {lost}"));
            }
            let down = "; the tier was taken down, and each Collector that had them was seen to go";
            let down = if self.taken_down { down } else { "" };
            let stranded = stranded.map_or_else(String::new, |stranded| format!("; besides, {stranded}"));
            return (Verdict::Fail, format!("{lost}{}{down}{stranded}", self.split));
        }
        if let Some(stranded) = stranded {
            return (Verdict::Inconclusive, stranded);
        }
        // The policy says what had to arrive.
        match (self.by_policy, self.doubt) {
            (Some((Verdict::Fail, said)), Some(doubt)) => (Verdict::Inconclusive, format!("{doubt}; {said}")),
            (Some(ruling), _) => ruling,
            (None, _) => {
                let late = match self.late {
                    0 => String::new(),
                    late => format!("; {} of them only when the tier was taken down", grouped(late)),
                };
                let (all, twice) = (grouped(counts.acknowledged), grouped(counts.duplicated));
                let reason =
                    format!("all {all} acknowledged spans were delivered ({twice} more than once){late}");
                (Verdict::Pass, reason)
            }
        }
    }
}

/// Returns `true` if every lost range may have arrived while a sink's ledger lost its records: it was not sent only later, nor
/// so long before that every queue was seen empty in between, and no agent was pausing any more.
fn may_have_come(record: &Record, story: &Story, restarts: &Restarts, lost: &[Lost]) -> bool {
    let pause = record.environment.worst_retry_pause;
    let windows: Vec<(Option<f64>, f64)> =
        restarts.lost.iter().map(|(from, to)| (queues::seen_empty(record, story, *from), *to)).collect();
    lost.iter().all(|part| {
        let emitter = record.emitters.iter().find(|emitter| emitter.stream() == part.stream);
        let last = emitter.and_then(|emitter| emitter.emitted_at(part.range.end - 1));
        let last = last.map(|unix_ms| record.moment(record.node_of(part.stream), unix_ms));
        windows.iter().any(|(empty, to)| {
            let later = last.is_some_and(|last| last >= *to);
            let over = last.zip(*empty).is_some_and(|(last, empty)| last + 1.0 + pause < empty);
            !later && !over
        })
    })
}

fn assumption_broken(record: &Record, story: &Story, account: &Account, remains: &Remains) -> Option<String> {
    let incomplete = emitters_incomplete(record).or_else(|| sinks_incomplete(record));
    if incomplete.is_some() {
        return incomplete;
    }
    let tags = record
        .emitters
        .iter()
        .map(EmitterLedger::run_tag)
        .chain(record.sinks.iter().map(SinkLedger::run_tag));
    let tags: std::collections::BTreeSet<u64> = tags.collect();
    if tags.len() != 1 {
        return Some("the ledgers are of different runs".to_owned());
    }
    if account.counts.acknowledged == 0 {
        return Some("no span was acknowledged".to_owned());
    }
    match story.settled {
        Some((SettleEnd::Complete | SettleEnd::Quiet, ..)) => None,
        Some((SettleEnd::TakenDown, ..)) => remains.undecided(record, story, account),
        Some((SettleEnd::Unread, outstanding, _)) => Some(format!(
            "{} spans had not arrived, and a queue could not be read: they may be in it",
            grouped(outstanding)
        )),
        Some((SettleEnd::Deadline, outstanding, _)) => Some(format!(
            "{} spans had not arrived at the deadline, and may have been on their way",
            grouped(outstanding)
        )),
        Some((SettleEnd::Interrupted, ..)) | None => Some("the rest was not waited for".to_owned()),
    }
}

/// A lost range: sent in one step, lost at one hop.
struct Lost {
    stream: Stream,
    range: Range,
    /// The moment at which the first of it was sent, in seconds on the run's clock.
    sent: Option<f64>,
    /// The gRPC code with which the backend refused it, or what stands in its place; none if it vanished.
    refused: Option<u8>,
    /// The place in a tier that samples at which it vanished, as far as that is known.
    sampler: Option<String>,
}

impl Lost {
    fn hop(&self, record: &Record) -> String {
        let what = match self.refused {
            Some(PARTIAL) => "refused by the backend (partial success)".to_owned(),
            Some(UNANSWERED) => "never answered by the backend".to_owned(),
            Some(code) => format!("refused by the backend ({:?})", Code::from_number(code.into())),
            None => match &self.sampler {
                Some(sampler) => return sampler.clone(),
                None => "vanished between agent and backend".to_owned(),
            },
        };
        // A process that ended leaves nothing of what it held in memory.
        let hops = record.environment.hops.iter();
        let memory = hops.filter(|hop| hop.keeps == Keeps::Memory).map(|hop| hop.name.as_str());
        let memory = memory.collect::<Vec<_>>().join(", ");
        if memory.is_empty() { what } else { format!("{what} (kept only in its pod by: {memory})") }
    }

    fn during(&self, story: &Story) -> String {
        self.sent.map_or_else(|| "at an unknown moment".to_owned(), |t| story.during(t))
    }
}

/// Returns every lost range, in order.
fn lost(record: &Record, story: &Story, account: &Account, sampled: Option<&Traces<'_>>) -> Vec<Lost> {
    let mut all = Vec::new();
    for (stream, account) in &account.streams {
        let mut vanished = account.lost.clone();
        let mut hops = Vec::new();
        for (code, refused) in &account.refused {
            let here = vanished.intersection(refused);
            vanished = vanished.difference(refused);
            hops.push((Some(*code), false, here));
        }
        let in_part = sampled.map(|sampled| sampled.in_part(*stream)).unwrap_or_default();
        hops.push((None, true, vanished.intersection(&in_part)));
        hops.push((None, false, vanished.difference(&in_part)));
        let emitter = record.emitters.iter().find(|emitter| emitter.stream() == *stream);
        for (refused, in_part, ranges) in hops {
            for range in ranges.iter() {
                let parts = emitter
                    .map_or_else(|| vec![(range, None)], |emitter| by_step(record, story, emitter, range));
                let parts = parts.into_iter();
                let hop = |sent| sampled.filter(|_| refused.is_none())?.hop(sent, in_part);
                all.extend(parts.map(|(range, sent)| {
                    let sampler = hop(sent);
                    Lost { stream: *stream, range, sent, refused, sampler }
                }));
            }
        }
    }
    all.sort_by_key(|lost| (lost.stream, lost.range.start));
    all
}

/// Cuts a range where its spans belong to another step; each part has the moment at which it was sent. Within a second the
/// schedule is even, so a number's place in the second's range tells when it was sent.
fn by_step(
    record: &Record,
    story: &Story,
    emitter: &EmitterLedger,
    range: Range,
) -> Vec<(Range, Option<f64>)> {
    let node = record.node_of(emitter.stream());
    let seconds = emitter.seconds();
    let ends = seconds.iter().skip(1).map(|next| next.unix_ms).chain([u64::MAX]);
    let mut parts: Vec<(Range, Option<f64>)> = Vec::new();
    let mut next = range.start;
    // Seconds are in order: those before it have none of the range.
    let before = seconds.partition_point(|second| second.emitted.end <= range.start);
    for (second, end) in seconds.iter().zip(ends).skip(before) {
        if next >= range.end {
            break;
        }
        let here = second.emitted.intersection(Range::new(next, range.end));
        if here.is_empty() {
            continue;
        }
        if here.start > next {
            parts.push((Range::new(next, here.start), None));
        }
        let began = record.moment(node, second.unix_ms);
        let lasted = end.saturating_sub(second.unix_ms).min(1_000) as f64 / 1e3;
        let each = lasted / second.emitted.count() as f64;
        let sent = |seq: u64| began + (seq - second.emitted.start) as f64 * each;
        // The steps that are going on change only where one begins or ends.
        let turns = story.steps.iter().flat_map(|step| [Some(step.start), step.over]).flatten();
        let turns = turns.map(|turn| first(here, |seq| sent(seq) >= turn));
        let mut cuts: Vec<u64> = turns.filter(|cut| *cut < here.end).chain([here.start]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let ends = cuts.iter().skip(1).copied().chain([here.end]);
        for (start, end) in cuts.iter().copied().zip(ends) {
            match parts.last_mut() {
                Some((last, Some(t))) if last.end == start && same_steps(story, *t, sent(start)) => {
                    last.end = end;
                }
                _ => parts.push((Range::new(start, end), Some(sent(start)))),
            }
        }
        next = here.end;
    }
    if next < range.end {
        parts.push((Range::new(next, range.end), None));
    }
    parts
}

/// Returns the first number of a range for which `holds` is true, as it is for all after it; the range's end if for none.
fn first(range: Range, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut from, mut to) = (range.start, range.end);
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

fn same_steps(story: &Story, one: f64, other: f64) -> bool {
    let paths = |t| story.steps_at(t).into_iter().map(|step| &step.path);
    paths(one).eq(paths(other))
}

fn reason(record: &Record, story: &Story, account: &Account, lost: &[Lost]) -> String {
    let mut by_hop_and_step: BTreeMap<(String, String), u64> = BTreeMap::new();
    for part in lost {
        *by_hop_and_step.entry((part.hop(record), part.during(story))).or_default() += part.range.count();
    }
    let parts: Vec<_> = by_hop_and_step
        .iter()
        .map(|((hop, during), spans)| format!("{} sent {during}, {hop}", grouped(*spans)))
        .collect();
    let first = lost.first().map_or_else(String::new, |first| {
        let node = record.node_of(first.stream);
        format!("; the first: {} of stream {} ({node})", first.range, first.stream)
    });
    format!(
        "{} of {} acknowledged spans never arrived: {}{first}",
        grouped(account.counts.lost),
        grouped(account.counts.acknowledged),
        parts.join("; ")
    )
}

fn evidence(context: &Context<'_>, lost: &[Lost]) -> Value {
    let Context { record, story, account, remains, gateways, .. } = context;
    let ranges: Vec<Value> = lost
        .iter()
        .take(NAMED)
        .map(|part| {
            json!({
                "stream": part.stream,
                "node": record.node_of(part.stream),
                "first": part.range.start,
                "last": part.range.end - 1,
                "sent": part.sent.map(rounded),
                "step": part.sent.map_or_else(|| "an unknown step".to_owned(), |t| story.step_at(t)),
                "hop": part.hop(record),
            })
        })
        .collect();
    json!({
        "lost": account.counts.lost,
        "refused_by_the_backend": account.counts.lost_refused,
        "vanished": account.counts.lost - account.counts.lost_refused,
        "lost_ranges": ranges,
        "lost_ranges_not_named": lost.len().saturating_sub(NAMED),
        "latency_ms": arrival(record),
        "traces": traces(record, gateways),
        "stranded": account.counts.stranded,
        "may_be_kept_by": remains.evidence(),
        "settled": story.settled.map(|(end, ..)| end),
        "worst_retry_pause_s": story.settled.map(|(.., pause)| pause),
        "given_up_by_the_collectors": given_up(record, story),
    })
}

/// Returns the time from when spans were due to their arrival, on the clocks of emitters and sinks.
fn arrival(record: &Record) -> Value {
    let seconds = record.sinks.iter().flat_map(SinkLedger::latency);
    // Unreadable latencies are left out: they do not decide here.
    latency::sum(seconds.map(|(_, latency)| latency.as_slice()))
        .map_or(Value::Null, |sum| latency::evidence(&sum))
}

/// Returns how many of the traces that the sinks followed arrived through more than one gateway; and of how many that is not
/// known, since a deliverer is no gateway by its name or address.
fn traces(record: &Record, all: &Gateways<'_>) -> Value {
    let mut gateways: BTreeMap<u64, BTreeSet<Option<&str>>> = BTreeMap::new();
    for sink in &record.sinks {
        for trace in sink.traces() {
            let t = record.moment(&record.environment.sink_node, trace.unix_ms);
            let names = trace.gateways.iter().filter_map(|number| sink.gateway_name(*number));
            gateways.entry(trace.trace).or_default().extend(names.map(|said| all.who(said, t)));
        }
    }
    let known = |names: &BTreeSet<Option<&str>>| names.iter().flatten().count();
    let several = gateways.values().filter(|names| known(names) > 1).count();
    let unknown = gateways.values().filter(|names| names.contains(&None) && known(names) < 2).count();
    json!({"followed": gateways.len(), "over_several_gateways": several, "not_known": unknown})
}

/// Returns what agents and gateways say that they gave up. It only helps to explain: these counters restart at 0 with the
/// process.
fn given_up(record: &Record, story: &Story) -> Value {
    let (Some(metrics), Some((start, _))) = (&record.metrics, story.load) else { return Value::Null };
    let ms = |t| record.unix_ms(&record.environment.sink_node, t);
    let (from, to) = (ms(start), ms(story.last));
    let sum = |role, name| metrics.of(role).map(|target| target.increase(name, from, to)).sum::<f64>();
    json!({
        "agents": sum("agent", "otelcol_exporter_send_failed_spans"),
        "gateways": sum("gateway", "otelcol_exporter_send_failed_spans"),
        "agents_refused": sum("agent", "otelcol_receiver_refused_spans"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_known_decides() {
        let some = |text: &str| Some(text.to_owned());
        let facts = |lost, stranded| Facts {
            counts: Counts { acknowledged: 9, lost, stranded, ..Counts::default() },
            incomplete: None,
            doubt: None,
            by_policy: None,
            lost: "3 of 9 never arrived".to_owned(),
            split: String::new(),
            taken_down: false,
            holders: "agent-0 holds them".to_owned(),
            late: 0,
        };
        let policy = |verdict| Some((verdict, "too few".to_owned()));
        for (facts, verdict, reason) in [
            (Facts { incomplete: some("open"), ..facts(3, 0) }, Verdict::Inconclusive, "open"),
            (
                Facts { doubt: some("maybe"), ..facts(3, 0) },
                Verdict::Inconclusive,
                "maybe; 3 of 9 never arrived",
            ),
            (facts(3, 0), Verdict::Fail, "3 of 9 never arrived"),
            (
                facts(3, 2),
                Verdict::Fail,
                "3 of 9 never arrived; besides, 2 acknowledged spans are stranded: they did not arrive, and agent-0 holds \
                 them",
            ),
            (
                facts(0, 2),
                Verdict::Inconclusive,
                "2 acknowledged spans are stranded: they did not arrive, and agent-0 holds them",
            ),
            (Facts { by_policy: policy(Verdict::Fail), ..facts(0, 0) }, Verdict::Fail, "too few"),
            (
                Facts { by_policy: policy(Verdict::Fail), doubt: some("maybe"), ..facts(0, 0) },
                Verdict::Inconclusive,
                "maybe; too few",
            ),
            (
                Facts { by_policy: policy(Verdict::Pass), doubt: some("maybe"), ..facts(0, 0) },
                Verdict::Pass,
                "too few",
            ),
            (facts(0, 0), Verdict::Pass, "all 9 acknowledged spans were delivered (0 more than once)"),
        ] {
            assert_eq!(facts.decide(), (verdict, reason.to_owned()));
        }
    }
}
