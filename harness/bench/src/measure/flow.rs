//! Emitter to sink: throughput and cost, compared with bare HTTP/2.

use super::compare::{Window, window};
use super::{Failure, ROUNDS};
use crate::probe::{Load, Probe, account, sleep};
use crate::process::{Cpu, Process, free_port};
use crate::report::{Bound, Report, median};
use crate::{BenchError, Programs};
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use tokio::process::Command;

const WINDOW: f64 = 4.0;
const PER_REQUEST: u32 = 1_000;

/// Throughput, and the cost of sender and receiver for a million spans.
struct Flow {
    spans_per_s: f64,
    sending: Cpu,
    receiving: Cpu,
}

pub(super) async fn full_speed<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let bytes = request_bytes(programs).await?;
    for _ in 0..ROUNDS {
        ours.push(probes(programs).await?);
        bare.push(bare_http2(programs, bytes).await?);
    }
    // Other work on the machine only lowers the throughput: the best round is the least disturbed one.
    let best = ours.iter().map(|flow| flow.spans_per_s).fold(0.0, f64::max);
    report.bound("emitter_to_sink_spans_per_s", best, "spans/s", Bound::AtLeast(1e6))?;
    report.figure("span_bytes", bytes as f64 / f64::from(PER_REQUEST), "B")?;
    for (name, cpu) in [
        ("emitter", ours.iter().map(|flow| flow.sending).collect::<Vec<_>>()),
        ("sink", ours.iter().map(|flow| flow.receiving).collect()),
        ("bare_http2_client", bare.iter().map(|flow| flow.sending).collect()),
        ("bare_http2_server", bare.iter().map(|flow| flow.receiving).collect()),
    ] {
        let (user, system) = cpu.into_iter().map(|cpu| (cpu.user, cpu.system)).unzip();
        report.figure(&format!("{name}_user_s_per_million_spans"), median(user), "s")?;
        report.figure(&format!("{name}_system_s_per_million_spans"), median(system), "s")?;
    }
    let cost = |flow: &Flow| flow.sending.total() + flow.receiving.total();
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| cost(bare) / cost(ours)).collect();
    // By processor time: 1 would be a span that costs only the transport of its bytes.
    Ok(report.figure("emitter_to_sink_vs_bare_http2", median(ratios), "x")?)
}

/// Runs at a rate above the limit: the schedule slips, and the acknowledged rate is the throughput.
async fn probes(programs: &Programs) -> Result<Flow, BenchError> {
    let sink = Probe::sink(programs).await?;
    let load = Load { rate: 1e7, per_request: PER_REQUEST };
    let mut emitter = Probe::emitter(programs, load, sink.otlp).await?;
    let Window { acknowledged, seconds, emitter: sending, receiver: receiving } =
        window(&mut emitter, &sink.process, WINDOW).await?;
    let counts = account(emitter, sink).await?;
    if counts.lost + counts.unexpected + counts.unknown + counts.duplicated > 0 {
        return Err(BenchError::Invalid(format!("not all arrived once: {counts:?}")));
    }
    let (sending, receiving) = (sending.per_million(acknowledged), receiving.per_million(acknowledged));
    Ok(Flow { spans_per_s: acknowledged as f64 / seconds, sending, receiving })
}

async fn bare_http2(programs: &Programs, bytes: usize) -> Result<Flow, BenchError> {
    let dir =
        tempfile::tempdir().map_err(|source| BenchError::Start { name: "bare HTTP/2".to_owned(), source })?;
    let (port, count) = (free_port()?, dir.path().join("count"));
    let mut command = Command::new(&programs.own);
    command.args(["bare-serve", &port.to_string()]);
    let mut server = Process::start("bare-server", dir.path(), command)?;
    server.wait_until_listening(port).await?;
    let mut command = Command::new(&programs.own);
    command.args(["bare-send", &port.to_string(), &bytes.to_string()]).arg(&count);
    let client = Process::start("bare-client", dir.path(), command)?;
    sleep(1.0).await;
    let (began, before) = (Instant::now(), answers(&count)?);
    let (sent, received) = (client.cpu()?, server.cpu()?);
    sleep(WINDOW).await;
    let (lasted, after) = (began.elapsed(), answers(&count)?);
    let spans = (after - before) * u64::from(PER_REQUEST);
    if spans == 0 {
        return Err(client.error("nothing was answered"));
    }
    Ok(Flow {
        spans_per_s: spans as f64 / lasted.as_secs_f64(),
        sending: client.cpu()?.since(sent).per_million(spans),
        receiving: server.cpu()?.since(received).per_million(spans),
    })
}

fn answers(count: &Path) -> Result<u64, BenchError> {
    let text = std::fs::read_to_string(count).map_err(|error| BenchError::Bare(error.to_string()))?;
    text.parse().map_err(|_| BenchError::Bare(format!("{text:?} is not a number of answers")))
}

/// The size of the emitter's requests, in bytes.
async fn request_bytes(programs: &Programs) -> Result<usize, BenchError> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(|error| BenchError::Bare(error.to_string()))?;
    let port = listener.local_addr().map_err(|error| BenchError::Bare(error.to_string()))?.port();
    let arriving = tokio::spawn(crate::bare::first_request(listener));
    let _emitter = Probe::emitter(programs, Load { rate: 1e5, per_request: PER_REQUEST }, port).await?;
    arriving.await.map_err(|error| BenchError::Bare(error.to_string()))?
}

pub(super) async fn memory<W: Write>(programs: &Programs, report: &mut Report<W>) -> Result<(), Failure> {
    let load = Load { rate: 100_000.0, per_request: 100 };
    let sink = Probe::sink(programs).await?;
    let mut emitter = Probe::emitter(programs, load, sink.otlp).await?;
    let seen = window(&mut emitter, &sink.process, 14.0).await?;
    let achieved = seen.acknowledged as f64 / seen.seconds;
    if achieved < 0.95 * load.rate {
        let problem = format!("{achieved:.0} spans/s instead of {:.0}", load.rate);
        return Err(BenchError::Invalid(problem).into());
    }
    let most = Bound::AtMost(64.0);
    report.bound("emitter_memory_mib", emitter.process.peak_mib()?, "MiB", most)?;
    Ok(report.bound("sink_memory_mib", sink.process.peak_mib()?, "MiB", most)?)
}
