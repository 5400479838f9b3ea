//! The measurements, in the order of the output.

mod compare;
mod flow;
mod offline;

use crate::report::Report;
use crate::{BenchError, Programs};
use std::io::{self, Write};

/// The rounds of each comparison.
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
    /// The time to judge an hour
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

/// Measures all, or only some. Failures are in the report's last line.
pub(crate) async fn run<W: Write>(
    programs: &Programs,
    only: &[Measurement],
    report: &mut Report<W>,
) -> io::Result<()> {
    for measurement in ALL.iter().filter(|one| only.is_empty() || only.contains(one)) {
        let done = match measurement {
            Measurement::Emitter => compare::emitter(programs, report).await,
            Measurement::Sink => compare::sink(programs, report).await,
            Measurement::Flow => flow::full_speed(programs, report).await,
            Measurement::Memory => flow::memory(programs, report).await,
            Measurement::Image => offline::image(programs, report),
            Measurement::Ledger => offline::ledger(programs, report).await,
            Measurement::Judge => offline::judge(programs, report).await,
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

/// A failed measurement, or a failure to print.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Measurement(#[from] BenchError),
    #[error(transparent)]
    Output(#[from] io::Error),
}
