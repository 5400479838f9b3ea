//! The parts that all subcommands share: options, exit codes, and the way in which an error is shown.

mod analyze;
mod assignment;
mod check;
mod place;
mod plan;
mod restore;
mod run;
mod schema;

use clap::{Parser, Subcommand};
use miette::{GraphicalReportHandler, GraphicalTheme};
use spanproof::judge::Verdict;
use spanproof::progress;
use spanproof::report::Progress;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The end of a command, as an exit code: 0 success, or every check passed; 1 a check failed, or a plan cannot be
/// carried out; 2 usage, or an invalid scenario; 3 inconclusive; 4 the harness or the cluster failed; 130
/// interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandEnd {
    Judged(Verdict),
    Done,
    /// A plan was made, and cannot be carried out.
    Obstructed,
    BadInput,
    HarnessFailed,
    Interrupted,
}

impl From<CommandEnd> for ExitCode {
    fn from(end: CommandEnd) -> Self {
        Self::from(match end {
            CommandEnd::Judged(Verdict::Pass) | CommandEnd::Done => 0,
            CommandEnd::Judged(Verdict::Fail) | CommandEnd::Obstructed => 1,
            CommandEnd::BadInput => 2,
            CommandEnd::Judged(Verdict::Inconclusive) => 3,
            CommandEnd::HarnessFailed => 4,
            CommandEnd::Interrupted => 130,
        })
    }
}

/// Tests whether spans survive operations on a gateway tier of OpenTelemetry Collectors.
#[derive(Parser)]
#[command(name = "spanproof", version, about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios, and judge each
    Run(Box<run::Options>),
    /// Show what a run would do, to which objects, for how long, and what it needs; change nothing
    Plan(plan::Options),
    /// Judge a stored run again
    Analyze(analyze::Options),
    /// Check scenarios, without a cluster
    Check(check::Options),
    /// Print the JSON Schema of scenario files
    Schema,
    /// Undo what a run left when it died
    Restore(restore::Options),
}

pub(super) fn main() -> ExitCode {
    let progress = Progress::new();
    trace(&progress);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(
                &miette::miette!("the runtime could not be started: {error}"),
                CommandEnd::HarnessFailed,
            );
        }
    };
    let end = match Options::parse().command {
        Command::Run(options) => runtime.block_on(run::main(&options, &progress)),
        Command::Plan(options) => runtime.block_on(plan::main(&options)),
        Command::Analyze(options) => analyze::main(&options),
        Command::Check(options) => check::main(&options),
        Command::Schema => schema::main(),
        Command::Restore(options) => runtime.block_on(restore::main(&options, &progress)),
    };
    match end {
        Ok(end) => end.into(),
        Err((report, end)) => fail(&report, end),
    }
}

/// Installs the subscriber of this process: progress is always shown, debugging output where `SPANPROOF_LOG` asks for it.
fn trace(progress: &Progress) {
    let asked = EnvFilter::try_from_env("SPANPROOF_LOG").unwrap_or_else(|_| "off".into());
    let debugging = asked.and(filter_fn(|metadata| !metadata.target().starts_with(progress::TARGET)));
    let written = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(debugging);
    tracing_subscriber::registry().with(progress.layer()).with(written).init();
}

/// A failed command: the error to show, and the exit code.
type Failure = (miette::Report, CommandEnd);

fn fail(report: &miette::Report, end: CommandEnd) -> ExitCode {
    show(report);
    end.into()
}

/// The folder of the manifests, as `--manifests` gives it.
fn manifests(given: Option<&Path>) -> Result<PathBuf, Failure> {
    spanproof::deploy::manifests_dir(given).map_err(|error| {
        let help = "SPANPROOF_CACHE names another folder for the cache";
        (miette::miette!(help = help, "{error}"), CommandEnd::HarnessFailed)
    })
}

/// Writes an error to standard error, with its place and what to do.
fn show(report: &miette::Report) {
    let theme =
        if std::io::stderr().is_terminal() { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    let mut text = String::new();
    // What is cut at a line's end can neither be copied nor searched for.
    let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false);
    let shown = handler.render_report(&mut text, report.as_ref());
    if shown.is_err() {
        text = report.to_string();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes to standard output. A reader that went away is no reason to fail.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
