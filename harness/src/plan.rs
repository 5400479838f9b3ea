//! The plan of a run: its steps, the objects that they change, its duration and the rights that it needs. Making one
//! changes nothing. A run touches nothing that its plan did not name.

#![deny(clippy::wildcard_enum_match_arm)]

mod blind;
mod budget;
mod drains;
mod findings;
mod foresee;
mod known;
mod layout;
mod look;
mod parts;
mod rights;
mod room;
mod show;
mod snapshot;
mod steps;
mod tier;
mod time;

pub use crate::extent::{CountRange, DurationRange};
pub use crate::fault::StepTargets;
pub use crate::rights::{Purpose, Right};
pub use budget::HeadRoom;
pub use drains::{BlockingPod, Bystander, NodePlan, Removal};
pub use look::{LookError, look};
pub use rights::RightPlan;
pub use show::text;
pub use snapshot::{AccessDecision, ClusterSnapshot, Listing};
pub use steps::StepPlan;
pub use tier::{MeasurePlan, TierPlan};
pub use time::Phase;

use crate::deploy::{Manifest, RunManifests};
use crate::judge::balance_foreseen;
use crate::rights::RequiredRights;
use crate::scenario::{Protocol, Scenario};
use crate::scope::Scope;
use findings::Draft;
use layout::Layout;
use serde::{Deserialize, Serialize};
use steps::StepPlanner;

/// Version of a plan's format.
pub const FORMAT: u32 = 1;
/// A placeholder for the name of a run that has not begun.
pub const SOME_RUN: &str = "<run>";

/// The plan of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this format.
    pub format: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's description.
    pub about: String,
    /// The name of the control, if it is one.
    pub control: Option<String>,
    /// The cluster.
    pub site: Site,
    /// The tier that is made.
    pub tier: TierPlan,
    /// The load, in a line.
    #[serde(default)]
    pub load: String,
    /// The steps.
    pub steps: Vec<StepPlan>,
    /// The nodes that may be drained.
    pub nodes: Vec<NodePlan>,
    /// The parts of the run, with their durations.
    pub phases: Vec<Phase>,
    /// The duration of the whole run.
    pub takes: DurationRange,
    /// The rights that it needs.
    pub rights: Vec<RightPlan>,
    /// The objects, nodes and namespaces that may be touched.
    pub scope: Scope,
    /// The reasons why it cannot be carried out; empty if it can.
    pub obstacles: Vec<String>,
    /// Warnings; they do not keep it from being carried out.
    pub warnings: Vec<String>,
    /// The scenario's controls.
    pub controls: Vec<ControlPlan>,
}

/// The cluster of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The cluster's name, or the context's.
    pub cluster: String,
    /// True for a kind cluster that would be made.
    pub to_be_made: bool,
    /// Kubernetes' version; none if the cluster is still to be made.
    pub kubernetes: Option<String>,
    /// The number of nodes of the control plane.
    pub control_plane: usize,
    /// The workers.
    pub workers: Vec<String>,
    /// True if the cluster serves the metrics of pods, which an HPA reads.
    pub metrics: bool,
}

/// A control of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlan {
    /// Its name.
    pub name: String,
    /// The reason for its checks to fail.
    pub why: String,
    /// The checks that must fail.
    pub red: Vec<String>,
}

impl Plan {
    /// Plans a scenario on a cluster; without a snapshot, on a kind cluster that would be made.
    pub fn of(
        scenario: &Scenario,
        made: &RunManifests,
        cluster: &str,
        snapshot: Option<&ClusterSnapshot>,
    ) -> Self {
        let new = ClusterSnapshot::of_new(cluster);
        let to_be_made = snapshot.is_none();
        let snapshot = snapshot.unwrap_or(&new);
        let layout = Layout::of(scenario, made, snapshot);
        let mut planner = StepPlanner::new(&layout);
        let steps = planner.all(&scenario.steps);
        let nodes = drains::nodes(snapshot, &planner.drains, &made.namespace);
        let tier = TierPlan::of(scenario, made, layout.count_workers());
        let decision = |right: &Right| match &snapshot.access {
            Some(decisions) => decisions.get(right).cloned().or_else(|| Some(AccessDecision::not_asked())),
            None => None,
        };
        let rights: Vec<_> = rights::required(scenario, made, snapshot, &nodes)
            .0
            .into_iter()
            .map(|(right, uses)| RightPlan::of(right.clone(), uses, decision(&right).as_ref()))
            .collect();
        let together = planner.together;
        let draft =
            Draft { scenario, layout: &layout, tier: &tier, nodes: &nodes, rights: &rights, together };
        let (obstacles, warnings) = (draft.obstacles(), draft.warnings());
        let phases = time::phases(scenario, made, &steps, to_be_made);
        let controls = scenario.controls.iter().map(|control| ControlPlan {
            name: control.name.clone(),
            why: control.why.clone(),
            red: control.red.iter().map(ToString::to_string).collect(),
        });
        Self {
            format: FORMAT,
            scenario: scenario.name.clone(),
            about: scenario.about.trim().to_owned(),
            control: scenario.control.clone(),
            site: Site::of(cluster, to_be_made, snapshot, &layout),
            scope: scope_of(made, &nodes),
            takes: phases.iter().fold(DurationRange::default(), |all, phase| all.then(phase.takes)),
            controls: controls.collect(),
            load: load(scenario),
            tier,
            steps,
            nodes,
            phases,
            rights,
            obstacles,
            warnings,
        }
    }

