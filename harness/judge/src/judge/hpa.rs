//! Did the `HorizontalPodAutoscaler` go out in time, come in again after its stabilisation, and stay within its
//! bounds without flapping? Without a metric it has shown nothing.

use super::{Context, Finding, Ruling, Story, Verdict, rounded};
use crate::judge::story::{FaultStory, Series, at, within};
use crate::record::Record;
use crate::scenario::{Condition, Expect, FaultName, Measure, Step};
use crate::world::{Autoscaler, Kind};
use serde_json::json;

/// A metric that is missing for no longer than this, in seconds, is a hiccup: the next one tells.
const HICCUP: f64 = 30.0;
/// Within this share of the target an HPA leaves things as they are (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;
/// How long before the spike's end it may last have looked, in seconds: its greatest pause
/// (`--horizontal-pod-autoscaler-sync-period`).
const SYNC: f64 = 15.0;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    if !record.scenario.tier.has(Measure::Hpa) {
        return None;
    }
    Some(judge(record, story))
}

fn judge(record: &Record, story: &Story) -> Finding {
    let Some(Ok(start)) = story.steady else {
        return Finding::inconclusive(
            "the tier was never steady, so the HPA had no beginning to be judged from",
        );
    };
    let end = story.load.map_or(start, |(_, end)| end);
    if let Some(gap) = story.gap(&[Kind::HorizontalPodAutoscaler, Kind::Pod], start, end) {
        return Finding::inconclusive(gap);
    }
    let ready = story.ready_within("gateway", start, end);
    let (Some(seen), Some(ready)) = (within(&story.autoscaler, start, end), ready) else {
        return Finding::inconclusive("nobody had looked at the HPA before the first step");
    };
    let seen: Vec<(f64, Option<&Autoscaler>)> = seen.map(|(t, hpa)| (t, hpa.as_ref())).collect();
    let there: Series<&Autoscaler> = seen.iter().filter_map(|(t, hpa)| Some((*t, (*hpa)?))).collect();
    if there.len() < seen.len() {
        return Finding::new((Verdict::Fail, "there was no HPA for the gateways".to_owned()), json!({}));
    }
    let spikes: Vec<&FaultStory> = story.faults_called(&FaultName::Spike).collect();
    let mut reasons = Vec::new();
    let mut findings = Vec::new();
    if let Some((from, to, why)) = longest_blindness(&there, end)
        && to - from > HICCUP
    {
        return Finding::inconclusive(format!(
            "the HPA could not read its metric from {from:.1}s to {to:.1}s: {why}"
        ));
    }
    for (index, spike) in spikes.iter().enumerate() {
        // Before the next spike there may be no time to come in.
        let awaited_in = waits_for_scale_in(record) && index + 1 == spikes.len();
        let spike = Spike { fault: spike, expect: record.scenario.expect, awaited_in, end };
        match spike.judge(&there, &ready) {
            Ok(reason) => reasons.push(reason),
            Err(finding) => findings.push(finding),
        }
    }
    findings.extend(out_of_bounds(record, &there, &ready));
    findings.extend(flapping(&there, story.faults.len()));
    // Before the first spike, and behind the last one: what is read first may still be of the gateways' start.
    let ends = [there.first(), there.last()].into_iter().flatten();
    let steady_pressure = ends.filter_map(|(_, hpa)| hpa.pressure()).min_by(f64::total_cmp);
    let evidence = json!({
        "metrics": there.last().map(|(_, hpa)| &hpa.metrics),
        "bounds": there.last().map(|(_, hpa)| [hpa.min, hpa.max]),
        "steady_share_of_target": steady_pressure.map(rounded),
        "stabilisation_s": there.last().map(|(_, hpa)| hpa.stabilisation_s),
        "desired_and_share_of_target": there.iter().map(|(t, hpa)| json!([t, hpa.desired, hpa.pressure().map(rounded)])).collect::<Vec<_>>(),
        "ready": ready,
    });
    let worst = findings.into_iter().max_by_key(|(verdict, _)| *verdict);
    let ruling = worst.unwrap_or_else(|| {
        if reasons.is_empty() {
            let desired = there.iter().map(|(_, hpa)| hpa.desired);
            let (fewest, most) = (desired.clone().min().unwrap_or(0), desired.max().unwrap_or(0));
            let wanted = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
            reasons.push(format!("it read its metric, and wanted {wanted} gateways"));
        }
        (Verdict::Pass, reasons.join("; "))
    });
    Finding::new(ruling, evidence)
}

