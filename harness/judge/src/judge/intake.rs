//! The check `intake`: no agent refused spans for longer, and no application with a default SDK would have lost more, than the
//! scenario allows.
//!
//! If the scenario allows nothing, nothing may be lost: an agent that is replaced refuses for a while.

use super::{Context, Finding, Ruling, Verdict, emitters_incomplete, grouped, latency, rounded};
use crate::record::Record;
use serde_json::{Value, json};
use spanproof_ledger::{EmitSecond, EmitterLedger, Latency};

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, account, .. } = context;
    if let Some(incomplete) = emitters_incomplete(record) {
        return Some(Finding::inconclusive(incomplete));
    }
    let seconds = || record.emitters.iter().flat_map(EmitterLedger::seconds);
    if seconds().next().is_none() {
        return Some(Finding::inconclusive("no second of the load is on record"));
    }
    let latency = match latency::sum(seconds().map(|second| second.latency.as_slice())) {
        Ok(latency) => latency,
        Err(error) => {
            return Some(Finding::inconclusive(format!("how long requests took cannot be read: {error}")));
        }
    };
    let refusals = record.emitters.iter().flat_map(|emitter| refusals(record, emitter));
    let sum = |part: fn(&EmitSecond) -> u64| seconds().map(part).fold(0, u64::saturating_add);
    let (expect, rejected) = (record.scenario.expect, account.counts.rejected);
    let facts = Facts {
        longest: refusals.max_by(|a, b| a.lasted().total_cmp(&b.lasted())),
        limit: expect.refused_for.map(|limit| limit.duration().as_secs_f64()),
        // An SDK drops what an agent refused for good, whatever the emitter's model of an SDK says.
        dropped: sum(|second| second.sdk_dropped).max(rejected),
        allowed: expect.sdk_dropped,
        rejected,
        slipped_ms: seconds().map(|second| second.slipped_ms).max().unwrap_or_default(),
        latency,
    };
    let evidence = json!({
        "failed_requests": sum(|second| second.failed_requests),
        "failed_spans": sum(|second| second.failed_spans),
        "seconds_with_failures": seconds().filter(|second| second.failed_requests > 0).count(),
        "longest_refusal": facts.longest.as_ref().map(Refusal::evidence),
        "refused_for_limit_s": facts.limit,
        "sdk_dropped": facts.dropped,
        "sdk_dropped_limit": facts.allowed,
        "rejected": facts.rejected,
        "slipped_ms": facts.slipped_ms,
        "latency_ms": latency::evidence(&facts.latency),
    });
    Some(Finding::new(facts.decide(), evidence))
}

/// The facts that decide about what the agents refused.
struct Facts {
    /// The longest refusal; none if nothing was refused.
    longest: Option<Refusal>,
    /// The longest that is allowed, in seconds.
    limit: Option<f64>,
    /// The spans that applications with a default SDK would have lost, and how many they may.
    dropped: u64,
    allowed: u64,
    /// The spans that were refused for good.
    rejected: u64,
    /// The most that a schedule was late, in milliseconds.
    slipped_ms: u64,
    /// The latencies of all requests.
    latency: Latency,
}

impl Facts {
    fn decide(&self) -> Ruling {
        let (refused, lost) = (self.refused(), self.lost());
        let lasted = self.longest.as_ref().map_or(0.0, Refusal::lasted);
        if let Some(limit) = self.limit.filter(|limit| lasted > *limit) {
            return (Verdict::Fail, format!("{refused}: longer than {limit}s; {lost}"));
        }
        if self.dropped > self.allowed {
            let limit = match self.allowed {
                0 => "expect.sdk_dropped allows none".to_owned(),
                limit => format!("the limit is {}", grouped(limit)),
            };
            return (Verdict::Fail, format!("{lost}, and {limit}; {refused}"));
        }
        let (slipped, took) = (slipped(self.slipped_ms), took(&self.latency));
        (Verdict::Pass, format!("{lost}; {refused}{slipped}{took}"))
    }

    fn refused(&self) -> String {
        self.longest.as_ref().map_or_else(|| "no agent refused anything".to_owned(), Refusal::describe)
    }

    fn lost(&self) -> String {
        let lost = match self.dropped {
            0 => "an application with a default SDK would have lost nothing".to_owned(),
            dropped => format!("applications with a default SDK would have lost {} spans", grouped(dropped)),
        };
        match self.rejected {
            0 => lost,
            rejected => format!("{lost} ({} were refused for good)", grouped(rejected)),
        }
    }
}

/// Returns the delay of the schedule, as the end of a sentence; empty if there was none.
fn slipped(ms: u64) -> String {
    if ms == 0 { String::new() } else { format!("; the schedule was late by up to {:.1}s", ms as f64 / 1e3) }
}

fn took(latency: &Latency) -> String {
    if latency.count() == 0 {
        return String::new();
    }
    let ms = |us: u64| us as f64 / 1e3;
    format!(
        "; requests took {:.1} ms (99 %: {:.1} ms, at most {:.1} ms) from when they were due",
        ms(latency.quantile_us(0.5)),
        ms(latency.quantile_us(0.99)),
        ms(latency.max_us())
    )
}

