//! How long the parts of a run take.

use super::extent::{Between, Takes};
use super::steps::StepPlan;
use crate::deploy::{Made, Manifest};
use crate::load;
use crate::run;
use crate::scenario::{Measure, Scenario};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What is done.
    pub name: String,
    /// How long it takes.
    pub takes: Takes,
    /// How that is known.
    pub how: String,
}

/// A kind cluster takes about so long on two cores, and is given up after the other.
const CLUSTER: Takes = Takes { least: Duration::from_secs(30), most: Duration::from_secs(6 * 60) };

/// The parts of a run, in order.
pub(super) fn phases(scenario: &Scenario, made: &Made, steps: &[StepPlan], to_be_made: bool) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut phase =
        |name: &str, takes: Takes, how: String| phases.push(Phase { name: name.to_owned(), takes, how });
    if to_be_made {
        phase("make the cluster", CLUSTER, "estimated: 40 s on two cores".to_owned());
    }
    let awaited = [&made.tier, &made.probes].into_iter().flatten().filter(|object| {
        matches!(
            object,
            Manifest::Deployment(_)
                | Manifest::DaemonSet(_)
                | Manifest::StatefulSet(_)
                | Manifest::HorizontalPodAutoscaler(_)
        )
    });
    let parts = Between::exactly(u32::try_from(awaited.count()).unwrap_or(u32::MAX));
    let patience = humantime::format_duration(run::PATIENCE);
    let how = format!("estimated: 20 s where the images are; each of {parts} parts may take {patience}");
    phase("deploy", Takes::up_to(run::PATIENCE).times(parts), how);
    let steady = scenario.steady.duration();
    let most = run::steady_at_most(steady, scenario.tier.has(Measure::Hpa));
    phase(
        "steady state",
        Takes { least: steady, most },
        format!("{} seen to be well, tried twice", scenario.steady),
    );
    let needs = scenario.as_control().map_or(&[][..], |control| &control.needs);
    let needs =
        needs.iter().fold(Takes::default(), |all, need| all.then(Takes::up_to(need.deadline.duration())));
    if needs != Takes::default() {
        phase("what the control needs", needs, "awaited between the steps".to_owned());
    }
    let all = steps.iter().fold(Takes::default(), |all, step| all.then(step.takes));
    phase("steps", all, "by their holds and deadlines".to_owned());
    let (tail, deadline) = (scenario.settle.tail.duration(), scenario.settle.deadline.duration());
    let settle =
        Takes { least: tail.min(deadline), most: deadline.max(tail) }.then(Takes::up_to(load::DRAIN));
    phase("settle", settle, "until everything has arrived, or the deadline".to_owned());
    let how = format!("pods, sweep and namespace may take {patience} each");
    phase("remove", Takes::up_to(run::PATIENCE).times(Between::exactly(3)), how);
    phases
}
