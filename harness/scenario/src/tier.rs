//! The tier under test: its manifests, and the changes of them.

use super::field_path::ensure;
use super::{FieldPath, Problem, Share, Span, bounds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The largest number of patches; more make another tier.
const MOST_PATCHES: usize = 1_000;

/// The tier under test: this project's manifests or others, and the changes of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tier {
    /// A folder with a kustomization, or a file with objects, in place of this project's manifests. A relative path starts
    /// at the scenario's folder. The harness finds the tier's parts by name: Deployment/gateway, DaemonSet/agent,
    /// ConfigMap/agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifests: Option<PathBuf>,
    /// The Collector's version, for gateways and agents.
    pub collector: String,
    /// The number of gateways where there is no HPA.
    #[schemars(range(min = 1, max = 5_000))]
    pub gateways: u16,
    /// The number of sinks that make up the backend, behind one Service. Each has a ledger of its own.
    #[schemars(range(min = 1, max = 256))]
    pub sinks: u16,
    /// The measures that are left out.
    pub without: Vec<Measure>,
    /// The sampling of a tier that keeps only some traces by design: each trace must then arrive whole or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    /// Changes of the manifests, applied in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<TierPatch>,
}

/// The sampling of the tier. A field that is left out is worked out from `tail_sampling` and `probabilistic_sampler` in
/// the Collectors' configurations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Samples {
    /// The share of the traces that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// The time for which a trace waits for the sampling decision, and may be under way longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision_wait: Option<Span>,
}

/// A change that is merged into one of the manifests' objects. `null` removes a field; lists of named items (containers,
/// volumes) are merged by name; any other list replaces the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TierPatch {
    /// Kind and name of the object, such as `Deployment/gateway`.
    pub of: String,
    /// Fields that are merged into the object.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub merge: serde_json::Value,
    /// Fields that are merged into the Collector's configuration, which a `ConfigMap` holds as `config.yaml`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub config: serde_json::Value,
}

/// A measure that keeps the tier available and can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The `HorizontalPodAutoscaler`. Without it the number of gateways is fixed.
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
    /// Checks what its fields must fulfil besides their types.
    pub(super) fn check(&self, at: &FieldPath) -> Result<(), Problem> {
        bounds::check(self, at)?;
        let patches = at.then("patches");
        let few = self.patches.len() <= MOST_PATCHES;
        ensure(few, &patches.then(MOST_PATCHES), format!("a tier has {MOST_PATCHES} patches at the most"))?;
        self.patches.iter().enumerate().try_for_each(|(number, patch)| patch.check(&patches.then(number)))
    }

    /// Returns whether a measure is in place.
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
