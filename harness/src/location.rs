//! The location of a cluster, as a journal keeps it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The location of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Location {
    /// A kind cluster that this program made.
    Kind {
        /// Its name.
        cluster: String,
    },
    /// A context of a kubeconfig.
    Context {
        /// Its name.
        context: String,
        /// The kubeconfigs, which count together.
        kubeconfigs: Vec<PathBuf>,
        /// The UID that identifies its cluster.
        uid: String,
    },
}

impl Location {
    /// Returns true for the same cluster, by whatever context.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Context { uid, .. }, Self::Context { uid: other, .. }) => uid == other,
            _ => self == other,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { cluster } => write!(f, "the kind cluster {cluster}"),
            Self::Context { context, kubeconfigs, .. } => {
                let named: Vec<_> = kubeconfigs.iter().map(|path| path.display().to_string()).collect();
                write!(f, "the context {context} of {}", named.join(", "))
            }
        }
    }
}
