//! Validation of an object by itself, as an API server does it: a typo in a patch is found before a cluster is made
//! for it.

use super::Manifest;
use crate::kubernetes::quantity_value;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Returns the reason why an API server would refuse an object; none if no reason is known.
pub(super) fn refusal(object: &Manifest) -> Option<String> {
    match object {
        Manifest::PodDisruptionBudget(it) => budget(it.spec.as_ref()?),
        Manifest::HorizontalPodAutoscaler(it) => autoscaler(it.spec.as_ref()?),
        Manifest::Deployment(it) => pods(it.spec.as_ref()?.template.spec.as_ref()),
        Manifest::DaemonSet(it) => pods(it.spec.as_ref()?.template.spec.as_ref()),
        Manifest::StatefulSet(it) => pods(it.spec.as_ref()?.template.spec.as_ref()),
        _ => None,
    }
}

fn budget(spec: &PodDisruptionBudgetSpec) -> Option<String> {
    let (min, max) = (&spec.min_available, &spec.max_unavailable);
    if min.is_some() && max.is_some() {
        let help = "`null` in a patch removes a field";
        return Some(format!("minAvailable and maxUnavailable exclude each other ({help})"));
    }
    let written = [("minAvailable", min), ("maxUnavailable", max)];
    written.into_iter().find_map(|(name, value)| match value.as_ref()? {
        IntOrString::String(text) if !is_percentage(text) => {
            Some(format!("{name} is a number of pods or a percentage, and {text:?} is neither"))
        }
        IntOrString::Int(number) if *number < 0 => Some(format!("{name} is below 0")),
        _ => None,
    })
}

fn is_percentage(text: &str) -> bool {
    text.strip_suffix('%').is_some_and(|number| number.parse::<u32>().is_ok())
}

fn autoscaler(spec: &HorizontalPodAutoscalerSpec) -> Option<String> {
    let (min, max) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    (max < min).then(|| format!("maxReplicas is {max}, less than minReplicas, {min}"))
}

fn pods(spec: Option<&PodSpec>) -> Option<String> {
    let spec = spec.filter(|spec| !spec.containers.is_empty());
    let Some(spec) = spec else { return Some("its pods have no container".to_owned()) };
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let names = || all().map(|container| container.name.as_str()).collect::<Vec<_>>().join(", ");
    // The Collector's own is put in by the harness.
    let bare = |it: &&Container| it.name != "collector" && it.image.as_deref().unwrap_or_default().is_empty();
    if let Some(container) = all().find(bare) {
        let name = &container.name;
        return Some(format!(
            "the container `{name}` has no image; is another one meant? there are: {}",
            names()
        ));
    }
    all().find_map(|container| {
        let resources = container.resources.as_ref()?;
        let asked = resources.requests.iter().chain(&resources.limits).flatten();
        let wrong = asked.into_iter().find(|(_, quantity)| quantity_value(&quantity.0).is_none());
        wrong.map(|(resource, quantity)| {
            let (name, quantity) = (&container.name, &quantity.0);
            format!("{quantity:?} is not a quantity of {resource}, in the container `{name}`: write it like 250m or 256Mi")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::patched_tier;
    use crate::scenario::{Tier, TierPatch};
    use serde_json::{Value, json};
    use std::path::Path;

    fn patched(of: &str, merge: Value) -> String {
        let patch = TierPatch { of: of.to_owned(), merge, config: Value::Null };
        let tier = Tier { patches: vec![patch], ..Tier::default() };
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests");
        patched_tier(&manifests, &tier)
            .map(|_| ())
            .map_err(|error| error.to_string())
            .err()
            .unwrap_or_default()
    }

    fn container(container: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    }

    #[test]
    fn what_no_api_server_takes_is_refused_before_there_is_a_cluster() {
        let (pdb, hpa) = ("PodDisruptionBudget/gateway", "HorizontalPodAutoscaler/gateway");
        let both = patched(pdb, json!({"spec": {"maxUnavailable": 2}}));
        assert!(both.contains("exclude each other"), "{both}");
        assert_eq!(patched(pdb, json!({"spec": {"maxUnavailable": "50%", "minAvailable": null}})), "");
        assert!(patched(pdb, json!({"spec": {"minAvailable": "foo"}})).contains("percentage"));
        assert!(patched(hpa, json!({"spec": {"maxReplicas": 1}})).contains("less than minReplicas"));
        let gateway = "Deployment/gateway";
        let typo = patched(gateway, container(&json!({"name": "colector", "resources": {}})));
        assert!(typo.contains("`colector` has no image") && typo.contains("collector"), "{typo}");
        let cpu = container(&json!({"name": "collector", "resources": {"requests": {"cpu": "25x"}}}));
        assert!(patched(gateway, cpu).contains("\"25x\" is not a quantity of cpu"));
        let none = json!({"spec": {"template": {"spec": {"containers": []}}}});
        assert!(patched(gateway, none).contains("no container"));
        assert!(patched(gateway, json!({"metadata": {"name": "foo"}})).contains("keeps its name"));
        let near = patched("deployment/gatway", json!({"spec": {"replicas": 2}}));
        assert!(near.contains("did you mean `Deployment/gateway`"), "{near}");
    }
}
