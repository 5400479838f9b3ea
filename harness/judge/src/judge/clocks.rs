//! The probes' clocks, compared with the run's. Their times are converted by the offset at the start; where that does not hold
//! throughout, checks that rest on it are inconclusive.
//!
//! The probes' clocks never step, whatever is done to their nodes', so this is for what they cannot know: a node that was
//! rebooted, and ledgers of probes that took the time from a clock that can be set.

use super::{Check, Verdict, emitters_incomplete, sinks_incomplete};
use crate::record::{Event, Record};
use crate::scenario::CheckName;
use spanproof_ledger::{EmitterLedger, SinkLedger};

/// The largest change of a clock's offset, in milliseconds: the time on the way of a request counts.
const BOUND_MS: f64 = 1_000.0;
/// The largest age of what the probes said when it was recorded, in seconds: one of them may have been slow.
const OLD: f64 = 6.0;
/// The largest difference between the run's second and a probe's, in seconds.
const EARLY: f64 = 1.5;
/// The tolerance, as the spans of so many seconds.
const COUNTED: f64 = 2.0;
/// The number of moments that make a disagreement: one may be chance.
const MOMENTS: usize = 3;

/// The reasons why the probes' times cannot be converted to the run's, if so.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    pub(super) sink: Option<String>,
    pub(super) emitters: Option<String>,
}

impl Clocks {
    pub(super) fn of(record: &Record) -> Self {
        let sink = &record.environment.sink_node;
        let of_sinks = || {
            let (arrived, copies) = arrivals(record)?;
            let counts = record.timeline.iter().filter_map(|entry| {
                let Event::Load { delivered, .. } = entry.event else { return None };
                Some((entry.t, delivered))
            });
            strays(&arrived, copies, counts).map(|t| {
                format!("the sink's clock and the run's disagree about what had been delivered at {t:.0}s: one was set")
            })
        };
        let of_emitters = || {
            let counts = record.timeline.iter().filter_map(|entry| {
                let Event::Load { emitted, .. } = entry.event else { return None };
                Some((entry.t, emitted))
            });
            strays(&sendings(record)?, 0, counts).map(|t| {
                format!("an emitter's clock and the run's disagree about what had been sent at {t:.0}s: one was set")
            })
        };
        let mut emitters = record.environment.streams.values();
        Self {
            sink: shifted(record, sink).or_else(of_sinks),
            emitters: emitters.find_map(|node| shifted(record, node)).or_else(of_emitters),
        }
    }

    /// Makes the checks inconclusive that rest on a clock which cannot be converted to the run's.
    pub(super) fn doubt(&self, checks: &mut [Check], judges_refusals: bool) {
        for check in checks.iter_mut().filter(|check| check.verdict != Verdict::Inconclusive) {
            let doubt = match check.name {
                CheckName::Balance | CheckName::Queues => self.sink.as_ref(),
                CheckName::Load => self.emitters.as_ref(),
                CheckName::Intake if judges_refusals => self.emitters.as_ref(),
                CheckName::SteadyState
                | CheckName::Loss
                | CheckName::Unexpected
                | CheckName::Intake
                | CheckName::Duplicates
                | CheckName::Availability
                | CheckName::Pdb
                | CheckName::Spread
                | CheckName::GatewaysMoved
                | CheckName::Rollout
                | CheckName::Hpa
                | CheckName::Faults
                | CheckName::Control => None,
            };
            if let Some(doubt) = doubt {
                check.verdict = Verdict::Inconclusive;
                check.reason = format!("{doubt}; the check found: {}", check.reason);
            }
        }
    }
}

/// Returns a problem if a node's clock had another offset at the end.
fn shifted(record: &Record, node: &str) -> Option<String> {
    let then = record.environment.clock_offsets_ms.get(node)?;
    record.timeline.iter().find_map(|entry| {
        let Event::Clocks { ahead_ms } = &entry.event else { return None };
        let by = ahead_ms.get(node)? - then;
        // A NaN agrees with nothing.
        let agrees = by.abs() <= BOUND_MS;
        (!agrees).then(|| {
            format!("the clock of {node} changed by {:.1}s between the run's beginning and its end", by / 1e3)
        })
    })
}

