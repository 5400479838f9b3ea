//! A load that changes over time: stretches, one after the other, and the number of spans that they ask for. There is no
//! clock in it: times are seconds since the load began.

use super::field_path::ensure;
use super::{FieldPath, Problem, Rate, Span, bounds, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// The largest number of stretches, more than anybody writes.
const MOST_STRETCHES: usize = 1_000;

/// A stretch of load. Its rates are those of all emitters together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stretch {
    /// A constant rate.
    Constant(Constant),
    /// A rate that changes evenly from one to another.
    Ramp(Ramp),
    /// A rate that changes from one to another in equal steps.
    Step(Steps),
    /// A rate with a peak, or a dip, in it.
    Spike(Peak),
    /// A rate that swings around a mean: mean + amplitude × sin(2π t / period).
    Sine(Sine),
}

/// A constant rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"rate": "1000/s", "for": "30s"}]))]
pub struct Constant {
    /// The rate.
    pub rate: Rate,
    /// The duration. Without it the stretch lasts until the load ends.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
}

/// A rate that changes evenly from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"from": "1000/s", "to": "4000/s", "for": "1m"}]))]
pub struct Ramp {
    /// The rate at the beginning.
    pub from: Rate,
    /// The rate at the end.
    pub to: Rate,
    /// The duration.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// A rate that changes from one to another in equal steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"from": "4000/s", "to": "1000/s", "count": 4, "for": "1m"}]))]
pub struct Steps {
    /// The rate of the first step.
    pub from: Rate,
    /// The rate of the last step.
    pub to: Rate,
    /// The number of steps.
    #[schemars(range(min = 2, max = 10_000))]
    pub count: u32,
    /// The duration of all steps together.
    #[serde(rename = "for")]
    pub lasts: Span,
}

/// A rate with a peak, or a dip, in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"base": "1000/s", "peak": "8000/s", "after": "20s", "lasts": "10s", "for": "1m"}]))]
pub struct Peak {
    /// The rate before and after the peak.
    pub base: Rate,
    /// The rate during the peak.
    pub peak: Rate,
    /// The time from the beginning of the stretch to the peak.
    pub after: Span,
    /// The duration of the peak.
    pub lasts: Span,
    /// The duration of the stretch. Without it the stretch lasts until the load ends.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub all: Option<Span>,
}

/// A rate that swings around a mean: mean + amplitude × sin(2π t / period).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"mean": "2000/s", "amplitude": "1000/s", "period": "1m"}]))]
pub struct Sine {
    /// The rate around which it swings.
    pub mean: Rate,
    /// The largest distance from the mean, which must be less than the mean.
    pub amplitude: Rate,
    /// The duration of one swing.
    pub period: Span,
    /// The duration. Without it the stretch lasts until the load ends.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
}

impl Stretch {
    /// Returns its duration; none if it lasts until the load ends.
    pub const fn lasts(&self) -> Option<Span> {
        match self {
            Self::Constant(Constant { lasts, .. }) | Self::Sine(Sine { lasts, .. }) => *lasts,
            Self::Ramp(Ramp { lasts, .. }) | Self::Step(Steps { lasts, .. }) => Some(*lasts),
            Self::Spike(Peak { all, .. }) => *all,
        }
    }

