//! `spanproof restore`: undoes what runs that died left behind.

use super::place::not_empty;
use super::{CommandEnd, Failure, manifests, print};
use clap::Args;
use miette::Report;
use spanproof::progress;
use spanproof::report::Progress;
use spanproof::restore::{self, DeadRun, RestoreError, RestoreReport};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Options {
    /// A run's folder, or its name; every run that died and left something, if it is not given
    #[arg(value_name = "RUN", value_parser = not_empty)]
    run: Option<String>,
    /// The folder of the manifests; by default those that the program brings along
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

pub(super) async fn main(options: &Options, progress: &Progress) -> Result<CommandEnd, Failure> {
    let manifests = manifests(options.manifests.as_deref())?;
    let found = restore::find(options.run.as_deref()).map_err(restore_failure)?;
    let mut whole = true;
    if found.is_empty() {
        print("nothing to undo\n");
    }
    for dead in found {
        let restored = match dead {
            Ok(dead) => one(&dead, &manifests, progress).await,
            Err(error) => Err(error.into()),
        };
        match restored {
            Ok(restored) => {
                print(&report(&restored));
                whole &= restored.is_whole();
            }
            // Asked for by name it is an error; among others it is only no dead one.
            Err(error @ RestoreError::StillGoing { .. }) if options.run.is_none() => {
                print(&format!("{error}\n"));
            }
            Err(error) if options.run.is_some() => return Err(restore_failure(error)),
            Err(error) => {
                print(&format!("{:?}\n", Report::new(error)));
                whole = false;
            }
        }
    }
    Ok(if whole { CommandEnd::Done } else { CommandEnd::HarnessFailed })
}

async fn one(dead: &DeadRun, manifests: &Path, progress: &Progress) -> Result<RestoreReport, RestoreError> {
    progress.begin();
    tracing::info!(target: progress::TARGET, "run {}, on {}", dead.name(), dead.location());
    let restored = dead.restore(manifests).await;
    progress.finish();
    restored
}

fn restore_failure(error: RestoreError) -> Failure {
    let end = match error {
        RestoreError::Unknown { .. } => CommandEnd::BadInput,
        _ => CommandEnd::HarnessFailed,
    };
    (Report::new(error), end)
}

/// Returns one line for each item that was to be undone.
fn report(restored: &RestoreReport) -> String {
    let run = &restored.run;
    if restored.items.is_empty() && restored.problem.is_none() {
        return format!("run {run}: nothing to undo\n");
    }
    let lines = restored.items.iter().map(|line| format!("{line}\n"));
    lines.chain(restored.problem.iter().map(|problem| format!("run {run}: {problem}\n"))).collect()
}
