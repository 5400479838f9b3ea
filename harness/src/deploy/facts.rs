//! What the harness has to know of a tier, read from its objects.

use super::{DeployError, HPA, Manifest, PDB};
use crate::scenario::{Measure, Tier};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;

/// What the harness has to know of the tier that it deployed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierFacts {
    /// The minimum of ready gateways that the PDB's manifest asks for, whether or not it is applied.
    pub pdb_minimum: u32,
    /// The longest pause that an agent may make between two tries.
    pub worst_retry_pause: Duration,
    /// The fewest replicas that the HPA's manifest allows; 0 if there is none.
    pub hpa_minimum: usize,
}

impl TierFacts {
    /// How many gateways there are when all is well, at the least.
    pub fn gateways(&self, tier: &Tier) -> usize {
        let scaled = tier.has(Measure::Hpa) && self.hpa_minimum > 0;
        if scaled { self.hpa_minimum } else { usize::from(tier.gateways) }
    }
}

/// What the objects of a tier say of it.
pub(super) fn tier_facts(objects: &[Manifest]) -> Result<TierFacts, DeployError> {
    let minimum = objects.iter().find_map(|object| match object {
        Manifest::PodDisruptionBudget(pdb) if object.called() == PDB => {
            pdb.spec.as_ref()?.min_available.as_ref()
        }
        _ => None,
    });
    let replicas = objects.iter().find_map(|object| match object {
        // One is the API server's default.
        Manifest::HorizontalPodAutoscaler(hpa) if object.called() == HPA => {
            Some(hpa.spec.as_ref()?.min_replicas.unwrap_or(1))
        }
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
        hpa_minimum: replicas.and_then(|replicas| usize::try_from(replicas).ok()).unwrap_or_default(),
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
    // The Collector's defaults where nothing is written.
    let duration = |value: &serde_json::Value, default: &str| {
        let text = value.as_str().unwrap_or(default);
        humantime::parse_duration(text).map_err(|e| error(format!("{text:?}: {e}")))
    };
    let pause = |exporter: &serde_json::Value| {
        let timeout = duration(&exporter["timeout"], "5s")?;
        let longest = duration(&exporter["retry_on_failure"]["max_interval"], "30s")?;
        Ok(timeout.saturating_add(longest.saturating_mul(3) / 2).saturating_add(RESOLUTION_PAUSE))
    };
    let exporters = value["exporters"].as_object().into_iter().flatten();
    // `otlp`, `otlp_grpc`, `otlphttp`, and each of them with a name behind it.
    let otlp = exporters.filter(|(name, _)| name.starts_with("otlp")).map(|(_, exporter)| pause(exporter));
    let longest = otlp.collect::<Result<Vec<_>, _>>()?.into_iter().max();
    longest.map_or_else(|| pause(&serde_json::Value::Null), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::manifest;
    use std::path::Path;

    #[test]
    fn the_tier_says_what_the_harness_must_know() {
        let facts = tier_facts(
            &manifest::read(&Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests")).unwrap(),
        )
        .unwrap();
        assert_eq!(facts.pdb_minimum, 1);
        assert_eq!(facts.worst_retry_pause, Duration::from_millis(15_000 + 7_500 + 30_000));
    }

    #[test]
    fn defaults_count_where_nothing_is_written() {
        let pause = worst_retry_pause("exporters: {otlp_grpc: {endpoint: x}}").unwrap();
        assert_eq!(pause, Duration::from_secs(5 + 45 + 30));
    }

    #[test]
    fn of_several_exporters_the_slowest_counts() {
        let two = "exporters: {otlp/a: {timeout: 1s, retry_on_failure: {max_interval: 2s}}, otlphttp: {}, debug: {}}";
        assert_eq!(worst_retry_pause(two).unwrap(), Duration::from_secs(5 + 45 + 30));
    }
}
