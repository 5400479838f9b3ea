//! The emitter over the loopback, with a scripted agent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use spanproof_ledger::{EmitterLedger, EmitterRecord, Latency, log};
use spanproof_probe::control::{
    EmitPlan, EmitStatus, Lease, Plan, Ramp, Segment, State, StopRequest, plan::Role, probe_server::Probe,
    segment::Shape,
};
use spanproof_probe::emit::Emitter;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// A request as the agent saw it.
struct Seen {
    at: Instant,
    peer: SocketAddr,
    metadata: MetadataMap,
    spans: usize,
}

type Script = dyn Fn(usize) -> Result<i64, Status> + Send + Sync;

/// An agent whose answer to request n (from 0) is given by the script, as a number of rejected spans. A negative number
/// stands for no answer.
struct Agent {
    script: Box<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[tonic::async_trait]
impl TraceService for Agent {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let peer = request.remote_addr().unwrap();
        let metadata = request.metadata().clone();
        let spans = request.into_inner().resource_spans[0].scope_spans[0].spans.len();
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen { at: Instant::now(), peer, metadata, spans });
            seen.len() - 1
        };
        match (self.script)(number)? {
            0 => Ok(Response::new(ExportTraceServiceResponse::default())),
            rejected_spans @ 1.. => {
                let partial = ExportTracePartialSuccess { rejected_spans, ..Default::default() };
                Ok(Response::new(ExportTraceServiceResponse { partial_success: Some(partial) }))
            }
            _ => std::future::pending().await,
        }
    }
}

async fn agent(
    script: impl Fn(usize) -> Result<i64, Status> + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::default();
    let agent = Agent { script: Box::new(script), seen: Arc::clone(&seen) };
    let service = TraceServiceServer::new(agent).accept_compressed(CompressionEncoding::Gzip);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (endpoint, seen)
}

/// 1,000 spans a second in requests of 10, for `duration_ms`.
fn load(endpoint: String, duration_ms: u64) -> EmitPlan {
    EmitPlan {
        stream: 3,
        profile: vec![constant(1_000.0)],
        spans_per_request: 10,
        payload_bytes: 64,
        duration_ms,
        endpoint,
        ..EmitPlan::default()
    }
}

fn constant(rate: f64) -> Segment {
    Segment { duration_ms: 0, shape: Some(Shape::Constant(rate)) }
}

async fn try_start(emitter: &Emitter, emit: EmitPlan) -> Result<State, Status> {
    let plan = Plan {
        run_tag: 77,
        spans_per_trace: 10,
        lease: Some(Lease { milliseconds: 60_000 }),
        role: Some(Role::Emit(emit)),
        ..Plan::default()
    };
    Ok(emitter.start(Request::new(plan)).await?.into_inner().state())
}

/// Runs a load to its end, and stops it when every request has an outcome, or after `drain_ms`.
async fn run(dir: &Path, emit: EmitPlan, drain_ms: u64) -> (EmitStatus, EmitterLedger) {
    let emitter = Emitter::open(dir).unwrap();
    let wait = Duration::from_millis(emit.duration_ms);
    try_start(&emitter, emit).await.unwrap();
    tokio::time::sleep(wait).await;
    let stopped = emitter.stop(Request::new(StopRequest { drain_ms })).await.unwrap().into_inner();
    assert_eq!(stopped.state(), State::Sealed, "{stopped:?}");
    let records = std::fs::read(dir.join("emit.ledger")).unwrap();
    let records = log::decode::<EmitterRecord>(&records).unwrap().records;
    (stopped.emit.unwrap(), EmitterLedger::from_records(&records).unwrap())
}