/// A time in which an agent refused requests or did not answer them, and took none.
#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    node: String,
    /// On the run's clock, in seconds.
    from: f64,
    to: f64,
    /// The number of its seconds in which requests failed, and in which there was no answer at all.
    failed: u32,
    silent: u32,
}

impl Refusal {
    const fn count(&mut self, failed: bool) {
        let seconds = if failed { &mut self.failed } else { &mut self.silent };
        *seconds = seconds.saturating_add(1);
    }

    fn lasted(&self) -> f64 {
        self.to - self.from
    }

    fn describe(&self) -> String {
        let Self { node, from, .. } = self;
        let what = if self.silent > self.failed { "refused, or did not answer," } else { "refused" };
        format!("the agent on {node} {what} for {:.0}s, from {from:.1}s on", self.lasted())
    }

    fn evidence(&self) -> Value {
        json!({"node": self.node, "from": rounded(self.from), "to": rounded(self.to), "s": rounded(self.lasted())})
    }
}

fn refusals(record: &Record, emitter: &EmitterLedger) -> Vec<Refusal> {
    let node = record.node_of(emitter.stream());
    let seconds = emitter.seconds().iter().map(|second| Second {
        from: record.moment(node, second.unix_ms),
        asked: second.emitted.count() > 0,
        took: second.acknowledged > 0,
        failed: second.failed_requests > 0,
    });
    stretches(node, seconds)
}

/// One second of an emitter's record.
#[derive(Debug, Clone, Copy)]
struct Second {
    from: f64,
    asked: bool,
    took: bool,
    failed: bool,
}

/// The longest distance of two seconds, in seconds; a longer one means two processes of the emitter, or one that did not run.
const APART: f64 = 2.5;

/// Returns the refusals of a node's agent, to the second. A request that fails after 10 s was unanswered since it was due, so
/// a second in which something was sent and nothing taken belongs to the refusal, whether it failed then or later. One such
/// second by itself, without a failure, is no refusal: a request that is sent at its end is answered in the next.
fn stretches(node: &str, seconds: impl Iterator<Item = Second>) -> Vec<Refusal> {
    let mut all: Vec<Refusal> = Vec::new();
    // A possible refusal, and `true` if it is certain.
    let mut open: Option<(Refusal, bool)> = None;
    let mut before = f64::NEG_INFINITY;
    for second in seconds {
        let Second { from, asked, took, failed } = second;
        let together = from - before < APART;
        before = from;
        if !together {
            all.extend(open.take().and_then(certain));
        }
        match &mut open {
            Some((refusal, sure)) if failed || !took => {
                refusal.to = from + 1.0;
                refusal.count(failed);
                *sure |= failed || refusal.lasted() > LONGEST_ALONE;
            }
            Some((_, _)) => all.extend(open.take().and_then(certain)),
            None if failed || (asked && !took) => {
                let mut refusal =
                    Refusal { node: node.to_owned(), from, to: from + 1.0, failed: 0, silent: 0 };
                refusal.count(failed);
                open = Some((refusal, failed));
            }
            None => {}
        }
    }
    all.extend(open.and_then(certain));
    all
}

/// The longest time without an answer that is no refusal, in seconds: a request may be answered in the next second.
const LONGEST_ALONE: f64 = 1.5;

fn certain((refusal, sure): (Refusal, bool)) -> Option<Refusal> {
    sure.then_some(refusal)
}

#[cfg(test)]
mod tests {
    use super::{Second, stretches};

    /// `a` sent and taken, `.` nothing sent, `s` sent and not answered, `f` failed, `b` some failed, some were taken.
    fn told(seconds: &str) -> Vec<(f64, f64)> {
        let seconds = (0u8..).zip(seconds.chars()).map(|(number, what)| Second {
            from: f64::from(number),
            asked: what != '.',
            took: matches!(what, 'a' | 'b'),
            failed: matches!(what, 'f' | 'b'),
        });
        stretches("n", seconds).iter().map(|refusal| (refusal.from, refusal.to)).collect()
    }

    #[test]
    fn what_is_not_answered_counts_from_when_it_was_due() {
        assert_eq!(told("aaffaa"), [(2.0, 4.0)]);
        assert_eq!(told("aassssssssssffa"), [(2.0, 14.0)], "a hang ends at the request's deadline");
        assert_eq!(told("aassssssaa"), [(2.0, 8.0)], "it answered before the deadline");
        assert_eq!(told("aassssba"), [(2.0, 7.0)], "it took others in the second in which one failed");
        assert_eq!(told("aasaasa"), [], "sent at the end of a second, answered in the next");
        assert_eq!(told("aaf..fa"), [(2.0, 6.0)]);
        assert_eq!(told("a....a..a"), [], "nothing was sent");
        assert_eq!(told("aas.a"), [(2.0, 4.0)]);
        assert_eq!(told("ssss"), [(0.0, 4.0)]);
        assert_eq!(told(""), []);
    }

    #[test]
    fn what_an_emitter_did_not_see_is_no_refusal() {
        let second = |from| Second { from, asked: true, took: false, failed: true };
        let found = stretches("n", [second(0.0), second(60.0)].into_iter());
        assert_eq!(found.iter().map(super::Refusal::lasted).collect::<Vec<_>>(), [1.0, 1.0]);
    }
}
