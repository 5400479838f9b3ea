//! The control service: generated types, and the parts that emitter and sink share.

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    tonic::include_proto!("spanproof.control.v1");
}
pub use generated::*;

use crate::ledger_file::LedgerFileError;
use prost::Message;
use spanproof_ledger::RangeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use tokio::io::AsyncReadExt;
use tokio_stream::wrappers::ReceiverStream;

/// The stream of a ledger's file to the harness.
pub type LedgerStream = Pin<Box<dyn futures::Stream<Item = Result<LedgerChunk, tonic::Status>> + Send>>;

/// An error of a probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The plan is incomplete or impossible.
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    /// Another plan is being carried out.
    #[error("another plan is being carried out, of run {running:014x}")]
    Busy {
        /// The tag of the run in progress.
        running: u64,
    },
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerFileError),
    /// The ledger on disk contradicts itself.
    #[error("{}: {source}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        source: spanproof_ledger::LedgerError,
    },
    /// The plan could not be written to disk, or read from there.
    #[error("the plan in {}: {source}", path.display())]
    PlanFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no plan to be changed.
    #[error("no plan is being carried out")]
    NoPlan,
    /// A port could not be served.
    #[error("serving {address}: {source}")]
    Serve {
        /// The address.
        address: std::net::SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The data directory cannot be written to.
    #[error("the data directory {} cannot be written to: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

impl From<ProbeError> for tonic::Status {
    fn from(error: ProbeError) -> Self {
        let message = error.to_string();
        match error {
            ProbeError::Plan(_) => Self::invalid_argument(message),
            ProbeError::Busy { .. } | ProbeError::NoPlan => Self::failed_precondition(message),
            _ => Self::internal(message),
        }
    }
}

/// The file of a plan, from which a probe that was killed continues by itself.
#[derive(Debug, Clone)]
pub(crate) struct PlanFile(PathBuf);

/// The content of a plan's file: the time of its start, and the plan.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StartedPlan {
    #[prost(uint64, tag = "1")]
    pub(crate) started_unix_ms: u64,
    #[prost(message, required, tag = "2")]
    pub(crate) plan: Plan,
}

impl PlanFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.join("plan"))
    }

    pub(crate) fn read(&self) -> Result<Option<StartedPlan>, ProbeError> {
        let error = |source| ProbeError::PlanFile { path: self.0.clone(), source };
        match std::fs::read(&self.0) {
            Ok(bytes) => StartedPlan::decode(&*bytes).map(Some).map_err(|e| error(io::Error::other(e))),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(error(source)),
        }
    }

    /// Writes the file atomically and durably.
    pub(crate) fn write(&self, plan: &StartedPlan) -> Result<(), ProbeError> {
        let new = self.0.with_extension("new");
        let write = || {
            let mut file = std::fs::File::create(&new)?;
            file.write_all(&plan.encode_to_vec())?;
            // The content must be on disk before the name.
            file.sync_all()?;
            std::fs::rename(&new, &self.0)?;
            let folder = self.0.parent().filter(|folder| *folder != Path::new(""));
            std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|source| ProbeError::PlanFile { path: self.0.clone(), source })
    }
}

impl StreamRanges {
    /// Encodes a set.
    pub fn of(stream: u16, set: &RangeSet) -> Self {
        let bounds = set.iter().flat_map(|range| [range.start, range.end]).collect();
        Self { stream: u32::from(stream), bounds }
    }

    /// Decodes the set.
    pub fn set(&self) -> RangeSet {
        self.bounds.chunks_exact(2).map(|pair| spanproof_ledger::Range::new(pair[0], pair[1])).collect()
    }
}

/// The description of this probe.
pub(crate) fn describe(role: &str) -> Description {
    Description {
        role: role.to_owned(),
        node: std::env::var("NODE_NAME").unwrap_or_default(),
        sources: crate::SOURCES.to_owned(),
        unix_ms: crate::unix_ms(),
    }
}

/// Streams a file in chunks; bytes appended meanwhile may or may not be included.
pub(crate) fn stream_file(path: PathBuf) -> LedgerStream {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let failed = |error: io::Error| tonic::Status::internal(format!("{}: {error}", path.display()));
        let mut file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) => return drop(sender.send(Err(failed(error))).await),
        };
        loop {
            let mut data = vec![0; 64 << 10];
            let chunk = match file.read(&mut data).await {
                Ok(0) => return,
                Ok(read) => {
                    data.truncate(read);
                    Ok(LedgerChunk { data })
                }
                Err(error) => Err(failed(error)),
            };
            if sender.send(chunk).await.is_err() {
                return; // the receiver is gone
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}
