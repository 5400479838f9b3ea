//! Behaviours that apply to connections.

use super::*;
use prost::Message;
use spanproof_ledger::UNANSWERED;
use spanproof_probe::control::{Empty, Slow};
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Waits for the end of a connection: closed (`Ok`) or an error.
async fn end(stream: &mut TcpStream) -> Result<(), ErrorKind> {
    let mut buffer = [0; 1_024];
    loop {
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap() {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.kind()),
        }
    }
}

/// An HTTP/1.1 connection that the sink has accepted.
async fn connected(served: &Served) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: sink\r\n\r\n").await.unwrap();
    assert!(stream.read(&mut [0; 1_024]).await.unwrap() > 0);
    stream
}

#[tokio::test]
async fn a_port_that_refuses_is_closed_and_opens_again() {
    let served = Served::new().await;
    let mut client = served.client().await;
    client.export(request(0..1)).await.unwrap();
    let mut stream = connected(&served).await;
    served.behave(Kind::RefuseConnections(Empty {})).await;
    assert_eq!(end(&mut stream).await, Ok(()), "what is connected is closed");
    eventually("the port is closed", async || {
        TcpStream::connect(served.address)
            .await
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
    .await;
    assert!(served.status().await.misbehaved >= 3, "the port and two connections");
    client.export(request(1..2)).await.unwrap_err();

    served.change(vec![]).await;
    eventually("the port is open again", async || client.export(request(2..3)).await.is_ok()).await;
    assert!(!delivered(&served.end_and_read().await).contains(1));
}

#[tokio::test]
async fn a_window_of_refusal_ends_by_itself() {
    let served = Served::new().await;
    let kind = Some(Kind::RefuseConnections(Empty {}));
    served.change(vec![Behaviour { kind, window_ms: 400, ..Behaviour::default() }]).await;
    eventually("it is closed", async || TcpStream::connect(served.address).await.is_err()).await;
    eventually("it is open", async || TcpStream::connect(served.address).await.is_ok()).await;
}

#[tokio::test]
async fn present_and_new_connections_are_reset() {
    let served = Served::new().await;
    let mut there = connected(&served).await;
    served.behave(Kind::ResetConnections(Empty {})).await;
    assert_eq!(end(&mut there).await, Err(ErrorKind::ConnectionReset));
    let mut new = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(end(&mut new).await, Err(ErrorKind::ConnectionReset));
    assert_eq!(served.status().await.misbehaved, 2);
    served.change(vec![]).await;
    served.client().await.export(request(0..1)).await.unwrap();
}

#[tokio::test]
async fn a_share_of_the_connections_is_reset() {
    let served = Served::new().await;
    let kind = Some(Kind::ResetConnections(Empty {}));
    served.change(vec![Behaviour { kind, per_million: 500_000, ..Behaviour::default() }]).await;
    let mut resets = 0;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        // A connection may be reset before or after the request.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n").await;
        resets += u64::from(end(&mut stream).await.is_err());
    }
    assert!((25..75).contains(&resets), "{resets} of 100");
    assert_eq!(served.status().await.misbehaved, resets);
}

/// A request that waits to be accepted when its connection is reset is recorded as unanswered.
#[tokio::test]
async fn a_request_waiting_on_a_reset_connection_is_unanswered() {
    let served = Served::new().await;
    served.behave(Kind::Slow(Slow { min_ms: 60_000, max_ms: 60_000, ..Slow::default() })).await;
    let mut client = served.client().await;
    let waiting = tokio::spawn(async move { client.export(request(0..5)).await });
    eventually("it waits", async || served.status().await.misbehaved == 1).await;
    served.behave(Kind::ResetConnections(Empty {})).await;
    waiting.await.unwrap().unwrap_err();
    eventually("it is on the ledger", async || served.status().await.refused_requests == 1).await;
    let ledger = served.end_and_read().await;
    assert_eq!((refused(&ledger, UNANSWERED), ledger.delivered_count()), (set(0, 5), 0));
}

/// Posts spans over HTTP/1.1.
async fn post(served: &Served, numbers: std::ops::Range<u64>) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let body = request(numbers).encode_to_vec();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: sink\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream
}

/// HTTP/1.1 has no streams: in place of a reset the connection is closed. A client that disconnects gives up.
#[tokio::test]
async fn requests_cut_off_over_http_1_are_recorded() {
    let served = Served::new().await;
    served.behave(Kind::ResetStreams(Empty {})).await;
    let mut stream = post(&served, 0..5).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty(), "{answer:?}");

    served.behave(Kind::Slow(Slow { min_ms: 60_000, max_ms: 60_000, ..Slow::default() })).await;
    let stream = post(&served, 5..9).await;
    eventually("it waits", async || served.status().await.misbehaved == 2).await;
    drop(stream);
    eventually("it is refused", async || served.status().await.refused_requests == 2).await;
    let ledger = served.end_and_read().await;
    assert_eq!((refused(&ledger, 13), refused(&ledger, UNANSWERED)), (set(0, 5), set(5, 9)));
    assert_eq!(ledger.delivered_count(), 0);
}
