//! `spanproof-probe`: the emitter, the sink, and two tasks on a node's disk.

use clap::{Args, Parser, Subcommand};
use spanproof_probe::control::{ProbeError, probe_server::Probe, probe_server::ProbeServer};
use spanproof_probe::{
    CONTROL_PORT, OTLP_HTTP_PORT, OTLP_PORT, SOURCES, clock, directory, emit::Emitter, kill, sink::Sink, tls,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::{Server, server::TcpIncoming};
use tracing::{error, info};

#[derive(Parser)]
#[command(version, about = "In-cluster emitter and sink of spanproof")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Offer numbered spans to the node's agent, as planned through the control port
    Emit(CommonOptions),
    /// Receive spans, and record exactly which arrived
    Sink(SinkOptions),
    /// Give a directory to a user and a group
    Give {
        /// The user's number
        #[arg(long)]
        user: u32,
        /// The group's number
        #[arg(long)]
        group: u32,
        /// The directories
        paths: Vec<PathBuf>,
    },
    /// Remove a directory, then wait for SIGTERM
    Sweep {
        /// The directory
        path: PathBuf,
    },
    /// Kill the first process of a container on this node
    Kill {
        /// The container's ID
        #[arg(long)]
        container: String,
    },
    /// Print the fingerprint of the sources that this was built from
    Sources,
}

/// The options of both emitter and sink.
#[derive(Args)]
struct CommonOptions {
    /// The directory of ledger and plan
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address of the control service; with port 0 the log names the port
    #[arg(long, value_name = "ADDR", default_value_t = any(CONTROL_PORT))]
    control: SocketAddr,
}

#[derive(Args)]
struct SinkOptions {
    #[command(flatten)]
    common: CommonOptions,
    /// The address on which spans are received, over gRPC and HTTP
    #[arg(long, value_name = "ADDR", default_value_t = any(OTLP_PORT))]
    otlp: SocketAddr,
    /// The second address on which spans are received
    #[arg(long, value_name = "ADDR", default_value_t = any(OTLP_HTTP_PORT))]
    otlp_http: SocketAddr,
    /// The certificate (PEM) for TLS on these addresses
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The CA (PEM) that must have signed the clients' certificates
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,
}

const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).with_target(false).with_writer(io::stderr).init();
    let done = match Options::parse().command {
        Command::Emit(common) => run_emitter(&common).await.map_err(|error| error.to_string()),
        Command::Sink(options) => run_sink(&options).await.map_err(|error| error.to_string()),
        Command::Give { user, group, paths } => paths.iter().try_for_each(|path| {
            directory::give(path, user, group).map_err(|error| format!("{}: {error}", path.display()))
        }),
        Command::Sweep { path } => run_sweep(&path).await,
        Command::Kill { container } => {
            kill::kill(&container).map(|pid| info!("killed process {pid}")).map_err(|error| error.to_string())
        }
        Command::Sources => {
            #[expect(clippy::print_stdout, reason = "it is what this command is for")]
            {
                println!("{SOURCES}");
            }
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn run_emitter(common: &CommonOptions) -> Result<(), ProbeError> {
    writable(&common.data)?;
    let control = listen(common.control).await?;
    serve_control(control, Emitter::open(&common.data)?).await
}

async fn run_sink(options: &SinkOptions) -> Result<(), ProbeError> {
    writable(&options.common.data)?;
    let tls = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(tls::acceptor(certificate, key, options.tls_client_ca.as_deref())?)
        }
        _ => None,
    };
    // The ports first: opening a ledger counts one more process.
    let control = listen(options.common.control).await?;
    let otlp = listen(options.otlp).await?;
    let otlp_http = listen(options.otlp_http).await?;
    let sink = Sink::open(&options.common.data)?;
    let take = async |(address, listener), tls| {
        let served = Arc::clone(&sink).serve(listener, tls, terminated()).await;
        served.map_err(|source| ProbeError::Serve { address, source })
    };
    let served = tokio::try_join!(
        serve_control(control, Arc::clone(&sink)),
        take(otlp, tls.clone()),
        take(otlp_http, tls)
    );
    sink.flush();
    served.map(|_| ())
}

fn writable(data: &Path) -> Result<(), ProbeError> {
    let writable = directory::writable(data).and_then(|()| clock::restore_or_keep(data));
    writable.map_err(|source| ProbeError::Directory { path: data.to_owned(), source })
}

async fn listen(address: SocketAddr) -> Result<(SocketAddr, TcpListener), ProbeError> {
    let error = |source| ProbeError::Serve { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    Ok((listener.local_addr().map_err(error)?, listener))
}

async fn serve_control(
    (address, listener): (SocketAddr, TcpListener),
    probe: Arc<impl Probe>,
) -> Result<(), ProbeError> {
    info!(%address, "serving control");
    let router = Server::builder().add_service(ProbeServer::from_arc(probe));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = router.serve_with_incoming_shutdown(incoming, terminated()).await;
    served.map_err(|error| ProbeError::Serve { address, source: io::Error::other(error) })
}

async fn run_sweep(path: &Path) -> Result<(), String> {
    directory::sweep(path).map_err(|error| format!("{}: {error}", path.display()))?;
    info!("swept");
    // The open port tells the kubelet that the task is done.
    let control = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CONTROL_PORT)).await;
    let _listening = control.map_err(|error| format!("port {CONTROL_PORT}: {error}"))?;
    terminated().await;
    Ok(())
}

async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => drop(terminate.recv().await),
        Err(error) => {
            error!("SIGTERM cannot be awaited: {error}");
            std::future::pending::<()>().await;
        }
    }
}
