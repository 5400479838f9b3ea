//! The tier and the probes: plain manifests, patched with types, applied server-side, awaited.

mod manifest;
mod ready;
mod remove;

pub use manifest::{Manifest, ManifestError};
pub(crate) use remove::{namespace_of, sweep_namespace_of};

use crate::cluster::Images;
use crate::scenario::{Measure, Tier};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The namespace that the manifests are written for, and the harness replaces.
const WRITTEN_FOR: &str = "spanproof";
/// The label by which everything that a run made is found.
pub const RUN_LABEL: &str = "spanproof/run";
const FIELD_MANAGER: &str = "spanproof";
/// The order in which the parts are deployed; what belongs to none of them (the namespace) comes first.
const FROM_THE_BACKEND: [&str; 4] = ["sink", "gateway", "agent", "emit"];

/// Why the tier is not there.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifests cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The set-up has no image for this.
    #[error("there is no image for the Collector {version}; there are: {known}")]
    NoImage {
        /// The version that was asked for.
        version: String,
        /// The versions that there are.
        known: String,
    },
    /// The API server refused an object.
    #[error("{action} {object}: {source}")]
    Api {
        /// What was tried.
        action: &'static str,
        /// Kind and name.
        object: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// Something did not become ready in time.
    #[error("waited {}s for {awaited}; {state}", waited.as_secs())]
    NotReady {
        /// What was awaited.
        awaited: String,
        /// How long.
        waited: Duration,
        /// How things stood at the end.
        state: String,
    },
    /// A scenario's patch does not fit the manifests.
    #[error("tier.patches: {of}: {message}")]
    Patch {
        /// The object that it names.
        of: String,
        /// What is wrong.
        message: String,
    },
    /// The agents' configuration is not what the harness can read.
    #[error("the agents' configuration: {0}")]
    AgentConfiguration(String),
}

/// What is deployed for a run.
#[derive(Clone)]
pub struct Deployment {
    client: Client,
    namespace: String,
    run: String,
    manifests: PathBuf,
}

/// What the harness has to know of the tier that it deployed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierFacts {
    /// The minimum of ready gateways that the PDB's manifest asks for, whether or not it is applied.
    pub pdb_minimum: u32,
    /// The longest pause that an agent may make between two tries.
    pub worst_retry_pause: Duration,
    /// The fewest replicas that the HPA's manifest allows.
    pub hpa_minimum: usize,
}

impl TierFacts {
    /// How many gateways there are when all is well, at the least.
    pub fn gateways(&self, tier: &Tier) -> usize {
        if tier.has(Measure::Hpa) { self.hpa_minimum } else { usize::from(tier.gateways) }
    }
}

