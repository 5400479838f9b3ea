//! Manifests as types: the objects of a kustomization, read without losing a field.

mod patch;
mod rename;

use super::{DeployError, ready, server_side_apply};
use crate::given::Tree;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PodSpec, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An error in reading manifests.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct ManifestError {
    path: PathBuf,
    message: String,
}

/// The deepest nesting of folders: one that lists itself would have no end.
pub(super) const DEEPEST: usize = 16;
pub(super) const ENDLESS: &str = "folders list each other without an end";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    resources: Vec<PathBuf>,
}

macro_rules! manifests {
    ($($(#[$doc:meta])* $kind:ident: $api:ident),* $(,)?) => {
        /// An object of the kinds that the manifests use.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum Manifest {
            $($kind($kind)),*
        }

        impl Manifest {
            fn typed(kind: &str, value: &Value) -> Result<Self, String> {
                match kind {
                    $(stringify!($kind) => lossless(value).map(Self::$kind),)*
                    _ => Err(format!("objects of kind {kind:?} are not supported")),
                }
            }

            pub(crate) fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind)),* }
            }

            pub(super) fn value(&self) -> Result<Value, serde_json::Error> {
                match self { $(Self::$kind(object) => serde_json::to_value(object)),* }
            }

            pub(crate) fn metadata(&self) -> &ObjectMeta {
                match self { $(Self::$kind(object) => &object.metadata),* }
            }

            pub(super) fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self { $(Self::$kind(object) => &mut object.metadata),* }
            }

            /// The labels of the object of its name that is there, if one is.
            pub(super) async fn labels_there(
                &self,
                client: &Client,
            ) -> Result<Option<BTreeMap<String, String>>, DeployError> {
                match self {
                    $(Self::$kind(object) => {
                        let namespace = object.metadata.namespace.clone().unwrap_or_default();
                        labels_there(manifests!(@$api $kind client, namespace), object).await
                    })*
                }
            }

            /// The API group of its kind, and the resource: `apps`, `deployments`.
            pub(crate) fn resource(&self) -> (Cow<'static, str>, Cow<'static, str>) {
                match self { $(Self::$kind(_) => ($kind::group(&()), $kind::plural(&()))),* }
            }

            /// Applies it, server-side.
            pub async fn apply(&self, client: &Client) -> Result<(), DeployError> {
                match self {
                    $(Self::$kind(object) => {
                        let namespace = object.metadata.namespace.clone().unwrap_or_default();
                        server_side_apply(manifests!(@$api $kind client, namespace), object).await
                    })*
                }
            }
        }
    };
    (@cluster $kind:ident $client:ident, $namespace:ident) => {{
        drop($namespace);
        Api::<$kind>::all($client.clone())
    }};
    (@namespaced $kind:ident $client:ident, $namespace:ident) => {
        Api::<$kind>::namespaced($client.clone(), &$namespace)
    };
}

manifests! {
    Namespace: cluster,
    ServiceAccount: namespaced,
    ClusterRole: cluster,
    ClusterRoleBinding: cluster,
    Role: namespaced,
    RoleBinding: namespaced,
    ConfigMap: namespaced,
    Secret: namespaced,
    Service: namespaced,
    Deployment: namespaced,
    DaemonSet: namespaced,
    StatefulSet: namespaced,
    PodDisruptionBudget: namespaced,
    HorizontalPodAutoscaler: namespaced,
    APIService: cluster,
}

impl Manifest {
    /// Returns kind and name, as a scenario's patches name it: `Deployment/gateway`.
    pub(crate) fn called(&self) -> String {
        format!("{}/{}", self.kind(), self.metadata().name.as_deref().unwrap_or_default())
    }

    /// Returns true for a part of an application, by its label or else by its name.
    pub(super) fn belongs_to(&self, app: &str) -> bool {
        let metadata = self.metadata();
        let label = metadata.labels.iter().flatten().find(|(key, _)| *key == "app.kubernetes.io/name");
        label.map_or(metadata.name.as_deref() == Some(app), |(_, value)| value == app)
    }

    pub(super) fn label(&mut self, key: &str, value: &str) {
        self.metadata_mut().labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    }

    /// Labels the pods that it makes.
    pub(super) fn label_pods(&mut self, key: &str, value: &str) {
        let template = match self {
            Self::Deployment(object) => object.spec.as_mut().map(|spec| &mut spec.template),
            Self::DaemonSet(object) => object.spec.as_mut().map(|spec| &mut spec.template),
            Self::StatefulSet(object) => object.spec.as_mut().map(|spec| &mut spec.template),
            _ => None,
        };
        if let Some(template) = template {
            let metadata = template.metadata.get_or_insert_default();
            metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        }
    }

