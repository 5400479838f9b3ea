//! `spanproof run`: runs scenarios, and judges each.

use super::assignment::assignment;
use super::place::{ClusterOptions, cluster_failure, not_empty};
use super::{CommandEnd, Failure, manifests, print};
use clap::Args;
use miette::Report;
use spanproof::check::{self, CheckError};
use spanproof::cluster::{Cluster, ClusterError, Request};
use spanproof::journal::CurrentJournal;
use spanproof::judge::{Judgement, Verdict};
use spanproof::progress;
use spanproof::report::{self, Progress};
use spanproof::restore;
use spanproof::run::{self, RunError};
use spanproof::scenario::{Measure, Scenario};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub(super) struct Options {
    /// Scenario files, run one after the other
    #[arg(value_name = "FILE", required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// How long to wait for a cluster that is in use [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Keep the cluster after the run
    #[arg(long)]
    keep: bool,
    /// Where run folders go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// The seed of everything random; drawn and printed if it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Set a parameter of the scenario by its name, or a field by its path with dots: load.rate=500/s
    #[arg(long = "set", value_name = "K=V", value_parser = assignment)]
    sets: Vec<(String, String)>,
    /// Run a control of the scenario instead: the same with one thing broken on purpose
    #[arg(long = "control", value_name = "NAME", conflicts_with = "controls", value_parser = not_empty)]
    control: Vec<String>,
    /// Run the scenario, and then each of its controls: passes if the scenario does and each control is red by the
    /// checks that it names
    #[arg(long)]
    controls: bool,
    /// The folder of the manifests; by default those that the program brings along
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

pub(super) async fn main(options: &Options, progress: &Progress) -> Result<CommandEnd, Failure> {
    let manifests = manifests(options.manifests.as_deref())?;
    let scenarios =
        scenarios(options, &manifests).map_err(|error| (Report::new(error), CommandEnd::BadInput))?;
    run::try_out(&options.out).map_err(|error| (Report::new(error), CommandEnd::BadInput))?;
    let seed = options.seed.unwrap_or_else(|| spanproof_probe::unix_ms() % 1_000_000_007);
    progress.begin();
    let cancel = CancellationToken::new();
    let (journal, outlived) = (CurrentJournal::default(), Arc::new(AtomicBool::new(false)));
    tokio::spawn(on_signals(cancel.clone(), progress.clone(), journal.clone(), outlived.clone()));

    let request = Request {
        cluster: options.cluster.choice(options.keep)?,
        wait: options.wait.unwrap_or_default(),
        collectors: collectors(&scenarios),
        metrics: scenarios.iter().any(|(_, scenario)| scenario.tier.has(Measure::Hpa)),
        manifests: manifests.clone(),
    };
    super::plan::allowed(&request.cluster, scenarios.iter().map(|(_, scenario)| scenario), &manifests)
        .await?;
    let cluster = match restore::acquire(&request, &cancel).await {
        Err(ClusterError::Interrupted) => return Ok(CommandEnd::Interrupted),
        acquired => acquired.map_err(cluster_failure)?,
    };
    outlived.store(cluster.outlives(), Ordering::Relaxed);
    let told =
        run::Options { out: options.out.clone(), seed, manifests, leave: false, journal: journal.clone() };
    let ended = tokio::select! {
        ended = run_all(&cluster, &scenarios, &told, options.controls, progress, &cancel) => ended,
        // Whatever this run did from here on, it would do to that one's cluster.
        by = cluster.lost() => (Err(taken_over(cluster.name(), &by)), Vec::new()),
    };
    let goes = !cluster.stays();
    if goes {
        tracing::info!(target: progress::TARGET, "removing the cluster");
    }
    let released = cluster.release().await;
    if let Some(journal) = journal.get().filter(|_| goes && released.is_ok())
        && let Err(error) = journal.close_with_cluster()
    {
        tracing::info!(target: progress::TARGET, "{error}");
    }
    progress.finish();
    let (end, folders) = ended;
    for folder in folders {
        print(&format!("{}\n", folder.display()));
    }
    let end = end?;
    released.map_err(cluster_failure)?;
    Ok(end)
}

/// Returns what to run, in order: each file's scenario, the controls that were asked for, or both.
fn scenarios(options: &Options, manifests: &Path) -> Result<Vec<(PathBuf, Scenario)>, CheckError> {
    let mut all = Vec::new();
    for path in &options.scenarios {
        let scenario = check::check(path, &options.sets, manifests)?;
        let under = |name: &String| Ok::<_, CheckError>((path.clone(), scenario.under(path, name)?));
        let controls: Vec<String> = if options.controls {
            scenario.controls.iter().map(|control| control.name.clone()).collect()
        } else {
            options.control.clone()
        };
        let controls = controls.iter().map(under).collect::<Result<Vec<_>, _>>()?;
        if options.control.is_empty() {
            all.push((path.clone(), scenario));
        }
        all.extend(controls);
    }
    Ok(all)
}

/// Returns the verdict that a run adds to the command's end. Where controls run with their scenario, each must be red
/// by the checks that it names.
fn counts_as(judgement: &Judgement, controls: bool) -> Verdict {
    let control = judgement.control.as_ref().filter(|_| controls);
    control.map_or(judgement.verdict, |control| control.verdict)
}

async fn run_all(
    cluster: &Cluster,
    scenarios: &[(PathBuf, Scenario)],
    options: &run::Options,
    controls: bool,
    progress: &Progress,
    cancel: &CancellationToken,
) -> (Result<CommandEnd, Failure>, Vec<PathBuf>) {
    let (mut worst, mut folders) = (Verdict::Pass, Vec::new());
    for (index, (_, scenario)) in scenarios.iter().enumerate() {
        let last = index + 1 == scenarios.len();
        let told = run::Options { leave: last && !cluster.stays(), ..options.clone() };
        let outcome = match run::run(cluster, scenario, &told, cancel).await {
            Ok(outcome) => outcome,
            Err(RunError::Interrupted) => return (Ok(CommandEnd::Interrupted), folders),
            Err(error) => return (Err((Report::msg(chain(&error)), CommandEnd::HarnessFailed)), folders),
        };
        progress.finish();
        print(&report::verdict(&outcome.judgement));
        folders.push(outcome.folder);
        if let Some(problem) = outcome.left_behind {
            return (
                Err((Report::msg(format!("cleaning up: {problem}")), CommandEnd::HarnessFailed)),
                folders,
            );
        }
        if outcome.interrupted {
            return (Ok(CommandEnd::Interrupted), folders);
        }
        worst = worst.max(counts_as(&outcome.judgement, controls));
    }
    (Ok(CommandEnd::Judged(worst)), folders)
}

fn taken_over(cluster: &str, by: &str) -> Failure {
    let help = "this process had not renewed its lease for more than a minute; nothing more is recorded or undone, \
                since the other process may be at work there: run `spanproof restore` afterwards";
    (miette::miette!(help = help, "the cluster {cluster} was taken over by {by}"), CommandEnd::HarnessFailed)
}

/// Returns an error with all its causes.
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

fn collectors(scenarios: &[(PathBuf, Scenario)]) -> Vec<String> {
    let all = scenarios.iter().flat_map(|(_, scenario)| scenario.collectors());
    let mut versions: Vec<_> = all.map(str::to_owned).collect();
    versions.sort();
    versions.dedup();
    versions
}

/// Handles the signals: the first Ctrl-C (or SIGTERM) heals, collects and judges; the second ends at once, and names
/// what is left to undo.
async fn on_signals(
    cancel: CancellationToken,
    progress: Progress,
    journal: CurrentJournal,
    outlived: Arc<AtomicBool>,
) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    next().await;
    cancel.cancel();
    tracing::info!(target: progress::TARGET, "interrupted: healing and collecting (interrupt again to end at once)");
    next().await;
    progress.finish();
    let reminder = journal.get().and_then(|journal| journal.reminder());
    if let Some(last_word) = last_word(reminder, outlived.load(Ordering::Relaxed)) {
        tracing::info!(target: progress::TARGET, "{last_word}");
    }
    std::process::exit(130);
}

/// Returns what a run that ends at once leaves to undo; none if there is no run, or it has undone everything.
fn last_word(reminder: Option<String>, outlived: bool) -> Option<String> {
    let goes = || "ended at once: the cluster is being removed, and all that the run did with it".to_owned();
    reminder.map(|reminder| if outlived { reminder } else { goes() })
}

#[cfg(test)]
mod tests {
    use super::last_word;

    #[test]
    fn the_last_word_is_about_what_stays() {
        let open = || Some("still to be undone: the cordon".to_owned());
        assert_eq!(last_word(open(), true), open());
        assert!(last_word(open(), false).is_some_and(|word| word.contains("is being removed")));
        assert_eq!((last_word(None, true), last_word(None, false)), (None, None));
    }
}
