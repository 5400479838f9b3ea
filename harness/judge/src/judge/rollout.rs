//! The check `rollout`: each roll-out finished in time, within its bounds, and with enough ready gateways throughout.

use super::floor::{self, Readiness};
use super::{Context, Finding, Ruling, Story, Verdict, rounded};
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
    let judged: Vec<Finding> =
        story.rollouts(record).map(|(upgrade, fault)| rollout(record, story, upgrade, fault)).collect();
    let evidence = json!(judged.iter().map(|one| &one.evidence).collect::<Vec<_>>());
    let worst = judged.iter().max_by_key(|one| one.verdict);
    let ruling = if let Some(worst) = worst.filter(|worst| worst.verdict != Verdict::Pass) {
        (worst.verdict, worst.reason.clone())
    } else if judged.is_empty() || judged.len() < asked {
        let done = judged.len();
        (Verdict::Inconclusive, format!("{done} of {asked} roll-outs were carried out"))
    } else {
        let reasons: Vec<_> = judged.iter().map(|one| one.reason.as_str()).collect();
        (Verdict::Pass, reasons.join("; "))
    };
    Some(Finding::new(ruling, evidence))
}

fn rollout(record: &Record, story: &Story, upgrade: &Upgrade, fault: &FaultStory) -> Finding {
    match Facts::of(record, story, upgrade, fault) {
        Ok(facts) => Finding::new(facts.decide(), facts.evidence()),
        Err(unknown) => Finding::new((Verdict::Inconclusive, unknown), json!({"rollout": fault.target})),
    }
}

/// The facts that decide about one roll-out.
struct Facts<'a> {
    /// The part of the tier, and the version.
    target: &'a str,
    interrupted: bool,
    end: End<'a>,
    seconds: f64,
    /// The deadline, in seconds.
    deadline: f64,
    bounds: Bounds,
    /// (moment, ready, pods) at each change.
    counted: Vec<(f64, usize, usize)>,
    /// The moment at which most were missing; none for agents, of which no number is demanded.
    worst: Option<Readiness>,
    /// The other faults that took gateways at the same time: maxUnavailable says nothing about these.
    others: Vec<String>,
    /// `true` if every pod was replaced.
    replaced: bool,
}

