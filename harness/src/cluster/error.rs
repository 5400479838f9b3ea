//! The errors of acquiring a cluster. Each says what to do.

use super::{ContextError, LeaseError, LockError};
use crate::deploy::DeployError;
use crate::guard::GuardError;
use crate::host::CommandError;
use crate::images::ImagesError;
use std::path::PathBuf;
use std::time::Duration;

/// An error that leaves a run without a cluster. Each says what to do.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ClusterError {
    /// No container engine answers.
    #[error("no container engine answers")]
    #[diagnostic(help(
        "tried `docker version`: {tried}\nstart Docker, or let `ci/setup --install` start an engine"
    ))]
    NoEngine {
        /// The command that was tried, and its error.
        tried: String,
    },
    /// kind is not installed.
    #[error("kind is not installed")]
    #[diagnostic(help("tried `kind version` and {}: {tried}\nrun `ci/setup`", cache.display()))]
    NoKind {
        /// The cache, where it was also looked for.
        cache: PathBuf,
        /// The error of the last attempt.
        tried: String,
    },
    /// Too little memory for a cluster.
    #[error("a cluster needs {needed_mib} MiB of free memory; there are {available_mib} MiB")]
    #[diagnostic(help("close other programs, or use a machine with more memory"))]
    TooLittleMemory {
        /// The available memory.
        available_mib: u64,
        /// The memory that a cluster needs.
        needed_mib: u64,
    },
    /// The images are not there.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Images(#[from] ImagesError),
    /// Somebody else on this machine uses the cluster.
    #[error(transparent)]
    #[diagnostic(help("wait for it with --wait 10m, or choose another cluster"))]
    Locked(#[from] LockError),
    /// Somebody else, on any machine, uses the cluster.
    #[error(transparent)]
    #[diagnostic(help(
        "wait for it with --wait 10m, or choose another cluster; a lease whose holder is gone expires within a minute"
    ))]
    Leased(#[from] LeaseError),
    /// The name is taken by a cluster that is not ours.
    #[error("there is a kind cluster called {name} that spanproof did not make")]
    #[diagnostic(help(
        "it is left alone; use it with --context kind-{name}, or choose another name with --cluster"
    ))]
    NotOurs {
        /// The name.
        name: String,
    },
    /// A program that the cluster is made with failed.
    #[error("{doing} failed")]
    #[diagnostic(help(
        "look for a port in use, a full disk or a stopped node, and run it again; what was made is removed"
    ))]
    Command {
        /// The action that failed.
        doing: &'static str,
        /// The program's own words.
        #[source]
        #[diagnostic_source]
        source: CommandError,
    },
    /// metrics-server, which an HPA needs, could not be added or removed.
    #[error("metrics-server: {source}")]
    #[diagnostic(help("scenarios with `tier.without: [hpa]` need none"))]
    MetricsServer {
        /// The cause.
        source: Box<DeployError>,
    },
    /// A file of the cluster's state cannot be read or written.
    #[error("{}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Part of the cluster did not come up.
    #[error("the cluster {name} is not up after {waited:?}: {missing}")]
    #[diagnostic(help("{help}"))]
    NotUp {
        /// Its name.
        name: String,
        /// The time that it was given.
        waited: Duration,
        /// The missing parts, with the last log lines of what failed.
        missing: String,
        /// Advice for the user.
        help: String,
    },
    /// The cluster does not answer.
    #[error("the cluster {name} cannot be reached: {message}")]
    #[diagnostic(help("{help}"))]
    Unreachable {
        /// Its name.
        name: String,
        /// The cause.
        message: String,
        /// The attempt, and advice for the user.
        help: String,
    },
    /// The user's kubeconfig does not lead to a cluster.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Context(#[from] ContextError),
    /// The user's cluster looks like production.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Guard(#[from] GuardError),
    /// The facts about the cluster cannot be read.
    #[error("{what} of the cluster {name} cannot be read: {source}")]
    #[diagnostic(help("a cluster's nodes and namespaces are read before anything is done to it"))]
    Unseen {
        /// The cluster.
        name: String,
        /// The objects that were to be read.
        what: &'static str,
        /// The API server's error.
        source: Box<kube::Error>,
    },
    /// The tier does not fit.
    #[error("the cluster {name} has {workers} workers; two gateways on two nodes need two at the least")]
    #[diagnostic(help("a worker is a node without the label node-role.kubernetes.io/control-plane"))]
    TooFewWorkers {
        /// The cluster.
        name: String,
        /// The number of workers.
        workers: usize,
    },
    /// The user gave up.
    #[error("interrupted before the cluster was ready")]
    Interrupted,
}

impl ClusterError {
    /// Returns true if the mistake is the user's, and not the cluster's or the harness's.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Context(_) | Self::Guard(_))
    }
}
