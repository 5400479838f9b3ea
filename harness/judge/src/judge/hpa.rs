//! The check `hpa`: the `HorizontalPodAutoscaler` scaled out in time, scaled in after its stabilisation window, and stayed
//! within its bounds without flapping. Without a metric it has shown nothing.

use super::{Context, Finding, Ruling, Story, Verdict, rounded};
use crate::judge::story::{FaultStory, Series, at, within};
use crate::record::Record;
use crate::scenario::{Condition, Expect, FaultName, Measure, Step};
use crate::world::{Autoscaler, Kind};
use serde_json::{Value, json};

/// The longest time without a metric that does not matter, in seconds: the next reading tells.
const HICCUP: f64 = 30.0;
/// The deviation from the target that an HPA tolerates, as a share (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;
/// The longest pause between two syncs of an HPA, in seconds (`--horizontal-pod-autoscaler-sync-period`): its last one may be
/// so long before the spike's end.
const SYNC: f64 = 15.0;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    if !record.scenario.tier.has(Measure::Hpa) {
        return None;
    }
    Some(match Facts::of(record, story) {
        Ok(facts) => Finding::new(facts.decide(), facts.evidence()),
        Err(ruling) => Finding::new(ruling, json!({})),
    })
}

/// The facts that decide about the HPA.
struct Facts<'a> {
    hpa: Series<&'a Autoscaler>,
    /// The number of ready gateways.
    ready: Series<usize>,
    spikes: Vec<JudgedSpike<'a>>,
    /// The number of faults of any kind.
    faults: usize,
    /// `true` if the scenario rolls something: a roll-out's surge comes on top of the HPA's bounds.
    rolls: bool,
}

impl<'a> Facts<'a> {
    /// Collects the facts.
    ///
    /// # Errors
    /// If there is too little to judge by: inconclusive, or a failure where there was no HPA.
    fn of(record: &Record, story: &'a Story) -> Result<Self, Ruling> {
        let inconclusive = |reason: String| (Verdict::Inconclusive, reason);
        let Some(Ok(start)) = story.steady else {
            let reason = "the tier was never steady, so there is no state to judge the HPA from";
            return Err(inconclusive(reason.to_owned()));
        };
        let end = story.load.map_or(start, |(_, end)| end);
        if let Some(gap) = story.gap(&[Kind::HorizontalPodAutoscaler, Kind::Pod], start, end) {
            return Err(inconclusive(gap));
        }
        let ready = story.ready_within("gateway", start, end);
        let (Some(seen), Some(ready)) = (within(&story.autoscaler, start, end), ready) else {
            return Err(inconclusive("the HPA was not watched before the first step".to_owned()));
        };
        let seen: Vec<(f64, Option<&Autoscaler>)> = seen.map(|(t, hpa)| (t, hpa.as_ref())).collect();
        let hpa: Series<&Autoscaler> = seen.iter().filter_map(|(t, hpa)| Some((*t, (*hpa)?))).collect();
        if hpa.len() < seen.len() {
            return Err((Verdict::Fail, "there was no HPA for the gateways".to_owned()));
        }
        if let Some((from, to, why)) = longest_blindness(&hpa, end)
            && to - from > HICCUP
        {
            let reason = format!("the HPA could not read its metric from {from:.1}s to {to:.1}s: {why}");
            return Err(inconclusive(reason));
        }
        let spikes: Vec<&FaultStory> = story.faults_called(&FaultName::Spike).collect();
        let last = spikes.len().checked_sub(1);
        // Before the next spike there may be no time to scale in.
        let awaited_in = |index| waits_for_scale_in(record) && Some(index) == last;
        let spikes = spikes.into_iter().enumerate().map(|(index, fault)| JudgedSpike {
            fault,
            expect: record.scenario.expect,
            awaited_in: awaited_in(index),
            end,
        });
        let rolls = record.scenario.all_steps().any(|step| matches!(step, Step::Upgrade(_)));
        Ok(Self { hpa, ready, spikes: spikes.collect(), faults: story.faults.len(), rolls })
    }

    /// The worst of what is wrong; else what each spike came to.
    fn decide(&self) -> Ruling {
        let judged = self.spikes.iter().map(|spike| spike.judge(&self.hpa, &self.ready));
        let (passed, mut wrong): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
        wrong.extend(self.out_of_bounds().map(Err));
        wrong.extend(flapping(&self.hpa, self.faults).map(Err));
        if let Some(worst) = wrong.into_iter().filter_map(Result::err).max_by_key(|(verdict, _)| *verdict) {
            return worst;
        }
        let reasons: Vec<String> = passed.into_iter().filter_map(Result::ok).collect();
        if !reasons.is_empty() {
            return (Verdict::Pass, reasons.join("; "));
        }
        let desired = self.hpa.iter().map(|(_, hpa)| hpa.desired);
        let (fewest, most) = (desired.clone().min().unwrap_or(0), desired.max().unwrap_or(0));
        let wanted = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
        (Verdict::Pass, format!("it read its metric, and wanted {wanted} gateways"))
    }