/// The end of a roll-out.
#[derive(Debug, Clone, Copy)]
enum End<'a> {
    /// It finished.
    Finished,
    /// It did not, for this reason.
    Unfinished(&'a str),
    /// The harness did not see it, for this reason.
    Unseen(&'a str),
}

impl<'a> Facts<'a> {
    /// Collects the facts.
    ///
    /// # Errors
    /// Says what is not on record.
    fn of(record: &Record, story: &Story, upgrade: &Upgrade, fault: &'a FaultStory) -> Result<Self, String> {
        let (app, target) = (upgrade.what.app(), fault.target.as_str());
        let kind = match upgrade.what {
            Part::Gateways => Kind::Deployment,
            Part::Agents => Kind::DaemonSet,
        };
        let (start, end) = (fault.start, fault.over());
        if let Some(gap) = story.gap(&[Kind::Pod, kind], start, end) {
            return Err(gap);
        }
        let workloads = story.workloads.get(&(kind, app.to_owned()));
        let workloads = workloads.and_then(|series| within(series, start, end));
        let (Some(workloads), Some(pods)) = (workloads, story.pods.get(app)) else {
            return Err(format!("the {target} were not seen before the roll-out"));
        };
        let workloads: Vec<&Workload> = workloads.map(|(_, workload)| workload).collect();
        let Some(seen) = within(pods, start, end) else {
            return Err(format!("no pod of the {target} was seen before the roll-out"));
        };
        let counted = seen.map(|(t, pods)| {
            let count = |what: fn(&Pod) -> bool| pods.iter().filter(|(_, pod)| what(pod)).count();
            (t, count(|pod| pod.ready), count(|pod| !pod.terminating))
        });
        let counted = counted.collect();
        let changed = workloads.iter().any(|workload| workload.generation != workloads[0].generation);
        let readiness = readiness(record, story, upgrade.what, start, end)?;
        let others = story
            .faults
            .iter()
            .filter(|other| !other.gateways.is_empty() && other.name != fault.name)
            .filter(|other| app == "gateway" && other.start < end && other.over() > start)
            .map(|other| format!("{} of {}", other.name, other.target));
        Ok(Self {
            target,
            interrupted: story.interrupted,
            end: End::of(fault, changed),
            seconds: end - start,
            deadline: upgrade.deadline.duration().as_secs_f64(),
            bounds: Bounds::over(kind, &workloads),
            counted,
            worst: Readiness::worst(&readiness).cloned(),
            others: others.collect(),
            replaced: all_replaced(pods, start, end),
        })
    }

    /// The moment with the fewest ready pods, and their number.
    fn fewest(&self) -> (f64, usize) {
        let fewest = self.counted.iter().min_by_key(|(_, ready, _)| *ready);
        fewest.map(|(t, ready, _)| (*t, *ready)).unwrap_or_default()
    }

    /// The moment with the most pods, and their number.
    fn most(&self) -> (f64, usize) {
        let most = self.counted.iter().max_by_key(|(_, _, all)| *all);
        most.map(|(t, _, all)| (*t, *all)).unwrap_or_default()
    }

    fn decide(&self) -> Ruling {
        let Self { target, seconds, deadline, bounds, .. } = self;
        let ((fewest_at, fewest), (most_at, most)) = (self.fewest(), self.most());
        if self.interrupted {
            return (Verdict::Inconclusive, "the run was interrupted".to_owned());
        }
        if let Some(short) = self.worst.as_ref().filter(|worst| worst.missing() > 0) {
            let why = "a PDB does not guard roll-outs: maxUnavailable does";
            let (ready, t, floor) = (short.ready, short.t, short.floor.minimum);
            return (
                Verdict::Fail,
                format!("{target}: {ready} ready at {t:.1}s, the floor is {floor} ({why})"),
            );
        }
        match self.end {
            End::Unseen(why) => {
                let reason = format!("{target}: its outcome was not seen: {why}");
                return (Verdict::Inconclusive, reason);
            }
            End::Unfinished(why) => return (Verdict::Fail, format!("{target} did not finish: {why}")),
            End::Finished => {}
        }
        if seconds > deadline {
            return (Verdict::Fail, format!("{target} took {seconds:.0}s; the limit is {deadline}s"));
        }
        if fewest < bounds.least_ready && self.others.is_empty() {
            let least = bounds.least_ready;
            let allows = format!("maxUnavailable allows no fewer than {least}");
            return (Verdict::Fail, format!("{target}: {fewest} ready at {fewest_at:.1}s; {allows}"));
        }
        if most > bounds.most_pods {
            let allows = format!("maxSurge allows no more than {}", bounds.most_pods);
            return (Verdict::Fail, format!("{target}: {most} pods at {most_at:.1}s; {allows}"));
        }
        if !self.replaced {
            return (Verdict::Inconclusive, format!("{target} replaced nothing, so it has shown nothing"));
        }
        let never = format!("never fewer than {fewest} ready, never more than {most} pods");
        (Verdict::Pass, format!("{target} in {seconds:.0}s, {never}"))
    }

    fn evidence(&self) -> Value {
        json!({
            "rollout": self.target,
            "seconds": rounded(self.seconds),
            "deadline_s": self.deadline,
            "least_ready": self.bounds.least_ready,
            "beside": self.others,
            "most": self.bounds.most_pods,
            "floor": self.worst.as_ref().map_or(0, |worst| worst.floor.minimum),
            "floor_asked": self.worst.as_ref().map(|worst| &worst.floor.asked),
            "fewest_ready": self.fewest().1,
            "most_pods": self.most().1,
            "ready_and_pods": self.counted,
        })
    }
}

impl<'a> End<'a> {
    /// The end of a fault's roll-out; and whether its specification was seen to change.
    fn of(fault: &'a FaultStory, changed: bool) -> Self {
        let problem = fault.problem.as_deref();
        if fault.healed {
            Self::Finished
        } else if fault.blind || !changed {
            Self::Unseen(problem.unwrap_or("its specification was not seen to change"))
        } else {
            Self::Unfinished(problem.unwrap_or("it was not seen to end"))
        }
    }
}

/// Returns the readiness of the gateways in a window; none for agents, of which no number is demanded.
fn readiness(
    record: &Record,
    story: &Story,
    what: Part,
    start: f64,
    end: f64,
) -> Result<Vec<Readiness>, String> {
    match what {
        Part::Gateways => floor::readiness(record, story, start, end),
        Part::Agents => Ok(Vec::new()),
    }
}

/// Returns `true` if every pod that was there has been replaced.
fn all_replaced(pods: &super::story::Series<Vec<(String, Pod)>>, start: f64, end: f64) -> bool {
    let (Some(before), Some(after)) = (at(pods, start), at(pods, end)) else { return false };
    !before.is_empty() && before.iter().all(|(_, old)| after.iter().all(|(_, new)| new.uid != old.uid))
}

/// The bounds of a rolling update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least_ready: usize,
    most_pods: usize,
}