impl Deployment {
    /// A deployment in a namespace of its own.
    pub fn new(client: Client, manifests: &Path, run: &str) -> Self {
        Self { client, namespace: namespace_of(run), run: run.to_owned(), manifests: manifests.to_owned() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Applies tier and probes, and waits until all of it is ready.
    pub async fn apply(
        &self,
        tier: &Tier,
        images: &Images,
        patience: Duration,
    ) -> Result<TierFacts, DeployError> {
        let mut objects = patched_tier(&self.manifests, tier)?;
        objects.extend(manifest::read(&self.manifests.join("probe"))?);
        let facts = tier_facts(&objects)?;
        objects.retain(|object| match object {
            Manifest::HorizontalPodAutoscaler(_) => tier.has(Measure::Hpa),
            Manifest::PodDisruptionBudget(_) => tier.has(Measure::Pdb),
            _ => true,
        });
        for object in &mut objects {
            self.patch(object, tier, images)?;
        }
        // From the backend to the applications: an agent that starts before the gateways are ready learns
        // of those that are late only when a connection ends.
        objects.sort_by_key(|object| FROM_THE_BACKEND.iter().position(|name| object.belongs_to(name)));
        for object in &objects {
            object.apply(&self.client).await?;
            object.await_ready(&self.client, patience).await?;
        }
        Ok(facts)
    }

    /// Typed changes: the run's namespace and label, images, and how many gateways and sinks there are.
    fn patch(&self, object: &mut Manifest, tier: &Tier, images: &Images) -> Result<(), DeployError> {
        object.rename_namespace(WRITTEN_FOR, &self.namespace);
        object.label(RUN_LABEL, &self.run);
        if let Manifest::Deployment(deployment) = object
            && deployment.metadata.name.as_deref() == Some("gateway")
            && !tier.has(Measure::Hpa)
            && let Some(spec) = &mut deployment.spec
        {
            spec.replicas = Some(i32::from(tier.gateways));
        }
        if let Manifest::StatefulSet(sinks) = object
            && let Some(spec) = &mut sinks.spec
        {
            spec.replicas = Some(i32::from(tier.sinks));
        }
        if let Some(pod) = object.pod_spec_mut() {
            patch_images(pod, &tier.collector, images)?;
        }
        Ok(())
    }
}

/// The tier's manifests, with a scenario's patches.
fn patched_tier(manifests: &Path, tier: &Tier) -> Result<Vec<Manifest>, DeployError> {
    let mut objects = manifest::read(manifests)?;
    for patch in &tier.patches {
        let error = |message: String| DeployError::Patch { of: patch.of.clone(), message };
        let known = || objects.iter().map(Manifest::called).collect::<Vec<_>>().join(", ");
        let Some(index) = objects.iter().position(|object| object.called() == patch.of) else {
            return Err(error(format!("there is no such object; there are: {}", known())));
        };
        objects[index] = objects[index].patched(patch).map_err(error)?;
    }
    Ok(objects)
}

/// Whether a scenario's patches fit the manifests.
pub fn check(manifests: &Path, tier: &Tier) -> Result<(), DeployError> {
    tier_facts(&patched_tier(manifests, tier)?).map(|_| ())
}

/// Adds metrics-server to a cluster, and waits until it answers.
pub async fn apply_metrics_server(
    client: &Client,
    manifests: &Path,
    images: &Images,
    patience: Duration,
) -> Result<(), DeployError> {
    let mut objects = manifest::read(&manifests.join("metrics-server"))?;
    for object in &mut objects {
        if let Some(pod) = object.pod_spec_mut() {
            patch_images(pod, "", images)?;
        }
        object.apply(client).await?;
    }
    for object in &objects {
        object.await_ready(client, patience).await?;
    }
    Ok(())
}

async fn server_side_apply<K>(objects: Api<K>, object: &K) -> Result<(), DeployError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force();
    objects.patch(&name, &params, &Patch::Apply(object)).await.map(|_| ()).map_err(|source| {
        DeployError::Api {
            action: "apply",
            object: format!("{} {name}", K::kind(&())),
            source: Box::new(source),
        }
    })
}

/// Images by what the manifests call them.
fn patch_images(pod: &mut PodSpec, collector: &str, images: &Images) -> Result<(), DeployError> {
    let containers: &mut dyn Iterator<Item = &mut Container> =
        &mut pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten());
    for container in containers {
        let name = container.image.as_deref().unwrap_or_default().split(':').next().unwrap_or_default();
        let image = match name {
            "otel/opentelemetry-collector-contrib" => {
                images.collector(collector).ok_or_else(|| DeployError::NoImage {
                    version: collector.to_owned(),
                    known: images.collectors().collect::<Vec<_>>().join(", "),
                })?
            }
            "spanproof/probe" => images.probe(),
            "rancher/mirrored-metrics-server" => images.metrics_server(),
            _ => continue,
        };
        container.image = Some(image.image.clone());
    }
    Ok(())
}

fn tier_facts(objects: &[Manifest]) -> Result<TierFacts, DeployError> {
    let minimum = objects.iter().find_map(|object| match object {
        Manifest::PodDisruptionBudget(pdb) => pdb.spec.as_ref()?.min_available.as_ref(),
        _ => None,
    });
    let replicas = objects.iter().find_map(|object| match object {
        Manifest::HorizontalPodAutoscaler(hpa) => hpa.spec.as_ref()?.min_replicas,
        _ => None,
    });
    let configuration = objects.iter().find_map(|object| match object {
        Manifest::ConfigMap(map) if map.metadata.name.as_deref() == Some("agent") => {
            map.data.as_ref()?.get("config.yaml")
        }
        _ => None,
    });
    let configuration = configuration
        .ok_or_else(|| DeployError::AgentConfiguration("there is no ConfigMap `agent`".to_owned()))?;
    Ok(TierFacts {
        pdb_minimum: match minimum {
            Some(IntOrString::Int(number)) => u32::try_from(*number).unwrap_or_default(),
            _ => 0,
        },
        worst_retry_pause: worst_retry_pause(configuration)?,
        hpa_minimum: replicas.and_then(|replicas| usize::try_from(replicas).ok()).unwrap_or(1),
    })
}

