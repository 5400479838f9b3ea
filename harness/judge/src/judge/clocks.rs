//! Do the probes' clocks agree with the run's? Their times are told in it by what each was ahead at the start. Where that
//! does not hold throughout, what rests on it says nothing.
//!
//! The probes' clocks never step, whatever is done to their nodes', so this is for what they cannot know: a node that was
//! booted, and ledgers of probes that took the time from a clock that can be set.

use super::{Check, Verdict, emitters_untold, sinks_untold};
use crate::record::{Event, Record};
use crate::scenario::CheckName;
use spanproof_ledger::{EmitterLedger, SinkLedger};

/// By how much a clock may be ahead of what it was at the start, in milliseconds: what a question takes on its way counts.
const BOUND_MS: f64 = 1_000.0;
/// How old what the probes said may have been when it was written down, in seconds: one of them may have been slow.
const OLD: f64 = 6.0;
/// By how much the run's second and a probe's may differ.
const EARLY: f64 = 1.5;
/// The spans of so many seconds are no disagreement.
const COUNTED: f64 = 2.0;
/// One such moment may be chance.
const MOMENTS: usize = 3;

/// Why each part's times cannot be told in the run's, if so.
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
            let told = record.timeline.iter().filter_map(|entry| {
                let Event::Load { delivered, .. } = entry.event else { return None };
                Some((entry.t, delivered))
            });
            strays(&arrived, copies, told).map(|t| {
                format!("the sink's clock and the run's disagree about what had been delivered at {t:.0}s: one was set")
            })
        };
        let of_emitters = || {
            let told = record.timeline.iter().filter_map(|entry| {
                let Event::Load { emitted, .. } = entry.event else { return None };
                Some((entry.t, emitted))
            });
            strays(&sendings(record)?, 0, told).map(|t| {
                format!("an emitter's clock and the run's disagree about what had been sent at {t:.0}s: one was set")
            })
        };
        let mut emitters = record.environment.streams.values();
        Self {
            sink: shifted(record, sink).or_else(of_sinks),
            emitters: emitters.find_map(|node| shifted(record, node)).or_else(of_emitters),
        }
    }

    /// Takes back what checks say that rest on a clock which cannot be told in the run's.
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
                check.reason = format!("{doubt}; seen was: {}", check.reason);
            }
        }
    }
}

/// Whether a node's clock was found to be ahead by another amount at the end.
fn shifted(record: &Record, node: &str) -> Option<String> {
    let then = record.environment.clock_offsets_ms.get(node)?;
    record.timeline.iter().find_map(|entry| {
        let Event::Clocks { ahead_ms } = &entry.event else { return None };
        let by = ahead_ms.get(node)? - then;
        // A number that is none agrees with nothing.
        let agrees = by.abs() <= BOUND_MS;
        (!agrees).then(|| {
            format!(
                "the clock of {node} went off by {:.1}s between the run's beginning and its end",
                by / 1e3
            )
        })
    })
}

/// What had arrived by the beginning of each second of the run's clock, copies included; and how many copies there are.
/// None if the ledgers do not tell all of it.
fn arrivals(record: &Record) -> Option<(Vec<(f64, u64)>, u64)> {
    if sinks_untold(record).is_some() || record.sinks.iter().any(|sink| sink.incarnations() > 1) {
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
    if emitters_untold(record).is_some() || record.emitters.iter().any(|emitter| emitter.incarnations() > 1) {
        return None;
    }
    let seconds = |emitter: &EmitterLedger| {
        let node = record.node_of(emitter.stream()).to_owned();
        let seconds = emitter.seconds().iter();
        seconds.map(|it| (record.moment(&node, it.unix_ms), it.emitted.count())).collect::<Vec<_>>()
    };
    Some(summed(record.emitters.iter().flat_map(seconds)))
}

/// By the beginning of each second: how much there was up to its end.
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

/// The first moment at which a series and what was told of it at the time disagree for longer than a moment: the probe
/// had counted what by its own clock was still to come, or had not what by that was long over. Only if they come to the
/// same in the end: else it is not the time that they disagree about.
fn strays(series: &[(f64, u64)], copies: u64, told: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let told: Vec<(f64, u64)> = told.collect();
    let ((began, _), (ended, total)) = (series.first()?, series.last()?);
    let per_second = *total as f64 / (ended - began).max(1.0);
    // Less than this is no matter of a clock that went off by seconds.
    let little = COUNTED * per_second;
    let counted = told.iter().map(|(_, count)| *count).max()?;
    let all = total.saturating_sub(copies) as f64;
    if (counted as f64) < all - little || counted as f64 > *total as f64 + little {
        return None;
    }
    let by = |t: f64| {
        let behind = series.partition_point(|(second, _)| *second <= t);
        behind.checked_sub(1).and_then(|last| series.get(last)).map_or(0, |(_, sum)| *sum)
    };
    let agrees = |t: f64, count: u64| {
        let at_least = by(t - OLD).saturating_sub(copies) as f64 - little;
        let at_most = by(t + EARLY) as f64 + little;
        (at_least..=at_most).contains(&(count as f64))
    };
    let mut since = Vec::new();
    for (t, count) in told {
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
        let told = |late: f64| (0u32..60).map(move |s| (f64::from(s) + late, u64::from(s) * 100));
        assert_eq!(strays(&set_by(0.0), 0, told(0.2)), None);
        assert_eq!(strays(&set_by(0.0), 0, told(4.0)), None, "a probe was slow to answer");
        assert!(strays(&set_by(20.0), 0, told(0.2)).is_some_and(|t| t < 35.0));
        assert!(strays(&set_by(-20.0), 0, told(0.2)).is_some());
        let lost = summed((0u8..60).map(|s| (f64::from(s), if s % 5 == 0 { 0 } else { 100 })));
        assert_eq!(strays(&lost, 0, told(0.2)), None, "what it lost it lost, whatever the time");
        let pause = |s: u64| if s < 40 { s.min(20) } else { s } * 100;
        let paused = summed((0u32..60).map(|s| (f64::from(s), pause(u64::from(s) + 1) - pause(s.into()))));
        assert_eq!(strays(&paused, 0, (0..60).map(|s| (s as f64, pause(s)))), None, "a pause is no step");
    }
}
