//! The tier and the probes: plain manifests, patched with types, applied server-side, awaited.

mod autoscaler;
mod control_plane;
mod embedded;
mod facts;
mod manifest;
mod metrics_server;
mod own;
mod ready;
mod remove;
mod run_manifests;
mod sampling;
mod take_down;
mod valid;

pub use facts::TierFacts;
pub use manifest::{Manifest, ManifestError};
pub use metrics_server::{apply_metrics_server, lend_metrics_server, remove_metrics_server};
pub(crate) use ready::await_daemon_set;
pub use run_manifests::RunManifests;

use crate::host::cache_dir;
use crate::images::Images;
use crate::labels::namespace_of;
use crate::sampling::Sampling;
use crate::scenario::{Measure, Tier};
use crate::yaml::meant;
use control_plane::{anywhere, has_control_plane};
use facts::tier_facts;
use k8s_openapi::api::core::v1::Container;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The namespace that the manifests are written for, and the harness replaces.
const WRITTEN_FOR: &str = "spanproof";
const FIELD_MANAGER: &str = "spanproof";
/// The gateways' HPA.
const HPA: &str = "HorizontalPodAutoscaler/gateway";
/// The gateways' PDB.
const PDB: &str = "PodDisruptionBudget/gateway";
/// The order in which the parts are deployed; objects of no part (the namespace) come first.
const FROM_THE_BACKEND: [&str; 4] = ["sink", "gateway", "agent", "emit"];

/// An error in deploying, or removing, the tier or the probes.
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
        /// The attempted action.
        action: &'static str,
        /// Kind and name.
        object: String,
        /// The API server's error.
        source: Box<kube::Error>,
    },
    /// An object has the place of one that was to be made.
    #[error("there is a {object} that spanproof did not make; it is left alone")]
    Foreign {
        /// Kind and name.
        object: String,
    },
    /// An object did not become ready in time.
    #[error("waited {}s for {awaited}; {state}", waited.as_secs())]
    NotReady {
        /// The awaited state.
        awaited: String,
        /// The time that was waited.
        waited: Duration,
        /// The state at the end.
        state: String,
    },
    /// A scenario's patch does not fit the manifests.
    #[error("{of}: {message}")]
    Patch {
        /// The patch's index, from 0.
        number: usize,
        /// The object that it names.
        of: String,
        /// The problem.
        message: String,
    },
    /// The HPA would scale nothing.
    #[error("{HPA} {message}")]
    Autoscaler {
        /// The index of the patch that caused it, from 0; none if the manifests themselves do.
        number: Option<usize>,
        /// The problem.
        message: String,
    },
    /// The agents' configuration is not what the harness can read.
    #[error("the agents' configuration: {0}")]
    AgentConfiguration(String),
    /// The scenario's `samples` contradict the tier's configuration.
    #[error("{0}")]
    Sampling(String),
}

/// The deployment of a run.
#[derive(Clone)]
pub struct Deployment {
    client: Client,
    namespace: String,
    run: String,
    manifests: PathBuf,
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
        timeout: Duration,
    ) -> Result<TierFacts, DeployError> {
        let made = RunManifests::of_run(&self.manifests, tier, &self.run)?;
        let facts = made.facts.clone();
        let mut objects = [made.tier, made.probes].concat();
        let control_plane = has_control_plane(&self.client).await?;
        for object in &mut objects {
            patch_images(object, &tier.collector, images)?;
            if let Some(pod) = object.pod_spec_mut().filter(|_| !control_plane) {
                anywhere(pod);
            }
        }
        // From the backend to the applications: an agent that starts before the gateways are ready learns
        // of those that are late only when a connection ends.
        objects.sort_by_key(|object| {
            (
                object.rank() > 0,
                FROM_THE_BACKEND.iter().position(|name| object.belongs_to(name)),
                object.rank(),
            )
        });
        for object in &objects {
            object.apply(&self.client).await?;
            object.await_ready(&self.client, timeout).await?;
        }
        Ok(facts)
    }

    /// Changes an object for the run: namespace and label, images, numbers of gateways and sinks.
    fn patch(&self, object: &mut Manifest, tier: &Tier, images: &Images) -> Result<(), DeployError> {
        run_manifests::make_of_run(object, tier, &self.run);
        patch_images(object, &tier.collector, images)
    }
}

