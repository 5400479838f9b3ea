//! Valid and invalid requests, in both protocols.

use super::*;
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use proptest::prelude::*;
use prost::Message;
use spanproof_probe::control::{Partial, Refuse};
use std::io::Write;
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

type Headers<'a> = &'a [(&'a str, &'a str)];
/// Method and path.
type Target<'a> = (&'a str, &'a str);

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    trailers: http::HeaderMap,
    body: Bytes,
    /// `true` if the answer ended with its head.
    ended: bool,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let header = self.headers.get(name).or_else(|| self.trailers.get(name));
        header.map_or("", |value| value.to_str().unwrap())
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn framed(flag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

async fn ask(
    address: SocketAddr,
    http2: bool,
    (method, path): Target<'_>,
    headers: Headers<'_>,
    body: Vec<u8>,
) -> Answer {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let uri = format!("http://{address}{path}");
    let mut request = http::Request::builder().method(method).uri(uri).header("host", "sink");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answer = if http2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let ended = answer.body().is_end_stream();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Answer { status: head.status.as_u16(), headers: head.headers, trailers, body: body.to_bytes(), ended }
}

async fn post(served: &Served, headers: Headers<'_>, body: Vec<u8>) -> Answer {
    ask(served.address, false, ("POST", "/v1/traces"), headers, body).await
}

async fn grpc(served: &Served, headers: Headers<'_>, body: Vec<u8>) -> Answer {
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    ask(served.address, true, ("POST", EXPORT), &headers, body).await
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn both_protocols_are_accepted_plain_and_compressed() {
    let served = Served::new().await;
    let mut client = served.client().await;
    client.export(request(0..10)).await.unwrap();
    client.clone().send_compressed(CompressionEncoding::Gzip).export(request(10..20)).await.unwrap();
    let plain = post(&served, &[PROTOBUF], request(20..30).encode_to_vec()).await;
    assert_eq!((plain.status, plain.header("content-type")), (200, "application/x-protobuf"));
    assert_eq!(
        ExportTraceServiceResponse::decode(plain.body).unwrap(),
        ExportTraceServiceResponse::default()
    );
    let body = packed(&request(30..40).encode_to_vec());
    let gzip = post(&served, &[PROTOBUF, ("content-encoding", "gzip")], body).await;
    assert_eq!(gzip.status, 200);
    // Over HTTP/2, too.
    let body = request(40..50).encode_to_vec();
    assert_eq!(ask(served.address, true, ("POST", "/v1/traces"), &[PROTOBUF], body).await.status, 200);
    // Larger than a frame and than a window of HTTP/2.
    let mut large = request(50..60);
    large.resource_spans[0].schema_url = "a".repeat(20 << 20);
    client.export(large).await.unwrap();
    assert_eq!(delivered(&served.end_and_read().await), set(0, 60));
}

#[tokio::test]
async fn the_gateway_is_its_header_or_its_address() {
    let served = Served::new().await;
    let mut client = served.client().await;
    client.export(request(0..1)).await.unwrap();
    let mut named = Request::new(request(1..3));
    named.metadata_mut().insert("x-spanproof-gateway", "gateway-7".parse().unwrap());
    client.export(named).await.unwrap();
    let headers = [PROTOBUF, ("x-spanproof-gateway", "gateway-8")];
    post(&served, &headers, request(3..6).encode_to_vec()).await;
    let ledger = served.end_and_read().await;
    let mut by_gateway: Vec<_> = ledger.by_second().map(|(_, _, gateway, spans)| (gateway, spans)).collect();
    by_gateway.sort_unstable();
    assert_eq!(by_gateway, [("127.0.0.1", 1), ("gateway-7", 2), ("gateway-8", 3)]);
}

#[tokio::test]
async fn behaviours_apply_to_http_as_to_grpc() {
    let served = Served::new().await;
    let body = || request(0..8).encode_to_vec();
    for (code, status) in [(14, 503), (8, 429), (4, 504), (10, 502), (3, 400), (13, 500)] {
        served.behave(Kind::Refuse(Refuse { code, retry_after_ms: Some(1_200) })).await;
        let answer = post(&served, &[PROTOBUF], body()).await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, "2"), "code {code}");
        assert_eq!(answer.body[..2], [8, u8::try_from(code).unwrap()], "google.rpc.Status with the code");
    }
    served.behave(Kind::ReceiveLimit(10)).await;
    assert_eq!(post(&served, &[PROTOBUF], body()).await.status, 413);
    served.behave(Kind::Partial(Partial { one_in: 1 })).await;
    let partial = ExportTraceServiceResponse::decode(post(&served, &[PROTOBUF], body()).await.body).unwrap();
    assert_eq!(partial.partial_success.unwrap().rejected_spans, 8);
    assert_eq!(served.end_and_read().await.delivered_count(), 0);
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let served = Served::new().await;
    let good = request(0..5).encode_to_vec();
    let broken = &good[..good.len() - 1];
    let bomb = packed(&vec![0; 65 << 20]);

    let http: [(u16, Target<'_>, Headers<'_>, Vec<u8>); 10] = [
        (400, ("POST", "/v1/traces"), &[PROTOBUF], broken.to_vec()),
        (400, ("POST", "/v1/traces"), &[PROTOBUF, ("content-encoding", "gzip")], good.clone()),
        (413, ("POST", "/v1/traces"), &[PROTOBUF, ("content-encoding", "gzip")], bomb.clone()),
        (415, ("POST", "/v1/traces"), &[PROTOBUF, ("content-encoding", "zstd")], good.clone()),
        (415, ("POST", "/v1/traces"), &[("content-type", "application/json")], b"{}".to_vec()),
        (415, ("POST", "/v1/traces"), &[], good.clone()),
        (405, ("GET", "/v1/traces"), &[], vec![]),
        (404, ("POST", "/v1/metrics"), &[PROTOBUF], good.clone()),
        (415, ("POST", EXPORT), &[PROTOBUF], good.clone()),
        (505, ("POST", EXPORT), &[("content-type", "application/grpc")], framed(0, &good)),
    ];
    for (status, target, headers, body) in http {
        let answer = ask(served.address, false, target, headers, body).await;
        assert_eq!(answer.status, status, "{target:?} {headers:?}");
        assert!(!answer.body.is_empty(), "it says why");
    }

    let gzip = ("grpc-encoding", "gzip");
    let grpc_cases: [(&str, Headers<'_>, Vec<u8>); 10] = [
        ("3", &[], framed(0, broken)),
        ("3", &[], vec![]),
        ("3", &[], vec![0, 0]),
        ("3", &[], framed(7, &good)),
        ("3", &[], framed(0, &good)[..20].to_vec()),
        ("3", &[], framed(0, &good).repeat(2)),
        ("3", &[], framed(1, &packed(&good))),
        ("3", &[gzip], framed(1, &good)),
        ("8", &[gzip], framed(1, &bomb)),
        ("12", &[("grpc-encoding", "snappy")], framed(1, &good)),
    ];
    for (code, headers, body) in grpc_cases {
        let start: Vec<u8> = body.iter().take(8).copied().collect();
        let answer = grpc(&served, headers, body).await;
        assert_eq!((answer.status, answer.header("grpc-status")), (200, code), "{headers:?} {start:?}");
        assert!(!answer.header("grpc-message").is_empty(), "it says why");
        // Unlike tonic, grpc-go accepts a status in the head only if nothing follows.
        assert!(answer.ended, "{headers:?} {start:?}");
    }
    let unknown = ("POST", "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    let headers = [("content-type", "application/grpc+proto")];
    let answer = ask(served.address, true, unknown, &headers, framed(0, &good)).await;
    assert_eq!(answer.header("grpc-status"), "12");

    served.client().await.export(request(7..9)).await.expect("it goes on");
    let ledger = served.end_and_read().await;
    assert_eq!((delivered(&ledger), ledger.refused_requests()), (set(7, 9), 0));
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_while_it_is_received() {
    let served = Served::new().await;
    let answer = post(&served, &[PROTOBUF], vec![0; (64 << 20) + 100]).await;
    assert_eq!(answer.status, 413);
    let answer = grpc(&served, &[], framed(0, &vec![0; (64 << 20) + 100])).await;
    assert_eq!(answer.header("grpc-status"), "8");
    served.client().await.export(request(0..1)).await.unwrap();
}

#[tokio::test]
async fn a_sink_without_a_plan_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::open(dir.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(Arc::clone(&sink).serve(listener, None, pending())).abort_handle();
    let served = Served { sink, address, dir, serving };
    let refused = served.client().await.export(request(0..1)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn foreign_and_damaged_spans_are_counted_apart() {
    let served = Served::new().await;
    let foreign = Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() };
    let damaged = Span { span_id: span(99).span_id, ..span(1) };
    let spans = vec![span(0), foreign.clone(), foreign, damaged];
    served.client().await.export(of_spans(spans)).await.unwrap();
    assert_eq!(served.status().await.unexpected, 3);
    let ledger = served.end_and_read().await;
    assert_eq!((ledger.delivered_count(), ledger.foreign(), ledger.damaged()), (1, 2, 1));
}

proptest! {
    // Each of them takes a sink and a connection.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    /// Any bytes are answered, and the sink continues.
    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, http2: bool, gzip: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let served = Served::new().await;
            let encoding = if gzip { "gzip" } else { "identity" };
            if http2 {
                let answer = grpc(&served, &[("grpc-encoding", encoding)], bytes).await;
                assert!(!answer.header("grpc-status").is_empty());
            } else {
                post(&served, &[PROTOBUF, ("content-encoding", encoding)], bytes).await;
            }
            served.client().await.export(request(0..1)).await.unwrap();
            assert_eq!(delivered(&served.end_and_read().await), set(0, 1));
        });
    }
}
