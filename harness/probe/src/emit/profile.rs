//! The profile of a load: the spans due by each time. Pure; times are in seconds since the load's start.

use crate::control::{Segment, segment::Shape};
use std::f64::consts::TAU;
use std::time::Duration;

/// Bisection steps to invert a sine, to a nanosecond in any stretch of up to a century.
const BISECTION_STEPS: u32 = 64;
/// The most steps of one segment, because each is a stretch in memory.
const MAX_STEPS: u32 = 10_000;

/// Consecutive stretches of load.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Profile(Vec<Stretch>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    /// Its start and its length, which may be infinite.
    start: f64,
    length: f64,
    /// Spans due before it.
    before: f64,
    curve: Curve,
}

/// Spans per second, as a function of the time since a stretch's start.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Curve {
    Line { from: f64, slope: f64 },
    Sine { mean: f64, amplitude: f64, period: f64 },
}

impl Profile {
    /// A constant rate without end, in spans per second.
    pub(super) fn constant(rate: f64) -> Self {
        Self(vec![Stretch {
            start: 0.0,
            length: f64::INFINITY,
            before: 0.0,
            curve: Curve::Line { from: rate, slope: 0.0 },
        }])
    }

    /// The profile of a plan's segments; the error is their problem.
    pub(super) fn of(segments: &[Segment]) -> Result<Self, String> {
        let mut profile = Self(Vec::new());
        let last = segments.len().saturating_sub(1);
        for (index, segment) in segments.iter().enumerate() {
            let length = match segment.duration_ms {
                0 if index < last => {
                    return Err("only the last stretch of a load may have no end".to_owned());
                }
                0 => f64::INFINITY,
                ms => ms as f64 / 1e3,
            };
            let Some(shape) = segment.shape else { return Err("a stretch of load has no shape".to_owned()) };
            profile.add(shape, length)?;
        }
        if profile.0.iter().all(|stretch| stretch.spans_by(stretch.length.min(1e9)) <= 0.0) {
            return Err("a load must have a rate above 0".to_owned());
        }
        Ok(profile)
    }

    fn add(&mut self, shape: Shape, length: f64) -> Result<(), String> {
        let rate = |rate: f64| {
            let usable = rate >= 0.0 && rate.is_finite();
            usable.then_some(rate).ok_or_else(|| format!("{rate} is not a rate"))
        };
        let finite = |what: &str| {
            if length.is_finite() { Ok(()) } else { Err(format!("a {what} needs a duration")) }
        };
        match shape {
            Shape::Constant(constant) => self.line(length, rate(constant)?, 0.0),
            Shape::Ramp(ramp) => {
                finite("ramp")?;
                self.line(length, rate(ramp.from)?, (rate(ramp.to)? - ramp.from) / length);
            }
            Shape::Steps(steps) => {
                finite("flight of steps")?;
                if !(2..=MAX_STEPS).contains(&steps.count) {
                    return Err(format!("{} steps: there must be 2 to {MAX_STEPS}", steps.count));
                }
                let (from, to) = (rate(steps.from)?, rate(steps.to)?);
                let rise = (to - from) / f64::from(steps.count - 1);
                for step in 0..steps.count {
                    self.line(length / f64::from(steps.count), from + rise * f64::from(step), 0.0);
                }
            }
            Shape::Spike(spike) => {
                let (base, peak) = (rate(spike.base)?, rate(spike.peak)?);
                let (after, lasts) = (spike.after_ms as f64 / 1e3, spike.for_ms as f64 / 1e3);
                if lasts <= 0.0 || after + lasts > length {
                    return Err("a spike must last, and end within its stretch".to_owned());
                }
                for (length, rate) in [(after, base), (lasts, peak), (length - after - lasts, base)] {
                    if length > 0.0 {
                        self.line(length, rate, 0.0);
                    }
                }
            }
            Shape::Sine(sine) => {
                let (mean, amplitude) = (rate(sine.mean)?, rate(sine.amplitude)?);
                if amplitude > mean || sine.period_ms == 0 {
                    return Err("a sine's amplitude is at most its mean, and its period above 0".to_owned());
                }
                let period = sine.period_ms as f64 / 1e3;
                self.stretch(length, Curve::Sine { mean, amplitude, period });
            }
        }
        Ok(())
    }