/// Returns what had arrived by the beginning of each second of the run's clock, with copies; and the number of copies. None
/// if the ledgers are incomplete.
fn arrivals(record: &Record) -> Option<(Vec<(f64, u64)>, u64)> {
    if sinks_incomplete(record).is_some() || record.sinks.iter().any(|sink| sink.incarnations() > 1) {
        return None;
    }
    let moment = |second: u64| record.moment(&record.environment.sink_node, second.saturating_mul(1_000));
    let each = record.sinks.iter().flat_map(SinkLedger::by_second);
    let mut all = 0u64;
    let series = summed(each.map(|(second, _, _, spans)| {
        all = all.saturating_add(spans);
        (moment(second), spans)
    }));
    let distinct = record.sinks.iter().map(SinkLedger::delivered_count).fold(0, u64::saturating_add);
    Some((series, all.saturating_sub(distinct)))
}

fn sendings(record: &Record) -> Option<Vec<(f64, u64)>> {
    if emitters_incomplete(record).is_some()
        || record.emitters.iter().any(|emitter| emitter.incarnations() > 1)
    {
        return None;
    }
    let seconds = |emitter: &EmitterLedger| {
        let node = record.node_of(emitter.stream()).to_owned();
        let seconds = emitter.seconds().iter();
        seconds.map(|it| (record.moment(&node, it.unix_ms), it.emitted.count())).collect::<Vec<_>>()
    };
    Some(summed(record.emitters.iter().flat_map(seconds)))
}

/// Returns the running sum, by the beginning of each second up to its end.
fn summed(seconds: impl Iterator<Item = (f64, u64)>) -> Vec<(f64, u64)> {
    let mut seconds: Vec<(f64, u64)> = seconds.collect();
    seconds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0u64;
    for (_, count) in &mut seconds {
        sum = sum.saturating_add(*count);
        *count = sum;
    }
    seconds
}

/// Returns the first moment at which a series and the counts at the time disagree for longer than a moment: the probe had
/// counted what by its own clock was still to come, or had not counted what by its clock was long past. None if they differ
/// in the end: then they do not disagree about the time.
fn strays(series: &[(f64, u64)], copies: u64, counts: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let counts: Vec<(f64, u64)> = counts.collect();
    let ((began, _), (ended, total)) = (series.first()?, series.last()?);
    let per_second = *total as f64 / (ended - began).max(1.0);
    // Less than this does not come from a clock that is off by seconds.
    let little = COUNTED * per_second;
    let counted = counts.iter().map(|(_, count)| *count).max()?;
    let all = total.saturating_sub(copies) as f64;
    if (counted as f64) < all - little || counted as f64 > *total as f64 + little {
        return None;
    }
    let by = |t: f64| {
        let next = series.partition_point(|(second, _)| *second <= t);
        next.checked_sub(1).and_then(|last| series.get(last)).map_or(0, |(_, sum)| *sum)
    };
    let agrees = |t: f64, count: u64| {
        let at_least = by(t - OLD).saturating_sub(copies) as f64 - little;
        let at_most = by(t + EARLY) as f64 + little;
        (at_least..=at_most).contains(&(count as f64))
    };
    let mut since = Vec::new();
    for (t, count) in counts {
        if agrees(t, count) {
            since.clear();
        } else {
            since.push(t);
        }
        if since.len() == MOMENTS {
            return since.first().copied();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{strays, summed};

    #[test]
    fn a_clock_that_was_set_is_found_and_one_that_is_late_is_not() {
        // 100 a second for a minute, and from 30 s on by a clock that was set by so much.
        let set_by = |by: f64| summed((0u8..60).map(|s| (f64::from(s) + if s < 30 { 0.0 } else { by }, 100)));
        let counts = |late: f64| (0u32..60).map(move |s| (f64::from(s) + late, u64::from(s) * 100));
        assert_eq!(strays(&set_by(0.0), 0, counts(0.2)), None);
        assert_eq!(strays(&set_by(0.0), 0, counts(4.0)), None, "a probe was slow to answer");
        assert!(strays(&set_by(20.0), 0, counts(0.2)).is_some_and(|t| t < 35.0));
        assert!(strays(&set_by(-20.0), 0, counts(0.2)).is_some());
        let lost = summed((0u8..60).map(|s| (f64::from(s), if s % 5 == 0 { 0 } else { 100 })));
        assert_eq!(strays(&lost, 0, counts(0.2)), None, "what it lost it lost, whatever the time");
        let pause = |s: u64| if s < 40 { s.min(20) } else { s } * 100;
        let paused = summed((0u32..60).map(|s| (f64::from(s), pause(u64::from(s) + 1) - pause(s.into()))));
        assert_eq!(strays(&paused, 0, (0..60).map(|s| (s as f64, pause(s)))), None, "a pause is no step");
    }
}
