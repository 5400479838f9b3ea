//! Behaviours that apply to requests.

use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use spanproof_ledger::{PARTIAL, UNANSWERED, is_selected};
use spanproof_probe::control::{Empty, Forget, Partial, Refuse, Slow};
use std::time::Instant;
use tokio::task::JoinHandle;
use tonic::Code;

fn refuse(code: Code, retry_after_ms: Option<u64>) -> Kind {
    Kind::Refuse(Refuse { code: i32::from(code).cast_unsigned(), retry_after_ms })
}

/// Sends a request with these numbers in a task of its own.
fn send(
    client: &TraceServiceClient<Channel>,
    numbers: std::ops::Range<u64>,
) -> JoinHandle<Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status>> {
    let mut client = client.clone();
    tokio::spawn(async move { client.export(request(numbers)).await })
}

/// The part of `google.rpc.Status` that these tests read.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[tokio::test]
async fn every_code_is_answered_and_recorded() {
    let served = Served::new().await;
    let mut client = served.client().await;
    for code in 1..=16 {
        served.behave(refuse(Code::from(code), None)).await;
        let refused = client.export(request(0..5)).await.unwrap_err();
        assert_eq!(refused.code(), Code::from(code));
        assert!(refused.details().is_empty());
    }
    assert_eq!(served.status().await.misbehaved, 16);
    served.change(vec![]).await;
    client.export(request(5..7)).await.unwrap();
    let ledger = served.end_and_read().await;
    assert!((1..=16).all(|code| refused(&ledger, code) == set(0, 5)));
    assert_eq!(delivered(&ledger), set(5, 7));
    assert_eq!(ledger.refused_requests(), 16);
}

#[tokio::test]
async fn the_pause_before_a_retry_is_sent() {
    let served = Served::new().await;
    served.behave(refuse(Code::ResourceExhausted, Some(2_500))).await;
    let refused = served.client().await.export(request(0..5)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = Details::decode(refused.details()).unwrap();
    assert_eq!(
        (details.code, &*details.details[0].type_url),
        (8, "type.googleapis.com/google.rpc.RetryInfo")
    );
    let delay = RetryInfo::decode(&*details.details[0].value).unwrap().delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (2, 500_000_000));
}

#[tokio::test]
async fn a_reset_stream_is_internal_to_the_client_and_in_the_ledger() {
    let served = Served::new().await;
    let mut client = served.client().await;
    served.behave(Kind::ResetStreams(Empty {})).await;
    assert_eq!(client.export(request(0..5)).await.unwrap_err().code(), Code::Internal);
    served.change(vec![]).await;
    client.export(request(5..6)).await.expect("the connection lives on");
    let ledger = served.end_and_read().await;
    assert_eq!((refused(&ledger, 13), delivered(&ledger)), (set(0, 5), set(5, 6)));
}

#[tokio::test]
async fn a_slow_sink_accepts_after_the_pause_unless_the_client_gave_up() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let slow =
        |pause, take_first| Kind::Slow(Slow { min_ms: pause, max_ms: pause, mean_ms: 0.0, take_first });
    served.behave(slow(150, false)).await;
    let begun = Instant::now();
    client.export(request(0..5)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());

    served.behave(slow(60_000, false)).await;
    let waiting = send(&client, 5..9);
    eventually("it waits", async || served.status().await.misbehaved == 2).await;
    waiting.abort();
    eventually("it is refused", async || served.status().await.refused_requests == 1).await;

    served.behave(slow(60_000, true)).await;
    let waiting = send(&client, 20..22);
    eventually("it is taken", async || served.status().await.delivered == 7).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    let ledger = served.end_and_read().await;
    assert_eq!(refused(&ledger, UNANSWERED), set(5, 9));
    let taken: RangeSet = [Range::new(0, 5), Range::new(20, 22)].into_iter().collect();
    assert_eq!(delivered(&ledger), taken, "what is taken first is taken");
}

#[tokio::test]
async fn a_hanging_sink_does_not_answer_until_its_behaviour_changes() {
    let served = Served::new().await;
    let mut client = served.client().await;
    served.behave(Kind::Hang(Empty {})).await;
    let given_up = send(&client, 0..5);
    let hanging = send(&client, 5..7);
    eventually("both hang", async || served.status().await.refused_requests == 2).await;
    assert!(!given_up.is_finished() && !hanging.is_finished());
    given_up.abort();
    served.change(vec![]).await;
    assert_eq!(hanging.await.unwrap().unwrap_err().code(), Code::Unavailable);

    // A window ends by itself, and what hangs with it.
    let kind = Some(Kind::Hang(Empty {}));
    served.change(vec![Behaviour { kind, window_ms: 300, ..Behaviour::default() }]).await;
    assert_eq!(client.export(request(7..8)).await.unwrap_err().code(), Code::Unavailable);
    client.export(request(8..9)).await.unwrap();
    let ledger = served.end_and_read().await;
    assert_eq!((refused(&ledger, UNANSWERED), delivered(&ledger)), (set(0, 8), set(8, 9)));
}

