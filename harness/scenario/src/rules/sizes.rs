//! Limits of numbers, durations, rates and shares. Within them, probes and judge do exactly what the scenario says.

use super::LONGEST_LOAD;
use crate::field_path::ensure;
use crate::profile::Stretch;
use crate::{FieldPath, Problem, Rate, Scenario, Share, Span};
use std::time::Duration;

/// The shortest duration: the probes count in whole milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration: more is a slip.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The resolution of the load: spans are counted by the second, and the probes are asked once a second.
const SECOND: Duration = Duration::from_secs(1);
/// The highest rate, in spans per second: more than a hundred times what one machine can send and receive.
const FASTEST: f64 = 1e9;
/// The smallest share: the sinks count shares of requests by the million.
const LEAST_SHARE: f64 = 1e-6;
const MOST_GATEWAYS: u16 = 5_000;
const MOST_SINKS: u16 = 256;
const MOST_CONNECTIONS: u32 = 1_024;
const MOST_IN_FLIGHT: u32 = 65_536;
const MOST_HELD: u32 = 1 << 20;
/// The largest OTLP request that is sent, in bytes.
const LARGEST_REQUEST: u64 = 64 << 20;
/// The largest number of streams: a stream's number has 16 bits.
const MOST_STREAMS: u32 = 0xffff;

/// Checks all of them.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let tier = FieldPath::of("tier");
    at_most(scenario.tier.gateways.into(), MOST_GATEWAYS.into(), &tier, "gateways")?;
    at_most(scenario.tier.sinks.into(), MOST_SINKS.into(), &tier, "sinks")?;
    let steady = FieldPath::of("steady");
    time(scenario.steady, &steady)?;
    let seen = scenario.steady.duration() >= SECOND;
    ensure(seen, &steady, "`steady` is 1s at the least: in less the tier is not seen to be steady")?;
    load(scenario)?;
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

fn load(scenario: &Scenario) -> Result<(), Problem> {
    let (load, at) = (&scenario.load, &FieldPath::of("load"));
    if let Some(rate) = load.rate {
        self::rate(rate, &at.then("rate"))?;
    }
    for (number, stretch) in load.profile.iter().enumerate() {
        self::stretch(stretch, &at.then("profile").then(number))?;
    }
    for (name, share) in [("jitter", load.jitter), ("floor", Some(load.floor))] {
        share.map_or(Ok(()), |share| self::share(share, &at.then(name)))?;
    }
    time(load.deadline, &at.then("deadline"))?;
    for (name, number, most) in [
        ("connections", load.connections, MOST_CONNECTIONS),
        ("in_flight", load.in_flight, MOST_IN_FLIGHT),
        ("held_requests", load.held_requests, MOST_HELD),
        ("streams_per_trace", load.streams_per_trace, MOST_STREAMS),
    ] {
        at_most(number, most, at, name)?;
    }
    let span = u64::from(load.payload_bytes) + u64::from(load.attributes) + 1;
    let request = span.saturating_mul(load.spans_per_request.into());
    let name = if load.payload_bytes >= load.attributes { "payload_bytes" } else { "attributes" };
    let name = if u64::from(load.spans_per_request) > span { "spans_per_request" } else { name };
    let fits = request <= LARGEST_REQUEST;
    ensure(fits, &at.then(name), format!("with this `{name}` a request would be larger than 64 MiB"))
}

fn stretch(stretch: &Stretch, at: &FieldPath) -> Result<(), Problem> {
    let at = &at.then(stretch.key());
    if let Some(lasts) = stretch.lasts() {
        time(lasts, &at.then("for"))?;
    }
    let rates =
        |rates: &[(&str, Rate)]| rates.iter().try_for_each(|(name, rate)| self::rate(*rate, &at.then(name)));
    match stretch {
        Stretch::Constant(it) => rates(&[("rate", it.rate)]),
        Stretch::Ramp(it) => rates(&[("from", it.from), ("to", it.to)]),
        Stretch::Step(it) => rates(&[("from", it.from), ("to", it.to)]),
        Stretch::Spike(it) => {
            rates(&[("base", it.base), ("peak", it.peak)])?;
            time(it.after, &at.then("after"))?;
            time(it.lasts, &at.then("lasts"))
        }
        Stretch::Sine(it) => {
            rates(&[("mean", it.mean)])?;
            time(it.period, &at.then("period"))?;
            let slow = it.period.duration() >= SECOND;
            let mean = "`period` is 1s at the least: load is counted by the second, and of a faster swing only the mean is seen";
            ensure(slow, &at.then("period"), mean)
        }
    }
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

fn at_most(number: u32, most: u32, at: &FieldPath, name: &str) -> Result<(), Problem> {
    ensure(number <= most, &at.then(name), format!("`{name}` is {} at the most", grouped(most)))
}

/// Formats `1048576` as `1,048,576`.
fn grouped(number: u32) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}
