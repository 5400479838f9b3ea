//! How long, and how much, did the agents refuse; and what would applications with a default SDK have lost by that?
//!
//! Nothing, unless the scenario says how much may be: an agent that is replaced refuses for a while.

use super::{Context, Finding, Verdict, emitters_untold, grouped, latency, rounded};
use crate::record::Record;
use serde_json::{Value, json};
use spanproof_ledger::{EmitSecond, EmitterLedger, Latency};

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, account, .. } = context;
    if let Some(untold) = emitters_untold(record) {
        return Some(Finding::inconclusive(untold));
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
    let longest = refusals.max_by(|a, b| a.lasted().total_cmp(&b.lasted()));
    let refused_for = longest.as_ref().map_or(0.0, Refusal::lasted);
    let sum = |part: fn(&EmitSecond) -> u64| seconds().map(part).fold(0, u64::saturating_add);
    let dropped = sum(|second| second.sdk_dropped);
    let slipped_ms = seconds().map(|second| second.slipped_ms).max().unwrap_or_default();
    let expect = record.scenario.expect;
    let limit = expect.refused_for.map(|limit| limit.duration().as_secs_f64());
    // What an agent refused for good an SDK drops, whatever the emitter's model of one says.
    let rejected = account.counts.rejected;
    let dropped = dropped.max(rejected);
    let evidence = json!({
        "failed_requests": sum(|second| second.failed_requests),
        "failed_spans": sum(|second| second.failed_spans),
        "seconds_with_failures": seconds().filter(|second| second.failed_requests > 0).count(),
        "longest_refusal": longest.as_ref().map(Refusal::evidence),
        "refused_for_limit_s": limit,
        "sdk_dropped": dropped,
        "sdk_dropped_limit": expect.sdk_dropped,
        "rejected": rejected,
        "slipped_ms": slipped_ms,
        "latency_ms": latency::told(&latency),
    });
    let mut lost = match dropped {
        0 => "an application with a default SDK would have lost nothing".to_owned(),
        dropped => format!("applications with a default SDK would have lost {} spans", grouped(dropped)),
    };
    if rejected > 0 {
        lost = format!("{lost} ({} were refused for good)", grouped(rejected));
    }
    let refused = longest.as_ref().map_or_else(|| "no agent refused anything".to_owned(), Refusal::told);
    let ruling = if limit.is_some_and(|limit| refused_for > limit) {
        (Verdict::Fail, format!("{refused}: longer than {}s; {lost}", limit.unwrap_or_default()))
    } else if dropped > expect.sdk_dropped {
        let limit = match expect.sdk_dropped {
            0 => "expect.sdk_dropped allows none".to_owned(),
            limit => format!("the limit is {}", grouped(limit)),
        };
        (Verdict::Fail, format!("{lost}, and {limit}; {refused}"))
    } else {
        (Verdict::Pass, format!("{lost}; {refused}{}{}", slipped(slipped_ms), took(&latency)))
    };
    Some(Finding::new(ruling, evidence))
}

/// How far the schedule was behind, if it was.
fn slipped(ms: u64) -> String {
    if ms == 0 {
        String::new()
    } else {
        format!("; the schedule was behind by up to {:.1}s", ms as f64 / 1e3)
    }
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

/// A stretch of time in which an agent refused requests or left them without an answer, and took none between.
#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    node: String,
    /// On the run's clock, in seconds.
    from: f64,
    to: f64,
    /// For how many seconds of it requests failed, and for how many there was no answer at all.
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

    fn told(&self) -> String {
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

/// What a second says of its agent.
#[derive(Debug, Clone, Copy)]
struct Second {
    from: f64,
    asked: bool,
    took: bool,
    failed: bool,
}

/// Seconds that are further apart than this are of two processes of the emitter, or of one that did not run.
const APART: f64 = 2.5;

/// The records are by second, and so is this. A request that fails after 10 s was unanswered since it was due, so a
/// second in which something was sent and nothing taken is of the refusal, whether it failed then or later. One such
/// second by itself, without a failure, is none: what is sent at its end is answered in the next.
fn stretches(node: &str, seconds: impl Iterator<Item = Second>) -> Vec<Refusal> {
    let mut all: Vec<Refusal> = Vec::new();
    // What may be one, and whether it is for certain.
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

/// What is sent in a second and answered in the next one was not refused, in seconds.
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
