//! What a run that died left, undone: what its journal has open, in reverse order, and then whatever carries its label
//! or annotation.

mod dead;
mod found;
mod replay;

pub use dead::{DeadRun, find};

use crate::cluster::{Cluster, ClusterError, Request};
use crate::journal::JournalError;
use crate::location::Location;
use crate::progress;
use crate::undo::UndoContext;
use kube::Client;
use std::fmt;
use tokio_util::sync::CancellationToken;

/// Why a run cannot be restored.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RestoreError {
    /// There is no such run.
    #[error("{run} is no run folder, and no run of that name left anything open")]
    #[diagnostic(help("{known}"))]
    Unknown {
        /// What was asked for.
        run: String,
        /// What there is.
        known: String,
    },
    /// Its process lives.
    #[error("run {run} is still going, process {pid}")]
    #[diagnostic(help("it undoes by itself what it does: interrupt it with Ctrl-C, or wait for it"))]
    StillGoing {
        /// The run.
        run: String,
        /// Its process.
        pid: u32,
    },
    /// A journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cluster cannot be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Cluster(#[from] Box<ClusterError>),
}

/// What became of something that was to be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// It is undone.
    Undone,
    /// It was undone already.
    WasUndone,
    /// It is left, and why.
    Left(String),
}

impl fmt::Display for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undone => f.write_str("undone"),
            Self::WasUndone => f.write_str("was undone already"),
            Self::Left(why) => write!(f, "could not be undone: {why}"),
        }
    }
}

/// Something that was to be undone, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub what: String,
    /// What became of it.
    pub became: Became,
}

impl Line {
    /// Whether it is not undone.
    pub const fn is_left(&self) -> bool {
        matches!(self.became, Became::Left(_))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.became)
    }
}

/// What a run left, and what became of it.
#[derive(Debug)]
pub struct Restored {
    /// The run.
    pub run: String,
    /// One for each thing that was to be undone.
    pub lines: Vec<Line>,
    /// What else went wrong.
    pub problem: Option<String>,
}

impl Restored {
    /// Whether nothing is left.
    pub fn is_whole(&self) -> bool {
        self.problem.is_none() && !self.lines.iter().any(Line::is_left)
    }
}

/// Acquires a cluster and makes it ready for a run. What runs that died left in one of the harness's own is undone; what
/// they left in somebody else's is said.
///
/// # Errors
/// If the cluster cannot be acquired, or is not ready in time.
pub async fn acquire(request: &Request, cancel: &CancellationToken) -> Result<Cluster, ClusterError> {
    let cluster = Cluster::acquire(request, cancel).await?;
    let location = cluster.location();
    if cluster.made_here() {
        // Nothing was there before: what journals have open in a cluster of that name went with it.
        forget(&location);
    } else if cluster.is_own() {
        let (client, images) = (cluster.client(), cluster.images());
        let context = UndoContext { client, manifests: &request.manifests, images };
        let undone = cancel.run_until_cancelled(clean(&location, &context)).await;
        if undone.is_none() {
            return Err(cluster.abandon(ClusterError::Interrupted).await);
        }
    } else {
        tell(&location, cluster.client()).await;
    }
    cluster.prepare(request, cancel).await
}

/// Undoes what runs that died left in a cluster which this process holds: as their journals say, and then whatever
/// carries the label or annotation of any run. What cannot be undone is said.
async fn clean(place: &Location, context: &UndoContext<'_>) {
    for dead in dead_on(place) {
        tracing::info!(
            target: progress::TARGET,
            "run {} died before it had undone all that it did: undoing it",
            dead.name()
        );
        let restored = dead.undo(context).await;
        restored.lines.iter().for_each(told);
        restored.problem.iter().for_each(told);
    }
    match found::found(context.client, None).await {
        Ok(rest) => replay::replay(&rest, context).await.iter().for_each(told),
        Err(error) => tracing::info!(
            target: progress::TARGET,
            "what earlier runs left could not be looked for: {error}"
        ),
    }
}

/// A cluster is gone, with all that runs left in it.
fn forget(place: &Location) {
    for dead in dead_on(place) {
        if let Err(error) = dead.gone() {
            tracing::info!(target: progress::TARGET, "{error}");
        }
    }
}

/// Says what earlier runs left in a cluster that is not this program's to clean up unasked.
async fn tell(place: &Location, client: &Client) {
    for dead in dead_on(place) {
        tracing::info!(
            target: progress::TARGET,
            "run {0} left something open here: `spanproof restore {0}` undoes it",
            dead.name()
        );
    }
    match found::found(client, None).await {
        Ok(left) => {
            for undo in left {
                tracing::info!(target: progress::TARGET, "left by an earlier run: {}", undo.describe());
            }
        }
        Err(error) => tracing::info!(
            target: progress::TARGET,
            "what earlier runs left could not be looked for: {error}"
        ),
    }
}

/// The runs that have something open there. Under the cluster's lock they are dead.
fn dead_on(place: &Location) -> Vec<DeadRun> {
    let all = find(None).inspect_err(told).unwrap_or_default();
    let readable = all.into_iter().filter_map(|dead| dead.inspect_err(told).ok());
    readable.filter(|dead| dead.place().is(place)).collect()
}

fn told(it: &impl fmt::Display) {
    tracing::info!(target: progress::TARGET, "{it}");
}
