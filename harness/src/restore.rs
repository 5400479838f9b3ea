//! What a run that died left, undone: what its journal has open, in reverse order, and then whatever carries its label
//! or annotation.

mod cordon;
mod dead;
mod found;
mod image;
mod namespace;
mod objects;
mod probes;
mod replay;
mod undo;

pub use cordon::Cordon;
pub use dead::{DeadRun, find};
pub use image::Image;
pub use namespace::RunNamespace;
pub use objects::{Kind, Object, Objects};
pub use probes::{Backend, LoadRate};
pub(crate) use undo::Did;
pub use undo::Undo;

use crate::cluster::{ClusterError, Images};
use crate::deploy::{DeployError, RUN_LABEL};
use crate::journal::{JournalError, Place};
use crate::load::LinkError;
use kube::Client;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Why something could not be undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    /// The API server could not be asked, or said no.
    #[error("{action} {object}: {source}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The run's namespace, or what it left on the nodes.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A probe could not be told.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It took too long.
    #[error("not done within {}s", .0.as_secs())]
    Deadline(Duration),
}

impl UndoError {
    /// Whether it was waited for as long as it may take: to try that again at once is to wait for the same once more.
    const fn has_waited(&self) -> bool {
        match self {
            Self::Deadline(_) | Self::Deploy(DeployError::NotReady { .. }) => true,
            Self::Api { .. } | Self::Deploy(_) | Self::Link(_) => false,
        }
    }

    fn api(action: &'static str, object: &dyn fmt::Display) -> impl FnOnce(kube::Error) -> Self + use<> {
        let object = object.to_string();
        move |source| Self::Api { action, object, source: Box::new(source) }
    }
}

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

/// What undoing works with.
pub(crate) struct Hands<'a> {
    /// The cluster.
    pub(crate) client: &'a Client,
    /// The folder of the manifests.
    pub(crate) manifests: &'a Path,
    /// The images that its nodes have.
    pub(crate) images: &'a Images,
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

/// Is told what goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

/// The labels of what a run made, or any run.
fn selector(run: Option<&str>) -> String {
    run.map_or_else(|| RUN_LABEL.to_owned(), |run| format!("{RUN_LABEL}={run}"))
}

/// Undoes what runs that died left in a cluster which this process holds: as their journals say, and then whatever
/// carries the label or annotation of any run. What cannot be undone is said.
pub(crate) async fn clean(place: &Place, hands: &Hands<'_>, say: Say<'_>) {
    for dead in dead_on(place, say) {
        say(&format!("run {} died before it had undone all that it did: undoing it", dead.name()));
        let restored = dead.undo(hands, say).await;
        restored.lines.iter().for_each(|line| say(&line.to_string()));
        restored.problem.iter().for_each(|problem| say(problem));
    }
    match found::found(hands.client, None).await {
        Ok(rest) => replay::replay(&rest, hands, say).await.iter().for_each(|line| say(&line.to_string())),
        Err(error) => say(&format!("what earlier runs left could not be looked for: {error}")),
    }
}

/// A cluster is gone, with all that runs left in it.
pub(crate) fn forget(place: &Place, say: Say<'_>) {
    for dead in dead_on(place, say) {
        if let Err(error) = dead.gone() {
            say(&error.to_string());
        }
    }
}

/// Says what earlier runs left in a cluster that is not this program's to clean up unasked.
pub async fn tell(place: &Place, client: &Client, say: Say<'_>) {
    for dead in dead_on(place, say) {
        say(&format!("run {0} left something open here: `spanproof restore {0}` undoes it", dead.name()));
    }
    match found::found(client, None).await {
        Ok(left) => left.iter().for_each(|undo| say(&format!("left by an earlier run: {}", undo.describe()))),
        Err(error) => say(&format!("what earlier runs left could not be looked for: {error}")),
    }
}

/// The runs that have something open there. Under the cluster's lock they are dead.
fn dead_on(place: &Place, say: Say<'_>) -> Vec<DeadRun> {
    let all = find(None).unwrap_or_else(|error| {
        say(&error.to_string());
        Vec::new()
    });
    let readable = all.into_iter().filter_map(|dead| dead.map_err(|error| say(&error.to_string())).ok());
    readable.filter(|dead| dead.place().is(place)).collect()
}
