//! How long the parts of a run take.

use super::parts::Parts;
use super::steps::StepPlan;
use crate::deploy::{Made, Manifest};
use crate::extent::{Between, Takes};
use crate::scenario::{Measure, Scenario};
use crate::timeouts::{self, DEPLOY};
use k8s_openapi::api::core::v1::PodSpec;
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

/// How long it may take until the last hop is gone, with what it had.
fn take_down(scenario: &Scenario, made: &Made) -> Takes {
    let parts = Parts::of(&made.tier);
    let grace = |pod: Option<&PodSpec>| {
        let seconds = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let hops = [parts.agent_pod(), parts.gateway_pod()].map(grace).into_iter();
    let each =
        hops.map(|grace| Takes::up_to(grace + timeouts::TAKE_DOWN_MARGIN + scenario.settle.tail.duration()));
    each.fold(Takes::default(), Takes::then)
}

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
    let timeout = humantime::format_duration(DEPLOY);
    let how = format!("estimated: 20 s where the images are; each of {parts} parts may take {timeout}");
    phase("deploy", Takes::up_to(DEPLOY).times(parts), how);
    let steady = scenario.steady.duration();
    let most = timeouts::steady(steady, scenario.tier.has(Measure::Hpa));
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
    let settle = Takes { least: tail.min(deadline), most: deadline.max(tail) }
        .then(Takes::up_to(timeouts::LOAD_DRAIN));
    phase(
        "settle",
        settle.then(take_down(scenario, made)),
        "until everything has arrived, or the tier was taken down".to_owned(),
    );
    let how = format!("pods, sweep and namespace may take {timeout} each");
    phase("remove", Takes::up_to(DEPLOY).times(Between::exactly(3)), how);
    phases
}