    /// Returns its key in scenarios.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Ramp(_) => "ramp",
            Self::Step(_) => "step",
            Self::Spike(_) => "spike",
            Self::Sine(_) => "sine",
        }
    }

    /// Returns the rate at its end, in spans per second. The load goes on at it if nothing follows.
    fn last_rate(&self) -> f64 {
        let end = self.lasts().map_or(0.0, seconds);
        match self {
            Self::Constant(constant) => constant.rate.in_a_second(),
            Self::Ramp(Ramp { to, .. }) | Self::Step(Steps { to, .. }) => to.in_a_second(),
            // The peak is over by then.
            Self::Spike(peak) => peak.base.in_a_second(),
            Self::Sine(sine) => {
                let swing = (TAU * end / seconds(sine.period)).sin();
                sine.mean.in_a_second() + sine.amplitude.in_a_second() * swing
            }
        }
    }

    /// Returns the number of spans that it asks for in its first `t` seconds.
    fn spans_until(&self, t: f64) -> f64 {
        match self {
            Self::Constant(constant) => constant.rate.in_a_second() * t,
            Self::Ramp(ramp) => {
                let (from, to) = (ramp.from.in_a_second(), ramp.to.in_a_second());
                t * (to - from).mul_add(t / seconds(ramp.lasts) / 2.0, from)
            }
            Self::Step(steps) => {
                let (from, to) = (steps.from.in_a_second(), steps.to.in_a_second());
                let each = seconds(steps.lasts) / f64::from(steps.count);
                let rate = |step: u32| from + (to - from) * f64::from(step) / f64::from(steps.count - 1);
                let within = |step: u32| (t - each * f64::from(step)).clamp(0.0, each);
                (0..steps.count).map(|step| rate(step) * within(step)).sum()
            }
            Self::Spike(peak) => {
                let (base, high) = (peak.base.in_a_second(), peak.peak.in_a_second());
                let in_peak = (t - seconds(peak.after)).clamp(0.0, seconds(peak.lasts));
                base.mul_add(t - in_peak, high * in_peak)
            }
            Self::Sine(sine) => {
                let turn = TAU / seconds(sine.period);
                sine.mean.in_a_second() * t + sine.amplitude.in_a_second() * (1.0 - (turn * t).cos()) / turn
            }
        }
    }

    fn check(&self, at: &FieldPath) -> Result<(), Problem> {
        let at = &at.then(self.key());
        if let Some(lasts) = self.lasts() {
            limits::time(lasts, &at.then("for"))?;
            limits::some(lasts, at, "for")?;
        }
        let rates = |rates: &[(&str, Rate)]| {
            rates.iter().try_for_each(|(name, rate)| limits::rate(*rate, &at.then(name)))
        };
        match self {
            Self::Constant(it) => rates(&[("rate", it.rate)]),
            Self::Ramp(it) => rates(&[("from", it.from), ("to", it.to)]),
            Self::Step(it) => {
                rates(&[("from", it.from), ("to", it.to)])?;
                bounds::check(it, at)
            }
            Self::Spike(it) => {
                rates(&[("base", it.base), ("peak", it.peak)])?;
                limits::time(it.after, &at.then("after"))?;
                limits::time(it.lasts, &at.then("lasts"))?;
                limits::some(it.lasts, at, "lasts")?;
                let ends = it.after.duration().saturating_add(it.lasts.duration());
                let fits = it.all.is_none_or(|all| ends <= all.duration());
                ensure(fits, &at.then("for"), "`after` and `lasts` are longer than `for`")
            }
            Self::Sine(it) => {
                rates(&[("mean", it.mean)])?;
                limits::time(it.period, &at.then("period"))?;
                limits::some(it.period, at, "period")?;
                let slow = it.period.duration() >= limits::SECOND;
                let mean = "`period` is 1s at the least: load is counted by the second, and of a faster swing only the mean is seen";
                ensure(slow, &at.then("period"), mean)?;
                let less = "`amplitude` must be less than `mean`, or there would be no load at times";
                ensure(it.amplitude < it.mean, &at.then("amplitude"), less)
            }
        }
    }
}

/// Checks a profile, which is at `at`.
pub(super) fn check(profile: &[Stretch], at: &FieldPath) -> Result<(), Problem> {
    let few = profile.len() <= MOST_STRETCHES;
    ensure(few, &at.then(MOST_STRETCHES), format!("a profile has {MOST_STRETCHES} stretches at the most"))?;
    for (number, stretch) in profile.iter().enumerate() {
        stretch.check(&at.then(number))?;
        let ends = number + 1 == profile.len() || stretch.lasts().is_some();
        ensure(ends, &at.then(number), "only the last stretch of a profile may leave out `for`")?;
    }
    Ok(())
}

/// Returns the rate at which a profile goes on after its last stretch, in spans per second; none if that lasts until the
/// load ends.
pub fn afterwards(profile: &[Stretch]) -> Option<f64> {
    let last = profile.last()?;
    last.lasts().map(|_| last.last_rate())
}

/// Returns the number of spans that a profile asks for between two moments, in seconds since the load began.
pub fn spans(profile: &[Stretch], from: f64, to: f64) -> f64 {
    spans_until(profile, to) - spans_until(profile, from)
}

fn spans_until(profile: &[Stretch], t: f64) -> f64 {
    let (mut began, mut spans) = (0.0, 0.0);
    for stretch in profile {
        let within = (t - began).clamp(0.0, stretch.lasts().map_or(f64::INFINITY, seconds));
        spans += stretch.spans_until(within);
        began += stretch.lasts().map_or(f64::INFINITY, seconds);
    }
    spans + afterwards(profile).map_or(0.0, |rate| rate * (t - began).max(0.0))
}