fn waits_for_scale_in(record: &Record) -> bool {
    record
        .scenario
        .all_steps()
        .any(|step| matches!(step, Step::Wait(wait) if wait.what == Condition::ScaledIn))
}

/// One spike, and what the HPA made of it.
struct Spike<'a> {
    fault: &'a FaultStory,
    expect: Expect,
    /// Whether the scenario waits for the scale-in; otherwise it is not judged.
    awaited_in: bool,
    /// The load's end.
    end: f64,
}

impl Spike<'_> {
    fn judge(&self, hpa: &Series<&Autoscaler>, ready: &Series<usize>) -> Result<String, Ruling> {
        let (start, over) = (self.fault.start, self.fault.over());
        if !self.fault.landed {
            return Err((Verdict::Inconclusive, "the spike was not seen to land".to_owned()));
        }
        let Some(before) = at(hpa, start) else {
            return Err((Verdict::Inconclusive, "nobody saw the HPA before the spike".to_owned()));
        };
        if before.desired >= before.max {
            let reason = "it had all the gateways that it may have when the spike began";
            return Err((Verdict::Inconclusive, reason.to_owned()));
        }
        let desired_before = before.desired as usize;
        let out = ready.iter().find(|(t, ready)| {
            *t >= start
                && *ready > desired_before
                && at(hpa, *t).is_some_and(|hpa| hpa.desired > before.desired)
        });
        let Some((out_at, _)) = out else {
            return Err(self.stayed(hpa, before.desired));
        };
        let took = out_at - start;
        let limit = self.expect.scale_out_within.duration().as_secs_f64();
        if took > limit {
            return Err((
                Verdict::Fail,
                format!("more gateways were ready {took:.0}s after the spike began; the limit is {limit}s"),
            ));
        }
        let most = hpa.iter().filter(|(t, _)| *t >= start).map(|(_, hpa)| hpa.desired).max().unwrap_or(0);
        let went_out = format!("out from {desired_before} to {most} gateways, the first after {took:.0}s");
        if !self.awaited_in {
            return Ok(went_out);
        }
        self.came_in(hpa, over, desired_before).map(|came_in| format!("{went_out}; {came_in}"))
    }

    /// Why it did not go out.
    fn stayed(&self, hpa: &Series<&Autoscaler>, before: u32) -> Ruling {
        let (start, over) = (self.fault.start, self.fault.over());
        let during: Vec<&Autoscaler> =
            within(hpa, start, over).into_iter().flatten().map(|(_, hpa)| *hpa).collect();
        let highest = during.iter().filter_map(|hpa| hpa.pressure()).fold(0.0, f64::max);
        let percent = highest * 100.0;
        if highest <= 1.0 + TOLERANCE {
            let reason = "the spike did not bring the metric over its target";
            return (Verdict::Inconclusive, format!("{reason}: {percent:.0} % of it at most"));
        }
        let limit = self.expect.scale_out_within.duration().as_secs_f64();
        if over - start < limit {
            return (
                Verdict::Inconclusive,
                format!("the spike ended before the {limit}s that the HPA may take"),
            );
        }
        let wanted = during.iter().map(|hpa| hpa.desired).max().unwrap_or(before);
        if wanted > before {
            return (
                Verdict::Fail,
                format!("it wanted {wanted} gateways, and no more than {before} were ready"),
            );
        }
        (Verdict::Fail, format!("it did not go out, though its metric was at {percent:.0} % of the target"))
    }

    fn came_in(&self, hpa: &Series<&Autoscaler>, over: f64, before: usize) -> Result<String, Ruling> {
        let Some(last) = at(hpa, over) else {
            return Err((Verdict::Inconclusive, "nobody saw the HPA at the spike's end".to_owned()));
        };
        let window = f64::from(last.stabilisation_s);
        let first = hpa.iter().find(|(t, hpa)| *t > over && hpa.desired < last.desired);
        // It wanted all that it had at the spike's end, so the window begins there.
        let wanted_all = last.pressure().is_some_and(|share| {
            (share - 1.0).abs() <= TOLERANCE
                || (share * f64::from(last.desired)).ceil() >= f64::from(last.desired)
        });
        if let Some((t, _)) = first
            && wanted_all
            && t - over < window - SYNC
        {
            let early = t - over;
            return Err((
                Verdict::Fail,
                format!("it came in {early:.0}s after the spike; its stabilisation window is {window}s"),
            ));
        }
        let limit = self.expect.scale_in_within.duration().as_secs_f64();
        let back = hpa.iter().find(|(t, hpa)| *t > over && hpa.desired as usize <= before);
        match back {
            Some((t, _)) if t - over <= limit => Ok(format!("in again {:.0}s after the spike", t - over)),
            Some((t, _)) => Err((
                Verdict::Fail,
                format!("it was back {:.0}s after the spike; the limit is {limit}s", t - over),
            )),
            None if self.end - over >= limit => {
                Err((Verdict::Fail, format!("it did not come in within {limit}s of the spike")))
            }
            None => Err((Verdict::Inconclusive, "the load ended before the HPA had to be back".to_owned())),
        }
    }
}

