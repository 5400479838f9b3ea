//! Emitter and sink directly connected over the loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use spanproof_ledger::{Account, EmitterLedger, EmitterRecord, SinkLedger, SinkRecord, log};
use spanproof_probe::control::{
    Behaviour, Behaviours, ChangeRequest, EmitPlan, Forget, Lease, Plan, Refuse, Segment, SinkPlan, State,
    Status, StopRequest, behaviour::Kind, change_request::Change, plan::Role, probe_server::Probe,
    segment::Shape,
};
use spanproof_probe::{emit::Emitter, sink::Sink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Request;

const RUN: u64 = 0x0012_3456_789a;

fn plan(role: Role) -> Plan {
    Plan {
        run_tag: RUN,
        spans_per_trace: 10,
        lease: Some(Lease { milliseconds: 60_000 }),
        role: Some(role),
        ..Plan::default()
    }
}

fn emit_plan(endpoint: String, seconds: u64) -> Plan {
    plan(Role::Emit(EmitPlan {
        stream: 3,
        profile: vec![Segment { duration_ms: 0, shape: Some(Shape::Constant(2_000.0)) }],
        spans_per_request: 50,
        payload_bytes: 64,
        duration_ms: seconds * 1_000,
        endpoint,
        ..EmitPlan::default()
    }))
}

fn all(kind: Kind) -> Behaviours {
    Behaviours { behaviours: vec![Behaviour { kind: Some(kind), ..Behaviour::default() }] }
}

async fn serve(sink: Arc<Sink>, listener: TcpListener) {
    sink.serve(listener, None, std::future::pending()).await.unwrap();
}

async fn stop(probe: &impl Probe) -> Status {
    probe.stop(Request::new(StopRequest { drain_ms: 10_000 })).await.unwrap().into_inner()
}

fn account(dir: &Path) -> (EmitterLedger, Account) {
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let emitted = log::decode::<EmitterRecord>(&read("emit.ledger")).unwrap().records;
    let arrived = log::decode::<SinkRecord>(&read("sink.ledger")).unwrap().records;
    let emitter = EmitterLedger::from_records(&emitted).unwrap();
    let account = Account::of(std::slice::from_ref(&emitter), &[SinkLedger::from_records(&arrived).unwrap()]);
    (emitter, account)
}

/// Everything acknowledged arrives once; requests offered before the sink was ready are retried.
#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let emit_dir = tempfile::tempdir().unwrap();
    let (emitter, sink) = (Emitter::open(emit_dir.path()).unwrap(), Sink::open(dir.path()).unwrap());

    emitter.start(Request::new(emit_plan(endpoint, 2))).await.unwrap();
    tokio::spawn(serve(Arc::clone(&sink), listener));
    // Without a plan the sink answers UNAVAILABLE, and the emitter retries.
    tokio::time::sleep(Duration::from_millis(300)).await;
    sink.start(Request::new(plan(Role::Sink(SinkPlan::default())))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_900)).await;

    let emitted = stop(&*emitter).await;
    assert_eq!(emitted.state(), State::Sealed, "{emitted:?}");
    let arrived = stop(&*sink).await;
    assert_eq!(arrived.state(), State::Sealed, "{arrived:?}");

    std::fs::copy(emit_dir.path().join("emit.ledger"), dir.path().join("emit.ledger")).unwrap();
    let (emitter, account) = account(dir.path());
    let counts = account.counts;
    assert!(counts.acknowledged >= 3_900, "{counts:?}");
    assert_eq!((counts.lost, counts.unexpected, counts.unknown), (0, 0, 0), "{counts:?}");
    assert_eq!(counts.attempted, counts.delivered, "{counts:?}");
    assert!(!emitter.resent().is_empty(), "the first requests had no sink");
    assert!(emitter.seal().unwrap().complete);
    assert!(emitter.emitted_at(0).is_some());
}

