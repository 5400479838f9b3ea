//! What is done to requests.

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

/// Sends these numbers in a task of its own.
fn send(
    client: &TraceServiceClient<Channel>,
    numbers: std::ops::Range<u64>,
) -> JoinHandle<Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status>> {
    let mut client = client.clone();
    tokio::spawn(async move { client.export(request(numbers)).await })
}

/// `google.rpc.Status` with one `RetryInfo`, as far as these tests read it.
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
async fn every_code_is_told_and_is_on_the_books() {
    let served = Served::new().await;
    let mut client = served.client().await;
    for code in 1..=16 {
        served.does(refuse(Code::from(code), None)).await;
        let refused = client.export(request(0..5)).await.unwrap_err();
        assert_eq!(refused.code(), Code::from(code));
        assert!(refused.details().is_empty());
    }
    assert_eq!(served.status().await.misbehaved, 16);
    served.told(vec![]).await;
    client.export(request(5..7)).await.unwrap();
    let ledger = served.books().await;
    assert!((1..=16).all(|code| refused(&ledger, code) == set(0, 5)));
    assert_eq!(delivered(&ledger), set(5, 7));
    assert_eq!(ledger.refused_requests(), 16);
}

#[tokio::test]
async fn when_to_try_again_is_told() {
    let served = Served::new().await;
    served.does(refuse(Code::ResourceExhausted, Some(2_500))).await;
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
async fn a_reset_stream_is_internal_to_the_client_and_in_the_books() {
    let served = Served::new().await;
    let mut client = served.client().await;
    served.does(Kind::ResetStreams(Empty {})).await;
    assert_eq!(client.export(request(0..5)).await.unwrap_err().code(), Code::Internal);
    served.told(vec![]).await;
    client.export(request(5..6)).await.expect("the connection lives on");
    let ledger = served.books().await;
    assert_eq!((refused(&ledger, 13), delivered(&ledger)), (set(0, 5), set(5, 6)));
}

#[tokio::test]
async fn a_slow_sink_takes_after_the_pause_and_not_if_the_client_gave_up() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let slow =
        |pause, take_first| Kind::Slow(Slow { min_ms: pause, max_ms: pause, mean_ms: 0.0, take_first });
    served.does(slow(150, false)).await;
    let begun = Instant::now();
    client.export(request(0..5)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());

    served.does(slow(60_000, false)).await;
    let waiting = send(&client, 5..9);
    eventually("it waits", async || served.status().await.misbehaved == 2).await;
    waiting.abort();
    eventually("it is refused", async || served.status().await.refused_requests == 1).await;

    served.does(slow(60_000, true)).await;
    let waiting = send(&client, 20..22);
    eventually("it is taken", async || served.status().await.delivered == 7).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    let ledger = served.books().await;
    assert_eq!(refused(&ledger, UNANSWERED), set(5, 9));
    let taken: RangeSet = [Range::new(0, 5), Range::new(20, 22)].into_iter().collect();
    assert_eq!(delivered(&ledger), taken, "what is taken first is taken");
}

#[tokio::test]
async fn a_hanging_sink_never_answers_until_it_is_told_otherwise() {
    let served = Served::new().await;
    let mut client = served.client().await;
    served.does(Kind::Hang(Empty {})).await;
    let given_up = send(&client, 0..5);
    let hanging = send(&client, 5..7);
    eventually("both hang", async || served.status().await.refused_requests == 2).await;
    assert!(!given_up.is_finished() && !hanging.is_finished());
    given_up.abort();
    served.told(vec![]).await;
    assert_eq!(hanging.await.unwrap().unwrap_err().code(), Code::Unavailable);

    // A window ends by itself, and what hangs with it.
    let kind = Some(Kind::Hang(Empty {}));
    served.told(vec![Behaviour { kind, window_ms: 300, ..Behaviour::default() }]).await;
    assert_eq!(client.export(request(7..8)).await.unwrap_err().code(), Code::Unavailable);
    client.export(request(8..9)).await.unwrap();
    let ledger = served.books().await;
    assert_eq!((refused(&ledger, UNANSWERED), delivered(&ledger)), (set(0, 8), set(8, 9)));
}

