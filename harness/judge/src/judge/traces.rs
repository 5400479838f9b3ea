//! Loss in a tier that samples: a trace arrives whole or not at all, and which ones, or how many, follows from the policy.

use super::{Ruling, Story, Verdict, grouped, rounded};
use crate::record::Record;
use crate::sampling::{Policy, Sampled, Sampling, bound};
use serde_json::{Value, json};
use spanproof_ledger::{Account, Counts, EmitterLedger, Identity, RangeSet, Stream, spans_of};
use std::collections::BTreeMap;

/// The sampler's own counters.
const KEPT: &str = "otelcol_processor_tail_sampling_global_count_traces_sampled{sampled=\"true\"}";
const LEFT_OUT: &str = "otelcol_processor_tail_sampling_global_count_traces_sampled{sampled=\"false\"}";
const NEW: &str = "otelcol_processor_tail_sampling_new_trace_id_received";
const TOO_EARLY: &str = "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early";

/// The time that a span may take from its emitter to the sampler, and that the sampler may be late, in seconds.
const SLACK: f64 = 3.0;

/// The traces of a tier that samples.
pub(super) struct Traces<'a> {
    sampling: &'a Sampling,
    sampled: Sampled,
    identity: Identity,
    counted: Option<Counted>,
    /// The ends of gateways.
    ended: Vec<Ended>,
}

struct Ended {
    gateway: String,
    from: f64,
    to: f64,
}

/// The samplers' own counts, in traces.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counted {
    kept: f64,
    left_out: f64,
    new: f64,
    too_early: f64,
}

/// Returns why it is not known what a tier that samples has to deliver, if so.
pub(super) fn unknown(record: &Record) -> Option<&'static str> {
    let said = record.scenario.tier.samples.is_some();
    match &record.environment.sampling {
        None if said => Some("how the tier samples is not on record"),
        Some(sampling) if !said && sampling.keeps != Policy::All => {
            Some("the tier samples, and the scenario does not say so")
        }
        Some(sampling) if !sound(sampling) => Some("how the tier samples makes no sense on record"),
        None | Some(_) => None,
    }
}

fn sound(sampling: &Sampling) -> bool {
    let wait = sampling.decision_wait_s;
    (0.0..=1.0).contains(&sampling.keeps.share()) && wait.is_finite() && wait >= 0.0
}

/// Returns the traces, where the tier samples, and takes what the policy leaves out from the account's losses.
pub(super) fn of<'a>(record: &'a Record, story: &Story, account: &mut Account) -> Option<Traces<'a>> {
    let sampling = record.environment.sampling.as_ref().filter(|_| unknown(record).is_none())?;
    let tag = record.emitters.first()?.run_tag();
    let load = &record.scenario.load;
    let identity = Identity::new(tag, load.spans_per_trace, load.streams_per_trace);
    let streams: BTreeMap<Stream, _> =
        account.streams.keys().map(|stream| (*stream, sets(record, *stream))).collect();
    let each = streams.iter().map(|(stream, (taken, came))| (*stream, taken, came));
    let sampled = Sampled::of(&identity, &sampling.keeps, each);
    for (stream, account) in &mut account.streams {
        let missing = sampled.missing_of(&identity, *stream, &account.lost);
        let refused = missing.intersection_count(&RangeSet::union(account.refused.values()));
        account.counts.not_sampled = account.counts.lost - missing.count();
        (account.counts.lost, account.counts.lost_refused) = (missing.count(), refused);
        account.lost = missing;
    }
    let sum = |of: fn(&Counts) -> u64| account.streams.values().map(|stream| of(&stream.counts)).sum::<u64>();
    account.counts.lost = sum(|counts| counts.lost);
    account.counts.lost_refused = sum(|counts| counts.lost_refused);
    account.counts.not_sampled = sum(|counts| counts.not_sampled);
    let (counted, ended) = (counted(record, story), ended(story));
    Some(Traces { sampling, sampled, identity, counted, ended })
}

