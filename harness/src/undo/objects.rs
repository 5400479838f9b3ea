//! Objects outside of the run's namespace, recognised by the run's label.

use super::{UndoError, UndoOutcome};
use crate::labels::RUN_LABEL;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{DeleteParams, DynamicObject, ListParams, Preconditions};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! kinds {
    ($($kind:ident),* $(,)?) => {
        /// The kinds of objects that a run may make or change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the names are Kubernetes' own")]
        pub enum ObjectKind {
            $($kind),*
        }

        impl ObjectKind {
            const ALL: &[Self] = &[$(Self::$kind),*];

            fn resource(self) -> ApiResource {
                match self { $(Self::$kind => ApiResource::erase::<$kind>(&())),* }
            }
        }
    };
}

kinds!(
    APIService,
    Deployment,
    DaemonSet,
    StatefulSet,
    Service,
    ConfigMap,
    RoleBinding,
    ClusterRoleBinding,
    ClusterRole,
    ServiceAccount,
    Lease,
);

/// An object of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace; none if its kind has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

impl ObjectRef {
    pub(super) fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = self.kind.resource();
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }

    pub(super) async fn get(&self, client: &Client) -> Result<Option<DynamicObject>, kube::Error> {
        self.api(client).get_opt(&self.name).await
    }
}

/// The objects that a run made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunObjects {
    /// The run, as in their label: what has another one, or none, is not the run's.
    pub run: String,
    /// The objects.
    pub objects: Vec<ObjectRef>,
}

impl RunObjects {
    pub(super) fn describe(&self) -> String {
        let named = |object: &ObjectRef| {
            object.namespace.as_ref().map_or_else(|| object.to_string(), |it| format!("{object} in {it}"))
        };
        self.objects.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    /// The object, if it is there and the run's.
    async fn ours(&self, client: &Client, object: &ObjectRef) -> Result<Option<DynamicObject>, UndoError> {
        let found = object.get(client).await.map_err(UndoError::api("get", object))?;
        Ok(found.filter(|found| found.labels().get(RUN_LABEL) == Some(&self.run)))
    }

    /// Deletes those that are still the run's: the same object that was looked at, and no other of its name.
    pub(super) async fn undo(&self, client: &Client) -> Result<UndoOutcome, UndoError> {
        let mut did = UndoOutcome::NothingToDo;
        for object in &self.objects {
            let Some(found) = self.ours(client, object).await? else {
                continue;
            };
            let seen = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
            let params = DeleteParams::background().preconditions(seen);
            match object.api(client).delete(&object.name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(deleted.map_err(UndoError::api("delete", object))?),
            }
            did = UndoOutcome::Undone;
        }
        Ok(did)
    }

    pub(super) async fn left(&self, client: &Client) -> Result<Option<String>, UndoError> {
        for object in &self.objects {
            if self.ours(client, object).await?.is_some() {
                return Ok(Some(format!("{object} is still there")));
            }
        }
        Ok(None)
    }
}

/// Returns everything that carries a run's label, or any run's, with the run that it names.
pub(crate) async fn labelled(
    client: &Client,
    run: Option<&str>,
) -> Result<Vec<(String, ObjectRef)>, UndoError> {
    let labels = ListParams::default().labels(&crate::labels::selector(run));
    let mut found = Vec::new();
    for kind in ObjectKind::ALL {
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
        let action = format!("{kind:?} objects of the run");
        let listed = match objects.list_metadata(&labels).await {
            // Who may not look at these has made none of them; and not every cluster knows every kind.
            Err(kube::Error::Api(status)) if status.is_forbidden() || status.is_not_found() => continue,
            listed => listed.map_err(UndoError::api("list", &action))?,
        };
        found.extend(listed.into_iter().filter_map(|object| {
            let run = object.labels().get(RUN_LABEL)?.clone();
            Some((run, ObjectRef { kind: *kind, namespace: object.namespace(), name: object.name_any() }))
        }));
    }
    Ok(found)
}