#[tokio::test]
async fn a_partial_success_is_counted_and_its_numbers_are_recorded() {
    let served = Served::new().await;
    served.behave(Kind::Partial(Partial { one_in: 4 })).await;
    let answer = served.client().await.export(request(0..400)).await.unwrap().into_inner();
    let ledger = served.end_and_read().await;
    let id = |seq| identity().span_id(SpanIdentity { stream: STREAM, seq });
    let chosen: RangeSet = (0..400).filter(|seq| is_selected(SEED, id(*seq), 4)).collect();
    assert!((50..150).contains(&chosen.count()), "{chosen}");
    assert_eq!(answer.partial_success.unwrap().rejected_spans, chosen.count().cast_signed());
    assert_eq!(refused(&ledger, PARTIAL), chosen);
    assert_eq!(delivered(&ledger), set(0, 400).difference(&chosen));
}

#[tokio::test]
async fn forgotten_spans_are_acknowledged_and_not_recorded() {
    let served = Served::new().await;
    served.behave(Kind::Forget(Forget { one_in: 4 })).await;
    let answer = served.client().await.export(request(0..400)).await.unwrap().into_inner();
    assert!(answer.partial_success.is_none());
    assert_eq!(served.status().await.misbehaved, 1);
    let ledger = served.end_and_read().await;
    assert!((250..350).contains(&ledger.delivered_count()), "{}", ledger.delivered_count());
    assert_eq!(ledger.refused_requests(), 0);
}

#[tokio::test]
async fn a_compressed_request_over_the_limit_is_refused_permanently() {
    let served = Served::new().await;
    let mut client = served.client().await.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let mut large = request(0..1);
    large.resource_spans[0].schema_url = "a".repeat(5_000);
    served.behave(Kind::ReceiveLimit(4_000)).await;
    let refusal = client.export(large.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    let expected = format!("grpc: received message larger than max ({} vs. 4000)", large.encoded_len());
    assert_eq!((refusal.message(), refusal.details().len()), (&*expected, 0));
    client.export(request(1..2)).await.unwrap();
    let ledger = served.end_and_read().await;
    assert_eq!((refused(&ledger, 8), delivered(&ledger)), (set(0, 1), set(1, 2)));
}

#[tokio::test]
async fn a_share_of_the_requests_is_selected() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let kind = Some(refuse(Code::Unavailable, None));
    served.change(vec![Behaviour { kind, per_million: 500_000, ..Behaviour::default() }]).await;
    let mut refusals = 0;
    for seq in 0..200 {
        refusals += u64::from(client.export(request(seq..seq + 1)).await.is_err());
    }
    assert!((60..140).contains(&refusals), "{refusals} of 200");
    assert_eq!(served.status().await.misbehaved, refusals);
    let ledger = served.end_and_read().await;
    assert_eq!(refused(&ledger, 14).count(), refusals);
    assert_eq!(refused(&ledger, 14), set(0, 200).difference(&delivered(&ledger)));
}

#[tokio::test]
async fn an_invalid_behaviour_is_refused_and_changes_nothing() {
    let served = Served::new().await;
    let kind = Some(Kind::Partial(Partial { one_in: 0 }));
    let behaviours = Behaviours { behaviours: vec![Behaviour { kind, ..Behaviour::default() }] };
    let change = ChangeRequest { change: Some(Change::Behaviours(behaviours.clone())) };
    assert_eq!(served.sink.change(Request::new(change)).await.unwrap_err().code(), Code::InvalidArgument);
    served.client().await.export(request(0..5)).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let idle = Sink::open(dir.path()).unwrap();
    let role = Role::Sink(SinkPlan { behaviours: Some(behaviours), ..SinkPlan::default() });
    let refused = idle.start(Request::new(Plan { role: Some(role), ..plan() })).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    drop(idle);
    Sink::open(dir.path()).expect("a plan that was refused is not kept");
}

/// A process that continues after another has its behaviour, its counts and its ID.
#[tokio::test]
async fn behaviour_and_ledger_survive_the_process() {
    let served = Served::new().await;
    served.client().await.export(request(0..5)).await.unwrap();
    let kind = Some(refuse(Code::Aborted, None));
    served.change(vec![Behaviour { kind, window_ms: 1_500, ..Behaviour::default() }]).await;
    served.client().await.export(request(5..6)).await.unwrap_err();
    let dir = served.gone().await;
    let before = read_ledger(dir.path());

    let again = Sink::open(dir.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(Arc::clone(&again).serve(listener, None, pending())).abort_handle();
    let served = Served { sink: again, address, dir, serving };
    let mut client = served.client().await;
    assert_eq!(client.export(request(6..7)).await.unwrap_err().code(), Code::Aborted);
    eventually("the window ends", async || client.export(request(7..8)).await.is_ok()).await;
    served.sink.start(Request::new(plan())).await.expect("the same plan changes nothing");
    let other = Plan { run_tag: 1, ..plan() };
    assert_eq!(served.sink.start(Request::new(other)).await.unwrap_err().code(), Code::FailedPrecondition);

    let ledger = served.end_and_read().await;
    assert_eq!((ledger.incarnations(), ledger.source()), (2, before.source()));
    assert_ne!(ledger.source(), 0);
    assert!(delivered(&ledger).contains(0) && delivered(&ledger).contains(7));
    let after = client.export(request(8..9)).await.unwrap_err();
    assert_eq!((after.code(), after.message()), (Code::Unavailable, "the sink is sealed: the run is over"));
}
