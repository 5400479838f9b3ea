//! How long, and how much, did the agents refuse; and what would applications with a default SDK have lost by that?
//!
//! An agent that is replaced refuses for a while: that is planned, so it fails only where the scenario says how much
//! is too much.

use super::{Check, Verdict, emitters_untold, grouped, latency, rounded};
use crate::record::Record;
use serde_json::{Value, json};
use spanproof_ledger::{EmitSecond, EmitterLedger, Latency};

pub(super) fn check(record: &Record) -> Option<Check> {
    let inconclusive = |reason: String| Some(Check::new("intake", Verdict::Inconclusive, reason, json!({})));
    if let Some(untold) = emitters_untold(record) {
        return inconclusive(untold);
    }
    let seconds = || record.emitters.iter().flat_map(EmitterLedger::seconds);
    if seconds().next().is_none() {
        return inconclusive("no second of the load is on record".to_owned());
    }
    let latency = match latency::sum(seconds().map(|second| second.latency.as_slice())) {
        Ok(latency) => latency,
        Err(error) => return inconclusive(format!("how long requests took cannot be read: {error}")),
    };
    let refusals = record.emitters.iter().flat_map(|emitter| refusals(record, emitter));
    let longest = refusals.max_by(|a, b| a.lasted().total_cmp(&b.lasted()));
    let refused_for = longest.as_ref().map_or(0.0, Refusal::lasted);
    let sum = |part: fn(&EmitSecond) -> u64| seconds().map(part).fold(0, u64::saturating_add);
    let dropped = sum(|second| second.sdk_dropped);
    let slipped_ms = seconds().map(|second| second.slipped_ms).max().unwrap_or_default();
    let expect = record.scenario.expect;
    let limit = expect.refused_for.map(|limit| limit.duration().as_secs_f64());
    let evidence = json!({
        "failed_requests": sum(|second| second.failed_requests),
        "failed_spans": sum(|second| second.failed_spans),
        "seconds_with_failures": seconds().filter(|second| second.failed_requests > 0).count(),
        "longest_refusal": longest.as_ref().map(Refusal::evidence),
        "refused_for_limit_s": limit,
        "sdk_dropped": dropped,
        "sdk_dropped_limit": expect.sdk_dropped,
        "slipped_ms": slipped_ms,
        "latency_ms": latency::told(&latency),
    });
    let lost = match dropped {
        0 => "an application with a default SDK would have lost nothing".to_owned(),
        dropped => format!("applications with a default SDK would have lost {} spans", grouped(dropped)),
    };
    let refused = longest.as_ref().map_or_else(|| "no agent refused anything".to_owned(), Refusal::told);
    let (verdict, reason) = if limit.is_some_and(|limit| refused_for > limit) {
        (Verdict::Fail, format!("{refused}: longer than {}s; {lost}", limit.unwrap_or_default()))
    } else if let Some(limit) = expect.sdk_dropped.filter(|limit| dropped > *limit) {
        (Verdict::Fail, format!("{lost}, and the limit is {}; {refused}", grouped(limit)))
    } else {
        (Verdict::Pass, format!("{lost}; {refused}{}{}", slipped(slipped_ms), took(&latency)))
    };
    Some(Check::new("intake", verdict, reason, evidence))
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

/// A stretch of time in which an agent refused requests, and took none between those that it refused.
struct Refusal {
    node: String,
    /// On the run's clock, in seconds.
    from: f64,
    to: f64,
}

impl Refusal {
    fn lasted(&self) -> f64 {
        self.to - self.from
    }

    fn told(&self) -> String {
        let Self { node, from, .. } = self;
        format!("the agent on {node} refused for {:.0}s, from {from:.1}s on", self.lasted())
    }

    fn evidence(&self) -> Value {
        json!({"node": self.node, "from": rounded(self.from), "to": rounded(self.to), "s": rounded(self.lasted())})
    }
}

/// The records are by second, and so is this. A second without an answer ends no refusal: requests may hang.
fn refusals(record: &Record, emitter: &EmitterLedger) -> Vec<Refusal> {
    let node = record.node_of(emitter.stream());
    let mut all: Vec<Refusal> = Vec::new();
    let mut going_on = false;
    for second in emitter.seconds() {
        let from = record.moment(node, second.unix_ms);
        if second.failed_requests > 0 {
            match all.last_mut() {
                Some(last) if going_on => last.to = from + 1.0,
                _ => all.push(Refusal { node: node.to_owned(), from, to: from + 1.0 }),
            }
        }
        going_on = second.failed_requests > 0 || (going_on && second.acknowledged == 0);
    }
    all
}