/// Returns what was acknowledged of a stream, and what arrived.
fn sets(record: &Record, stream: Stream) -> (RangeSet, RangeSet) {
    let ours = record.emitters.iter().filter(|emitter| emitter.stream() == stream);
    let taken = RangeSet::union(ours.map(EmitterLedger::acknowledged));
    let came = RangeSet::union(record.sinks.iter().map(|sink| sink.delivered(stream)));
    (taken.into_owned(), came.into_owned())
}

/// Returns the gateways' samplers' own counts over the run. These restart at 0 with the process.
fn counted(record: &Record, story: &Story) -> Option<Counted> {
    let (metrics, (start, _)) = (record.metrics.as_ref()?, story.load?);
    let ms = |t| record.unix_ms(&record.environment.sink_node, t);
    let (from, to) = (ms(start), ms(story.last));
    metrics.of("gateway").any(|target| target.series.contains_key(NEW)).then(|| {
        let sum = |name| metrics.of("gateway").map(|target| target.increase(name, from, to)).sum();
        Counted { kept: sum(KEPT), left_out: sum(LEFT_OUT), new: sum(NEW), too_early: sum(TOO_EARLY) }
    })
}

/// Returns each end of a gateway: of its pod, or of a process in it.
fn ended(story: &Story) -> Vec<Ended> {
    let Some(series) = story.pods.get("gateway") else { return Vec::new() };
    let mut ended = Vec::new();
    // The moment since which a pod is terminating.
    let mut leaving: BTreeMap<&str, f64> = BTreeMap::new();
    for pair in series.windows(2) {
        let ((before_t, before), (t, now)) = (&pair[0], &pair[1]);
        for (name, pod) in before {
            if pod.terminating {
                leaving.entry(name).or_insert(*before_t);
            }
            let gateway = name.clone();
            match now.iter().find(|(other, _)| other == name) {
                None => {
                    let from = leaving.get(name.as_str()).copied().unwrap_or(*t);
                    ended.push(Ended { gateway, from, to: *t });
                }
                Some((_, later)) if later.restarts > pod.restarts => {
                    ended.push(Ended { gateway, from: *t, to: *t });
                }
                Some(_) => {}
            }
        }
    }
    ended
}

impl Traces<'_> {
    /// Returns the numbers of a stream's spans whose traces arrived in part.
    pub(super) fn in_part(&self, stream: Stream) -> RangeSet {
        let sets = self.sampled.traces.groups.get(&self.identity.trace_group(stream));
        sets.map_or_else(RangeSet::new, |sets| spans_of(&sets.partial, self.identity.spans_per_trace()))
    }

    /// Returns the hop at which a span vanished that was sent at a moment.
    pub(super) fn hop(&self, sent: Option<f64>, in_part: bool) -> Option<String> {
        let wait = self.sampling.decision_wait_s;
        let waiting = sent.filter(|_| wait > 0.0).map(|sent| {
            let here = |end: &&Ended| (end.from - wait - SLACK..=end.to).contains(&sent);
            let ends = self.ended.iter().filter(here);
            let ends: Vec<_> =
                ends.map(|end| format!("{}, which went away at {:.1}s", end.gateway, end.to)).collect();
            ends.join(", or of ")
        });
        match waiting {
            Some(gateways) if !gateways.is_empty() => Some(format!("waiting in the sampler of {gateways}")),
            Some(_) | None => in_part.then(|| "split, or lost in the sampler".to_owned()),
        }
    }

    /// Returns the ruling where nothing that is known by name is missing; none if the tier keeps everything, as any other tier
    /// does.
    pub(super) fn judge(&self, counts: Counts) -> Option<Ruling> {
        (self.sampling.keeps != Policy::All).then(|| self.facts(counts).decide())
    }

    /// Describes the traces that arrived in part, as the end of a sentence; empty if there are none.
    pub(super) fn split(&self) -> String {
        match self.sampled.traces.partial() {
            0 => String::new(),
            partial => format!("; {} traces came in part", grouped(partial)),
        }
    }

    fn facts(&self, counts: Counts) -> Facts<'_> {
        Facts {
            by: &self.sampling.by,
            share: self.sampling.keeps.share(),
            acknowledged: self.sampled.traces.acknowledged(),
            came: self.sampled.came(),
            kept: self.sampled.kept,
            unforeseen: self.sampled.unforeseen,
            counted: self.counted,
            spans: counts.acknowledged - counts.not_sampled,
        }
    }

    /// Returns the evidence of the ruling.
    pub(super) fn evidence(&self) -> Value {
        let traces = &self.sampled.traces;
        let share = self.sampling.keeps.share();
        json!({
            "by": self.sampling.by,
            "share": share,
            "decision_wait_s": rounded(self.sampling.decision_wait_s),
            "traces": {
                "acknowledged": traces.acknowledged(),
                "whole": traces.whole(),
                "in_part": traces.partial(),
                "absent": traces.absent(),
                "kept_by_the_policy": self.sampled.kept,
                "came_though_left_out": self.sampled.unforeseen,
            },
            "bound": bound(share, traces.acknowledged()),
            "counted_by_the_samplers": self.counted.map(|counted| json!({
                "kept": counted.kept,
                "left_out": counted.left_out,
                "received": counted.new,
                "dropped_too_early": counted.too_early,
            })),
        })
    }
}

