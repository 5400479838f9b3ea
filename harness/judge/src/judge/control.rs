//! Controls: red by the checks that they name, and for their own reason.

use super::story::FaultStory;
use super::{Check, Story, Verdict};
use crate::record::Record;
use crate::scenario::{CheckName, Control, Spoiler};
use crate::world::Pod;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The result of a control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlJudgement {
    /// The name.
    pub name: String,
    /// Pass: it was red by the checks that it names, and by no other. Fail: it was not, so those checks prove nothing.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
}

/// Returns why a control shows nothing, whatever its checks say; none if it does, or if the run is no control.
pub(super) fn void(record: &Record, story: &Story) -> Option<String> {
    let control = record.scenario.as_control()?;
    let unmet = control.needs.iter().find_map(|need| {
        let mut awaited = story
            .needs
            .iter()
            .filter(|(what, before, _)| (what.as_str(), before) == (need.is.name(), &need.before));
        let what = format!("{}, before step {}", need.is.name(), need.before);
        match awaited.next() {
            Some((.., true)) => None,
            Some((.., false)) => Some(format!("its precondition did not hold: {what}")),
            None => Some(format!("its precondition was never checked: {what}")),
        }
    });
    unmet.or_else(|| control.spoiled_by.iter().find_map(|spoiler| spoiled(*spoiler, story)))
}

fn spoiled(spoiler: Spoiler, story: &Story) -> Option<String> {
    let (start, load_end) = story.load?;
    // After the last fault a control has shown what it shows: an HPA may scale in then.
    let over = story.faults.iter().map(FaultStory::over).reduce(f64::max);
    let end = over.map_or(load_end, |over| over.min(load_end));
    match spoiler {
        Spoiler::Restarts => ["gateway", "agent"].into_iter().find_map(|app| {
            let Some(seen) = story.pods_within(app, start, end) else {
                return Some(format!("the pods of {app} were not watched before the load"));
            };
            let mut there: Vec<(String, Pod)> = Vec::new();
            for (t, pods) in seen {
                let left = |(name, old): &(String, Pod)| {
                    let now = pods.iter().find(|(other, _)| other == name);
                    now.is_none_or(|(_, now)| {
                        now.uid != old.uid || now.terminating || now.restarts > old.restarts
                    })
                };
                if let Some((name, _)) = there.iter().find(|pod| left(pod)) {
                    return Some(format!(
                        "{name} went away or was restarted at {t:.1}s, which the control does not allow for"
                    ));
                }
                there = pods.to_vec();
            }
            None
        }),
    }
}

/// Returns the result of a control, by its checks; none if the run is no control.
pub(super) fn judge(record: &Record, void: Option<String>, checks: &[Check]) -> Option<ControlJudgement> {
    let control = record.scenario.as_control()?;
    let (verdict, reason) = match void {
        Some(reason) => (Verdict::Inconclusive, reason),
        None => colour(control, checks),
    };
    Some(ControlJudgement { name: control.name.clone(), verdict, reason })
}

fn colour(control: &Control, checks: &[Check]) -> (Verdict, String) {
    let of = |name: CheckName| checks.iter().find(|check| check.name == name);
    let red: BTreeSet<CheckName> =
        checks.iter().filter(|check| check.verdict == Verdict::Fail).map(|check| check.name).collect();
    let unseen = control.red.iter().filter(|name| !red.contains(name));
    let unseen = unseen.map(|name| match of(*name) {
        Some(check) => (check.verdict, format!("`{name}` did not fail: {}", check.reason)),
        None => (Verdict::Inconclusive, format!("`{name}` was not judged")),
    });
    // A check that passed says more than an inconclusive one.
    if let Some((verdict, reason)) = unseen.min_by_key(|(verdict, _)| *verdict) {
        let verdict = if verdict == Verdict::Pass { Verdict::Fail } else { verdict };
        return (verdict, reason);
    }
    let declared = |name: &CheckName| control.red.contains(name) || control.also.contains(name);
    if let Some(check) = red.iter().find(|name| !declared(name)).and_then(|name| of(*name)) {
        return (Verdict::Fail, format!("`{}` failed too: {}", check.name, check.reason));
    }
    let named: Vec<_> = red.iter().map(|name| format!("`{name}`")).collect();
    (Verdict::Pass, format!("red by {}, as it must be: {}", named.join(", "), control.why))
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;
    use serde_json::json;

    fn control() -> Control {
        serde_json::from_value(json!({"name": "x", "why": "y", "red": ["pdb"], "also": ["availability"]}))
            .unwrap()
    }

    fn coloured(checks: &[(CheckName, Verdict)]) -> Verdict {
        let check = |(name, verdict): &(CheckName, Verdict)| {
            Finding::new((*verdict, "because".to_owned()), json!({})).named(*name)
        };
        let checks: Vec<_> = checks.iter().map(check).collect();
        colour(&control(), &checks).0
    }

    #[test]
    fn it_must_be_red_by_what_it_names_and_by_nothing_else() {
        use CheckName::{Availability, Loss, Pdb};
        use Verdict::{Fail, Inconclusive, Pass};
        assert_eq!(coloured(&[(Pdb, Fail), (Loss, Pass)]), Pass);
        assert_eq!(coloured(&[(Pdb, Fail), (Availability, Fail)]), Pass);
        assert_eq!(coloured(&[(Pdb, Fail), (Loss, Fail)]), Fail);
        assert_eq!(coloured(&[(Pdb, Pass), (Availability, Fail)]), Fail);
        assert_eq!(coloured(&[(Pdb, Inconclusive)]), Inconclusive);
        assert_eq!(coloured(&[(Loss, Pass)]), Inconclusive, "a check that was not there proves nothing");
    }
}
