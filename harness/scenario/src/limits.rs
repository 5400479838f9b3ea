//! Limits of durations, rates and shares. Within them, probes and judge do exactly what the scenario says.

use super::field_path::ensure;
use super::{FieldPath, Problem, Rate, Share, Span};
use std::time::Duration;

/// The time after which the emitters stop by themselves, even if the harness was killed.
pub const LONGEST_LOAD: Duration = Duration::from_secs(4 * 3600);
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