const fn seconds(span: Span) -> f64 {
    span.duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rate at a moment, computed as the documentation of the fields says.
    fn rate(profile: &[Stretch], t: f64) -> f64 {
        let mut t = t;
        for stretch in profile {
            let lasts = stretch.lasts().map_or(f64::INFINITY, seconds);
            if t < lasts {
                return match stretch {
                    Stretch::Constant(it) => it.rate.in_a_second(),
                    Stretch::Ramp(it) => {
                        it.from.in_a_second() + (it.to.in_a_second() - it.from.in_a_second()) * t / lasts
                    }
                    Stretch::Step(it) => {
                        let step = (t / lasts * f64::from(it.count)).floor();
                        let part = step / f64::from(it.count - 1);
                        it.from.in_a_second() + (it.to.in_a_second() - it.from.in_a_second()) * part
                    }
                    Stretch::Spike(it) => {
                        let peak = seconds(it.after)..seconds(it.after) + seconds(it.lasts);
                        if peak.contains(&t) { it.peak.in_a_second() } else { it.base.in_a_second() }
                    }
                    Stretch::Sine(it) => {
                        it.mean.in_a_second()
                            + it.amplitude.in_a_second() * (TAU * t / seconds(it.period)).sin()
                    }
                };
            }
            t -= lasts;
        }
        profile.last().map_or(0.0, Stretch::last_rate)
    }

    fn stretch() -> impl Strategy<Value = Stretch> {
        let rate = || (1u32..5_000).prop_map(|rate| Rate::per_second(f64::from(rate)));
        let span = || (1u64..60).prop_map(Span::seconds);
        let lasts = || span().prop_map(Some);
        prop_oneof![
            (rate(), lasts()).prop_map(|(rate, lasts)| Stretch::Constant(Constant { rate, lasts })),
            (rate(), rate(), span()).prop_map(|(from, to, lasts)| Stretch::Ramp(Ramp { from, to, lasts })),
            (rate(), rate(), 2u32..9, span()).prop_map(|(from, to, count, lasts)| Stretch::Step(Steps {
                from,
                to,
                count,
                lasts
            })),
            (rate(), rate(), 0u64..30, span(), 0u64..30).prop_map(|(base, peak, after, lasts, more)| {
                let all = after + lasts.duration().as_secs() + more;
                let (after, all) = (Span::seconds(after), Some(Span::seconds(all)));
                Stretch::Spike(Peak { base, peak, after, lasts, all })
            }),
            (rate(), 0.0..0.99, span(), lasts()).prop_map(|(mean, part, period, lasts)| {
                let amplitude = Rate::per_second(mean.in_a_second() * part);
                Stretch::Sine(Sine { mean, amplitude, period, lasts })
            }),
        ]
    }

    proptest! {
        /// The number in closed form is the rate summed up in small steps, and the numbers of two adjacent windows add up.
        #[test]
        fn what_is_asked_for_is_the_sum_of_the_rate(
            profile in prop::collection::vec(stretch(), 1..4),
            from in 0.0..100.0,
            long in 0.1..100.0,
        ) {
            prop_assert_eq!(check(&profile, &FieldPath::root()), Ok(()));
            let to = from + long;
            let steps = 200_000u32;
            let each = long / f64::from(steps);
            let middle = |step: u32| (f64::from(step) + 0.5).mul_add(each, from);
            let sum: f64 = (0..steps).map(|step| rate(&profile, middle(step)) * each).sum();
            let closed = spans(&profile, from, to);
            // A jump of at most 5,000/s is off by half a small step, and there are a dozen at most.
            let off = 60_000.0 * each + sum * 1e-6;
            prop_assert!((closed - sum).abs() <= off, "{} in closed form, {} summed up", closed, sum);
            let middle = f64::midpoint(from, to);
            let parts = spans(&profile, from, middle) + spans(&profile, middle, to);
            prop_assert!((closed - parts).abs() <= 1e-6 * closed.max(1.0));
        }
    }

    #[test]
    fn a_profile_that_is_over_goes_on_at_its_last_rate() {
        let (from, to) = (Rate::per_second(100.0), Rate::per_second(300.0));
        let ramp = Stretch::Ramp(Ramp { from, to, lasts: Span::seconds(10) });
        assert_eq!(afterwards(&[ramp]), Some(300.0));
        assert!((spans(&[ramp], 0.0, 10.0) - 2_000.0).abs() < 1e-9);
        assert!((spans(&[ramp], 10.0, 20.0) - 3_000.0).abs() < 1e-9);
        let for_ever = Stretch::Constant(Constant { rate: from, lasts: None });
        assert_eq!(afterwards(&[ramp, for_ever]), None);
        assert!((spans(&[ramp, for_ever], 10.0, 20.0) - 1_000.0).abs() < 1e-9);
        let problem = check(&[for_ever, ramp], &FieldPath::of("load.profile")).unwrap_err();
        assert!(problem.to_string().starts_with("load.profile.0: only the last"), "{problem}");
    }
}
