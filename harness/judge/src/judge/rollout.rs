//! Did each roll-out finish in time, within its bounds, and with enough ready gateways all the while?

use super::floor::{self, Held};
use super::{Context, Finding, Story, Verdict, rounded};
use crate::judge::story::{FaultStory, at, within};
use crate::record::Record;
use crate::scenario::{Part, Step, Upgrade};
use crate::world::{Kind, Pod, Workload};
use serde_json::{Value, json};

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    if !record.scenario.all_steps().any(|step| matches!(step, Step::Upgrade(_))) {
        return None;
    }
    let places = record.scenario.places(|path| story.resolved.get(path).map_or(0, Vec::len));
    let asked = places.iter().filter(|(_, step)| matches!(step, Step::Upgrade(_))).count();
    let judged: Vec<(Verdict, String, Value)> =
        story.rollouts(record).map(|(upgrade, fault)| rollout(record, story, upgrade, fault)).collect();
    let evidence = json!(judged.iter().map(|(_, _, evidence)| evidence).collect::<Vec<_>>());
    let worst = judged.iter().max_by_key(|(verdict, ..)| *verdict);
    let ruling = match worst {
        Some((verdict @ (Verdict::Fail | Verdict::Inconclusive), reason, _)) => (*verdict, reason.clone()),
        _ if judged.is_empty() || judged.len() < asked => {
            let done = judged.len();
            (Verdict::Inconclusive, format!("{done} of {asked} roll-outs were carried out"))
        }
        _ => {
            let reasons: Vec<_> = judged.iter().map(|(_, reason, _)| reason.as_str()).collect();
            (Verdict::Pass, reasons.join("; "))
        }
    };
    Some(Finding::new(ruling, evidence))
}

fn rollout(
    record: &Record,
    story: &Story,
    upgrade: &Upgrade,
    fault: &FaultStory,
) -> (Verdict, String, Value) {
    let (app, target) = (upgrade.what.app(), fault.target.as_str());
    let kind = match upgrade.what {
        Part::Gateways => Kind::Deployment,
        Part::Agents => Kind::DaemonSet,
    };
    let (start, end) = (fault.start, fault.over());
    let inconclusive = |reason: String| (Verdict::Inconclusive, reason, json!({"rollout": target}));
    if let Some(gap) = story.gap(&[Kind::Pod, kind], start, end) {
        return inconclusive(gap);
    }
    let workloads =
        story.workloads.get(&(kind, app.to_owned())).and_then(|series| within(series, start, end));
    let pods = story.pods.get(app);
    let (Some(workloads), Some(pods)) = (workloads, pods) else {
        return inconclusive(format!("the {target} were not seen before the roll-out"));
    };
    let workloads: Vec<&Workload> = workloads.map(|(_, workload)| workload).collect();
    let Some(seen) = within(pods, start, end) else {
        return inconclusive(format!("no pod of the {target} was seen before the roll-out"));
    };
    let counted: Vec<(f64, usize, usize)> = seen
        .map(|(t, pods)| {
            let count = |what: fn(&Pod) -> bool| pods.iter().filter(|(_, pod)| what(pod)).count();
            (t, count(|pod| pod.ready), count(|pod| !pod.terminating))
        })
        .collect();
    let bounds = Bounds::over(kind, &workloads);
    let asked = workloads.iter().any(|workload| workload.generation != workloads[0].generation);
    let (fewest_at, fewest, _) =
        counted.iter().min_by_key(|(_, ready, _)| *ready).copied().unwrap_or_default();
    let (most_at, _, most) = counted.iter().max_by_key(|(_, _, all)| *all).copied().unwrap_or_default();
    let held = match held(record, story, upgrade.what, start, end) {
        Ok(held) => held,
        Err(why) => return inconclusive(why),
    };
    let worst = Held::worst(&held);
    let short = worst.filter(|worst| worst.missing() > 0);
    // What else took gateways away at the same time: maxUnavailable says nothing about that.
    let others: Vec<String> = story
        .faults
        .iter()
        .filter(|other| !other.gateways.is_empty() && other.name != fault.name)
        .filter(|other| app == "gateway" && other.start < end && other.over() > start)
        .map(|other| format!("{} of {}", other.name, other.target))
        .collect();
    let deadline = upgrade.deadline.duration().as_secs_f64();
    let evidence = json!({
        "rollout": target,
        "seconds": rounded(end - start),
        "deadline_s": deadline,
        "least_ready": bounds.least_ready,
        "beside": others,
        "most": bounds.most_pods,
        "floor": worst.map_or(0, |worst| worst.floor.minimum),
        "floor_asked": worst.map(|worst| &worst.floor.asked),
        "fewest_ready": fewest,
        "most_pods": most,
        "ready_and_pods": counted,
    });
    let (verdict, reason) = if story.interrupted {
        (Verdict::Inconclusive, "the run was interrupted".to_owned())
    } else if let Some(short) = short {
        let why = "a PDB does not guard roll-outs: maxUnavailable does";
        let (ready, t, floor) = (short.ready, short.t, short.floor.minimum);
        (Verdict::Fail, format!("{target}: {ready} ready at {t:.1}s, the floor is {floor} ({why})"))
    } else if !fault.healed && (fault.blind || !asked) {
        let problem = fault.problem.as_deref().unwrap_or("its specification was not seen to change");
        (Verdict::Inconclusive, format!("{target}: it was not seen what became of it: {problem}"))
    } else if !fault.healed {
        let problem = fault.problem.as_deref().unwrap_or("it was not seen to end");
        (Verdict::Fail, format!("{target} did not finish: {problem}"))
    } else if end - start > deadline {
        let took = end - start;
        (Verdict::Fail, format!("{target} took {took:.0}s; the limit is {deadline}s"))
    } else if fewest < bounds.least_ready && others.is_empty() {
        let least = bounds.least_ready;
        (
            Verdict::Fail,
            format!(
                "{target}: {fewest} ready at {fewest_at:.1}s; maxUnavailable allows no fewer than {least}"
            ),
        )
    } else if most > bounds.most_pods {
        let allowed = bounds.most_pods;
        (
            Verdict::Fail,
            format!("{target}: {most} pods at {most_at:.1}s; maxSurge allows no more than {allowed}"),
        )
    } else if !all_replaced(pods, start, end) {
        (Verdict::Inconclusive, format!("{target} replaced nothing, so it has shown nothing"))
    } else {
        (
            Verdict::Pass,
            format!(
                "{target} in {:.0}s, never fewer than {fewest} ready, never more than {most} pods",
                end - start
            ),
        )
    };
    (verdict, reason, evidence)
}

