//! Checks of a scenario that need no cluster.

#![deny(clippy::wildcard_enum_match_arm)]

use crate::deploy::{self, DeployError, ManifestError, RunManifests};
use crate::load::{self, PlanError};
use crate::plan;
use crate::scenario::{FieldPath, Measure, Problem, Scenario, ScenarioError};
use std::path::Path;

/// An error of a scenario or of manifests, which the user can correct.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum CheckError {
    /// The scenario is invalid.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scenario(#[from] ScenarioError),
    /// The manifests that were given on the command line cannot be used.
    #[error(transparent)]
    #[diagnostic(help("--manifests names their folder"))]
    Manifests(ManifestError),
}

/// Reads a scenario file with fields set, and checks it: its patches on the manifests, its load, and each control. Adds
/// to `tier.without` what a tier of the user's own does not have.
///
/// # Errors
/// If the scenario is invalid, or the manifests cannot be used.
pub fn check(path: &Path, sets: &[(String, String)], manifests: &Path) -> Result<Scenario, CheckError> {
    let (mut scenario, source) = Scenario::located(path, sets)?;
    let located = |problem| CheckError::Scenario(source.invalid(problem));
    // First, so that a folder that cannot be used is not reported as an error of the scenario.
    deploy::readable(manifests).map_err(CheckError::Manifests)?;
    let missing = tier(&scenario, manifests).map_err(located)?;
    scenario
        .tier
        .without
        .extend(missing.iter().filter(|it| scenario.tier.has(**it)).copied().collect::<Vec<_>>());
    scenario.problem().map_or(Ok(()), |problem| Err(located(problem)))?;
    offered(&scenario).map_err(located)?;
    for (number, control) in scenario.controls.iter().enumerate() {
        let at = FieldPath::of("controls").then(number);
        let changed = scenario.under(path, &control.name)?;
        let own = scenario.tier.patches.len();
        tier(&changed, manifests).map_err(|problem| located(under(problem, &at, own)))?;
        offered(&changed).map_err(|problem| located(under(problem, &at, own)))?;
        if let Some(measure) = missing.iter().find(|measure| changed.tier.has(**measure)) {
            let name = match measure {
                Measure::Hpa => "hpa",
                Measure::Pdb => "pdb",
            };
            let message = format!("the tier's manifests have no {name}, and this control puts it back");
            let help = format!("name `{name}` in `tier.without`, here as well");
            return Err(located(Problem::new(at.then("set"), message).help(help)));
        }
    }
    Ok(scenario)
}

/// Returns warnings of checks that will fail or be inconclusive, as far as is known without a cluster.
pub fn foreseen(scenario: &Scenario, manifests: &Path) -> Vec<String> {
    let made = RunManifests::of_run(manifests, &scenario.tier, plan::SOME_RUN);
    made.map(|made| plan::foreseen(scenario, &made)).unwrap_or_default()
}

/// Checks that the tier can be made of its manifests; returns the measures that they do not have.
fn tier(scenario: &Scenario, manifests: &Path) -> Result<Vec<Measure>, Problem> {
    deploy::check(manifests, &scenario.tier).map_err(|error| {
        let at = match &error {
            DeployError::Patch { number, message, .. } => patched(*number, message),
            DeployError::Autoscaler { number: Some(number), .. } => {
                FieldPath::of("tier.patches").then(*number)
            }
            DeployError::Sampling(_) if scenario.tier.samples.is_some() => FieldPath::of("tier.samples"),
            DeployError::Sampling(_) => FieldPath::of("tier"),
            DeployError::Manifest(_)
            | DeployError::NoImage { .. }
            | DeployError::Api { .. }
            | DeployError::Foreign { .. }
            | DeployError::NotReady { .. }
            | DeployError::Autoscaler { number: None, .. }
            | DeployError::AgentConfiguration(_) => FieldPath::of("tier.manifests"),
        };
        Problem::new(at, error.to_string())
    })
}

/// Returns the field of a patch that is wrong: the one that the message begins with, as `.spec.x`, or `of`.
fn patched(number: usize, message: &str) -> FieldPath {
    let patch = FieldPath::of("tier.patches").then(number);
    let path = message.split(' ').next().and_then(|word| word.strip_prefix('.'));
    path.map_or_else(
        || patch.then("of"),
        |path| path.split('.').fold(patch.then("merge"), |at, part| at.then(part)),
    )
}

/// Checks that the emitters can offer the load.
fn offered(scenario: &Scenario) -> Result<(), Problem> {
    load::check(scenario).map_err(|error| {
        let at = match &error {
            PlanError::Read { field, .. } | PlanError::Empty { field, .. } => {
                FieldPath::of("load.tls").then(field)
            }
            PlanError::Refused(_) => FieldPath::of("load"),
        };
        Problem::new(at, error.to_string())
    })
}

/// Locates a problem of a scenario under a control at the control. `own`: the number of the scenario's own patches,
/// which come before the control's.
fn under(problem: Problem, at: &FieldPath, own: usize) -> Problem {
    let place = problem.at.to_string();
    let patch = place.strip_prefix("tier.patches.").and_then(|rest| rest.split('.').next());
    let number = patch.and_then(|number| number.parse::<usize>().ok());
    match number {
        Some(number) if number >= own => {
            let patch = at.then("patches").then(number - own);
            let within = place.split('.').skip(3);
            Problem { at: within.fold(patch, |at, part| at.then(part)), ..problem }
        }
        _ => Problem { at: at.clone(), message: format!("under this control, {problem}"), ..problem },
    }
}