/// The tier's manifests, with a scenario's patches.
fn patched_tier(manifests: &Path, tier: &Tier) -> Result<Vec<Manifest>, DeployError> {
    let Some(own) = &tier.manifests else {
        let mut objects = manifest::read(manifests)?;
        patch_objects(&mut objects, tier)?;
        return Ok(objects);
    };
    let (files, mut objects) = own::read(own)?;
    patch_objects(&mut objects, tier)?;
    Ok(own::fitted(own, &files, objects, tier, manifests)?)
}

fn patch_objects(objects: &mut [Manifest], tier: &Tier) -> Result<(), DeployError> {
    for (number, patch) in tier.patches.iter().enumerate() {
        let error = |message: String| DeployError::Patch { number, of: patch.of.clone(), message };
        let known: Vec<String> = objects.iter().map(Manifest::called).collect();
        let Some(index) = known.iter().position(|called| *called == patch.of) else {
            let meant = meant(&patch.of, known.iter().map(String::as_str));
            return Err(error(format!("there is no such object; {meant}")));
        };
        let patched = objects[index].patched(patch).map_err(error)?;
        if patched.called() != patch.of {
            return Err(error("an object keeps its name: the harness finds it by that".to_owned()));
        }
        objects[index] = patched;
    }
    // One patch may mend what another one broke.
    for object in objects.iter() {
        let of = object.called();
        if let Some(number) = tier.patches.iter().rposition(|patch| patch.of == of)
            && let Some(message) = valid::refusal(object)
        {
            return Err(DeployError::Patch { number, of, message });
        }
    }
    Ok(())
}

/// Checks that a scenario's tier can be made from the manifests. Returns the measures that it lacks, whether or not
/// the scenario leaves them out.
pub fn check(manifests: &Path, tier: &Tier) -> Result<Vec<Measure>, DeployError> {
    let objects = patched_tier(manifests, tier)?;
    tier_facts(&objects)?;
    if tier.has(Measure::Hpa)
        && let Some(message) = autoscaler::refusal(&objects)
    {
        let number = tier.patches.iter().rposition(|patch| patch.of == HPA);
        return Err(DeployError::Autoscaler { number, message });
    }
    sampling::sampling(&objects, tier)?;
    let there = |name: &str| objects.iter().any(|object| object.called() == name);
    let measures = [(Measure::Hpa, HPA), (Measure::Pdb, PDB)];
    Ok(measures.into_iter().filter(|(_, name)| !there(name)).map(|(measure, _)| measure).collect())
}

/// Returns how a scenario's tier samples; none if it keeps everything, and at once.
pub fn sampling(manifests: &Path, tier: &Tier) -> Result<Option<Sampling>, DeployError> {
    sampling::sampling(&patched_tier(manifests, tier)?, tier)
}

/// Checks that a folder holds this project's manifests, or replacements for them.
pub fn readable(manifests: &Path) -> Result<(), ManifestError> {
    ["", "probe", "sweep", "metrics-server"]
        .iter()
        .try_for_each(|part| manifest::read(&manifests.join(part)).map(|_| ()))
}

/// The folder of the manifests: the given one, else a copy in the cache of those that are embedded in this program. A
/// debug build is for work on them, and reads those of its own checkout.
pub fn manifests_dir(given: Option<&Path>) -> Result<PathBuf, ManifestError> {
    let checkout = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests");
    match given {
        Some(folder) => Ok(folder.to_owned()),
        None if cfg!(debug_assertions) && checkout().is_dir() => Ok(checkout()),
        None => embedded::unpack(&cache_dir()),
    }
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

/// Sets the images, by the names that the manifests use.
fn patch_images(object: &mut Manifest, collector: &str, images: &Images) -> Result<(), DeployError> {
    let Some(pod) = object.pod_spec_mut() else {
        return Ok(());
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    fn manifests() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests")
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
            tier_facts(&objects).unwrap().worst_retry_pause(),
            Duration::from_millis(15_000 + 200 + 13_500 + 30_000)
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