    fn out_of_bounds(&self) -> Option<Ruling> {
        if let Some((t, it)) = self.hpa.iter().find(|(_, it)| it.desired < it.min || it.desired > it.max) {
            let bounds = format!("the bounds are {} to {}", it.min, it.max);
            return Some((Verdict::Fail, format!("it wanted {} gateways at {t:.1}s; {bounds}", it.desired)));
        }
        let most = self.hpa.iter().map(|(_, it)| it.max).max()? as usize;
        let (t, ready) = self.ready.iter().find(|(_, ready)| *ready > most && !self.rolls)?;
        let reason = format!("{ready} gateways were ready at {t:.1}s; its maximum is {most}");
        Some((Verdict::Fail, reason))
    }

    fn evidence(&self) -> Value {
        // Before the first spike, and after the last one: what is read first may still be of the gateways' start.
        let (first, last) = (self.hpa.first(), self.hpa.last());
        let ends = [first, last].into_iter().flatten();
        let steady_pressure = ends.filter_map(|(_, hpa)| hpa.pressure()).min_by(f64::total_cmp);
        let wishes = self.hpa.iter();
        let wishes = wishes.map(|(t, hpa)| json!([t, hpa.desired, hpa.pressure().map(rounded)]));
        json!({
            "metrics": last.map(|(_, hpa)| &hpa.metrics),
            "bounds": last.map(|(_, hpa)| [hpa.min, hpa.max]),
            "steady_share_of_target": steady_pressure.map(rounded),
            "stabilisation_s": last.map(|(_, hpa)| hpa.stabilisation_s),
            "desired_and_share_of_target": wishes.collect::<Vec<_>>(),
            "ready": self.ready,
        })
    }
}

fn waits_for_scale_in(record: &Record) -> bool {
    record
        .scenario
        .all_steps()
        .any(|step| matches!(step, Step::Wait(wait) if wait.what == Condition::ScaledIn))
}

/// A spike, to which the HPA had to respond.
struct JudgedSpike<'a> {
    fault: &'a FaultStory,
    expect: Expect,
    /// `true` if the scenario waits for the scale-in; otherwise the scale-in is not judged.
    awaited_in: bool,
    /// The load's end.
    end: f64,
}

impl JudgedSpike<'_> {
    fn judge(&self, hpa: &Series<&Autoscaler>, ready: &Series<usize>) -> Result<String, Ruling> {
        let (start, over) = (self.fault.start, self.fault.over());
        if !self.fault.landed {
            return Err((Verdict::Inconclusive, "the spike was not seen to land".to_owned()));
        }
        let Some(before) = at(hpa, start) else {
            return Err((Verdict::Inconclusive, "the HPA was not seen before the spike".to_owned()));
        };
        if before.desired >= before.max {
            let reason = "it was at its maximum when the spike began";
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
        let went_out =
            format!("scaled out from {desired_before} to {most} gateways, the first after {took:.0}s");
        if !self.awaited_in {
            return Ok(went_out);
        }
        self.came_in(hpa, over, desired_before).map(|came_in| format!("{went_out}; {came_in}"))
    }

    /// Returns why it did not scale out.
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
        (
            Verdict::Fail,
            format!("it did not scale out, though its metric was at {percent:.0} % of the target"),
        )
    }

    fn came_in(&self, hpa: &Series<&Autoscaler>, over: f64, before: usize) -> Result<String, Ruling> {
        let Some(last) = at(hpa, over) else {
            return Err((Verdict::Inconclusive, "the HPA was not seen at the spike's end".to_owned()));
        };
        let window = f64::from(last.stabilisation_s);
        let first = hpa.iter().find(|(t, hpa)| *t > over && hpa.desired < last.desired);
        // It still wanted all of its replicas at the spike's end, so the window begins there.
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
                format!("it scaled in {early:.0}s after the spike; its stabilisation window is {window}s"),
            ));
        }
        let limit = self.expect.scale_in_within.duration().as_secs_f64();
        let back = hpa.iter().find(|(t, hpa)| *t > over && hpa.desired as usize <= before);
        match back {
            Some((t, _)) if t - over <= limit => {
                Ok(format!("scaled in again {:.0}s after the spike", t - over))
            }
            Some((t, _)) => Err((
                Verdict::Fail,
                format!("it had scaled in {:.0}s after the spike; the limit is {limit}s", t - over),
            )),
            None if self.end - over >= limit => {
                Err((Verdict::Fail, format!("it did not scale in within {limit}s of the spike")))
            }
            None => {
                Err((Verdict::Inconclusive, "the load ended before the HPA had to have scaled in".to_owned()))
            }
        }
    }
}

/// Returns the longest time without a metric: (from, to, why).
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

/// Each fault may be a reason to scale out and in again; every other change of direction is one too many.
fn flapping(hpa: &Series<&Autoscaler>, faults: usize) -> Option<Ruling> {
    let desired: Vec<u32> = hpa.iter().map(|(_, hpa)| hpa.desired).collect();
    let mut directions: Vec<bool> =
        desired.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[1] > pair[0]).collect();
    directions.dedup();
    let allowed = (2 * faults).max(1);
    let turns = directions.len();
    (turns > allowed).then(|| {
        (Verdict::Fail, format!("it flapped: the number that it wanted went up or down {turns} times in turn ({desired:?}), for {faults} faults"))
    })
}
