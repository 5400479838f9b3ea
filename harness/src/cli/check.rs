//! `spanproof check`: validates scenarios, without a cluster.

use super::assignment::assignment;
use super::{CommandEnd, Failure, manifests, print, show};
use clap::Args;
use miette::Report;
use spanproof::check;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Options {
    /// Scenario files
    #[arg(value_name = "FILE", required = true)]
    scenarios: Vec<PathBuf>,
    /// Set a parameter of the scenario by its name, or a field by its path with dots: load.rate=500/s
    #[arg(long = "set", value_name = "K=V", value_parser = assignment)]
    sets: Vec<(String, String)>,
    /// The folder of the manifests; by default those that the program brings along
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

/// Checks every file, whether or not another one is invalid.
pub(super) fn main(options: &Options) -> Result<CommandEnd, Failure> {
    let manifests = manifests(options.manifests.as_deref())?;
    let mut end = CommandEnd::Done;
    for path in &options.scenarios {
        match check::check(path, &options.sets, &manifests) {
            Ok(scenario) => {
                let steps = scenario.all_steps().filter(|step| step.inner().is_empty()).count();
                let (steps, controls) = (counted(steps, "step"), counted(scenario.controls.len(), "control"));
                print(&format!("{}: ok ({steps}, {controls})\n", path.display()));
                for foreseen in check::foreseen(&scenario, &manifests) {
                    print(&format!("  note: {foreseen}\n"));
                }
            }
            Err(error) => {
                show(&Report::new(error));
                end = CommandEnd::BadInput;
            }
        }
    }
    Ok(end)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