/// The facts that decide about a tier that samples, where nothing that is known by name is missing.
#[derive(Debug, Clone, PartialEq)]
struct Facts<'a> {
    by: &'a str,
    share: f64,
    /// Traces of which something was acknowledged.
    acknowledged: u64,
    /// Of these, those of which something arrived.
    came: u64,
    /// Those that the policy keeps; none if it is not known which.
    kept: Option<u64>,
    unforeseen: u64,
    counted: Option<Counted>,
    /// Acknowledged spans of the traces that came.
    spans: u64,
}

impl Facts<'_> {
    fn decide(&self) -> Ruling {
        if self.acknowledged == 0 {
            return (Verdict::Inconclusive, "no trace was acknowledged".to_owned());
        }
        match self.kept {
            Some(kept) => self.by_name(kept),
            None => self.by_share(),
        }
    }

    /// The ruling where it is known which traces the policy keeps: all of them came.
    fn by_name(&self, kept: u64) -> Ruling {
        let (by, share, all) = (self.by, percent(self.share), grouped(self.acknowledged));
        let (kept, spans) = (grouped(kept), grouped(self.spans));
        if self.share >= 1.0 {
            let reason = format!("all {spans} acknowledged spans were delivered, in {kept} whole traces");
            return (Verdict::Pass, reason);
        }
        if self.came == 0 {
            let reason = format!("{by} keeps none of {all} traces ({share}), so nothing was seen");
            return (Verdict::Inconclusive, reason);
        }
        let why = "each that its policy draws by its ID, and no other";
        let reason = format!("{kept} of {all} traces came whole, {spans} spans: {why} ({by}, {share})");
        (Verdict::Pass, reason)
    }

    /// The ruling where nothing but the policy's share is known.
    fn by_share(&self) -> Ruling {
        let (by, share, all) = (self.by, percent(self.share), grouped(self.acknowledged));
        let bound = bound(self.share, self.acknowledged);
        if self.share <= bound {
            let reason = format!("{all} traces are too few to tell {share} from none, by chance alone");
            return (Verdict::Inconclusive, reason);
        }
        let came = self.came as f64 / self.acknowledged as f64;
        let seen = format!(
            "{} of {all} traces came whole, and {share} ± {:.2} are expected ({by}; 5 standard deviations)",
            percent(came),
            bound * 100.0
        );
        if came < self.share - bound {
            return (Verdict::Fail, format!("too few: {seen}"));
        }
        if came > self.share + bound {
            let reason = format!("this is not the policy in force, so what is lost is not known: {seen}");
            return (Verdict::Inconclusive, reason);
        }
        if let Some(counted) = self.counted.filter(|counted| self.more_than_came(*counted) >= 1.0) {
            let (kept, came) = (grouped(whole(counted.kept)), grouped(self.came));
            let reason = format!("the samplers say that they kept {kept} traces, and {came} arrived");
            return (Verdict::Fail, reason);
        }
        let hidden = grouped(whole((bound * self.acknowledged as f64).ceil()));
        let other = if self.unforeseen > 0 {
            "; which ones its configuration draws are not those that came"
        } else {
            ""
        };
        let power = format!("a loss of fewer than {hidden} whole traces would not be seen");
        (Verdict::Pass, format!("{seen}; none came in part{other}; {power}"))
    }

    /// Returns by how many traces the samplers say they kept more than arrived. A trace that a sampler got more than once, or that
    /// several got, may have been decided, and counted, as often.
    fn more_than_came(&self, counted: Counted) -> f64 {
        let again = (counted.new - self.acknowledged as f64).max(0.0);
        counted.kept - self.came as f64 - again
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 1e2)
}

