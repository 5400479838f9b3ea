//! The OTLP ports: they accept, close, reset or refuse connections according to the sink's behaviour.

use super::behaviour::ConnectionAction;
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

/// The bytes of one request, and of all requests on a connection, that a client may send before they are read.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
const MAX_FRAME: u32 = 1 << 20;
/// The most open requests on a connection.
const MAX_STREAMS: u32 = 256;
/// The interval of keepalive pings, and the timeout of their answers.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// The timeout of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two attempts to listen or to accept.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The longest wait for open requests at the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Receives spans on a port until `end`, then waits for open requests. A port closed by the sink's behaviour opens
/// again with the same number.
pub(super) async fn serve(
    sink: Arc<Sink>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    info!(%address, tls = tls.is_some(), "receiving spans");
    // Connections end once its sender is dropped.
    let (open, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = end => {}
        never = accept(&sink, address, listener, tls, &ending, &mut connections) => match never {},
    }
    drop(open);
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, connections.join_all()).await;
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
    let mut rules = sink.rules.subscribe();
    loop {
        let now = crate::unix_ms();
        let told = Arc::clone(&rules.borrow_and_update());
        let change = until(told.next_change_unix_ms(now));
        if !told.listens(now) {
            if listening.take().is_some() {
                info!(%address, "port closed, as the behaviour requires");
                sink.misbehaved();
            }
            tokio::select! {
                () = change => {}
                _ = rules.changed() => {}
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
            _ = rules.changed() => None,
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
                tokio::time::sleep(RETRY_PAUSE).await;
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
                tokio::time::sleep(RETRY_PAUSE).await;
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
        // A second handle to the socket: closing the last one closes the connection.
        let (number, rules) = (self.number, self.sink.rules.subscribe());
        let sink = Arc::clone(&self.sink);
        let Ok(handle) = stream.as_fd().try_clone_to_owned().map(socket2::Socket::from) else {
            warn!("no file handle is left: a connection is closed");
            return;
        };
        let mut serving = Box::pin(self.serve(stream, tls));
        let action = tokio::select! {
            biased;
            action = action(rules, number) => action,
            () = &mut serving => return,
        };
        sink.misbehaved();
        if action == ConnectionAction::Reset
            && let Err(error) = handle.set_linger(Some(Duration::ZERO))
        {
            warn!("a connection is closed instead of reset: {error}");
        }
        drop(serving); // before the handle
    }

    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // A failure only costs speed.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.speak(stream).await };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => self.sink.malformed.record(format_args!("TLS with {}: {error}", self.peer)),
            Err(_) => self.sink.malformed.record(format_args!("TLS with {}: too slow", self.peer)),
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let Self { sink, peer, mut ending, .. } = self;
        let (_open, closed) = watch::channel(());
        let mut builder = auto::Builder::new(ConnectionExecutor { closed });
        builder.http1().timer(TokioTimer::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1);
        let service = service_fn(|request| export::answer(Arc::clone(&sink), peer.ip(), request));
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        // Errors are the client's: it retries requests that were not answered.
        tokio::select! {
            _ = &mut connection => return,
            _ = ending.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// Waits until the behaviour has an action for a connection.
async fn action(
    mut rules: watch::Receiver<Arc<super::behaviour::BehaviourRules>>,
    number: u64,
) -> ConnectionAction {
    loop {
        let now = crate::unix_ms();
        let told = Arc::clone(&rules.borrow_and_update());
        if let Some(action) = told.connection_action(now, number) {
            return action;
        }
        tokio::select! {
            () = until(told.next_change_unix_ms(now)) => {}
            _ = rules.changed() => {}
        }
    }
}

/// Runs the requests of a connection until it is closed.
#[derive(Clone)]
struct ConnectionExecutor {
    closed: watch::Receiver<()>,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for ConnectionExecutor {
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
