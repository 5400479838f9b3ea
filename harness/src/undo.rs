//! The undos of what a run does: one variant and one file for each kind.
//!
//! A new kind is a variant here; the compiler then names every place that has to describe it, undo it, and tell what is
//! left of it.

mod cordon;
mod image;
mod namespace;
mod objects;
mod probes;

pub use cordon::Cordon;
pub use image::ImageChange;
pub use namespace::RunNamespace;
pub(crate) use objects::labelled;
pub use objects::{ObjectKind, ObjectRef, RunObjects};
pub use probes::{BackendBehaviour, LoadRate};

use crate::deploy::DeployError;
use crate::images::Images;
use crate::load::LinkError;
use crate::scenario::Rate;
use kube::Client;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// An error in undoing something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UndoError {
    /// The request to the API server failed.
    #[error("{action} {object}: {source}")]
    Api {
        /// The attempted action.
        action: &'static str,
        /// The object.
        object: String,
        /// The API server's error.
        source: Box<kube::Error>,
    },
    /// The run's namespace, or what it left on the nodes.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A probe could not be reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The timeout passed.
    #[error("not done within {}s", .0.as_secs())]
    Deadline(Duration),
}

impl UndoError {
    /// Returns true if the full timeout was waited: to try again at once would be to wait for the same again.
    pub(crate) const fn has_waited(&self) -> bool {
        match self {
            Self::Deadline(_) | Self::Deploy(DeployError::NotReady { .. }) => true,
            Self::Api { .. } | Self::Deploy(_) | Self::Link(_) => false,
        }
    }

    pub(crate) fn api(
        action: &'static str,
        object: &dyn fmt::Display,
    ) -> impl FnOnce(kube::Error) -> Self + use<> {
        let object = object.to_string();
        move |source| Self::Api { action, object, source: Box::new(source) }
    }
}

/// The context of undoing.
pub(crate) struct UndoContext<'a> {
    /// The cluster.
    pub(crate) client: &'a Client,
    /// The folder of the manifests.
    pub(crate) manifests: &'a Path,
    /// The images that its nodes have.
    pub(crate) images: &'a Images,
}

/// An undo of something that a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Undo {
    /// A node is made schedulable again.
    Cordon(Cordon),
    /// A workload is rolled back.
    Image(ImageChange),
    /// The emitters offer the load's own rate again.
    Rate(LoadRate),
    /// The backend takes everything again.
    Backend(BackendBehaviour),
    /// The run's namespace goes, and its queues and ledgers from the nodes' disks.
    Namespace(RunNamespace),
    /// Objects outside of the run's namespace are deleted.
    Objects(RunObjects),
}

/// The outcome of undoing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UndoOutcome {
    /// Something was undone.
    Undone,
    /// Nothing had to be undone.
    NothingToDo,
}

impl Undo {
    /// The undo for a node that is about to be cordoned.
    pub(crate) fn cordon(node: &str, run: &str) -> Self {
        Self::Cordon(Cordon::new(node, run))
    }

    /// The undo for emitters that are about to change their rate: `rate` is the present one, of all of them together.
    pub(crate) fn rate(namespace: &str, rate: Rate) -> Self {
        Self::Rate(LoadRate { namespace: namespace.to_owned(), rate })
    }

    /// The undo for a backend of so many sinks that is about to misbehave.
    pub(crate) fn backend(namespace: &str, sinks: u16) -> Self {
        Self::Backend(BackendBehaviour { namespace: namespace.to_owned(), sinks })
    }

    /// The undo for a run that is about to be deployed.
    pub(crate) fn namespace(run: &str) -> Self {
        Self::Namespace(RunNamespace::new(run))
    }

    /// The undo for objects that are about to be made outside of the run's namespace, with the run's label.
    pub fn objects(run: &str, objects: Vec<ObjectRef>) -> Self {
        Self::Objects(RunObjects { run: run.to_owned(), objects })
    }

    /// Describes what is undone, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Cordon(it) => it.describe(),
            Self::Image(it) => it.describe(),
            Self::Rate(it) => it.describe(),
            Self::Backend(it) => it.describe(),
            Self::Namespace(it) => it.describe(),
            Self::Objects(it) => it.describe(),
        }
    }

    /// The namespace with which it goes.
    pub(crate) fn goes_with(&self) -> Option<&str> {
        match self {
            Self::Image(it) => Some(&it.namespace),
            Self::Rate(it) => Some(&it.namespace),
            Self::Backend(it) => Some(&it.namespace),
            Self::Namespace(it) => Some(&it.namespace),
            Self::Cordon(_) | Self::Objects(_) => None,
        }
    }

    /// Returns the timeout of undoing it.
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_secs(match self {
            // It is waited for pods that end, and for each node.
            Self::Namespace(_) => 240,
            Self::Cordon(_) | Self::Image(_) | Self::Rate(_) | Self::Backend(_) | Self::Objects(_) => 30,
        })
    }

    /// Undoes it. Done again, it does nothing.
    pub(crate) async fn undo(&self, context: &UndoContext<'_>) -> Result<UndoOutcome, UndoError> {
        match self {
            Self::Cordon(it) => it.undo(context.client).await,
            Self::Image(it) => it.undo(context.client).await,
            Self::Rate(it) => it.undo(context.client).await,
            Self::Backend(it) => it.undo(context.client).await,
            Self::Namespace(it) => it.undo(context).await,
            Self::Objects(it) => it.undo(context.client).await,
        }
    }

    /// Returns what is left of it, as the cluster shows it. Where that cannot be seen, it counts as left unless
    /// undoing succeeded.
    pub(crate) async fn left(
        &self,
        context: &UndoContext<'_>,
        undone: bool,
    ) -> Result<Option<String>, UndoError> {
        match self {
            Self::Cordon(it) => it.left(context.client).await,
            Self::Image(it) => it.left(context.client).await,
            Self::Rate(it) => it.left(context.client, undone).await,
            Self::Backend(it) => it.left(context.client, undone).await,
            Self::Namespace(it) => it.left(context.client, undone).await,
            Self::Objects(it) => it.left(context.client).await,
        }
    }
}
