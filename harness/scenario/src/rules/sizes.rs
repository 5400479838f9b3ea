//! Limits of numbers, durations, rates and shares. Within them, probes and judge do exactly what the scenario says.

use super::LONGEST_LOAD;
use crate::field_path::ensure;
use crate::{FieldPath, Problem, Rate, Scenario, Share, Span};
use std::time::Duration;

/// The shortest duration: the probes count in whole milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration: more is a slip.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The resolution of the load: spans are counted by the second, and the probes are asked once a second.
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// The highest rate, in spans per second: more than a hundred times what one machine can send and receive.
const FASTEST: f64 = 1e9;
/// The smallest share: the sinks count shares of requests by the million.
const LEAST_SHARE: f64 = 1e-6;

/// Checks all of them.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let steady = FieldPath::of("steady");
    time(scenario.steady, &steady)?;
    let seen = scenario.steady.duration() >= SECOND;
    ensure(seen, &steady, "`steady` is 1s at the least: in less the tier is not seen to be steady")?;
    expect(scenario)?;
    let settle = FieldPath::of("settle");
    time(scenario.settle.tail, &settle.then("tail"))?;
    time(scenario.settle.deadline, &settle.then("deadline"))?;
    some(scenario.settle.deadline, &settle, "deadline")
        .map_err(|problem| problem.help("the end must be awaited: what is on its way would count as lost"))?;
    if let Some(share) = scenario.sabotage.emitters_at {
        self::share(share, &FieldPath::of("sabotage.emitters_at"))?;
    }
    let controls = FieldPath::of("controls");
    scenario.controls.iter().enumerate().try_for_each(|(number, control)| {
        let needs = controls.then(number).then("needs");
        control.needs.iter().enumerate().try_for_each(|(number, need)| {
            let at = needs.then(number);
            time(need.deadline, &at.then("deadline"))?;
            some(need.deadline, &at, "deadline")
        })
    })
}

fn expect(scenario: &Scenario) -> Result<(), Problem> {
    let (expect, at) = (scenario.expect, &FieldPath::of("expect"));
    for (name, span) in [
        ("delivery_gap", expect.delivery_gap),
        ("scale_out_within", Some(expect.scale_out_within)),
        ("scale_in_within", Some(expect.scale_in_within)),
        ("share_within", Some(expect.share_within)),
        ("queues_empty_within", Some(expect.queues_empty_within)),
    ] {
        let Some(span) = span else { continue };
        time(span, &at.then(name))?;
        some(span, at, name)
            .map_err(|problem| problem.help("nothing takes no time: no run would fulfil it"))?;
    }
    // It may be 0: that no agent refuses anything.
    expect.refused_for.map_or(Ok(()), |span| time(span, &at.then("refused_for")))
}

/// Checks that a duration is 0, or within the limits.
pub(crate) fn time(span: Span, at: &FieldPath) -> Result<(), Problem> {
    let long = span.duration();
    ensure(long <= LONGEST, at, format!("{span} is longer than a day, which no time of a run is"))?;
    let good = long.is_zero() || long >= SHORTEST;
    ensure(good, at, format!("{span} is shorter than 1ms, the shortest duration that is possible"))
}

/// Checks that a duration is above 0.
pub(crate) fn some(span: Span, at: &FieldPath, name: &str) -> Result<(), Problem> {
    ensure(!span.duration().is_zero(), &at.then(name), format!("`{name}` must be above 0"))
}

pub(crate) fn rate(rate: Rate, at: &FieldPath) -> Result<(), Problem> {
    let each = rate.in_a_second();
    ensure(each <= FASTEST, at, format!("{each:e}/s is more than {FASTEST:e}/s, which no machine sends"))?;
    let some = each * LONGEST_LOAD.as_secs_f64() >= 1.0;
    ensure(some, at, format!("at {each:e}/s not one span would be sent before the load ends"))
}

pub(crate) fn share(share: Share, at: &FieldPath) -> Result<(), Problem> {
    let some = share.fraction() >= LEAST_SHARE * 0.999;
    ensure(some, at, "a share is 0.0001% at the least, which is one in a million")
}
