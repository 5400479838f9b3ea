//! Errors of faults.

use crate::journal::JournalError;
use crate::load::LinkError;
use crate::record::RecordError;
use crate::scope::OutOfScope;
use std::time::Duration;

/// An error of a step: it did not do what it should, or that could not be seen.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The API server could not be asked.
    #[error("{action} {object}: {source}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        object: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// A pod may not be moved by this drain.
    #[error("pod {pod} on {node} {why}")]
    NotAllowed {
        /// The pod.
        pod: String,
        /// Its node.
        node: String,
        /// Why not, and what would allow it.
        why: &'static str,
    },
    /// An eviction was refused for good.
    #[error("evicting {pod}: {why}")]
    Refused {
        /// The pod.
        pod: String,
        /// What the API server said.
        why: String,
    },
    /// The deadline passed.
    #[error("waited {}s for {awaited}; {state}", waited.as_secs())]
    Deadline {
        /// What was awaited.
        awaited: String,
        /// How long.
        waited: Duration,
        /// How things stood.
        state: String,
    },
    /// No plan named it.
    #[error(transparent)]
    OutOfScope(#[from] OutOfScope),
    /// There is nothing to do it to.
    #[error("there is no such target: {0}")]
    NoTarget(String),
    /// A spike ends with the load's own rate, and there is none.
    #[error("the load has a profile, which a spike would end")]
    HasProfile,
    /// The set-up has no image for this.
    #[error("there is no image for the Collector {0}")]
    NoImage(String),
    /// A probe could not be told what to do.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The probes did not say how the load stands.
    #[error("the probes did not answer, so it was not seen whether it came about: {awaited}")]
    Blind {
        /// What was awaited.
        awaited: String,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The timeline cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What undoes it cannot be written down, so it is not done.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl FaultError {
    /// Whether the harness could not see or do what it should: that is no doing of the tier's.
    pub(super) const fn is_blind(&self) -> bool {
        matches!(
            self,
            Self::Api { .. }
                | Self::OutOfScope(_)
                | Self::Link(_)
                | Self::Blind { .. }
                | Self::Record(_)
                | Self::Journal(_)
                | Self::Interrupted
        )
    }

    pub(super) fn api(action: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Api { action, object, source: Box::new(source) }
    }
}
