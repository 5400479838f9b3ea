//! The shipped manifests: the Collectors' configurations, and the specifications of their containers.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Container};
use serde::de::DeserializeOwned;
use serde_json::Value;
use spanproof::deploy::manifests_dir;

/// A part of the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Agent,
    Gateway,
}

impl Part {
    fn manifest<T: DeserializeOwned>(self, file: &str) -> T {
        let folder = match self {
            Self::Agent => "agent",
            Self::Gateway => "gateway",
        };
        let text = std::fs::read_to_string(manifests_dir(None).unwrap().join(folder).join(file)).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    }

    /// Returns its shipped configuration.
    pub(crate) fn configuration(self) -> Value {
        let map: ConfigMap = self.manifest("config.yaml");
        serde_saphyr::from_str(&map.data.unwrap()["config.yaml"]).unwrap()
    }

    /// Returns its container: arguments, environment, limits.
    pub(crate) fn container(self) -> Container {
        let template = match self {
            Self::Agent => self.manifest::<DaemonSet>("daemonset.yaml").spec.unwrap().template,
            Self::Gateway => self.manifest::<Deployment>("deployment.yaml").spec.unwrap().template,
        };
        template.spec.unwrap().containers.remove(0)
    }
}

/// Returns the memory limit of a container, in bytes.
pub(crate) fn memory_limit(container: &Container) -> i64 {
    let limits = container.resources.as_ref().unwrap().limits.as_ref().unwrap();
    let mebibytes: i64 = limits["memory"].0.strip_suffix("Mi").unwrap().parse().unwrap();
    mebibytes << 20
}

/// Applies a JSON merge patch to a configuration: `null` removes a field, objects are merged, anything else replaces the
/// old value.
pub(crate) fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    for (key, change) in changes {
        if change.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], change);
        }
    }
}