/// (from, to, why) of the longest time without a metric.
fn longest_blindness<'a>(hpa: &Series<&'a Autoscaler>, end: f64) -> Option<(f64, f64, &'a str)> {
    let mut since: Option<(f64, &str)> = None;
    let mut longest: Option<(f64, f64, &str)> = None;
    let looks = hpa.iter().map(|(t, hpa)| (*t, Some(*hpa))).chain([(end, None)]);
    for (t, look) in looks {
        if let Some((from, why)) = since
            && longest.is_none_or(|(from, to, _)| t - from > to - from)
        {
            longest = Some((from, t, why));
        }
        match look {
            Some(hpa) if !hpa.reads() => drop(since.get_or_insert((t, hpa.why.as_str()))),
            _ => since = None,
        }
    }
    longest
}

fn out_of_bounds(record: &Record, hpa: &Series<&Autoscaler>, ready: &Series<usize>) -> Option<Ruling> {
    if let Some((t, it)) = hpa.iter().find(|(_, it)| it.desired < it.min || it.desired > it.max) {
        return Some((
            Verdict::Fail,
            format!("it wanted {} gateways at {t:.1}s; the bounds are {} to {}", it.desired, it.min, it.max),
        ));
    }
    // A roll-out's surge comes on top.
    let rolls = record.scenario.all_steps().any(|step| matches!(step, Step::Upgrade(_)));
    let most = hpa.iter().map(|(_, it)| it.max).max()? as usize;
    let (t, ready) = ready.iter().find(|(_, ready)| *ready > most && !rolls)?;
    Some((
        Verdict::Fail,
        format!("{ready} gateways were ready at {t:.1}s; the most that it may have are {most}"),
    ))
}

/// Each fault may be a reason to go out and to come in again; every other change of direction is one too many.
fn flapping(hpa: &Series<&Autoscaler>, faults: usize) -> Option<Ruling> {
    let desired: Vec<u32> = hpa.iter().map(|(_, hpa)| hpa.desired).collect();
    let mut directions: Vec<bool> =
        desired.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[1] > pair[0]).collect();
    directions.dedup();
    let allowed = (2 * faults).max(1);
    let turns = directions.len();
    (turns > allowed).then(|| {
        (Verdict::Fail, format!("it flapped: its wish went up or down {turns} times in turn ({desired:?}), for {faults} faults"))
    })
}
