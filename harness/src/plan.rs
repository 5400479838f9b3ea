//! What a run would do, to which objects, for how long, and what it needs for that: said beforehand, and changing
//! nothing. What a run may touch is what its plan named.

#![deny(clippy::wildcard_enum_match_arm)]

mod blind;
mod budget;
mod drains;
mod findings;
mod foresee;
mod ground;
mod known;
mod look;
mod parts;
mod rights;
mod room;
mod show;
mod sight;
mod steps;
mod tier;
mod time;

pub use crate::extent::{Between, Takes};
pub use crate::fault::About;
pub use crate::rights::{Right, Use};
pub use budget::HeadRoom;
pub use drains::{Bystander, How, NodePlan, Stop};
pub use look::{LookError, look};
pub use rights::RightPlan;
pub use show::text;
pub use sight::{Answer, Seen, Sight};
pub use steps::StepPlan;
pub use tier::{Measured, TierPlan};
pub use time::Phase;

use crate::deploy::{Made, Manifest};
use crate::rights::Needs;
use crate::scenario::{Protocol, Scenario};
use crate::scope::Scope;
use findings::Draft;
use ground::Ground;
use serde::{Deserialize, Serialize};
use steps::Walk;

/// Version of a plan's format.
pub const FORMAT: u32 = 1;
/// What stands for the name of a run that is still to come.
pub const SOME_RUN: &str = "<run>";

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this format.
    pub format: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What it is for.
    pub about: String,
    /// Which of its controls it is.
    pub control: Option<String>,
    /// Where it would be done.
    pub site: Site,
    /// What would be made.
    pub tier: TierPlan,
    /// What would be offered, in a line.
    #[serde(default)]
    pub load: String,
    /// What would be done.
    pub steps: Vec<StepPlan>,
    /// The nodes that may be drained.
    pub nodes: Vec<NodePlan>,
    /// How long the parts of the run take.
    pub phases: Vec<Phase>,
    /// How long all of it takes.
    pub takes: Takes,
    /// What the API server must allow.
    pub rights: Vec<RightPlan>,
    /// What may be touched.
    pub scope: Scope,
    /// Why it cannot be carried out; empty if it can.
    pub obstacles: Vec<String>,
    /// What somebody should know beforehand.
    pub warnings: Vec<String>,
    /// The controls that the scenario has.
    pub controls: Vec<ControlPlan>,
}

/// Where a run would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The cluster's name, or the context's.
    pub cluster: String,
    /// Whether it is a kind cluster that would be made.
    pub to_be_made: bool,
    /// Kubernetes' version, where there is a cluster.
    pub kubernetes: Option<String>,
    /// How many nodes carry the control plane.
    pub control_plane: usize,
    /// The workers.
    pub workers: Vec<String>,
    /// Whether an HPA finds metrics of pods there.
    pub metrics: bool,
}

/// A control of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlan {
    /// Its name.
    pub name: String,
    /// Why the checks must go red.
    pub why: String,
    /// The checks that must fail.
    pub red: Vec<String>,
}

impl Plan {
    /// The plan of a scenario on a cluster, by what is seen of it; without a sight, on a kind cluster that would be made.
    pub fn of(scenario: &Scenario, made: &Made, cluster: &str, sight: Option<&Sight>) -> Self {
        let new = Sight::of_new(cluster);
        let to_be_made = sight.is_none();
        let sight = sight.unwrap_or(&new);
        let ground = Ground::of(scenario, made, sight);
        let mut walk = Walk::new(&ground);
        let steps = walk.all(&scenario.steps);
        let nodes = drains::nodes(sight, &walk.drains, &made.namespace);
        let tier = TierPlan::of(scenario, made, ground.count_workers());
        let answer = |right: &Right| match &sight.answers {
            Some(answers) => answers.get(right).cloned().or_else(|| Some(Answer::not_asked())),
            None => None,
        };
        let rights: Vec<_> = rights::needs(scenario, made, sight, &nodes)
            .into_iter()
            .map(|(right, uses)| RightPlan::of(right.clone(), uses, answer(&right).as_ref()))
            .collect();
        let together = walk.together;
        let draft =
            Draft { scenario, ground: &ground, tier: &tier, nodes: &nodes, rights: &rights, together };
        let (obstacles, mut warnings) = (draft.obstacles(), draft.warnings());
        warnings.extend(foresee::foresee(scenario).iter().map(ToString::to_string));
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
            site: Site::of(cluster, to_be_made, sight, &ground),
            scope: scope_of(made, &nodes),
            takes: phases.iter().fold(Takes::default(), |all, phase| all.then(phase.takes)),
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

    /// The rights that are missing, and without which a run is worth nothing; each with what it is for.
    pub fn missing_rights(&self) -> Vec<String> {
        self.rights.iter().filter(|right| right.is_missing()).map(ToString::to_string).collect()
    }

    /// Whether it can be carried out, as far as is seen.
    pub const fn can_be_carried_out(&self) -> bool {
        self.obstacles.is_empty()
    }
}

impl Site {
    fn of(cluster: &str, to_be_made: bool, sight: &Sight, ground: &Ground<'_>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            to_be_made,
            kubernetes: (!to_be_made).then(|| sight.kubernetes.clone()),
            control_plane: sight.nodes.all().len() - ground.workers.len(),
            workers: ground.workers.clone(),
            metrics: sight.metrics,
        }
    }
}

/// What a scenario's manifests alone tell of checks that will fail or come to nothing.
pub fn foreseen(scenario: &Scenario, made: &Made) -> Vec<String> {
    let mut found = known::known(scenario, made, None);
    found.extend(foresee::foresee(scenario).iter().map(ToString::to_string));
    found
}

/// What a scenario's emitters offer.
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

/// What a scenario needs, on what is seen: to be asked of the API server.
fn needs_of(scenario: &Scenario, made: &Made, sight: &Sight) -> Needs {
    let ground = Ground::of(scenario, made, sight);
    let mut walk = Walk::new(&ground);
    walk.all(&scenario.steps);
    rights::needs(scenario, made, sight, &drains::nodes(sight, &walk.drains, &made.namespace))
}

/// What may be touched: what is made, the nodes that may be drained, and the namespaces of those whom that moves.
fn scope_of(made: &Made, nodes: &[NodePlan]) -> Scope {
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
