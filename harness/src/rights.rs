//! The rights that the API server must grant for a run, and their purposes.

use crate::deploy::Manifest;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// A verb on a resource, as Kubernetes' RBAC has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Right {
    /// The namespace; none for all of them, and for resources without a namespace.
    pub namespace: Option<String>,
    /// The API group; empty for the core.
    pub group: String,
    /// The resource: `pods`, `pods/eviction`, or a path of the API server that is no resource: `/readyz`.
    pub resource: String,
    /// The verb.
    pub verb: String,
}

/// The part of a run that needs a right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The lock of the cluster: one run at a time.
    Lock,
    /// Making the tier and the probes, and waiting until they are ready.
    Deploy,
    /// Driving emitters and sinks.
    Load,
    /// Watching the cluster.
    Observe,
    /// Removing what was made.
    Remove,
    /// Planning, and details of what was seen: a run is possible without.
    Explain,
    /// A step, by its key in scenarios.
    #[serde(untagged)]
    Step(Cow<'static, str>),
}

impl Purpose {
    /// A step, by its key in scenarios.
    pub(crate) const fn step(key: &'static str) -> Self {
        Self::Step(Cow::Borrowed(key))
    }

    /// The name in plans.
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

    /// Returns whether a run is worth nothing without it.
    pub(crate) const fn is_required(&self) -> bool {
        !matches!(self, Self::Explain)
    }
}

/// The namespace in which a right is needed, or the whole cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Within<'a> {
    Cluster,
    Namespace(&'a str),
}

/// The rights that a scenario needs, each with its purposes.
#[derive(Debug, Default)]
pub(crate) struct RequiredRights(pub(crate) BTreeMap<Right, BTreeSet<Purpose>>);

impl RequiredRights {
    /// Adds verbs on a resource.
    pub(crate) fn add(
        &mut self,
        purpose: &Purpose,
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

    /// Adds verbs on an object's kind, in the object's namespace.
    pub(crate) fn add_object(&mut self, purpose: &Purpose, object: &Manifest, verbs: &[&str]) {
        let (group, resource) = object.resource();
        let within = object.metadata().namespace.as_deref().map_or(Within::Cluster, Within::Namespace);
        self.add(purpose, within, &group, &resource, verbs);
    }
}
