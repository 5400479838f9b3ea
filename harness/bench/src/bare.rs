//! The lower bound of the cost: HTTP/2 with requests of the same size, whose content is neither made nor read.

use crate::BenchError;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, client, server, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// The answer of gRPC to an accepted request: an empty frame.
const ANSWER: &[u8] = &[0; 5];
/// The requests in flight, as many as the emitter's.
const IN_FLIGHT: usize = 24;
/// The size of HTTP/2's windows, so large that no request waits for them.
const WINDOW: u32 = 8 << 20;
const FRAME: u32 = 1 << 20;

fn wrong(error: impl std::fmt::Display) -> BenchError {
    BenchError::Bare(error.to_string())
}

/// Answers every request after it has arrived completely.
pub(crate) async fn serve(port: u16) -> Result<(), BenchError> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(wrong)?;
    answer(listener, |_| {}).await
}

/// The size in bytes of the first request's content.
pub(crate) async fn first_request(listener: TcpListener) -> Result<usize, BenchError> {
    let (sizes, mut size) = mpsc::unbounded_channel();
    tokio::select! {
        failed = answer(listener, move |bytes| _ = sizes.send(bytes)) => failed.map(|()| 0),
        bytes = size.recv() => bytes.ok_or_else(|| wrong("no request came")),
    }
}

async fn answer(
    listener: TcpListener,
    arrived: impl Fn(usize) + Clone + Send + Sync + 'static,
) -> Result<(), BenchError> {
    loop {
        let (stream, _) = listener.accept().await.map_err(wrong)?;
        stream.set_nodelay(true).map_err(wrong)?;
        let arrived = arrived.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let arrived = arrived.clone();
            async move {
                let mut bytes = 0;
                while let Some(Ok(frame)) = request.body_mut().frame().await {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                }
                arrived(bytes);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(ANSWER))))
            }
        });
        tokio::spawn(async move {
            let mut http = server::conn::http2::Builder::new(TokioExecutor::new());
            http.initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_frame_size(FRAME);
            // Errors of a connection are reported by the client.
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// Sends requests of this size without end, and writes the number of answers to a file.
pub(crate) async fn send(port: u16, bytes: usize, count: &Path) -> Result<(), BenchError> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(wrong)?;
    stream.set_nodelay(true).map_err(wrong)?;
    let mut http = client::conn::http2::Builder::new(TokioExecutor::new());
    http.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW).max_frame_size(FRAME);
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let ended = tokio::spawn(connection);
    let answered = Arc::new(AtomicU64::new(0));
    let content = Bytes::from(vec![b'x'; bytes]);
    for _ in 0..IN_FLIGHT {
        let (mut sender, content, answered) = (sender.clone(), content.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            loop {
                let mut request = Request::new(Full::new(content.clone()));
                *request.method_mut() = hyper::Method::POST;
                *request.uri_mut() = hyper::Uri::from_static("http://127.0.0.1/");
                let Ok(answer) = sender.send_request(request).await else { return };
                if answer.into_body().collect().await.is_err() {
                    return;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let writing_count = async {
        loop {
            // Replaced atomically, because it may be read at any time.
            let new = count.with_extension("new");
            std::fs::write(&new, answered.load(Ordering::Relaxed).to_string()).map_err(wrong)?;
            std::fs::rename(&new, count).map_err(wrong)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        failed = writing_count => failed,
        ended = ended => Err(wrong(format!("the connection ended: {ended:?}"))),
    }
}
