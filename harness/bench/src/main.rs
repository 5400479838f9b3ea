//! `spanproof-bench`: how fast the probes are, next to what others use, and how far from what is possible.
//!
//! Every program runs as a process of its own on the loopback. What is compared is processor time, which other
//! work on the machine moves little; only the throughput is told by the clock on the wall.

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
        /// The probe, if it is not the one beside this program
        #[arg(long)]
        probe: Option<PathBuf>,
        /// What to measure; nothing stands for all of it
        #[arg(value_enum)]
        only: Vec<Measurement>,
    },
    /// Take HTTP/2 requests on a port of the loopback, and do nothing with them
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
struct Tools {
    probe: PathBuf,
    spanproof: PathBuf,
    gaps: PathBuf,
    own: PathBuf,
    telemetrygen: PathBuf,
    collector: PathBuf,
    recorded: PathBuf,
}

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A program, or what it needs, could not be had.
    #[error("{name} cannot be started: {source}")]
    Start {
        /// Which.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A program did not do what it should.
    #[error("{name}: {what}; it said: {said}")]
    Process {
        /// Which.
        name: String,
        /// What is wrong with it.
        what: String,
        /// The end of its log.
        said: String,
    },
    /// A ledger or a run folder that cannot be read or made.
    #[error("{0}")]
    Ledger(String),
    /// What was measured is worth nothing.
    #[error("nothing was measured: {0}")]
    Void(String),
    /// HTTP/2 without anything in it did not work.
    #[error("bare HTTP/2: {0}")]
    Bare(String),
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let command = Options::parse().command;
    // Dropped with everything that it has started: nothing is left behind.
    tokio::select! {
        code = run(command) => code,
        () = told_to_end() => ExitCode::from(130),
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
    done.map_or_else(|error| complain(&error), |()| ExitCode::SUCCESS)
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
        Err(source) => return complain(&BenchError::Start { name: "this program".to_owned(), source }),
    };
    // All of the workspace is built into one directory.
    let beside = |name: &str| own.with_file_name(name);
    let tools = Tools {
        probe: probe.unwrap_or_else(|| beside("spanproof-probe")),
        spanproof: beside("spanproof"),
        gaps: beside("examples").join("gaps"),
        own: own.clone(),
        telemetrygen,
        collector,
        recorded,
    };
    let mut report = Report::new(std::io::stdout());
    match measure::run(&tools, &only, &mut report).await.and_then(|()| report.end()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(source) => complain(&BenchError::Start { name: "standard output".to_owned(), source }),
    }
}

fn complain(error: &BenchError) -> ExitCode {
    eprintln!("spanproof-bench: {error}");
    ExitCode::from(4)
}

async fn told_to_end() {
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
