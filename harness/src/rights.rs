//! What the API server must allow: rights, and what they are for.

use crate::deploy::Manifest;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Something that the API server must allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Right {
    /// In which namespace; none for all of them, and for what is in none.
    pub namespace: Option<String>,
    /// The API group; empty for the core.
    pub group: String,
    /// What: `pods`, `pods/eviction`, or a path of the server's that is no resource, `/readyz`.
    pub resource: String,
    /// What is done with it.
    pub verb: String,
}

/// What a right is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// One run at a time on a cluster.
    Lock,
    /// Making the tier and the probes, and waiting until they are ready.
    Deploy,
    /// Driving emitters and sinks.
    Load,
    /// Seeing what happens.
    Observe,
    /// Removing what was made.
    Remove,
    /// Planning, and saying more of what was seen.
    Explain,
    /// Taking a step, by its key in scenarios.
    #[serde(untagged)]
    Step(Cow<'static, str>),
}

impl Use {
    /// Taking a step.
    pub(crate) const fn step(key: &'static str) -> Self {
        Self::Step(Cow::Borrowed(key))
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Lock => "lock",
            Self::Deploy => "deploy",
            Self::Load => "load",
            Self::Observe => "observe",
            Self::Step(key) => key,
            Self::Remove => "remove",
            Self::Explain => "explain",
        }
    }

    pub(crate) const fn is_required(&self) -> bool {
        !matches!(self, Self::Explain)
    }
}

/// What must be allowed, and what for.
pub(crate) type Needs = BTreeMap<Right, BTreeSet<Use>>;

/// Where a right is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Within<'a> {
    Cluster,
    Namespace(&'a str),
}

pub(crate) struct Asking(pub(crate) Needs);

impl Asking {
    pub(crate) fn ask(
        &mut self,
        purpose: &Use,
        within: Within<'_>,
        group: &str,
        resource: &str,
        verbs: &[&str],
    ) {
        let namespace = match within {
            Within::Cluster => None,
            Within::Namespace(name) => Some(name.to_owned()),
        };
        for verb in verbs {
            let right = Right {
                namespace: namespace.clone(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                verb: (*verb).to_owned(),
            };
            self.0.entry(right).or_default().insert(purpose.clone());
        }
    }

    pub(crate) fn object(&mut self, purpose: &Use, object: &Manifest, verbs: &[&str]) {
        let (group, resource) = object.resource();
        let within = object.metadata().namespace.as_deref().map_or(Within::Cluster, Within::Namespace);
        self.ask(purpose, within, &group, &resource, verbs);
    }
}