    /// Returns the rank by which an object is made within its part, lowest first: namespaces, what pods need to
    /// start, pods, and what counts them.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Namespace(_) => 0,
            Self::Deployment(_) | Self::DaemonSet(_) | Self::StatefulSet(_) => 2,
            Self::HorizontalPodAutoscaler(_) | Self::APIService(_) => 3,
            _ => 1,
        }
    }

    pub(super) fn pod_spec_mut(&mut self) -> Option<&mut PodSpec> {
        match self {
            Self::Deployment(object) => object.spec.as_mut()?.template.spec.as_mut(),
            Self::DaemonSet(object) => object.spec.as_mut()?.template.spec.as_mut(),
            Self::StatefulSet(object) => object.spec.as_mut()?.template.spec.as_mut(),
            _ => None,
        }
    }

    /// Waits until it does what it is there for; most kinds do so at once.
    pub(super) async fn await_ready(&self, client: &Client, timeout: Duration) -> Result<(), DeployError> {
        match self {
            Self::Deployment(object) => ready::await_deployment(client, object, timeout).await,
            Self::DaemonSet(object) => ready::await_daemon_set(client, object, timeout).await,
            Self::StatefulSet(object) => ready::await_stateful_set(client, object, timeout).await,
            Self::HorizontalPodAutoscaler(object) => ready::await_autoscaler(client, object, timeout).await,
            Self::APIService(object) => ready::await_api_service(client, object, timeout).await,
            _ => Ok(()),
        }
    }
}

/// The labels of the object of the same name that is there, if one is.
async fn labels_there<K>(objects: Api<K>, object: &K) -> Result<Option<BTreeMap<String, String>>, DeployError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let found = objects.get_metadata_opt(&name).await.map_err(|source| DeployError::Api {
        action: "read",
        object: format!("{} {name}", K::kind(&())),
        source: Box::new(source),
    })?;
    Ok(found.map(|found| found.metadata.labels.unwrap_or_default()))
}

/// Reads what a folder's kustomization lists: files, and other folders with one.
pub(super) fn read(dir: &Path) -> Result<Vec<Manifest>, ManifestError> {
    let mut objects = Vec::new();
    add(dir, DEEPEST, &mut Tree::default(), &mut objects)?;
    Ok(objects)
}

fn add(dir: &Path, deep: usize, tree: &mut Tree, objects: &mut Vec<Manifest>) -> Result<(), ManifestError> {
    let path = dir.join("kustomization.yaml");
    if deep == 0 {
        return Err(error(&path, ENDLESS));
    }
    let kustomization: Kustomization = serde_saphyr::from_str(&text(&path, tree)?)
        .map_err(|e| error(&path, e.without_snippet().to_string()))?;
    for resource in kustomization.resources {
        let path = dir.join(resource);
        if path.is_dir() {
            add(&path, deep - 1, tree, objects)?;
        } else {
            objects.extend(objects_in(&path, tree)?);
        }
    }
    Ok(())
}

/// Reads the objects of one file.
pub(super) fn objects_in(path: &Path, tree: &mut Tree) -> Result<Vec<Manifest>, ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text(path, tree)?)
        .map_err(|e| error(path, e.without_snippet().to_string()))?;
    // Nothing between two `---` is nothing.
    let documents = documents.iter().filter(|document| !document.is_null());
    let typed = documents.map(|document| {
        let kind = document["kind"].as_str().unwrap_or_default();
        Manifest::typed(kind, document).map_err(|message| error(path, message))
    });
    typed.collect()
}

pub(super) fn text(path: &Path, tree: &mut Tree) -> Result<String, ManifestError> {
    tree.text(path).map_err(|e| error(path, e.to_string()))
}

pub(super) fn error(path: &Path, message: impl Into<String>) -> ManifestError {
    ManifestError { path: path.to_owned(), message: message.into() }
}

/// A typed object drops a field that its type does not have: here that is an error.
fn lossless<K: DeserializeOwned + Serialize>(value: &Value) -> Result<K, String> {
    let typed: K = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    let back = serde_json::to_value(&typed).map_err(|e| e.to_string())?;
    missing(value, &back, "")
        .map_or(Ok(typed), |field| Err(format!("{field} is not a field of {}", value["kind"])))
}

/// The path of the first field that is in `before` and not in `after`.
fn missing(before: &Value, after: &Value, path: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match after.get(key) {
                Some(after) => missing(value, after, &path),
                // An empty list or map and none are the same to the API server.
                None if value.as_array().is_some_and(Vec::is_empty) || value.is_null() => None,
                None => Some(path),
            }
        }),
        (Value::Array(before), Value::Array(after)) => before
            .iter()
            .zip(after)
            .enumerate()
            .find_map(|(index, (before, after))| missing(before, after, &format!("{path}[{index}]"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_that_the_type_does_not_have_is_an_error() {
        let typo =
            json!({"kind": "PodDisruptionBudget", "metadata": {"name": "x"}, "spec": {"minAvailabel": 1}});
        let message = Manifest::typed("PodDisruptionBudget", &typo).unwrap_err();
        assert!(message.contains(".spec.minAvailabel"), "{message}");
    }
}
