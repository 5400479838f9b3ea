//! Was there as much load as the scenario asks for? Without it no other check says much.

use super::{Check, Story, Verdict, emitters_untold, grouped};
use crate::record::Record;
use crate::scenario::Part;
use serde_json::{Map, json};
use spanproof_ledger::{Account, EmitSecond, EmitterLedger};

pub(super) fn check(record: &Record, story: &Story, account: &Account) -> Option<Check> {
    let counts = account.counts;
    let floor = record.scenario.load.floor.fraction();
    let inconclusive = |reason: String| Some(Check::new("load", Verdict::Inconclusive, reason, json!({})));
    let Some((start, end)) = story.load else {
        return inconclusive("there was no load".to_owned());
    };
    if let Some(untold) = emitters_untold(record) {
        return inconclusive(untold);
    }
    // All of it, before the first fault, and during each: an average must not hide that there was none.
    let first = story.faults.first().map_or(end, |fault| fault.start);
    let mut windows =
        vec![("over all".to_owned(), start, end), ("before the first fault".to_owned(), start, first)];
    let mut quiet_since = start;
    for fault in &story.faults {
        if quiet_since > start && fault.start - quiet_since >= SHORTEST {
            windows.push((format!("before {} of {}", fault.name, fault.target), quiet_since, fault.start));
        }
        let (from, to) = widened(fault.start, fault.over().min(end), start, end);
        windows.push((format!("during {} of {}", fault.name, fault.target), from, to));
        quiet_since = quiet_since.max(fault.over());
    }
    if quiet_since > start && end - quiet_since >= SHORTEST {
        windows.push(("after the last fault".to_owned(), quiet_since, end));
    }
    let rates = windows.into_iter().map(|(name, from, to)| {
        // While agents are rolled, what is acknowledged is what that leaves of it; it is sent all the same, and
        // over all it must be acknowledged in the end.
        let what = if (from, to) != (start, end) && agents_were_rolled(record, story, from, to) {
            Counted::Sent
        } else {
            Counted::SentAndAcknowledged
        };
        Rates { name, asked: asked(record, story, from, to), achieved: achieved(record, from, to, what) }
    });
    let rates: Vec<Rates> = rates.collect();
    let evidence = json!({
        "floor": floor,
        "asked_per_s": rates.iter().map(|it| (it.name.clone(), it.asked.round().into())).collect::<Map<_, _>>(),
        "achieved_per_s": rates.iter().map(|it| (it.name.clone(), it.achieved.map(f64::round).into())).collect::<Map<_, _>>(),
        "never_acknowledged": counts.rejected.saturating_add(counts.unknown),
    });
    let never = counts.rejected.saturating_add(counts.unknown) as f64;
    let unasked = no_rate(record, story, &rates);
    let unseen = rates.iter().find(|it| it.achieved.is_none());
    let too_low = rates.iter().find(|it| it.achieved.is_some_and(|achieved| achieved < it.asked * floor));
    let (verdict, reason) = if let Some(unasked) = unasked {
        (Verdict::Inconclusive, unasked)
    } else if let Some(Rates { name, .. }) = unseen {
        (
            Verdict::Inconclusive,
            format!("no rate is on record for every emitter {name}: one ended early, or it was too short"),
        )
    } else if let Some(Rates { name, asked, achieved }) = too_low {
        let achieved = achieved.unwrap_or_default();
        (
            Verdict::Inconclusive,
            format!("only {achieved:.0}/s of {asked:.0}/s asked for {name}: under the floor"),
        )
    } else if never > counts.attempted as f64 * (1.0 - floor) {
        let never = grouped(counts.rejected.saturating_add(counts.unknown));
        (
            Verdict::Inconclusive,
            format!("{never} of {} spans were never acknowledged", grouped(counts.attempted)),
        )
    } else {
        let whole = rates[0].achieved.unwrap_or_default();
        (Verdict::Pass, format!("{whole:.0}/s of {:.0}/s asked for", rates[0].asked))
    };
    Some(Check::new("load", verdict, reason, evidence))
}

/// Why it is not known what was asked for, if so: whatever there was would be enough for a rate that is none. A profile may
/// begin at nothing, or come down to it, but not all the time.
fn no_rate(record: &Record, story: &Story, rates: &[Rates]) -> Option<String> {
    let told = story.rates.iter().map(|(_, rate)| *rate);
    if record.scenario.load.constant().is_some() && story.rates.is_empty() {
        return Some("no rate that was asked for is on record".to_owned());
    }
    let some = |rate: f64| rate.is_finite() && rate > 0.0;
    if let Some(rate) = told.into_iter().find(|rate| !some(*rate)) {
        return Some(format!("a rate of {rate}/s that was asked for is none"));
    }
    let none = |(place, it): &(usize, &Rates)| {
        !it.asked.is_finite() || it.asked < 0.0 || (*place == 0 && !some(it.asked))
    };
    let (_, Rates { name, asked, .. }) = rates.iter().enumerate().find(none)?;
    Some(format!("the rate that was asked for {name} is none: {asked}/s"))
}

