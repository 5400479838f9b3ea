//! The facts about a tier that the harness needs, read from its objects.

mod hops;

pub(super) use hops::duration;

use super::{DeployError, HPA, Manifest, PDB};
use crate::record::{Hop, worst_pause_s};
use crate::scenario::{Measure, Tier};
use crate::world::Demand;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;
use std::time::Duration;

/// The facts about a tier that the harness needs.
#[derive(Debug, Clone, PartialEq)]
pub struct TierFacts {
    /// The PDB manifest's demand, whether or not it is applied; none without such a manifest.
    pub pdb: Option<Demand>,
    /// Its hops, the entry first.
    pub hops: Vec<Hop>,
    /// True if an agent receives spans from its own node's applications only.
    pub entry_of_its_node: bool,
    /// The fewest replicas that the HPA's manifest allows; 0 if there is none.
    pub hpa_minimum: usize,
}

impl TierFacts {
    /// The longest that a span may be on its way without a sign of life, through all hops.
    pub fn worst_retry_pause(&self) -> Duration {
        Duration::try_from_secs_f64(worst_pause_s(&self.hops)).unwrap_or(Duration::MAX)
    }

    /// Describes the pause of each hop, for a message.
    pub fn pauses(&self) -> String {
        let hop = |hop: &Hop| format!("{} {:.1}s, keeps {}", hop.name, hop.pause_s, hop.keeps);
        self.hops.iter().map(hop).collect::<Vec<_>>().join("; ")
    }

    /// Returns the smallest number of gateways in normal operation.
    pub fn gateways(&self, tier: &Tier) -> usize {
        let scaled = tier.has(Measure::Hpa) && self.hpa_minimum > 0;
        if scaled { self.hpa_minimum } else { usize::from(tier.gateways) }
    }

    /// Returns the number of gateways that must be ready by the PDB's manifest.
    pub fn pdb_minimum(&self, tier: &Tier) -> u32 {
        let scale = u32::try_from(self.gateways(tier)).unwrap_or(u32::MAX);
        self.pdb.as_ref().map_or(0, |demand| demand.healthy(scale))
    }
}

/// Reads the facts about a tier from its objects.
pub(super) fn tier_facts(objects: &[Manifest]) -> Result<TierFacts, DeployError> {
    let pdb = objects.iter().find_map(|object| match object {
        Manifest::PodDisruptionBudget(pdb) if object.called() == PDB => pdb.spec.as_ref().map(Demand::from),
        _ => None,
    });
    let replicas = objects.iter().find_map(|object| match object {
        // One is the API server's default.
        Manifest::HorizontalPodAutoscaler(hpa) if object.called() == HPA => {
            Some(hpa.spec.as_ref()?.min_replicas.unwrap_or(1))
        }
        _ => None,
    });
    Ok(TierFacts {
        pdb,
        hops: hops(objects)?,
        entry_of_its_node: of_its_node(objects),
        hpa_minimum: replicas.and_then(|replicas| usize::try_from(replicas).ok()).unwrap_or_default(),
    })
}

/// The hops, the entry first.
fn hops(objects: &[Manifest]) -> Result<Vec<Hop>, DeployError> {
    let error = |message: String| DeployError::AgentConfiguration(message);
    let text = objects.iter().find_map(|object| match object {
        Manifest::ConfigMap(map) if map.metadata.name.as_deref() == Some("agent") => {
            map.data.as_ref()?.get("config.yaml")
        }
        _ => None,
    });
    let text = text.ok_or_else(|| error("there is no ConfigMap `agent`".to_owned()))?;
    let configuration: Value =
        serde_saphyr::from_str(text).map_err(|e| error(e.without_snippet().to_string()))?;
    let agent = pod(objects, "DaemonSet/agent");
    let gateway = pod(objects, "Deployment/gateway");
    let configured = gateway.and_then(|pod| mounted(objects, pod));
    // One whose configuration is somewhere else, or written in a way that is not known here, may do anything.
    let gateway = configured.and_then(|configuration| hops::hop("gateway", &configuration, gateway).ok());
    Ok(vec![
        hops::hop("agent", &configuration, agent).map_err(error)?,
        gateway.unwrap_or_else(|| hops::unknown("gateway")),
    ])
}

fn pod<'a>(objects: &'a [Manifest], called: &str) -> Option<&'a PodSpec> {
    objects.iter().filter(|object| object.called() == called).find_map(|object| match object {
        Manifest::DaemonSet(it) => it.spec.as_ref()?.template.spec.as_ref(),
        Manifest::Deployment(it) => it.spec.as_ref()?.template.spec.as_ref(),
        _ => None,
    })
}

/// The Collector's configuration that is mounted in a pod.
fn mounted(objects: &[Manifest], pod: &PodSpec) -> Option<Value> {
    let volumes = pod.volumes.iter().flatten();
    let names: Vec<&str> =
        volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.as_str())).collect();
    let mut texts = objects.iter().flat_map(|object| match object {
        Manifest::ConfigMap(map) if map.metadata.name.as_deref().is_some_and(|it| names.contains(&it)) => {
            map.data.iter().flatten().map(|(_, text)| text).collect()
        }
        _ => Vec::new(),
    });
    texts.find_map(|text| {
        let value: Value = serde_saphyr::from_str(text).ok()?;
        value["exporters"].is_object().then_some(value)
    })
}

/// Returns true if an application reaches only the agent of its own node.
fn of_its_node(objects: &[Manifest]) -> bool {
    objects.iter().any(|object| match object {
        Manifest::Service(service) if object.called() == "Service/agent" => {
            let spec = service.spec.as_ref();
            spec.and_then(|spec| spec.internal_traffic_policy.as_deref()) == Some("Local")
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::manifest;
    use crate::record::Keeps;
    use std::path::Path;

    #[test]
    fn the_tier_says_what_the_harness_must_know() {
        let objects =
            manifest::read(&Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests")).unwrap();
        let facts = tier_facts(&objects).unwrap();
        assert_eq!((facts.pdb_minimum(&Tier::default()), facts.entry_of_its_node), (1, true));
        assert_eq!(facts.worst_retry_pause(), Duration::from_millis(15_000 + 200 + 7_500 + 30_000));
        let kept: Vec<_> =
            facts.hops.iter().map(|hop| (hop.name.as_str(), hop.keeps, hop.readable)).collect();
        assert_eq!(kept, [("agent", Keeps::Disk, true), ("gateway", Keeps::Nothing, true)]);
    }

    #[test]
    fn a_gateway_whose_configuration_is_not_seen_may_keep_something() {
        let mut objects =
            manifest::read(&Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests")).unwrap();
        objects.retain(|object| object.called() != "ConfigMap/gateway");
        let facts = tier_facts(&objects).unwrap();
        let gateway = &facts.hops[1];
        assert_eq!((gateway.keeps, gateway.readable, gateway.pause_s), (Keeps::Memory, false, 80.0));
    }
}