#[tokio::test]
async fn a_partial_success_says_how_many_and_keeps_which() {
    let served = Served::new().await;
    served.does(Kind::Partial(Partial { one_in: 4 })).await;
    let answer = served.client().await.export(request(0..400)).await.unwrap().into_inner();
    let ledger = served.books().await;
    let id = |seq| identity().span_id(SpanIdentity { stream: STREAM, seq });
    let chosen: RangeSet = (0..400).filter(|seq| is_selected(SEED, id(*seq), 4)).collect();
    assert!((50..150).contains(&chosen.count()), "{chosen}");
    assert_eq!(answer.partial_success.unwrap().rejected_spans, chosen.count().cast_signed());
    assert_eq!(refused(&ledger, PARTIAL), chosen);
    assert_eq!(delivered(&ledger), set(0, 400).difference(&chosen));
}

#[tokio::test]
async fn what_is_forgotten_is_acknowledged_and_nowhere_in_the_books() {
    let served = Served::new().await;
    served.does(Kind::Forget(Forget { one_in: 4 })).await;
    let answer = served.client().await.export(request(0..400)).await.unwrap().into_inner();
    assert!(answer.partial_success.is_none());
    assert_eq!(served.status().await.misbehaved, 1);
    let ledger = served.books().await;
    assert!((250..350).contains(&ledger.delivered_count()), "{}", ledger.delivered_count());
    assert_eq!(ledger.refused_requests(), 0);
}

#[tokio::test]
async fn what_is_over_the_limit_is_refused_for_good_though_it_came_packed() {
    let served = Served::new().await;
    let mut client = served.client().await.send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let mut large = request(0..1);
    large.resource_spans[0].schema_url = "a".repeat(5_000);
    served.does(Kind::ReceiveLimit(4_000)).await;
    let refusal = client.export(large.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    let expected = format!("grpc: received message larger than max ({} vs. 4000)", large.encoded_len());
    assert_eq!((refusal.message(), refusal.details().len()), (&*expected, 0));
    client.export(request(1..2)).await.unwrap();
    let ledger = served.books().await;
    assert_eq!((refused(&ledger, 8), delivered(&ledger)), (set(0, 1), set(1, 2)));
}

#[tokio::test]
async fn a_share_of_the_requests_is_hit() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let kind = Some(refuse(Code::Unavailable, None));
    served.told(vec![Behaviour { kind, per_million: 500_000, ..Behaviour::default() }]).await;
    let mut refusals = 0;
    for seq in 0..200 {
        refusals += u64::from(client.export(request(seq..seq + 1)).await.is_err());
    }
    assert!((60..140).contains(&refusals), "{refusals} of 200");
    assert_eq!(served.status().await.misbehaved, refusals);
    let ledger = served.books().await;
    assert_eq!(refused(&ledger, 14).count(), refusals);
    assert_eq!(refused(&ledger, 14), set(0, 200).difference(&delivered(&ledger)));
}

#[tokio::test]
async fn nonsense_is_refused_and_changes_nothing() {
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

/// A process that takes over behaves as the one before it, counts on, and is the same sink.
#[tokio::test]
async fn behaviour_and_books_outlive_the_process() {
    let served = Served::new().await;
    served.client().await.export(request(0..5)).await.unwrap();
    let kind = Some(refuse(Code::Aborted, None));
    served.told(vec![Behaviour { kind, window_ms: 1_500, ..Behaviour::default() }]).await;
    served.client().await.export(request(5..6)).await.unwrap_err();
    let dir = served.gone().await;
    let before = books(dir.path());

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

    let ledger = served.books().await;
    assert_eq!((ledger.incarnations(), ledger.source()), (2, before.source()));
    assert_ne!(ledger.source(), 0);
    assert!(delivered(&ledger).contains(0) && delivered(&ledger).contains(7));
    let after = client.export(request(8..9)).await.unwrap_err();
    assert_eq!((after.code(), after.message()), (Code::Unavailable, "the sink is sealed: the run is over"));
}