/// A fault that is over at once, with as much of the load around it as the records by second can tell of.
fn widened(from: f64, to: f64, start: f64, end: f64) -> (f64, f64) {
    let more = (FAULT - (to - from)).max(0.0) / 2.0;
    let to = (to + more).max(start + FAULT).min(end);
    ((from - more).min(end - FAULT).max(start), to)
}

/// The load during a fault is judged over this at the least, in seconds.
const FAULT: f64 = 5.0;

/// A shorter stretch between two faults is not judged by itself, in seconds.
const SHORTEST: f64 = 8.0;

/// What was asked for and what there was in a window, in spans per second of all emitters.
struct Rates {
    name: String,
    asked: f64,
    achieved: Option<f64>,
}

/// What the scenario asked for in a window, on average.
fn asked(record: &Record, story: &Story, from: f64, to: f64) -> f64 {
    let load = &record.scenario.load;
    if let (None, Some((start, _))) = (load.constant(), story.load) {
        return load.spans(from - start, to - start) / (to - from).max(f64::EPSILON);
    }
    let until = story.rates.iter().skip(1).map(|(t, _)| *t).chain([f64::INFINITY]);
    let spans = story
        .rates
        .iter()
        .zip(until)
        .map(|((since, rate), until)| rate * (until.min(to) - since.max(from)).max(0.0));
    spans.sum::<f64>() / (to - from).max(f64::EPSILON)
}

/// How far from an end of a window the records may begin or end, in milliseconds: they are by second.
const SLACK_MS: f64 = 2_500.0;

/// What of the load counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    Sent,
    /// Whichever is less.
    SentAndAcknowledged,
}

fn agents_were_rolled(record: &Record, story: &Story, from: f64, to: f64) -> bool {
    let mut agents = story.rollouts(record).filter(|(upgrade, _)| upgrade.what == Part::Agents);
    agents.any(|(_, fault)| fault.start < to && fault.over() > from)
}

/// Spans per second of all emitters in a window of the run's clock; none if one of them has no record of all of
/// the window.
fn achieved(record: &Record, from: f64, to: f64, what: Counted) -> Option<f64> {
    let rates = record.emitters.iter().map(|emitter| {
        let ms = |t| record.unix_ms(record.node_of(emitter.stream()), t) as f64;
        rate(emitter, ms(from), ms(to))
    });
    let rates: Vec<(f64, f64)> = rates.collect::<Option<_>>()?;
    let sum = |part: fn(&(f64, f64)) -> f64| rates.iter().map(part).sum::<f64>();
    let (sent, acknowledged) = (sum(|rate| rate.0), sum(|rate| rate.1));
    Some(if what == Counted::Sent { sent } else { sent.min(acknowledged) })
}

/// (sent, acknowledged) per second, from the first to the last second that begins in the window: one that
/// is missing between them counts as idle.
fn rate(emitter: &EmitterLedger, from_ms: f64, to_ms: f64) -> Option<(f64, f64)> {
    let within = |second: &&EmitSecond| (from_ms - 1e3..to_ms).contains(&(second.unix_ms as f64));
    let seconds: Vec<&EmitSecond> = emitter.seconds().iter().filter(within).collect();
    let (first, last) = (seconds.first()?.unix_ms as f64, seconds.last()?.unix_ms as f64);
    if first > from_ms + SLACK_MS || last < to_ms - SLACK_MS || last <= first {
        return None;
    }
    let whole = &seconds[..seconds.len() - 1];
    let per_second = |spans: u64| spans as f64 / (last - first) * 1e3;
    let sent = whole.iter().map(|second| second.emitted.count()).sum();
    let acknowledged = whole.iter().map(|second| second.acknowledged).fold(0, u64::saturating_add);
    Some((per_second(sent), per_second(acknowledged)))
}

#[cfg(test)]
mod tests {
    use super::widened;

    #[test]
    fn a_fault_that_is_over_at_once_is_seen_with_what_is_around_it() {
        assert_eq!(widened(20.0, 21.0, 0.0, 60.0), (18.0, 23.0));
        assert_eq!(widened(20.0, 30.0, 0.0, 60.0), (20.0, 30.0));
        assert_eq!(widened(0.5, 1.0, 0.0, 60.0), (0.0, 5.0));
        assert_eq!(widened(59.0, 60.0, 0.0, 60.0), (55.0, 60.0));
        assert_eq!(widened(1.0, 2.0, 0.0, 3.0), (0.0, 3.0), "never more than there was");
    }
}