impl Bounds {
    /// Returns the widest bounds in a window: an HPA may change the number of replicas.
    fn over(kind: Kind, workloads: &[&Workload]) -> Self {
        let all = workloads.iter().map(|workload| Self::of(kind, workload));
        let widest = all.reduce(|a, b| Self {
            least_ready: a.least_ready.min(b.least_ready),
            most_pods: a.most_pods.max(b.most_pods),
        });
        widest.unwrap_or(Self { least_ready: 0, most_pods: usize::MAX })
    }

    /// Resolves the bounds as Kubernetes does. Of a percentage, `maxSurge` is rounded up, and `maxUnavailable` down in a
    /// Deployment, but up in a `DaemonSet`; where both come to 0, one may be unavailable.
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
    fn the_first_that_is_wrong_decides() {
        let good = || Facts {
            target: "gateways to 2",
            interrupted: false,
            end: End::Finished,
            seconds: 20.0,
            deadline: 60.0,
            bounds: Bounds { least_ready: 2, most_pods: 3 },
            counted: vec![(0.0, 2, 2), (1.0, 2, 3)],
            worst: None,
            others: Vec::new(),
            replaced: true,
        };
        let floor = floor::Floor { minimum: 2, asked: String::new() };
        let few = vec![(0.0, 2, 2), (1.0, 1, 2)];
        for (facts, verdict, words) in [
            (good(), Verdict::Pass, "in 20s, never fewer than 2 ready, never more than 3 pods"),
            (Facts { interrupted: true, ..good() }, Verdict::Inconclusive, "interrupted"),
            (
                Facts { worst: Some(Readiness { t: 1.0, floor, ready: 1 }), ..good() },
                Verdict::Fail,
                "the floor is 2",
            ),
            (Facts { end: End::Unseen("blind"), ..good() }, Verdict::Inconclusive, "blind"),
            (Facts { end: End::Unfinished("stuck"), ..good() }, Verdict::Fail, "did not finish: stuck"),
            (Facts { seconds: 61.0, ..good() }, Verdict::Fail, "the limit is 60s"),
            (
                Facts { counted: few.clone(), ..good() },
                Verdict::Fail,
                "1 ready at 1.0s; maxUnavailable allows",
            ),
            (
                Facts { counted: few, others: vec!["drain of x".to_owned()], ..good() },
                Verdict::Pass,
                "in 20s",
            ),
            (
                Facts { counted: vec![(2.0, 2, 4)], ..good() },
                Verdict::Fail,
                "4 pods at 2.0s; maxSurge allows",
            ),
            (Facts { replaced: false, ..good() }, Verdict::Inconclusive, "replaced nothing"),
        ] {
            let (found, reason) = facts.decide();
            assert!(found == verdict && reason.contains(words), "{words}: {found:?}: {reason}");
        }
    }

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
        // Any record gives bounds.
        let most = u32::MAX as usize;
        assert_eq!(bounds(u32::MAX, "0", "25%"), (most, most));
        assert_eq!(bounds(2, "1e400%", "4294967295"), (0, most));
        assert_eq!(bounds(2, "NaN%", "-7"), (1, 2));
    }
}
