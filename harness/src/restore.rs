//! Restoring after a run that died: undoes what its journal has open, in reverse order, and then whatever carries its
//! label or annotation.

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

/// An error in restoring a run.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RestoreError {
    /// There is no such run.
    #[error("{run} is no run folder, and no run of that name left anything open")]
    #[diagnostic(help("{known}"))]
    Unknown {
        /// The run that was asked for.
        run: String,
        /// The known runs.
        known: String,
    },
    /// Its process is alive.
    #[error("run {run} is still running, process {pid}")]
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

/// The outcome of undoing something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// It is undone.
    Undone,
    /// It was undone already.
    AlreadyUndone,
    /// It is left, for this reason.
    Left(String),
}

impl fmt::Display for RestoreOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undone => f.write_str("undone"),
            Self::AlreadyUndone => f.write_str("was undone already"),
            Self::Left(why) => write!(f, "could not be undone: {why}"),
        }
    }
}

/// Something that was to be undone, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredItem {
    /// Its description.
    pub what: String,
    /// Its outcome.
    pub outcome: RestoreOutcome,
}

impl RestoredItem {
    /// Returns true if it is not undone.
    pub const fn is_left(&self) -> bool {
        matches!(self.outcome, RestoreOutcome::Left(_))
    }
}

impl fmt::Display for RestoredItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.outcome)
    }
}

/// A run that left something, and the outcome of each part.
#[derive(Debug)]
pub struct RestoreReport {
    /// The run.
    pub run: String,
    /// The items that were to be undone.
    pub items: Vec<RestoredItem>,
    /// A further problem.
    pub problem: Option<String>,
}

impl RestoreReport {
    /// Returns true if nothing is left.
    pub fn is_whole(&self) -> bool {
        self.problem.is_none() && !self.items.iter().any(RestoredItem::is_left)
    }
}

/// Acquires a cluster and makes it ready for a run. What runs that died left in a cluster of the harness's own is
/// undone; what they left in the user's cluster is reported.
pub async fn acquire(request: &Request, cancel: &CancellationToken) -> Result<Cluster, ClusterError> {
    let cluster = Cluster::acquire(request, cancel).await?;
    let location = cluster.location();
    if cluster.made_here() {
        // Nothing was there before: what journals have open in a cluster of that name went with it.
        forget(&location);
    } else if cluster.is_own() {
        let (client, images) = (cluster.client(), cluster.images());
        let context = UndoContext { client, manifests: &request.manifests, images };
        let undone = cancel.run_until_cancelled(Box::pin(clean(&location, &context))).await;
        if undone.is_none() {
            return Err(cluster.abandon(ClusterError::Interrupted).await);
        }
    } else {
        tell(&location, cluster.client()).await;
    }
    Box::pin(cluster.prepare(request, cancel)).await
}

/// Undoes what runs that died left in a cluster which this process holds: first by their journals, then whatever
/// carries the label or annotation of any run. What cannot be undone is reported.
async fn clean(location: &Location, context: &UndoContext<'_>) {
    for dead in dead_on(location) {
        tracing::info!(
            target: progress::TARGET,
            "run {} died before it had undone everything: undoing the rest",
            dead.name()
        );
        let restored = dead.undo(context).await;
        restored.items.iter().for_each(told);
        restored.problem.iter().for_each(told);
    }
    match found::found(context.client, None).await {
        Ok(rest) => replay::replay(&rest, context).await.iter().for_each(told),
        Err(error) => tracing::info!(
            target: progress::TARGET,
            "the search for what earlier runs left failed: {error}"
        ),
    }
}

/// A cluster is gone, with all that runs left in it.
fn forget(location: &Location) {
    for dead in dead_on(location) {
        if let Err(error) = dead.gone() {
            tracing::info!(target: progress::TARGET, "{error}");
        }
    }
}

/// Reports what earlier runs left in a cluster that this program does not clean up unasked.
async fn tell(location: &Location, client: &Client) {
    for dead in dead_on(location) {
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
            "the search for what earlier runs left failed: {error}"
        ),
    }
}

/// The runs that have something open there. Under the cluster's lock they are dead.
fn dead_on(location: &Location) -> Vec<DeadRun> {
    let all = find(None).inspect_err(told).unwrap_or_default();
    let readable = all.into_iter().filter_map(|dead| dead.inspect_err(told).ok());
    readable.filter(|dead| dead.location().is(location)).collect()
}

fn told(it: &impl fmt::Display) {
    tracing::info!(target: progress::TARGET, "{it}");
}
