//! What is measured, in the order in which it is printed.

mod compare;
mod flow;
mod offline;

use crate::report::Report;
use crate::{BenchError, Tools};
use std::io::{self, Write};

/// Rounds of each comparison, one after the other in turn.
const ROUNDS: usize = 3;

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measurement {
    /// Emitter against telemetrygen
    Emitter,
    /// Sink against the Collector
    Sink,
    /// Emitter to sink, at full speed, against bare HTTP/2
    Flow,
    /// Memory of both under a steady load
    Memory,
    /// Size of the probe's image
    Image,
    /// The ledger with a million gaps
    Ledger,
    /// How long an hour takes to be judged
    Judge,
}

const ALL: [Measurement; 7] = [
    Measurement::Emitter,
    Measurement::Sink,
    Measurement::Flow,
    Measurement::Memory,
    Measurement::Image,
    Measurement::Ledger,
    Measurement::Judge,
];

/// Measures all, or only some. What could not be measured is in the report's last line.
pub(crate) async fn run<W: Write>(
    tools: &Tools,
    only: &[Measurement],
    report: &mut Report<W>,
) -> io::Result<()> {
    for measurement in ALL.iter().filter(|one| only.is_empty() || only.contains(one)) {
        let done = match measurement {
            Measurement::Emitter => compare::emitter(tools, report).await,
            Measurement::Sink => compare::sink(tools, report).await,
            Measurement::Flow => flow::full_speed(tools, report).await,
            Measurement::Memory => flow::memory(tools, report).await,
            Measurement::Image => offline::image(tools, report),
            Measurement::Ledger => offline::ledger(tools, report).await,
            Measurement::Judge => offline::judge(tools, report).await,
        };
        match done {
            Ok(()) => {}
            Err(Failure::Measurement(error)) => {
                report.failed(&format!("{measurement:?}").to_lowercase(), &error);
            }
            Err(Failure::Output(error)) => return Err(error),
        }
    }
    Ok(())
}

/// A measurement that came to nothing, or a report that nobody can read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Measurement(#[from] BenchError),
    #[error(transparent)]
    Output(#[from] io::Error),
}
