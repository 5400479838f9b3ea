//! The port of OTLP: it listens, or does not; and it closes or resets connections, as the sink was told.

use super::behaviour::Fate;
use super::{Sink, export, until};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

/// How much a client may send of one request, and of all on a connection, before it is read.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const LARGEST_FRAME: u32 = 1 << 20;
/// How many requests a connection may have open.
const MOST_STREAMS: u32 = 256;
/// A peer that is silent is asked whether it is there, and has so long to say so.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two attempts to listen, or to accept.
const PAUSE: Duration = Duration::from_millis(50);
/// How long requests may take to end when the process does.
const FAREWELL: Duration = Duration::from_secs(5);

/// Takes spans on a port until `end`, then lets the requests end that are there. Refuses and resets
/// connections as the sink is told; the port is the same afterwards.
pub(super) async fn serve(
    sink: Arc<Sink>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    info!(%address, tls = tls.is_some(), "taking spans");
    // Once its sender is gone, the connections end.
    let (open, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = end => {}
        never = accept(&sink, address, listener, tls, &ending, &mut connections) => match never {},
    }
    drop(open);
    let _ = tokio::time::timeout(FAREWELL, connections.join_all()).await;
    Ok(())
}

async fn accept(
    sink: &Arc<Sink>,
    address: SocketAddr,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    ending: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let mut listening = Some(listener);
    let mut conduct = sink.conduct.subscribe();
    loop {
        let now = crate::unix_ms();
        let told = Arc::clone(&conduct.borrow_and_update());
        let change = until(told.changes_unix_ms(now));
        if !told.listens(now) {
            if listening.take().is_some() {
                info!(%address, "not listening, as told");
                sink.misbehaved();
            }
            tokio::select! {
                () = change => {}
                _ = conduct.changed() => {}
            }
            continue;
        }
        let listener = match listening.take() {
            Some(listener) => listener,
            None => listen_again(address).await,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => Some(accepted),
            Some(_) = connections.join_next() => None,
            () = change => None,
            _ = conduct.changed() => None,
        };
        match accepted {
            Some(Ok((stream, peer))) => {
                let connection = Connection {
                    sink: Arc::clone(sink),
                    number: sink.connection_number(),
                    peer,
                    ending: ending.clone(),
                };
                connections.spawn(connection.run(stream, tls.clone()));
            }
            Some(Err(error)) => {
                warn!(%address, "a connection could not be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
            }
            None => {}
        }
        listening = Some(listener);
    }
}

async fn listen_again(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "listening again");
                return listener;
            }
            Err(error) => {
                if !told {
                    warn!(%address, "cannot listen again yet: {error}");
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Connection {
    sink: Arc<Sink>,
    number: u64,
    peer: SocketAddr,
    ending: watch::Receiver<()>,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // A second handle to the socket: the last one to be closed decides how it is closed.
        let (number, conduct) = (self.number, self.sink.conduct.subscribe());
        let sink = Arc::clone(&self.sink);
        let Ok(handle) = stream.as_fd().try_clone_to_owned().map(socket2::Socket::from) else {
            warn!("there are no file handles left: a connection is closed");
            return;
        };
        let mut serving = Box::pin(self.serve(stream, tls));
        let fate = tokio::select! {
            biased;
            fate = fate(conduct, number) => fate,
            () = &mut serving => return,
        };
        sink.misbehaved();
        if fate == Fate::Reset
            && let Err(error) = handle.set_linger(Some(Duration::ZERO))
        {
            warn!("a connection is closed instead of reset: {error}");
        }
        drop(serving); // and then the handle
    }

    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // What does not go at once goes later: a gain in speed, not a need.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.speak(stream).await };
        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => self.sink.malformed.saw(format_args!("TLS with {}: {error}", self.peer)),
            Err(_) => self.sink.malformed.saw(format_args!("TLS with {}: too slow", self.peer)),
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { sink, peer, mut ending, .. } = self;
        let (_open, closed) = watch::channel(());
        let mut builder = auto::Builder::new(Requests { closed });
        builder.http1().timer(TokioTimer::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(LARGEST_FRAME)
            .max_concurrent_streams(MOST_STREAMS)
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1);
        let service = service_fn(|request| export::answer(Arc::clone(&sink), peer.ip(), request));
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        // How a connection ends is the client's affair: what it was not told is sent again.
        tokio::select! {
            _ = &mut connection => return,
            _ = ending.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// What is done to a connection, as soon as it is.
async fn fate(mut conduct: watch::Receiver<Arc<super::behaviour::Conduct>>, number: u64) -> Fate {
    loop {
        let now = crate::unix_ms();
        let told = Arc::clone(&conduct.borrow_and_update());
        if let Some(fate) = told.to_connection(now, number) {
            return fate;
        }
        tokio::select! {
            () = until(told.changes_unix_ms(now)) => {}
            _ = conduct.changed() => {}
        }
    }
}

/// Runs the requests of a connection, no longer than the connection.
#[derive(Clone)]
struct Requests {
    closed: watch::Receiver<()>,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Requests {
    fn execute(&self, request: F) {
        let mut closed = self.closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = request => {}
                _ = closed.changed() => {}
            }
        });
    }
}
