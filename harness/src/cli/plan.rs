//! `spanproof plan`: tells what a run would do, and changes nothing.

use super::assignment::assignment;
use super::place::{ClusterOptions, cluster_failure, not_empty};
use super::{CommandEnd, Failure, manifests, print};
use clap::Args;
use miette::Report;
use spanproof::check;
use spanproof::cluster::{self, ClusterChoice};
use spanproof::deploy::RunManifests;
use spanproof::plan::{self, Plan, SOME_RUN};
use spanproof::run::RunError;
use spanproof::scenario::Scenario;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Options {
    /// Scenario files
    #[arg(value_name = "FILE", required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Set a parameter of the scenario by its name, or a field by its path with dots: load.rate=500/s
    #[arg(long = "set", value_name = "K=V", value_parser = assignment)]
    sets: Vec<(String, String)>,
    /// Plan a control of the scenario in its place
    #[arg(long, value_name = "NAME", value_parser = not_empty)]
    control: Option<String>,
    /// The folder of the manifests; by default those that the program brings along
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Print each plan as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn main(options: &Options) -> Result<CommandEnd, Failure> {
    let scenarios = options.scenarios.iter().map(|path| scenario(options, path));
    let scenarios: Vec<_> = scenarios.collect::<Result<_, _>>()?;
    let place = options.cluster.choice(false)?;
    let visited = cluster::visit(&place).await.map_err(cluster_failure)?;
    let mut end = CommandEnd::Done;
    for (number, (scenario, made)) in scenarios.iter().enumerate() {
        let sight = match &visited {
            Some(visited) => {
                Some(plan::look(&visited.client, scenario, made).await.map_err(|error| failed(&error))?)
            }
            None => None,
        };
        let mut plan = Plan::of(scenario, made, place.name(), sight.as_ref());
        let reasons = visited.iter().flat_map(|visited| &visited.reasons);
        plan.obstacles.extend(reasons.map(|reason| format!("it looks like production: {reason}")));
        if options.json {
            let text = serde_json::to_string_pretty(&plan).map_err(|error| failed(&error))?;
            print(&(text + "\n"));
        } else {
            let between = if number == 0 { "" } else { "\n\n" };
            print(&format!("{between}{}", plan::text(&plan)));
        }
        if !plan.can_be_carried_out() {
            end = CommandEnd::Obstructed;
        }
    }
    Ok(end)
}

/// Checks, on the user's cluster, that everything the scenarios need is allowed. Missing rights are an error before
/// anything is written.
pub(super) async fn allowed<'a>(
    place: &ClusterChoice,
    scenarios: impl Iterator<Item = &'a Scenario>,
    manifests: &Path,
) -> Result<(), Failure> {
    if matches!(place, ClusterChoice::Kind { .. }) {
        return Ok(());
    }
    // What looks like production is refused for that, when it is acquired.
    let visited = cluster::visit(place).await.map_err(cluster_failure)?;
    let Some(visited) = visited.filter(|visited| visited.reasons.is_empty()) else {
        return Ok(());
    };
    let mut missing = BTreeSet::new();
    for scenario in scenarios {
        let made =
            RunManifests::of_run(manifests, &scenario.tier, SOME_RUN).map_err(|error| failed(&error))?;
        let sight = plan::look(&visited.client, scenario, &made).await.map_err(|error| failed(&error))?;
        missing.extend(Plan::of(scenario, &made, place.name(), Some(&sight)).missing_rights());
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(failed(&RunError::NotAllowed { missing: missing.into_iter().collect() }))
}

/// A scenario, and what its run makes.
fn scenario(options: &Options, path: &Path) -> Result<(Scenario, RunManifests), Failure> {
    let bad = |error: Report| (error, CommandEnd::BadInput);
    let about = |error: &dyn std::error::Error| bad(miette::miette!("{}: {error}", path.display()));
    let manifests = manifests(options.manifests.as_deref())?;
    let checked = check::check(path, &options.sets, &manifests);
    let mut scenario = checked.map_err(|error| bad(Report::new(error)))?;
    if let Some(control) = &options.control {
        scenario = scenario.under(path, control).map_err(|error| bad(Report::new(error)))?;
    }
    let made = RunManifests::of_run(&manifests, &scenario.tier, SOME_RUN).map_err(|error| about(&error))?;
    Ok((scenario, made))
}

fn failed(error: &dyn std::error::Error) -> Failure {
    (Report::msg(error.to_string()), CommandEnd::HarnessFailed)
}
