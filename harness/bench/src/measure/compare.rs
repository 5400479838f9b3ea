//! Spans per processor second of the probes, compared with telemetrygen and the Collector in turn on the same machine.

use super::{Failure, ROUNDS};
use crate::probe::{Load, Probe, sleep};
use crate::process::{Cpu, Process, free_port};
use crate::report::{Bound, Report, median};
use crate::{BenchError, Programs};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::process::Command;

const WARM_UP: f64 = 1.0;
const WINDOW: f64 = 3.0;

/// The work of an emitter and its receiver in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) acknowledged: u64,
    pub(super) seconds: f64,
    pub(super) emitter: Cpu,
    pub(super) receiver: Cpu,
}

/// Measures a window after a warm-up.
pub(super) async fn window(
    emitter: &mut Probe,
    receiver: &Process,
    seconds: f64,
) -> Result<Window, BenchError> {
    sleep(WARM_UP).await;
    let (began, before) = (Instant::now(), emitter.acknowledged().await?);
    let (emitter_before, receiver_before) = (emitter.process.cpu()?, receiver.cpu()?);
    sleep(seconds).await;
    let (lasted, after) = (began.elapsed(), emitter.acknowledged().await?);
    let window = Window {
        acknowledged: after - before,
        seconds: lasted.as_secs_f64(),
        emitter: emitter.process.cpu()?.since(emitter_before),
        receiver: receiver.cpu()?.since(receiver_before),
    };
    if window.acknowledged == 0 {
        return Err(emitter.process.error("nothing was acknowledged"));
    }
    Ok(window)
}

fn per_second(spans: u64, cpu: Cpu) -> f64 {
    spans as f64 / cpu.total()
}

/// The best settings found for telemetrygen that drop nothing: many slow workers, whose pauses end together. One or a
/// few fast ones wake up for every span, and acknowledge only a fifth as many spans per processor second.
const TELEMETRYGEN_WORKERS: u32 = 100;
/// Spans of each worker per second; a trace of two spans takes two of them.
const TELEMETRYGEN_RATE: u32 = 400;
/// The exporter's queue holds four of these.
const TELEMETRYGEN_BATCH: u32 = 512;
/// Of each worker.
const TELEMETRYGEN_TRACES: u32 = 600;

pub(super) async fn emitter<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    // Requests of the same size, at a rate well below the machine's limit.
    let load = Load { rate: 400_000.0, per_request: TELEMETRYGEN_BATCH };
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let theirs_now = telemetrygen(programs).await?;
        let sink = Probe::sink(programs).await?;
        let mut emitter = Probe::emitter(programs, load, sink.otlp).await?;
        let seen = window(&mut emitter, &sink.process, WINDOW).await?;
        let ours_now = per_second(seen.acknowledged, seen.emitter);
        ours.push(ours_now);
        theirs.push(theirs_now);
        ratios.push(ours_now / theirs_now);
    }
    report.figure("telemetrygen_spans_per_cpu_s", median(theirs), "spans/s")?;
    report.figure("emitter_spans_per_cpu_s", median(ours), "spans/s")?;
    Ok(report.bound("emitter_vs_telemetrygen", median(ratios), "x", Bound::AtLeast(20.0))?)
}

/// Runs telemetrygen once; returns acknowledged spans per processor second.
async fn telemetrygen(programs: &Programs) -> Result<f64, BenchError> {
    let mut sink = Probe::sink(programs).await?;
    let mut command = Command::new(&programs.telemetrygen);
    command.args(["traces", "--otlp-insecure"]);
    command.args(["--otlp-endpoint", &format!("127.0.0.1:{}", sink.otlp)]);
    for (option, value) in [
        ("--workers", TELEMETRYGEN_WORKERS),
        ("--rate", TELEMETRYGEN_RATE),
        ("--traces", TELEMETRYGEN_TRACES),
        ("--batch-size", TELEMETRYGEN_BATCH),
    ] {
        command.args([option, &value.to_string()]);
    }
    let dir = tempfile::tempdir()
        .map_err(|source| BenchError::Start { name: "telemetrygen".to_owned(), source })?;
    let process = Process::start("telemetrygen", dir.path(), command)?;
    let used = process.wait(Duration::from_secs(60)).await?;
    // The sink counts its spans as foreign.
    let arrived = sink.status().await?.sink.unwrap_or_default().unexpected;
    let sent = u64::from(2 * TELEMETRYGEN_TRACES * TELEMETRYGEN_WORKERS);
    if arrived != sent {
        return Err(BenchError::Invalid(format!("telemetrygen dropped spans: {arrived} of {sent} arrived")));
    }
    Ok(per_second(arrived, used))
}

pub(super) async fn sink<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    // Requests of the size of this project's agents, at a rate that both can handle with one core.
    let load = Load { rate: 400_000.0, per_request: 1_000 };
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let collector = Collector::start(programs).await?;
        let mut emitter = Probe::emitter(programs, load, collector.otlp).await?;
        let seen = window(&mut emitter, &collector.process, WINDOW).await?;
        let theirs_now = per_second(seen.acknowledged, seen.receiver);
        drop((emitter, collector));

        let sink = Probe::sink(programs).await?;
        let mut emitter = Probe::emitter(programs, load, sink.otlp).await?;
        let seen = window(&mut emitter, &sink.process, WINDOW).await?;
        let ours_now = per_second(seen.acknowledged, seen.receiver);
        ours.push(ours_now);
        theirs.push(theirs_now);
        ratios.push(ours_now / theirs_now);
    }
    report.figure("collector_spans_per_cpu_s", median(theirs), "spans/s")?;
    report.figure("sink_spans_per_cpu_s", median(ours), "spans/s")?;
    Ok(report.bound("sink_vs_collector", median(ratios), "x", Bound::AtLeast(6.0))?)
}

/// A Collector that receives traces and drops them, without telemetry of its own.
struct Collector {
    process: Process,
    otlp: u16,
    _dir: tempfile::TempDir,
}

impl Collector {
    async fn start(programs: &Programs) -> Result<Self, BenchError> {
        let failed = |source| BenchError::Start { name: "the Collector".to_owned(), source };
        let (dir, otlp) = (tempfile::tempdir().map_err(failed)?, free_port()?);
        let config = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
             exporters: {{debug: {{verbosity: basic}}}}\n\
             service:\n  \
               telemetry: {{metrics: {{level: none}}}}\n  \
               pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}\n"
        );
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, config).map_err(failed)?;
        let mut command = Command::new(&programs.collector);
        command.arg("--config").arg(&path);
        let mut process = Process::start("collector", dir.path(), command)?;
        process.wait_until_listening(otlp).await?;
        Ok(Self { process, otlp, _dir: dir })
    }
}