    fn line(&mut self, length: f64, from: f64, slope: f64) {
        self.stretch(length, Curve::Line { from, slope });
    }

    fn stretch(&mut self, length: f64, curve: Curve) {
        let (start, before) =
            self.0.last().map_or((0.0, 0.0), |stretch| (stretch.end(), stretch.spans_by_end()));
        self.0.push(Stretch { start, length, before, curve });
    }

    /// Its length; none if it has no end.
    pub(super) fn length(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.0.last()?.end()).ok()
    }

    /// The number of spans due by a time.
    pub(super) fn spans_by(&self, t: f64) -> f64 {
        let stretch = self.0.iter().rev().find(|stretch| stretch.start <= t).or(self.0.first());
        stretch.map_or(0.0, |stretch| {
            stretch.before + stretch.spans_by((t - stretch.start).clamp(0.0, stretch.length))
        })
    }

    /// The time at which a number of spans is due, in seconds; none if that never is.
    pub(super) fn when(&self, spans: f64) -> Option<f64> {
        let stretch = &self.0[self.0.partition_point(|stretch| stretch.spans_by_end() < spans)..];
        let stretch = stretch.first()?;
        Some(stretch.start + stretch.when(spans - stretch.before)?)
    }
}

impl Stretch {
    fn end(&self) -> f64 {
        self.start + self.length
    }

    fn spans_by_end(&self) -> f64 {
        if self.length.is_finite() {
            return self.before + self.spans_by(self.length);
        }
        let goes_on = match self.curve {
            Curve::Line { from, .. } => from > 0.0,
            Curve::Sine { mean, .. } => mean > 0.0,
        };
        if goes_on { f64::INFINITY } else { self.before }
    }

    /// The integral of its rate from its start.
    fn spans_by(&self, t: f64) -> f64 {
        match self.curve {
            Curve::Line { from, slope } => t * (from + slope * t / 2.0),
            Curve::Sine { mean, amplitude, period } => {
                mean * t + amplitude * period / TAU * (1.0 - (TAU * t / period).cos())
            }
        }
    }

