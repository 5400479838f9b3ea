//! The durations of the parts of a run.

use super::parts::Parts;
use super::steps::StepPlan;
use crate::deploy::{Manifest, RunManifests};
use crate::extent::{CountRange, DurationRange};
use crate::scenario::{Measure, Scenario};
use crate::timeouts::{self, DEPLOY};
use k8s_openapi::api::core::v1::PodSpec;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// The name.
    pub name: String,
    /// The duration.
    pub takes: DurationRange,
    /// The source of the duration.
    pub how: String,
}

/// The duration of making a kind cluster: measured on two cores, and the timeout.
const CLUSTER: DurationRange =
    DurationRange { least: Duration::from_secs(30), most: Duration::from_secs(6 * 60) };

/// Returns the duration of taking the tier down hop by hop, each with the time to deliver what it held.
fn take_down(scenario: &Scenario, made: &RunManifests) -> DurationRange {
    let parts = Parts::of(&made.tier);
    let grace = |pod: Option<&PodSpec>| {
        let seconds = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let hops = [parts.agent_pod(), parts.gateway_pod()].map(grace).into_iter();
    let each = hops.map(|grace| {
        DurationRange::up_to(grace + timeouts::TAKE_DOWN_MARGIN + scenario.settle.tail.duration())
    });
    each.fold(DurationRange::default(), DurationRange::then)
}

/// The parts of a run, in order.
pub(super) fn phases(
    scenario: &Scenario,
    made: &RunManifests,
    steps: &[StepPlan],
    to_be_made: bool,
) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut phase = |name: &str, takes: DurationRange, how: String| {
        phases.push(Phase { name: name.to_owned(), takes, how });
    };
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
    let parts = CountRange::exactly(u32::try_from(awaited.count()).unwrap_or(u32::MAX));
    let timeout = humantime::format_duration(DEPLOY);
    let how =
        format!("estimated: 20 s with the images there; each of {parts} objects has a timeout of {timeout}");
    phase("deploy", DurationRange::up_to(DEPLOY).times(parts), how);
    let steady = scenario.steady.duration();
    let most = timeouts::steady(steady, scenario.tier.has(Measure::Hpa));
    phase(
        "steady state",
        DurationRange { least: steady, most },
        format!("well for {}, tried twice", scenario.steady),
    );
    let needs = scenario.as_control().map_or(&[][..], |control| &control.needs);
    let needs = needs
        .iter()
        .fold(DurationRange::default(), |all, need| all.then(DurationRange::up_to(need.deadline.duration())));
    if needs != DurationRange::default() {
        phase("what the control needs", needs, "awaited between the steps".to_owned());
    }
    let all = steps.iter().fold(DurationRange::default(), |all, step| all.then(step.takes));
    phase("steps", all, "by their holds and deadlines".to_owned());
    let (tail, deadline) = (scenario.settle.tail.duration(), scenario.settle.deadline.duration());
    let settle = DurationRange { least: tail.min(deadline), most: deadline.max(tail) }
        .then(DurationRange::up_to(timeouts::LOAD_DRAIN));
    phase(
        "settle",
        settle.then(take_down(scenario, made)),
        "until everything has arrived, or the tier was taken down".to_owned(),
    );
    let how = format!("pods, sweep and namespace have a timeout of {timeout} each");
    phase("remove", DurationRange::up_to(DEPLOY).times(CountRange::exactly(3)), how);
    phases
}