/// What had to be ready meanwhile, and was: nothing is asked of agents.
fn held(record: &Record, story: &Story, what: Part, start: f64, end: f64) -> Result<Vec<Held>, String> {
    match what {
        Part::Gateways => floor::held(record, story, start, end),
        Part::Agents => Ok(Vec::new()),
    }
}

/// Whether every pod that there was has given way to another one.
fn all_replaced(pods: &super::story::Series<Vec<(String, Pod)>>, start: f64, end: f64) -> bool {
    let (Some(before), Some(after)) = (at(pods, start), at(pods, end)) else { return false };
    !before.is_empty() && before.iter().all(|(_, old)| after.iter().all(|(_, new)| new.uid != old.uid))
}

/// What a rolling update may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least_ready: usize,
    most_pods: usize,
}

impl Bounds {
    /// The widest of what was allowed in a window: an HPA may change how many there should be.
    fn over(kind: Kind, workloads: &[&Workload]) -> Self {
        let all = workloads.iter().map(|workload| Self::of(kind, workload));
        let widest = all.reduce(|a, b| Self {
            least_ready: a.least_ready.min(b.least_ready),
            most_pods: a.most_pods.max(b.most_pods),
        });
        widest.unwrap_or(Self { least_ready: 0, most_pods: usize::MAX })
    }

    /// As Kubernetes resolves them. Of a percentage, `maxSurge` is rounded up, and `maxUnavailable` down in a
    /// Deployment, but up in a `DaemonSet`; where both come to nothing, one may be unavailable.
    fn of(kind: Kind, workload: &Workload) -> Self {
        let desired = f64::from(workload.desired);
        let resolve = |written: Option<&String>, default: &str, round: fn(f64) -> f64| {
            let written = written.map_or(default, String::as_str);
            let number = match written.strip_suffix('%') {
                Some(percent) => percent.parse().map(|percent: f64| round(desired * percent / 100.0)),
                None => written.parse(),
            };
            // A count of pods.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
            let number = number.unwrap_or_default().max(0.0) as u32;
            number
        };
        let daemon = kind == Kind::DaemonSet;
        let (surge, unavailable) = if daemon { ("0", "1") } else { ("25%", "25%") };
        let round = if daemon { f64::ceil } else { f64::floor };
        let surge = resolve(workload.max_surge.as_ref(), surge, f64::ceil);
        let unavailable = resolve(workload.max_unavailable.as_ref(), unavailable, round);
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        Self {
            least_ready: workload.desired.saturating_sub(unavailable) as usize,
            most_pods: workload.desired.saturating_add(surge) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_resolved_as_kubernetes_does() {
        let of = |kind, desired, unavailable: &str, surge: &str| {
            let (max_unavailable, max_surge) = (Some(unavailable.to_owned()), Some(surge.to_owned()));
            let workload = Workload { desired, max_unavailable, max_surge, ..Workload::default() };
            let Bounds { least_ready, most_pods } = Bounds::of(kind, &workload);
            (least_ready, most_pods)
        };
        let bounds = |desired, unavailable, surge| of(Kind::Deployment, desired, unavailable, surge);
        assert_eq!(of(Kind::DaemonSet, 3, "50%", "0"), (1, 3));
        assert_eq!(bounds(2, "0", "1"), (2, 3));
        assert_eq!(bounds(3, "25%", "25%"), (3, 4));
        assert_eq!(bounds(4, "50%", "0"), (2, 4));
        assert_eq!(bounds(2, "100%", "1"), (0, 3));
        assert_eq!(bounds(2, "0", "0"), (1, 2));
        // Whatever a record says, there are bounds.
        let most = u32::MAX as usize;
        assert_eq!(bounds(u32::MAX, "0", "25%"), (most, most));
        assert_eq!(bounds(2, "1e400%", "4294967295"), (0, most));
        assert_eq!(bounds(2, "NaN%", "-7"), (1, 2));
    }
}
