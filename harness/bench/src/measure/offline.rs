//! Measurements without a load: the image's size, the ledger, the judge.

use super::{Failure, ROUNDS};
use crate::hour;
use crate::process::Process;
use crate::report::{Bound, Report, median};
use crate::{BenchError, Programs};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::process::Command;

const MIB: f64 = 1_048_576.0;

/// The image contains only the program, so its size is the program's.
pub(super) fn image<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    let program = std::fs::metadata(&programs.probe);
    let program = program.map_err(|source| BenchError::Start { name: "the probe".to_owned(), source })?;
    Ok(report.bound("probe_image_mib", program.len() as f64 / MIB, "MiB", Bound::AtMost(20e6 / MIB))?)
}

/// Runs the ledger's example, which prints its figures in this program's format.
pub(super) async fn ledger<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    let ran = Command::new(&programs.gaps).kill_on_drop(true).output().await;
    let ran = ran.map_err(|source| BenchError::Start { name: "the ledger's example".to_owned(), source })?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    for (name, most) in [("ledger_mib_1e9_spans_1e6_gaps", 64.0), ("ledger_name_lost_ms", 1_000.0)] {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let (value, unit) = line.and_then(|line| line.split_once(' ')).unwrap_or_default();
        let value = value.parse().map_err(|_| BenchError::Invalid(format!("{name} is not in {said:?}")))?;
        report.bound(name, value, unit, Bound::AtMost(most))?;
    }
    Ok(())
}

/// Judges an hour at 2,000 spans per second, extended from a recorded run.
pub(super) async fn judge<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    let dir =
        tempfile::tempdir().map_err(|source| BenchError::Start { name: "an hour".to_owned(), source })?;
    hour::extend(&programs.recorded, dir.path())?;
    let mut seconds = Vec::new();
    for _ in 0..ROUNDS {
        let mut command = Command::new(&programs.spanproof);
        command.arg("analyze").arg(dir.path());
        let began = Instant::now();
        let judging = Process::start("analyze", dir.path(), command)?;
        judging.wait(Duration::from_secs(120)).await?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok(report.bound("judge_hour_s", median(seconds), "s", Bound::AtMost(10.0))?)
}
