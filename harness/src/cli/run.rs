//! `spanproof run`: runs scenarios, and judges each.

use super::place::{Where, complain_of};
use super::{Complaint, End, print};
use clap::Args;
use miette::Report;
use spanproof::cluster::{Cluster, ClusterError, Request};
use spanproof::judge::Verdict;
use spanproof::report::{self, Progress};
use spanproof::run::{self, RunError};
use spanproof::scenario::{Measure, Scenario};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub(super) struct Options {
    /// Scenario files, run one after the other
    #[arg(value_name = "FILE", required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    place: Where,
    /// Leave the cluster when the run is over
    #[arg(long)]
    keep: bool,
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// The seed of whatever is random; drawn and printed if it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Set a field of the scenario, by its path with dots: load.rate=500/s
    #[arg(long = "set", value_name = "K=V", value_parser = assignment)]
    sets: Vec<(String, String)>,
    /// The folder of the manifests
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) async fn main(options: &Options) -> Result<End, Complaint> {
    let scenarios: Result<Vec<_>, _> =
        options.scenarios.iter().map(|path| Scenario::load(path, &options.sets)).collect();
    let scenarios = scenarios.map_err(|error| (Report::new(error), End::BadInput))?;
    let seed = options.seed.unwrap_or_else(|| spanproof::clock::unix_ms() % 1_000_000_007);
    let progress = Progress::new();
    let cancel = CancellationToken::new();
    tokio::spawn(on_signals(cancel.clone(), progress.clone()));

    let manifests = run::manifests_dir(options.manifests.as_deref());
    for (path, scenario) in options.scenarios.iter().zip(&scenarios) {
        spanproof::deploy::check(&manifests, &scenario.tier)
            .map_err(|error| (miette::miette!("{}: {error}", path.display()), End::BadInput))?;
        spanproof::load::check(scenario)
            .map_err(|error| (miette::miette!("{}: {error}", path.display()), End::BadInput))?;
    }
    let request = Request {
        place: options.place.place(options.keep)?,
        wait: options.place.wait(),
        collectors: collectors(&scenarios),
        metrics: scenarios.iter().any(|scenario| scenario.tier.has(Measure::Hpa)),
        manifests: manifests.clone(),
    };
    let say = |message: &str| progress.say(message);
    let cluster = match Cluster::acquire(&request, &say, &cancel).await {
        Err(ClusterError::Interrupted) => return Ok(End::Interrupted),
        acquired => acquired.map_err(complain_of)?,
    };
    let ended = tokio::select! {
        ended = run_all(&cluster, &scenarios, options, seed, manifests, &progress, &cancel) => ended,
        // Whatever this run did from here on, it would do to that one's cluster.
        by = cluster.lost() => (Err(taken_over(cluster.name(), &by)), Vec::new()),
    };
    if !cluster.stays() {
        progress.say("removing the cluster");
    }
    let released = cluster.release().await;
    progress.finish();
    let (end, folders) = ended;
    for folder in folders {
        print(&format!("{}\n", folder.display()));
    }
    let end = end?;
    released.map_err(complain_of)?;
    Ok(end)
}

async fn run_all(
    cluster: &Cluster,
    scenarios: &[Scenario],
    options: &Options,
    seed: u64,
    manifests: PathBuf,
    progress: &Progress,
    cancel: &CancellationToken,
) -> (Result<End, Complaint>, Vec<PathBuf>) {
    let (mut worst, mut folders) = (Verdict::Pass, Vec::new());
    for (index, scenario) in scenarios.iter().enumerate() {
        let last = index + 1 == scenarios.len();
        let told = run::Options {
            out: options.out.clone(),
            seed,
            manifests: manifests.clone(),
            leave: last && !cluster.stays(),
        };
        let outcome = match run::run(cluster, scenario, &told, progress, cancel).await {
            Ok(outcome) => outcome,
            Err(RunError::Interrupted) => return (Ok(End::Interrupted), folders),
            Err(error) => return (Err((Report::msg(chain(&error)), End::HarnessFailed)), folders),
        };
        progress.finish();
        print(&report::verdict(&outcome.judgement));
        folders.push(outcome.folder);
        if let Some(problem) = outcome.left_behind {
            return (Err((Report::msg(format!("cleaning up: {problem}")), End::HarnessFailed)), folders);
        }
        if outcome.interrupted {
            return (Ok(End::Interrupted), folders);
        }
        worst = worst.max(outcome.judgement.verdict);
    }
    (Ok(End::Judged(worst)), folders)
}

fn taken_over(cluster: &str, by: &str) -> Complaint {
    let help = "this process had not renewed its lease for more than a minute; nothing more is recorded, and nothing \
                that this run did is undone: the other one may be at work there";
    (miette::miette!(help = help, "the cluster {cluster} was taken over by {by}"), End::HarnessFailed)
}

/// An error with all that is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn collectors(scenarios: &[Scenario]) -> Vec<String> {
    let mut versions: Vec<_> = scenarios.iter().flat_map(Scenario::collectors).map(str::to_owned).collect();
    versions.sort();
    versions.dedup();
    versions
}

/// The first Ctrl-C (or SIGTERM) heals, collects and judges; the second ends at once.
async fn on_signals(cancel: CancellationToken, progress: Progress) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    next().await;
    cancel.cancel();
    progress.say("interrupted: healing and collecting (once more ends at once)");
    next().await;
    progress.finish();
    std::process::exit(130);
}
