//! What the harness would not see of a tier, by its manifests: said beforehand, and not by checks that come to nothing.

use crate::deploy::Manifest;
use k8s_openapi::api::core::v1::{PodSpec, ServicePort, ServiceSpec};
use serde_json::Value;

/// The port of the Collectors' own metrics, by name.
const METRICS: &str = "metrics";
/// OTLP/gRPC's port: emitters send to it, and it is what a gateway's exporter is pointed at.
const OTLP: i32 = 4317;

/// What would not be seen, or not be what it seems.
pub(super) fn warnings(objects: &[Manifest]) -> Vec<String> {
    let mut found = Vec::new();
    for (called, checks) in [
        ("Deployment/gateway", "which gateways are busy, and `queues`"),
        ("DaemonSet/agent", "the agents' queues, and every check and wait that needs them"),
    ] {
        if pods(objects, called).is_some_and(|pod| !has_port(pod)) {
            found.push(format!(
                "no container of {called} has a port called `{METRICS}`: {checks} come to nothing"
            ));
        }
    }
    if let Some(spec) = service(objects, "Service/agent") {
        if spec.internal_traffic_policy.as_deref() != Some("Local") {
            found.push(
                "Service/agent is not `internalTrafficPolicy: Local`: an emitter's spans go to any node's agent, and \
                 what is lost by one is not told from what is lost by another"
                    .to_owned(),
            );
        }
        if !spec.ports.iter().flatten().any(|port: &ServicePort| port.port == OTLP) {
            found.push(format!(
                "Service/agent has no port {OTLP}: emitters that speak OTLP/gRPC reach nobody"
            ));
        }
    }
    if !agents_export(objects) {
        found.push(
            "the agents' configuration has no exporter called `otlp…`: how long they may pause between two tries is \
             taken from the Collector's defaults"
                .to_owned(),
        );
    }
    found
}

fn pods<'a>(objects: &'a [Manifest], called: &str) -> Option<&'a PodSpec> {
    let template = match objects.iter().find(|object| object.called() == called)? {
        Manifest::Deployment(it) => &it.spec.as_ref()?.template,
        Manifest::DaemonSet(it) => &it.spec.as_ref()?.template,
        _ => return None,
    };
    template.spec.as_ref()
}

fn has_port(pod: &PodSpec) -> bool {
    let ports = pod.containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.into_iter().any(|port| port.name.as_deref() == Some(METRICS))
}

fn service<'a>(objects: &'a [Manifest], called: &str) -> Option<&'a ServiceSpec> {
    match objects.iter().find(|object| object.called() == called)? {
        Manifest::Service(it) => it.spec.as_ref(),
        _ => None,
    }
}

fn agents_export(objects: &[Manifest]) -> bool {
    let configuration = objects.iter().find_map(|object| match object {
        Manifest::ConfigMap(it) if object.called() == "ConfigMap/agent" => {
            it.data.as_ref()?.get("config.yaml")
        }
        _ => None,
    });
    let read = configuration.and_then(|text| serde_saphyr::from_str::<Value>(text).ok());
    let exporters = read.as_ref().and_then(|value| value["exporters"].as_object());
    exporters.is_some_and(|exporters| exporters.keys().any(|name| name.starts_with("otlp")))
}

#[cfg(test)]
mod tests {
    use super::warnings;
    use crate::deploy::Made;
    use crate::run::manifests_dir;
    use crate::scenario::{Tier, TierPatch};
    use serde_json::{Value, json};

    fn warned(of: &str, merge: Value, config: Value) -> Vec<String> {
        let patch = TierPatch { of: of.to_owned(), merge, config };
        let tier = Tier { patches: vec![patch], ..Tier::default() };
        warnings(&Made::by_run(&manifests_dir(None), &tier, "x").unwrap().tier)
    }

    #[test]
    fn a_tier_that_the_harness_cannot_see_into_is_said_to_be_one() {
        assert_eq!(
            warnings(&Made::by_run(&manifests_dir(None), &Tier::default(), "x").unwrap().tier),
            [""; 0]
        );
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