/// The control: the lost set is the forgotten set.
#[tokio::test(flavor = "multi_thread")]
async fn spans_that_the_sink_forgets_are_lost() {
    let (dir, emit_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (emitter, sink) = (Emitter::open(emit_dir.path()).unwrap(), Sink::open(dir.path()).unwrap());
    let behaviours = Some(all(Kind::Forget(Forget { one_in: 100 })));
    sink.start(Request::new(plan(Role::Sink(SinkPlan { behaviours, seed: 11, ..SinkPlan::default() }))))
        .await
        .unwrap();
    tokio::spawn(serve(Arc::clone(&sink), listener));
    emitter.start(Request::new(emit_plan(endpoint, 1))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    stop(&*emitter).await;
    stop(&*sink).await;

    std::fs::copy(emit_dir.path().join("emit.ledger"), dir.path().join("emit.ledger")).unwrap();
    let (emitter, account) = account(dir.path());
    let identity = spanproof_ledger::Identity::new(RUN, 10, 1);
    let forgotten = (0..emitter.seal().unwrap().next).filter(|seq| {
        let id = identity.span_id(spanproof_ledger::SpanIdentity { stream: 3, seq: *seq });
        spanproof_ledger::is_selected(11, id, 100)
    });
    let forgotten: spanproof_ledger::RangeSet = forgotten.collect();
    assert!(!forgotten.is_empty());
    assert_eq!(account.streams[&3].lost, forgotten);
}

/// Refused spans are in the sink's ledger, and are retried; a change of rate takes effect at once.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_recorded_and_a_rate_can_change() {
    let (dir, emit_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (emitter, sink) = (Emitter::open(emit_dir.path()).unwrap(), Sink::open(dir.path()).unwrap());
    let change = |change| Request::new(ChangeRequest { change: Some(change) });
    let refuse = |code| change(Change::Behaviours(all(Kind::Refuse(Refuse { code, ..Refuse::default() }))));
    assert!(sink.change(refuse(14)).await.is_err(), "there is no plan yet");
    sink.start(Request::new(plan(Role::Sink(SinkPlan::default())))).await.unwrap();
    assert!(sink.change(change(Change::SpansPerSecond(1.0))).await.is_err(), "a sink has no rate");
    sink.change(refuse(14)).await.unwrap();
    tokio::spawn(serve(Arc::clone(&sink), listener));
    emitter.start(Request::new(emit_plan(endpoint, 60))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = sink.renew(Request::new(Lease::default())).await.unwrap().into_inner().sink.unwrap();
    assert!(status.refused_requests > 0 && status.delivered == 0, "{status:?}");
    let faster = emitter.change(change(Change::SpansPerSecond(20_000.0))).await.unwrap().into_inner();
    sink.change(change(Change::Behaviours(Behaviours::default()))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let emitted = stop(&*emitter).await.emit.unwrap().emitted - faster.emit.unwrap().emitted;
    assert!(emitted > 5_000, "{emitted} in half a second, at 20,000/s");
    stop(&*sink).await;

    std::fs::copy(emit_dir.path().join("emit.ledger"), dir.path().join("emit.ledger")).unwrap();
    let (_, account) = account(dir.path());
    assert_eq!(account.counts.lost, 0, "{:?}", account.counts);
    assert!(account.streams[&3].refused[&14].contains(0), "{:?}", account.streams[&3].refused);
}

/// An emitter whose lease expires stops by itself, and its load is not complete.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_lease_ends_the_load() {
    let dir = tempfile::tempdir().unwrap();
    let emitter = Emitter::open(dir.path()).unwrap();
    let mut plan = emit_plan("http://127.0.0.1:9".to_owned(), 3_600);
    plan.lease = Some(Lease { milliseconds: 200 });
    emitter.start(Request::new(plan)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let status = emitter.renew(Request::new(Lease { milliseconds: 1_000 })).await.unwrap().into_inner();
    assert_eq!(status.state(), State::Draining, "{status:?}");
}

/// A killed emitter continues after its reserved numbers; its requests in flight are unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_incarnation_never_uses_a_number_twice() {
    let dir = tempfile::tempdir().unwrap();
    let first = Emitter::open(dir.path()).unwrap();
    first.start(Request::new(emit_plan("http://127.0.0.1:9".to_owned(), 3_600))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The files as a kill would leave them.
    let after = tempfile::tempdir().unwrap();
    for name in ["plan", "emit.ledger"] {
        std::fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    let second = Emitter::open(after.path()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let records =
        log::decode::<EmitterRecord>(&std::fs::read(after.path().join("emit.ledger")).unwrap()).unwrap();
    let ledger = EmitterLedger::from_records(&records.records).unwrap();
    assert_eq!(ledger.incarnations(), 2);
    let blocks: Vec<_> = records
        .records
        .iter()
        .filter_map(|record| match record {
            EmitterRecord::Reserved { range } => Some(*range),
            _ => None,
        })
        .collect();
    assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start), "{blocks:?}");
    assert_eq!(ledger.unknown(), *ledger.reserved(), "nothing was ever acknowledged");
    drop(second);
}
