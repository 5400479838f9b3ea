//! Warnings of what the harness cannot see of a tier, by its manifests.

use super::parts::Parts;
use k8s_openapi::api::core::v1::PodSpec;
use spanproof_probe::OTLP_PORT;

/// The name of the port with the Collectors' own metrics.
const METRICS: &str = "metrics";

/// Returns the warnings.
pub(super) fn warnings(parts: &Parts<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (called, pod, checks) in [
        (
            "Deployment/gateway",
            parts.gateway_pod(),
            "the busiest gateway is not known, and `queues` is inconclusive",
        ),
        (
            "DaemonSet/agent",
            parts.agent_pod(),
            "every check and wait that needs the agents' queues is inconclusive or times out",
        ),
    ] {
        if pod.is_some_and(|pod| !has_port(pod)) {
            found.push(format!("no container of {called} has a port called `{METRICS}`: {checks}"));
        }
    }
    if let Some(spec) = parts.service("agent").and_then(|service| service.spec.as_ref()) {
        if spec.internal_traffic_policy.as_deref() != Some("Local") {
            found.push(
                "Service/agent is not `internalTrafficPolicy: Local`: an emitter's spans go to any node's agent, and \
                 what is lost by one is not told from what is lost by another"
                    .to_owned(),
            );
        }
        if !spec.ports.iter().flatten().any(|port| port.port == i32::from(OTLP_PORT)) {
            found.push(format!(
                "Service/agent has no port {OTLP_PORT}: emitters that speak OTLP/gRPC cannot connect"
            ));
        }
    }
    let agents = parts.agents();
    let exporters = agents.as_ref().and_then(|agents| agents["exporters"].as_object());
    let known = |name: &String| name.starts_with("otlp") || name.starts_with("load");
    if !exporters.is_some_and(|exporters| exporters.keys().any(known)) {
        found.push(
            "the agents' configuration has no exporter called `otlp…`: their longest pause between two attempts is \
             taken from the Collector's defaults"
                .to_owned(),
        );
    }
    found
}

fn has_port(pod: &PodSpec) -> bool {
    let ports = pod.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.into_iter().any(|port| port.name.as_deref() == Some(METRICS))
}

#[cfg(test)]
mod tests {
    use super::{Parts, warnings};
    use crate::deploy::RunManifests;
    use crate::deploy::manifests_dir;
    use crate::scenario::{Tier, TierPatch};
    use serde_json::{Value, json};

    fn warned(of: &str, merge: Value, config: Value) -> Vec<String> {
        let patch = TierPatch { of: of.to_owned(), merge, config };
        let tier = Tier { patches: vec![patch], ..Tier::default() };
        warned_of(&tier)
    }

    fn warned_of(tier: &Tier) -> Vec<String> {
        warnings(&Parts::of(&RunManifests::of_run(&manifests_dir(None).unwrap(), tier, "x").unwrap().tier))
    }

    #[test]
    fn a_tier_that_the_harness_cannot_see_into_is_said_to_be_one() {
        assert_eq!(warned_of(&Tier::default()), [""; 0]);
        let policy = json!({"spec": {"internalTrafficPolicy": null}});
        let said = warned("Service/agent", policy, Value::Null);
        assert!(matches!(&said[..], [one] if one.contains("internalTrafficPolicy")), "{said:?}");
        let containers = json!([{"name": "collector", "ports": null}]);
        let said = warned(
            "DaemonSet/agent",
            json!({"spec": {"template": {"spec": {"containers": containers}}}}),
            Value::Null,
        );
        assert!(matches!(&said[..], [one] if one.contains("port called `metrics`")), "{said:?}");
        let exporters = json!({"exporters": {"otlp_grpc": null, "debug": {}}});
        let said = warned("ConfigMap/agent", Value::Null, exporters);
        assert!(matches!(&said[..], [one] if one.contains("otlp…")), "{said:?}");
    }
}
