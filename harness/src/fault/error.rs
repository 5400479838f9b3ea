//! Errors of faults.

use crate::journal::JournalError;
use crate::load::LinkError;
use crate::record::RecordError;
use crate::scope::OutOfScope;
use std::time::Duration;

/// An error of a step: it did not do what it should, or that could not be seen.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The API server refused a request, or could not be reached.
    #[error("{action} {object}: {source}")]
    Api {
        /// The verb.
        action: &'static str,
        /// The object.
        object: String,
        /// The API server's answer.
        source: Box<kube::Error>,
    },
    /// A drain may not move a pod.
    #[error("pod {pod} on {node} {why}")]
    NotAllowed {
        /// The pod.
        pod: String,
        /// Its node.
        node: String,
        /// The reason, and what would allow it.
        why: &'static str,
    },
    /// An eviction will never be granted.
    #[error("evicting {pod}: {why}")]
    Refused {
        /// The pod.
        pod: String,
        /// The API server's answer.
        why: String,
    },
    /// The deadline passed.
    #[error("waited {}s for {awaited}; {state}", waited.as_secs())]
    Deadline {
        /// The condition that was awaited.
        awaited: String,
        /// The time.
        waited: Duration,
        /// The state at the end.
        state: String,
    },
    /// The plan did not name it.
    #[error(transparent)]
    OutOfScope(#[from] OutOfScope),
    /// No node or pod is such a target.
    #[error("there is no such target: {0}")]
    NoTarget(String),
    /// A spike returns to the load's own rate, and a profile has none.
    #[error("the load has a profile, which a spike would end")]
    HasProfile,
    /// There is no image for a version of the Collector.
    #[error("there is no image for the Collector {0}")]
    NoImage(String),
    /// A probe could not be reached, or refused a request.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The probes did not report the state of the load.
    #[error("the probes did not answer, so it is not known whether this came about: {awaited}")]
    Blind {
        /// The condition that was awaited.
        awaited: String,
    },
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The timeline cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The journal cannot be written, so the fault was not begun.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl FaultError {
    /// Returns whether the harness is the cause, and not the tier: it could not see or do what it should.
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