fn retry_info(milliseconds: u8) -> Status {
    // google.rpc.Status{code: 8, details: [Any{RetryInfo{retry_delay{nanos}}}]}, as a server encodes it.
    use prost::encoding::encode_varint;
    let field = |number: u8, content: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    };
    let mut delay = vec![2 << 3];
    encode_varint(u64::from(milliseconds) * 1_000_000, &mut delay);
    let name = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
    let any = [name, field(2, &field(1, &delay))].concat();
    let details = [vec![1 << 3, 8], field(3, &any)].concat();
    Status::with_details(Code::ResourceExhausted, "full", details.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_pause_is_kept() {
    let (endpoint, seen) = agent(|number| if number == 0 { Err(retry_info(200)) } else { Ok(0) }).await;
    let dir = tempfile::tempdir().unwrap();
    let load = EmitPlan { profile: vec![constant(10.0)], ..load(endpoint, 900) };
    let (status, ledger) = run(dir.path(), load, 5_000).await;
    assert_eq!((status.emitted, status.acknowledged), (10, 10), "{status:?}");
    assert_eq!(ledger.resent().count(), 10);
    let seen = seen.lock().unwrap();
    let pause = seen[1].at - seen[0].at;
    assert!(pause >= Duration::from_millis(200), "{pause:?}");
    assert!(pause < Duration::from_millis(800), "{pause:?}: as long as if it had not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_refusals_are_not_retried() {
    for code in [Code::ResourceExhausted, Code::Internal, Code::InvalidArgument] {
        let (endpoint, seen) = agent(move |_| Err(Status::new(code, "no"))).await;
        let dir = tempfile::tempdir().unwrap();
        let (status, ledger) = run(dir.path(), load(endpoint, 300), 5_000).await;
        assert!(status.emitted > 0);
        assert_eq!((status.rejected, status.sdk_dropped), (status.emitted, status.emitted), "{status:?}");
        assert_eq!(ledger.rejected().count(), status.emitted);
        let sent: usize = seen.lock().unwrap().iter().map(|seen| seen.spans).sum();
        assert_eq!(sent as u64, status.emitted, "each was sent once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_success_makes_the_whole_request_unknown() {
    let (endpoint, _) = agent(|number| Ok(i64::from(number == 0))).await;
    let dir = tempfile::tempdir().unwrap();
    let (status, ledger) = run(dir.path(), load(endpoint, 300), 5_000).await;
    assert_eq!(ledger.unknown().count(), 10, "{status:?}");
    assert_eq!(status.acknowledged, status.emitted - 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_do_not_delay_the_others() {
    let (endpoint, _) = agent(|number| {
        if number.is_multiple_of(2) && number < 150 { Err(Status::unavailable("not now")) } else { Ok(0) }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let load = EmitPlan { in_flight: 2, ..load(endpoint, 1_500) };
    let (status, ledger) = run(dir.path(), load, 20_000).await;
    assert!(status.offered >= 1_490 && status.slipped_ms < 100, "{status:?}");
    assert_eq!((status.acknowledged, ledger.unknown().count()), (status.emitted, 0), "{status:?}");
    let seconds = ledger.seconds();
    assert!(seconds.iter().any(|second| second.failed_requests > 0 && second.failed_spans > 0));
    let mut latency = Latency::new();
    for second in seconds {
        latency.add(&Latency::from_bytes(&second.latency).unwrap());
    }
    assert_eq!(latency.count() * 10, status.acknowledged);
    assert!(latency.max_us() > 700_000, "a pause is a part of it: {} µs", latency.max_us());
}

/// The schedule slips at the limit of held requests, and that is counted; no number is used twice or left out.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_makes_the_schedule_slip() {
    let (endpoint, seen) = agent(|_| Ok(-1)).await;
    let dir = tempfile::tempdir().unwrap();
    let load = EmitPlan { held_requests: 8, in_flight: 4, deadline_ms: 400, ..load(endpoint, 3_500) };
    let (status, ledger) = run(dir.path(), load, 0).await;
    assert_eq!(status.emitted, 80, "{status:?}");
    assert!(status.slipped_ms > 3_000 || status.offered < 100, "{status:?}");
    assert_eq!(ledger.unknown().count(), 80);
    assert!(ledger.resent().count() >= 40, "those that were not answered were sent again");
    assert!(status.sdk_dropped == 0, "80 spans fit into any queue");
    assert!(seen.lock().unwrap().len() >= 8, "each was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn ramp_gzip_and_connections_follow_the_plan() {
    let (endpoint, seen) = agent(|_| Ok(0)).await;
    let dir = tempfile::tempdir().unwrap();
    let ramp = Segment { duration_ms: 1_000, shape: Some(Shape::Ramp(Ramp { from: 0.0, to: 2_000.0 })) };
    let load = EmitPlan { profile: vec![ramp], gzip: true, connections: 3, ..load(endpoint, 1_300) };
    let (status, ledger) = run(dir.path(), load, 5_000).await;
    assert!(ledger.seal().unwrap().complete, "the profile's end is the load's");
    assert!((980..=1_000).contains(&status.acknowledged), "{status:?}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().map(|seen| seen.peer.port()).collect::<BTreeSet<_>>().len(), 3);
    assert!(seen.iter().all(|seen| seen.metadata.get("grpc-encoding").unwrap() == "gzip"));
    let early = seen.iter().filter(|request| request.at - seen[0].at < Duration::from_millis(400)).count();
    assert!(early < seen.len() / 3, "{early} of {} in the first part of a ramp", seen.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_plans_are_refused_before_anything_begins() {
    let good = || load("http://127.0.0.1:9".to_owned(), 1_000);
    for (plan, why) in [
        (EmitPlan { stream: 0, ..good() }, "stream"),
        (EmitPlan { endpoint: "127.0.0.1:4317".to_owned(), ..good() }, "endpoint"),
        (EmitPlan { endpoint: "http://a/b".to_owned(), ..good() }, "path"),
        (EmitPlan { profile: vec![], ..good() }, "rate"),
        (EmitPlan { spans_per_request: 0, ..good() }, "above 0"),
        (EmitPlan { payload_bytes: u32::MAX, ..good() }, "64 MiB"),
        (EmitPlan { jitter: 2.0, ..good() }, "jitter"),
        (EmitPlan { held_requests: u32::MAX, ..good() }, "held"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let refused = try_start(&Emitter::open(dir.path()).unwrap(), plan).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(why), "{:?}, not {why:?}", refused.message());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
    }
}