/// How long an agent's gRPC client may wait before it looks for addresses again: its resolver asks at
/// most every 30 s (`MinResolutionInterval` of grpc-go).
const RESOLUTION_PAUSE: Duration = Duration::from_secs(30);

/// timeout + 1.5 × `max_interval` (its randomisation) + the pause before addresses are looked up again.
fn worst_retry_pause(configuration: &str) -> Result<Duration, DeployError> {
    let error = |message: String| DeployError::AgentConfiguration(message);
    let value: serde_json::Value =
        serde_saphyr::from_str(configuration).map_err(|e| error(e.without_snippet().to_string()))?;
    let exporter = &value["exporters"]["otlp_grpc"];
    // The Collector's defaults where nothing is written.
    let duration = |value: &serde_json::Value, default: &str| {
        let text = value.as_str().unwrap_or(default);
        humantime::parse_duration(text).map_err(|e| error(format!("{text:?}: {e}")))
    };
    let timeout = duration(&exporter["timeout"], "5s")?;
    let longest = duration(&exporter["retry_on_failure"]["max_interval"], "30s")?;
    Ok(timeout + longest * 3 / 2 + RESOLUTION_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
    }

    #[test]
    fn the_tier_says_what_the_harness_must_know() {
        let facts = tier_facts(&manifest::read(&manifests()).unwrap()).unwrap();
        assert_eq!(facts.pdb_minimum, 1);
        assert_eq!(facts.worst_retry_pause, Duration::from_millis(15_000 + 7_500 + 30_000));
    }

    #[test]
    fn defaults_count_where_nothing_is_written() {
        let pause = worst_retry_pause("exporters: {otlp_grpc: {endpoint: x}}").unwrap();
        assert_eq!(pause, Duration::from_secs(5 + 45 + 30));
    }

    #[test]
    fn a_patch_changes_an_object_or_the_configuration_in_it() {
        let tier = |of: &str, part: &str, patch: serde_json::Value| {
            let patch = serde_json::json!({"of": of, part: patch});
            Tier { patches: vec![serde_json::from_value(patch).unwrap()], ..Tier::default() }
        };
        let all_at_once =
            serde_json::json!({"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}});
        let objects = patched_tier(&manifests(), &tier("Deployment/gateway", "merge", all_at_once)).unwrap();
        let rolling = objects.iter().find_map(|object| match object {
            Manifest::Deployment(it) => it.spec.as_ref()?.strategy.as_ref()?.rolling_update.as_ref(),
            _ => None,
        });
        assert_eq!(rolling.unwrap().max_unavailable, Some(IntOrString::String("100%".to_owned())));

        let slower =
            serde_json::json!({"exporters": {"otlp_grpc": {"retry_on_failure": {"max_interval": "9s"}}}});
        let objects = patched_tier(&manifests(), &tier("ConfigMap/agent", "config", slower)).unwrap();
        assert_eq!(
            tier_facts(&objects).unwrap().worst_retry_pause,
            Duration::from_millis(15_000 + 13_500 + 30_000)
        );

        for (of, part, patch) in [
            ("Deployment/gatewy", "merge", serde_json::json!({"spec": {}})),
            ("Deployment/gateway", "merge", serde_json::json!({"spec": {"strateggy": {}}})),
            ("Deployment/gateway", "config", serde_json::json!({"exporters": null})),
        ] {
            let refused = check(&manifests(), &tier(of, part, patch)).unwrap_err().to_string();
            assert!(refused.contains(of), "{refused}");
        }
    }

    #[test]
    fn every_kustomization_reads_without_losing_a_field() {
        for part in ["", "probe", "sweep", "metrics-server"] {
            assert!(!manifest::read(&manifests().join(part)).unwrap().is_empty(), "{part}");
        }
    }
}
