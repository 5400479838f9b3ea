//! `spanproof-probe`: the emitter, the sink, and two chores on a node's disk.

use clap::{Parser, Subcommand};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use spanproof_probe::control::{ProbeError, probe_server::ProbeServer};
use spanproof_probe::{CONTROL_PORT, OTLP_PORT, SOURCES, directory, emit::Emitter, sink::Sink};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tracing::{error, info};

/// The largest request that the sink takes.
const LARGEST_REQUEST: usize = 64 << 20;

#[derive(Parser)]
#[command(version, about = "In-cluster emitter and sink of spanproof")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Offer numbered spans to the node's agent, as told through the control port
    Emit {
        /// Where ledger and plan are kept
        #[arg(long)]
        data: PathBuf,
    },
    /// Take spans, and keep the exact set of what arrived
    Sink {
        /// Where ledger and plan are kept
        #[arg(long)]
        data: PathBuf,
    },
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
    /// Remove a directory, then wait to be ended
    Sweep {
        /// The directory
        path: PathBuf,
    },
    /// Print the fingerprint of the sources that this was built from
    Sources,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
    let done = match Options::parse().command {
        Command::Emit { data } => run_emitter(&data).await.map_err(|error| error.to_string()),
        Command::Sink { data } => run_sink(&data).await.map_err(|error| error.to_string()),
        Command::Give { user, group, paths } => paths.iter().try_for_each(|path| {
            directory::give(path, user, group).map_err(|error| format!("{}: {error}", path.display()))
        }),
        Command::Sweep { path } => run_sweep(&path).await,
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

async fn run_emitter(data: &Path) -> Result<(), ProbeError> {
    let emitter = Emitter::open(data)?;
    serve(Server::builder().add_service(ProbeServer::from_arc(emitter)), CONTROL_PORT).await
}

async fn run_sink(data: &Path) -> Result<(), ProbeError> {
    let sink = Sink::open(data)?;
    let otlp = TraceServiceServer::from_arc(sink.clone())
        .max_decoding_message_size(LARGEST_REQUEST)
        .accept_compressed(CompressionEncoding::Gzip);
    let control = serve(Server::builder().add_service(ProbeServer::from_arc(sink)), CONTROL_PORT);
    let intake = serve(Server::builder().add_service(otlp), OTLP_PORT);
    tokio::try_join!(control, intake).map(|_| ())
}

async fn serve(router: tonic::transport::server::Router, port: u16) -> Result<(), ProbeError> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    info!(%address, "serving");
    let served = router.serve_with_shutdown(address, terminated()).await;
    served.map_err(|source| ProbeError::Serve { address, source })
}

async fn run_sweep(path: &Path) -> Result<(), String> {
    directory::sweep(path).map_err(|error| format!("{}: {error}", path.display()))?;
    info!("swept");
    // An open port tells the kubelet that it is done.
    let control = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, CONTROL_PORT)).await;
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
