//! An emitter or a sink as a process of its own, controlled as the harness does.

use crate::process::{Process, free_port};
use crate::{BenchError, Programs};
use spanproof_ledger::{Account, Counts, EmitterLedger, EmitterRecord, SinkLedger, SinkRecord, log};
use spanproof_probe::control::{
    EmitPlan, Lease, Plan, Segment, SinkPlan, State, Status, StopRequest, plan::Role,
    probe_client::ProbeClient, segment::Shape,
};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::Channel;

/// The lease of a probe. No measurement takes longer, and a killed one leaves no load.
const LEASE_MS: u64 = 60_000;
const RUN_TAG: u64 = 0x00be_7c4a_11ed;
const DRAIN_MS: u64 = 20_000;

/// An emitter's load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Spans per second.
    pub(crate) rate: f64,
    /// Spans in a request.
    pub(crate) per_request: u32,
}

/// A probe with a data directory of its own; both are removed when dropped.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) process: Process,
    /// The sink's port for OTLP over gRPC.
    pub(crate) otlp: u16,
    data: TempDir,
    client: ProbeClient<Channel>,
}

impl Probe {
    /// Starts a sink that accepts everything.
    pub(crate) async fn sink(programs: &Programs) -> Result<Self, BenchError> {
        let mut sink = Self::start(programs, "sink").await?;
        sink.begin(Role::Sink(SinkPlan::default())).await?;
        Ok(sink)
    }

    /// Starts an emitter that sends to this port of the loopback.
    pub(crate) async fn emitter(programs: &Programs, load: Load, port: u16) -> Result<Self, BenchError> {
        let mut emitter = Self::start(programs, "emit").await?;
        let plan = EmitPlan {
            stream: 1,
            profile: vec![Segment { duration_ms: 0, shape: Some(Shape::Constant(load.rate)) }],
            spans_per_request: load.per_request,
            payload_bytes: PAYLOAD_BYTES,
            duration_ms: LEASE_MS,
            endpoint: format!("http://127.0.0.1:{port}"),
            ..EmitPlan::default()
        };
        emitter.begin(Role::Emit(plan)).await?;
        Ok(emitter)
    }

    async fn start(programs: &Programs, role: &str) -> Result<Self, BenchError> {
        let data =
            tempfile::tempdir().map_err(|source| BenchError::Start { name: role.to_owned(), source })?;
        let (control, otlp) = (free_port()?, free_port()?);
        let mut command = Command::new(&programs.probe);
        command.arg(role).arg("--data").arg(data.path());
        command.args(["--control", &format!("127.0.0.1:{control}")]);
        if role == "sink" {
            command.args(["--otlp", &format!("127.0.0.1:{otlp}"), "--otlp-http", "127.0.0.1:0"]);
        }
        let mut process = Process::start(role, data.path(), command)?;
        process.wait_until_listening(control).await?;
        let connected = ProbeClient::connect(format!("http://127.0.0.1:{control}")).await;
        let client = connected.map_err(|error| process.error(&error.to_string()))?;
        Ok(Self { process, otlp, data, client })
    }

    async fn begin(&mut self, role: Role) -> Result<(), BenchError> {
        let plan = Plan {
            run_tag: RUN_TAG,
            spans_per_trace: 10,
            lease: Some(Lease { milliseconds: LEASE_MS }),
            role: Some(role),
            ..Plan::default()
        };
        let answer = self.client.start(plan).await;
        answer.map(drop).map_err(|error| self.process.error(&error.to_string()))
    }

    /// Its status; an error if its ledger cannot be written.
    pub(crate) async fn status(&mut self) -> Result<Status, BenchError> {
        let answer = self.client.renew(Lease { milliseconds: LEASE_MS }).await;
        let status = answer.map_err(|error| self.process.error(&error.to_string()))?.into_inner();
        if status.state() == State::Failed {
            return Err(self.process.error(&status.problem));
        }
        Ok(status)
    }

    /// The number of spans acknowledged so far.
    pub(crate) async fn acknowledged(&mut self) -> Result<u64, BenchError> {
        Ok(self.status().await?.emit.unwrap_or_default().acknowledged)
    }

    /// Stops it, and checks that its ledger was sealed.
    pub(crate) async fn stop(&mut self) -> Result<(), BenchError> {
        let answer = self.client.stop(StopRequest { drain_ms: DRAIN_MS }).await;
        let status = answer.map_err(|error| self.process.error(&error.to_string()))?.into_inner();
        match status.state() {
            State::Sealed => Ok(()),
            state => Err(self.process.error(&format!("{} instead of sealed", state.as_str_name()))),
        }
    }
}

/// The length of each span's payload, so that a span has about 200 bytes.
const PAYLOAD_BYTES: u32 = 88;

/// Sleeps for some seconds.
pub(crate) async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Stops both, and returns the account of their ledgers.
pub(crate) async fn account(mut emitter: Probe, mut sink: Probe) -> Result<Counts, BenchError> {
    emitter.stop().await?;
    sink.stop().await?;
    let emitted = EmitterLedger::from_records(&records::<EmitterRecord>(emitter.data.path(), "emit.ledger")?);
    let arrived = SinkLedger::from_records(&records::<SinkRecord>(sink.data.path(), "sink.ledger")?);
    let wrong = |error: spanproof_ledger::LedgerError| BenchError::Ledger(error.to_string());
    Ok(Account::of(&[emitted.map_err(wrong)?], &[arrived.map_err(wrong)?]).counts)
}

fn records<R: log::Record>(dir: &Path, name: &str) -> Result<Vec<R>, BenchError> {
    let bytes =
        std::fs::read(dir.join(name)).map_err(|error| BenchError::Ledger(format!("{name}: {error}")))?;
    let decoded = log::decode(&bytes).map_err(|error| BenchError::Ledger(format!("{name}: {error}")))?;
    Ok(decoded.records)
}
