//! The sink over the loopback: the answers that clients get, and its ledger afterwards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod behaviours;
mod connections;
mod input;
mod latency;
mod process;
mod secure;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use spanproof_ledger::{Identity, Range, RangeSet, SinkLedger, SinkRecord, SpanIdentity, log};
use spanproof_probe::control::{
    Behaviour, Behaviours, ChangeRequest, Lease, Plan, SinkPlan, SinkStatus, Status, StopRequest,
    behaviour::Kind, change_request::Change, plan::Role, probe_server::Probe,
};
use spanproof_probe::sink::Sink;
use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Request;
use tonic::transport::Channel;

const RUN: u64 = 0x0012_3456_789a;
const SEED: u64 = 11;
const STREAM: u16 = 3;

/// A sink that receives spans on the loopback.
struct Served {
    sink: Arc<Sink>,
    address: SocketAddr,
    dir: TempDir,
    serving: tokio::task::AbortHandle,
}

impl Served {
    /// Starts one with the default plan.
    async fn new() -> Self {
        Self::with(plan()).await
    }

    async fn with(plan: Plan) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::open(dir.path()).unwrap();
        sink.start(Request::new(plan)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(Arc::clone(&sink).serve(listener, None, pending())).abort_handle();
        Self { sink, address, dir, serving }
    }

    /// Changes its behaviours.
    async fn change(&self, behaviours: Vec<Behaviour>) {
        let change = Some(Change::Behaviours(Behaviours { behaviours }));
        self.sink.change(Request::new(ChangeRequest { change })).await.unwrap();
    }

    /// Changes its behaviour, for all requests.
    async fn behave(&self, kind: Kind) {
        self.change(vec![Behaviour { kind: Some(kind), ..Behaviour::default() }]).await;
    }

    async fn client(&self) -> TraceServiceClient<Channel> {
        TraceServiceClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    async fn state(&self) -> Status {
        self.sink.renew(Request::new(Lease::default())).await.unwrap().into_inner()
    }

    async fn status(&self) -> SinkStatus {
        self.state().await.sink.unwrap()
    }

    /// Drops the sink as if its process had ended, and returns its directory.
    async fn gone(self) -> tempfile::TempDir {
        let Self { sink, dir, serving, .. } = self;
        serving.abort();
        let left = Arc::downgrade(&sink);
        drop(sink);
        eventually("the first sink is gone", async || left.strong_count() == 0).await;
        dir
    }

    /// Ends the run, and reads the ledger.
    async fn end_and_read(&self) -> SinkLedger {
        self.sink.stop(Request::new(StopRequest::default())).await.unwrap();
        let ledger = read_ledger(self.dir.path());
        assert!(ledger.seal().is_some());
        ledger
    }
}

fn plan() -> Plan {
    let role = SinkPlan { seed: SEED, ..SinkPlan::default() };
    Plan { run_tag: RUN, spans_per_trace: 10, role: Some(Role::Sink(role)), ..Plan::default() }
}

fn read_ledger(dir: &Path) -> SinkLedger {
    let bytes = std::fs::read(dir.join("sink.ledger")).unwrap();
    let decoded = log::decode::<SinkRecord>(&bytes).unwrap();
    assert_eq!(decoded.whole, bytes.len() as u64);
    SinkLedger::from_records(&decoded.records).unwrap()
}

fn identity() -> Identity {
    Identity::new(RUN, 10, 1)
}

fn span(seq: u64) -> Span {
    let span = SpanIdentity { stream: STREAM, seq };
    Span {
        trace_id: identity().trace_id(span).to_be_bytes().to_vec(),
        span_id: identity().span_id(span).to_be_bytes().to_vec(),
        ..Span::default()
    }
}

/// A request with these numbers.
fn request(numbers: std::ops::Range<u64>) -> ExportTraceServiceRequest {
    of_spans(numbers.map(span).collect())
}

fn of_spans(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

fn set(start: u64, end: u64) -> RangeSet {
    [Range::new(start, end)].into_iter().collect()
}

/// The numbers that were accepted.
fn delivered(ledger: &SinkLedger) -> RangeSet {
    ledger.delivered(STREAM).clone()
}

/// The numbers that were refused with a code.
fn refused(ledger: &SinkLedger, code: u8) -> RangeSet {
    let mut refused = ledger.refused(STREAM).filter(|(known, _)| *known == code);
    refused.next().map(|(_, set)| set.clone()).unwrap_or_default()
}

/// Waits until `is_so` returns `true`, for up to ten seconds.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds: {what}");
}