    /// Returns the required rights that are not granted, each with its purposes.
    pub fn missing_rights(&self) -> Vec<String> {
        self.rights.iter().filter(|right| right.is_missing()).map(ToString::to_string).collect()
    }

    /// Returns whether nothing is known that keeps it from being carried out.
    pub const fn can_be_carried_out(&self) -> bool {
        self.obstacles.is_empty()
    }
}

impl Site {
    fn of(cluster: &str, to_be_made: bool, snapshot: &ClusterSnapshot, layout: &Layout<'_>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            to_be_made,
            kubernetes: (!to_be_made).then(|| snapshot.kubernetes.clone()),
            control_plane: snapshot.nodes.all().len() - layout.workers.len(),
            workers: layout.workers.clone(),
            metrics: snapshot.metrics,
        }
    }
}

/// Returns warnings of checks that will fail or be inconclusive, and of waits that will time out, as far as is known
/// without a cluster.
pub fn foreseen(scenario: &Scenario, made: &RunManifests) -> Vec<String> {
    foreseen_on(scenario, made, None)
}

/// Returns the same warnings; with the layout on a cluster, more is known.
fn foreseen_on(scenario: &Scenario, made: &RunManifests, layout: Option<&Layout<'_>>) -> Vec<String> {
    let workers = layout.map(Layout::count_workers);
    let mut found = known::known(scenario, made, workers);
    let gateways = layout.map(|layout| layout.gateways.most);
    found.extend(balance_foreseen(scenario, workers.filter(|workers| *workers > 0), gateways));
    found.extend(foresee::foresee(scenario).iter().map(ToString::to_string));
    found
}

/// Describes the load in a line.
fn load(scenario: &Scenario) -> String {
    let load = &scenario.load;
    let protocol = match load.protocol {
        Protocol::Grpc => "OTLP/gRPC",
        Protocol::Http => "OTLP/HTTP",
    };
    let spans = if load.spans_per_request == 1 { "span" } else { "spans" };
    let less = scenario.sabotage.emitters_at;
    let less =
        less.map_or_else(String::new, |share| format!("; the emitters are made to offer {share} of it"));
    format!(
        "{} over all emitters, {} {spans} a request, by {protocol}{less}",
        load.offers(),
        load.spans_per_request
    )
}

/// Returns the rights that a scenario needs on a cluster.
fn required_rights(scenario: &Scenario, made: &RunManifests, snapshot: &ClusterSnapshot) -> RequiredRights {
    let layout = Layout::of(scenario, made, snapshot);
    let mut planner = StepPlanner::new(&layout);
    planner.all(&scenario.steps);
    rights::required(scenario, made, snapshot, &drains::nodes(snapshot, &planner.drains, &made.namespace))
}

/// Returns what may be touched: the objects that are made, the nodes that may be drained, and the namespaces whose pods
/// those drains move.
fn scope_of(made: &RunManifests, nodes: &[NodePlan]) -> Scope {
    let moved = nodes.iter().flat_map(|node| &node.moves);
    Scope {
        namespace: made.namespace.clone(),
        objects: made.all().map(Manifest::called).collect(),
        nodes: nodes.iter().map(|node| node.node.clone()).collect(),
        bystanders: moved.map(|pod| pod.namespace.clone()).collect(),
    }
}

#[cfg(test)]
mod tests;
