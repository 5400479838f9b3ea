//! `spanproof restore`: undoes what runs that died left.

use super::place::some;
use super::{Complaint, End, manifests, print};
use clap::Args;
use miette::Report;
use spanproof::progress;
use spanproof::report::Progress;
use spanproof::restore::{self, DeadRun, RestoreError, Restored};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Options {
    /// A run's folder, or its name; every run that died and left something, if it is not given
    #[arg(value_name = "RUN", value_parser = some)]
    run: Option<String>,
    /// The folder of the manifests; by default those that the program brings along
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

pub(super) async fn main(options: &Options, progress: &Progress) -> Result<End, Complaint> {
    let manifests = manifests(options.manifests.as_deref())?;
    let found = restore::find(options.run.as_deref()).map_err(complaint)?;
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
                print(&told(&restored));
                whole &= restored.is_whole();
            }
            // Asked for by name it is an error; among others it is only no dead one.
            Err(error @ RestoreError::StillGoing { .. }) if options.run.is_none() => {
                print(&format!("{error}\n"));
            }
            Err(error) if options.run.is_some() => return Err(complaint(error)),
            Err(error) => {
                print(&format!("{:?}\n", Report::new(error)));
                whole = false;
            }
        }
    }
    Ok(if whole { End::Done } else { End::HarnessFailed })
}

async fn one(dead: &DeadRun, manifests: &Path, progress: &Progress) -> Result<Restored, RestoreError> {
    progress.begin();
    tracing::info!(target: progress::TARGET, "run {}, on {}", dead.name(), dead.place());
    let restored = dead.restore(manifests).await;
    progress.finish();
    restored
}

fn complaint(error: RestoreError) -> Complaint {
    let end = match error {
        RestoreError::Unknown { .. } => End::BadInput,
        _ => End::HarnessFailed,
    };
    (Report::new(error), end)
}

/// One line for each thing that was to be undone.
fn told(restored: &Restored) -> String {
    let run = &restored.run;
    if restored.lines.is_empty() && restored.problem.is_none() {
        return format!("run {run}: nothing to undo\n");
    }
    let lines = restored.lines.iter().map(|line| format!("{line}\n"));
    lines.chain(restored.problem.iter().map(|problem| format!("run {run}: {problem}\n"))).collect()
}