fn whole(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut off at both ends")]
    let number = number as u64;
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        let by = "tail_sampling in ConfigMap/gateway";
        Facts {
            by,
            share: 0.25,
            acknowledged: 13_000,
            came: 3_263,
            kept: None,
            unforeseen: 0,
            counted: None,
            spans: 32_630,
        }
    }

    #[track_caller]
    fn says(facts: &Facts<'_>, verdict: Verdict, words: &str) {
        let (found, reason) = facts.decide();
        assert!(found == verdict && reason.contains(words), "{found:?}: {reason}");
    }

    #[test]
    fn a_share_is_held_against_the_policys() {
        says(&facts(), Verdict::Pass, "25.1 % of 13,000 traces came whole, and 25 % ± 1.90 are expected");
        says(&facts(), Verdict::Pass, "a loss of fewer than 247 whole traces would not be seen");
        says(&Facts { came: 3_000, ..facts() }, Verdict::Fail, "too few: 23.08 % of 13,000");
        says(&Facts { came: 3_600, ..facts() }, Verdict::Inconclusive, "not the policy in force");
        says(&Facts { acknowledged: 60, came: 15, ..facts() }, Verdict::Inconclusive, "too few to tell");
        says(&Facts { share: 0.0, came: 0, ..facts() }, Verdict::Inconclusive, "too few to tell");
        says(&Facts { acknowledged: 0, came: 0, ..facts() }, Verdict::Inconclusive, "no trace");
    }

    #[test]
    fn what_the_sampler_counted_and_did_not_come_is_lost() {
        let counted = |kept, new| Some(Counted { kept, left_out: 0.0, new, too_early: 0.0 });
        says(&Facts { counted: counted(3_263.0, 13_000.0), ..facts() }, Verdict::Pass, "25.1 %");
        let more = Facts { counted: counted(3_300.0, 13_000.0), ..facts() };
        says(&more, Verdict::Fail, "kept 3,300 traces, and 3,263 arrived");
        // Some were given to two samplers, and both counted them.
        says(&Facts { counted: counted(3_300.0, 13_100.0), ..facts() }, Verdict::Pass, "25.1 %");
        // A counter that begins anew says less.
        says(&Facts { counted: counted(100.0, 400.0), ..facts() }, Verdict::Pass, "25.1 %");
    }

    #[test]
    fn what_is_drawn_is_known_by_name() {
        let exact = Facts { kept: Some(3_263), ..facts() };
        says(
            &exact,
            Verdict::Pass,
            "3,263 of 13,000 traces came whole, 32,630 spans: each that its policy draws",
        );
        says(&Facts { kept: Some(0), came: 0, ..facts() }, Verdict::Inconclusive, "nothing was seen");
    }
}
