//! The tier under test: where its manifests are, and what is changed in them.

use super::field_path::ensure;
use super::{FieldPath, Problem, Share, Span, bounds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// More than this is another tier.
const MOST_PATCHES: usize = 1_000;

/// The tier under test: the manifests of this project, and what is changed in them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tier {
    /// A folder with a kustomization, or a file of objects, in place of this project's manifests; from the scenario's
    /// folder. The harness finds its way by their names: Deployment/gateway, DaemonSet/agent, ConfigMap/agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<PathBuf>,
    /// The Collector's version, of gateways and agents.
    pub collector: String,
    /// How many gateways, where no HPA says so.
    #[schemars(range(min = 1, max = 5_000))]
    pub gateways: u16,
    /// How many sinks, behind one Service, are the backend.
    #[schemars(range(min = 1, max = 256))]
    pub sinks: u16,
    /// Measures that are left out.
    pub without: Vec<Measure>,
    /// The tier keeps a part of the traces by design: then traces must come whole or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    /// What is changed in the manifests, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<TierPatch>,
}

/// How the tier samples. What is not said is worked out from the Collectors' configurations, `tail_sampling` and
/// `probabilistic_sampler`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// What share of the traces is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// How long a trace waits for the decision: that much longer it may be on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_wait: Option<Span>,
}

/// A change of one of the manifests' objects, merged into it: `null` removes a field; of two lists of named things
/// (containers, volumes) those of the same name are merged; any other list takes the place of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierPatch {
    /// Kind and name: `Deployment/gateway`.
    pub of: String,
    /// What is changed in the object.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub merge: serde_json::Value,
    /// What is changed in the Collector's configuration that a `ConfigMap` holds under `config.yaml`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub config: serde_json::Value,
}

/// A measure that keeps the tier available, as it can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The `HorizontalPodAutoscaler`; the number of gateways is then fixed.
    Hpa,
    /// The `PodDisruptionBudget`.
    Pdb,
}

impl TierPatch {
    pub(super) fn check(&self, at: &FieldPath) -> Result<(), Problem> {
        let named = self.of.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
        let kind = format!("{:?} is no object: write kind and name, like Deployment/gateway", self.of);
        ensure(named, &at.then("of"), kind)?;
        let changes = !self.merge.is_null() || !self.config.is_null();
        ensure(changes, at, "it changes nothing: say what, in `merge` or `config`")
    }
}

impl Tier {
    pub(super) fn check(&self, at: &FieldPath) -> Result<(), Problem> {
        bounds::check(self, at)?;
        let patches = at.then("patches");
        let few = self.patches.len() <= MOST_PATCHES;
        ensure(few, &patches.then(MOST_PATCHES), format!("a tier has {MOST_PATCHES} patches at the most"))?;
        self.patches.iter().enumerate().try_for_each(|(number, patch)| patch.check(&patches.then(number)))
    }

    /// Whether a measure is there.
    pub fn has(&self, measure: Measure) -> bool {
        !self.without.contains(&measure)
    }
}

impl Default for Tier {
    fn default() -> Self {
        Self {
            manifests: None,
            collector: "0.161.0".to_owned(),
            gateways: 2,
            sinks: 1,
            without: Vec::new(),
            samples: None,
            patches: Vec::new(),
        }
    }
}
