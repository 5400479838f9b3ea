//! `spanproof-bench`: the speed of the probes, compared with similar programs and with the lower bound of the cost.
//!
//! Every program runs as a process of its own on the loopback. Processor time is compared, on which other work on the
//! machine has little effect; only the throughput is measured by wall-clock time.

mod bare;
mod hour;
mod measure;
mod probe;
mod process;
mod report;

use clap::{Parser, Subcommand};
use measure::Measurement;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(version, about = "Measures the probes, the ledger and the judge")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and print one figure a line
    Measure {
        /// The program telemetrygen
        #[arg(long)]
        telemetrygen: PathBuf,
        /// The Collector's program
        #[arg(long)]
        collector: PathBuf,
        /// The folder of a recorded run
        #[arg(long)]
        recorded: PathBuf,
        /// The probe, by default the one beside this program
        #[arg(long)]
        probe: Option<PathBuf>,
        /// The measurements, by default all of them
        #[arg(value_enum)]
        only: Vec<Measurement>,
    },
    /// Receive HTTP/2 requests on a port of the loopback, and ignore them
    BareServe {
        /// The port
        port: u16,
    },
    /// Send HTTP/2 requests to a port of the loopback as fast as they are answered, until killed
    BareSend {
        /// The port
        port: u16,
        /// Bytes in a request
        bytes: usize,
        /// A file that is rewritten with the number of answers
        count: PathBuf,
    },
}

/// The programs that are measured.
#[derive(Debug)]
struct Programs {
    probe: PathBuf,
    spanproof: PathBuf,
    gaps: PathBuf,
    own: PathBuf,
    telemetrygen: PathBuf,
    collector: PathBuf,
    recorded: PathBuf,
}

/// An error of a measurement.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A program could not be started.
    #[error("{name} cannot be started: {source}")]
    Start {
        /// The program.
        name: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{name}: {what}; end of its log: {said}")]
    Process {
        /// The program.
        name: String,
        /// The problem.
        what: String,
        /// The end of its log.
        said: String,
    },
    /// A ledger or a run folder could not be read or made.
    #[error("{0}")]
    Ledger(String),
    /// The measurement is not valid.
    #[error("the measurement is not valid: {0}")]
    Invalid(String),
    /// Bare HTTP/2 failed.
    #[error("bare HTTP/2: {0}")]
    Bare(String),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let command = Options::parse().command;
    // When interrupted, this drops and so kills everything that it started.
    tokio::select! {
        code = run(command) => code,
        () = interrupted() => ExitCode::from(130),
    }
}

async fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Measure { telemetrygen, collector, recorded, probe, only } => {
            return measure_all(telemetrygen, collector, recorded, probe, only).await;
        }
        Command::BareServe { port } => bare::serve(port).await,
        Command::BareSend { port, bytes, count } => bare::send(port, bytes, &count).await,
    };
    done.map_or_else(|error| report_error(&error), |()| ExitCode::SUCCESS)
}

async fn measure_all(
    telemetrygen: PathBuf,
    collector: PathBuf,
    recorded: PathBuf,
    probe: Option<PathBuf>,
    only: Vec<Measurement>,
) -> ExitCode {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(source) => return report_error(&BenchError::Start { name: "this program".to_owned(), source }),
    };
    // All of the workspace is built into one directory.
    let beside = |name: &str| own.with_file_name(name);
    let programs = Programs {
        probe: probe.unwrap_or_else(|| beside("spanproof-probe")),
        spanproof: beside("spanproof"),
        gaps: beside("examples").join("gaps"),
        own: own.clone(),
        telemetrygen,
        collector,
        recorded,
    };
    let mut report = Report::new(std::io::stdout());
    match measure::run(&programs, &only, &mut report).await.and_then(|()| report.end()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(source) => report_error(&BenchError::Start { name: "standard output".to_owned(), source }),
    }
}

fn report_error(error: &BenchError) -> ExitCode {
    eprintln!("spanproof-bench: {error}");
    ExitCode::from(4)
}

async fn interrupted() {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    if let (Ok(mut interrupt), Ok(mut terminate)) = signals {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    } else {
        std::future::pending::<()>().await;
    }
}