    /// The inverse of `spans_by`.
    fn when(&self, spans: f64) -> Option<f64> {
        if spans <= 0.0 {
            return Some(0.0);
        }
        let t = match self.curve {
            Curve::Line { from, slope } => {
                // slope t²/2 + from t = spans, solved in the form that does not cancel.
                let root = (from * from + 2.0 * slope * spans).max(0.0).sqrt();
                2.0 * spans / (from + root)
            }
            Curve::Sine { mean, amplitude, period } => {
                // The sine's part is between 0 and 2 × amplitude × period / 2π.
                let (mut low, mut high) =
                    (((spans - amplitude * period / TAU * 2.0) / mean).max(0.0), spans / mean);
                for _ in 0..BISECTION_STEPS {
                    let middle = f64::midpoint(low, high);
                    if self.spans_by(middle) < spans { low = middle } else { high = middle }
                }
                high
            }
        };
        t.is_finite().then(|| t.min(self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Peak, Ramp, Sine, Steps};
    use proptest::prelude::*;

    fn segment(duration_ms: u64, shape: Shape) -> Segment {
        Segment { duration_ms, shape: Some(shape) }
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let rate = || 0.0..5_000.0;
        prop_oneof![
            rate().prop_map(Shape::Constant),
            (rate(), rate()).prop_map(|(from, to)| Shape::Ramp(Ramp { from, to })),
            (rate(), rate(), 2u32..9).prop_map(|(from, to, count)| Shape::Steps(Steps { from, to, count })),
            (rate(), rate(), 0u64..4_000, 1u64..2_000).prop_map(|(base, peak, after_ms, for_ms)| {
                Shape::Spike(Peak { base, peak, after_ms, for_ms })
            }),
            (1.0..5_000.0, 0.0..1.0, 100u64..9_000).prop_map(|(mean, share, period_ms)| {
                Shape::Sine(Sine { mean, amplitude: mean * share, period_ms })
            }),
        ]
    }

    proptest! {
        /// Spans are due in order, and `spans_by` is the inverse of `when`.
        #[test]
        fn when_is_the_inverse_of_spans_by(
            parts in prop::collection::vec((6_000u64..20_000, shapes()), 1..5),
            shares in prop::collection::vec(0.0..1.0, 2..20),
        ) {
            let segments: Vec<_> = parts.into_iter().map(|(ms, shape)| segment(ms, shape)).collect();
            let Ok(profile) = Profile::of(&segments) else { return Ok(()) };
            let length = profile.length().unwrap().as_secs_f64();
            let all = profile.spans_by(length);
            let mut spans: Vec<f64> = shares.iter().map(|share| share * all).collect();
            spans.sort_by(f64::total_cmp);
            let mut last = 0.0;
            for spans in spans {
                let t = profile.when(spans).unwrap();
                prop_assert!(t >= last && t <= length + 1e-9, "{t} after {last} of {length}");
                prop_assert!((profile.spans_by(t) - spans).abs() < 1e-3, "{} by {t}, not {spans}", profile.spans_by(t));
                last = t;
            }
            prop_assert_eq!(profile.when(all + 1.0), None);
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    fn each_shape_gives_the_expected_spans() {
        let of = |ms, shape| Profile::of(&[segment(ms, shape)]).unwrap();
        let spans = |profile: &Profile, t: f64| profile.spans_by(t).round();
        let ramp = of(10_000, Shape::Ramp(Ramp { from: 0.0, to: 100.0 }));
        assert_eq!([spans(&ramp, 5.0), spans(&ramp, 10.0), spans(&ramp, 99.0)], [125.0, 500.0, 500.0]);
        let steps = of(9_000, Shape::Steps(Steps { from: 10.0, to: 30.0, count: 3 }));
        assert_eq!([spans(&steps, 3.0), spans(&steps, 6.0), spans(&steps, 9.0)], [30.0, 90.0, 180.0]);
        let spike = of(9_000, Shape::Spike(Peak { base: 10.0, peak: 100.0, after_ms: 3_000, for_ms: 2_000 }));
        assert_eq!([spans(&spike, 3.0), spans(&spike, 5.0), spans(&spike, 9.0)], [30.0, 230.0, 270.0]);
        let sine = of(0, Shape::Sine(Sine { mean: 10.0, amplitude: 10.0, period_ms: 8_000 }));
        assert_eq!([spans(&sine, 8.0), spans(&sine, 80.0), spans(&sine, 0.0)], [80.0, 800.0, 0.0]);
        assert_eq!(sine.length(), None);
    }

    #[test]
    fn invalid_segments_are_refused() {
        let constant = |ms, rate| segment(ms, Shape::Constant(rate));
        for (segments, why) in [
            (vec![], "above 0"),
            (vec![constant(0, 0.0)], "above 0"),
            (vec![constant(0, -1.0)], "not a rate"),
            (vec![constant(0, f64::NAN)], "not a rate"),
            (vec![constant(0, 5.0), constant(1_000, 5.0)], "only the last"),
            (vec![segment(0, Shape::Ramp(Ramp { from: 1.0, to: 2.0 }))], "needs a duration"),
            (vec![segment(9, Shape::Steps(Steps { from: 1.0, to: 2.0, count: 1 }))], "must be 2"),
            (
                vec![segment(9, Shape::Spike(Peak { base: 1.0, peak: 2.0, after_ms: 5, for_ms: 5 }))],
                "end within",
            ),
            (
                vec![segment(9, Shape::Sine(Sine { mean: 1.0, amplitude: 2.0, period_ms: 5 }))],
                "at most its mean",
            ),
            (vec![Segment::default()], "no shape"),
        ] {
            let error = Profile::of(&segments).unwrap_err();
            assert!(error.contains(why), "{error:?}, not {why:?}");
        }
    }
}
