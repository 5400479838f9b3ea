//! A check of the gateways' HPA: without a target it would never become ready.

use super::{HPA, Manifest};
use crate::yaml::meant;

/// The deployed kinds whose replicas an HPA can set.
const SCALED: [&str; 2] = ["Deployment", "StatefulSet"];

/// Returns the reason why the HPA of these objects would scale nothing; none if it would work.
pub(super) fn refusal(objects: &[Manifest]) -> Option<String> {
    let hpa = objects.iter().find_map(|object| match object {
        Manifest::HorizontalPodAutoscaler(it) if object.called() == HPA => it.spec.as_ref(),
        _ => None,
    })?;
    let target = &hpa.scale_target_ref;
    let called = format!("{}/{}", target.kind, target.name);
    let known: Vec<String> = objects.iter().map(Manifest::called).collect();
    let can = |name: &&str| SCALED.iter().any(|kind| name.split('/').next() == Some(kind));
    if !SCALED.contains(&target.kind.as_str()) || !known.contains(&called) {
        let meant = meant(&called, known.iter().map(String::as_str).filter(can));
        return Some(format!("scales {called}, which is not there; {meant}"));
    }
    if called != "Deployment/gateway" {
        return Some(format!("scales {called}, and not Deployment/gateway"));
    }
    let version = target.api_version.as_deref().unwrap_or_default();
    (!version.starts_with("apps/")).then(|| {
        format!("names {called} with the apiVersion {version:?}: Kubernetes finds it as `apps/v1` only")
    })
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use crate::deploy::manifests_dir;
    use crate::scenario::{Measure, Tier, TierPatch};
    use serde_json::{Value, json};

    fn tier(target: &Value) -> Tier {
        let merge = json!({"spec": {"scaleTargetRef": target}});
        let of = "HorizontalPodAutoscaler/gateway".to_owned();
        Tier { patches: vec![TierPatch { of, merge, config: Value::Null }], ..Tier::default() }
    }

    #[test]
    fn an_autoscaler_without_its_target_is_refused_beforehand() {
        let tried =
            |tier: &Tier| check(&manifests_dir(None).unwrap(), tier).map_err(|error| error.to_string());
        assert!(tried(&tier(&json!({"name": "gateway"}))).is_ok());
        for (target, says) in [
            (json!({"name": "gatewy"}), "scales Deployment/gatewy, which is not there"),
            (json!({"kind": "StatefulSet"}), "scales StatefulSet/gateway, which is not there"),
            (json!({"kind": "DaemonSet", "name": "agent"}), "scales DaemonSet/agent, which is not there"),
            (json!({"apiVersion": "v1"}), "apiVersion \"v1\""),
        ] {
            let refused = tried(&tier(&target)).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        // One that is left out scales nothing, and need not.
        let without = Tier { without: vec![Measure::Hpa], ..tier(&json!({"name": "gatewy"})) };
        assert!(tried(&without).is_ok());
    }
}
