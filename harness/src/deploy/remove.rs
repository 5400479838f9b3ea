//! Removing a deployment: queues and ledgers from the nodes' disks, then everything else.

use super::{DeployError, Deployment, Manifest, manifest, ready};
use crate::images::Images;
use crate::labels::{RUN_LABEL, sweep_namespace_of};
use crate::scenario::Tier;
use k8s_openapi::api::apps::v1;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// The longest time for reading a namespace that stays.
const LOOK: Duration = Duration::from_secs(10);

impl Deployment {
    /// Removes the run's queues and ledgers from the nodes' disks, and everything that it made, however much of that
    /// exists.
    pub async fn remove(&self, images: &Images, timeout: Duration) -> Result<(), DeployError> {
        self.remove_roles().await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(&self.namespace).await.map_err(api("get", "the run's namespace"))?;
        if found.is_some_and(|found| found.metadata.deletion_timestamp.is_none()) {
            self.stop_writing(timeout).await?;
            self.sweep(&self.namespace, images, timeout).await?;
            remove_namespace(&self.client, &self.namespace, timeout).await?;
            // Should an earlier try have left it.
            return remove_namespace(&self.client, &sweep_namespace_of(&self.run), timeout).await;
        }
        // When it is gone, nothing in it writes any more.
        await_gone(namespaces, &self.namespace, timeout).await?;
        let sweep = sweep_namespace_of(&self.run);
        remove_namespace(&self.client, &sweep, timeout).await?;
        self.make_namespace(&sweep).await?;
        self.sweep(&sweep, images, timeout).await?;
        remove_namespace(&self.client, &sweep, timeout).await
    }

    /// Removes the cluster-wide roles of a tier of the user's own.
    async fn remove_roles(&self) -> Result<(), DeployError> {
        let ours = ListParams::default().labels(&format!("{RUN_LABEL}={}", self.run));
        let (now, client) = (DeleteParams::default(), &self.client);
        // A run that has some is not begun by a user who may not remove them: see `plan::rights`.
        let nothing =
            |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_forbidden());
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        match bindings.delete_collection(&now, &ours).await {
            Err(error) if !nothing(&error) => {
                return Err(api("delete", "the run's ClusterRoleBindings")(error));
            }
            _ => {}
        }
        let roles: Api<ClusterRole> = Api::all(client.clone());
        match roles.delete_collection(&now, &ours).await {
            Err(error) if !nothing(&error) => Err(api("delete", "the run's ClusterRoles")(error)),
            _ => Ok(()),
        }
    }

    /// Deletes everything that writes, without a grace period, before the directories are swept.
    async fn stop_writing(&self, timeout: Duration) -> Result<(), DeployError> {
        let now = DeleteParams::default().grace_period(0);
        for name in ["emit", "agent"] {
            delete::<v1::DaemonSet>(&self.client, &self.namespace, name, &now).await?;
        }
        delete::<v1::Deployment>(&self.client, &self.namespace, "gateway", &now).await?;
        delete::<v1::StatefulSet>(&self.client, &self.namespace, "sink", &now).await?;
        let labels = ListParams::default().labels("app.kubernetes.io/name in (emit, agent, sink, gateway)");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        pods.delete_collection(&now, &labels).await.map_err(api("delete", "the run's pods"))?;
        ready::await_no_pods(&self.client, &self.namespace, &labels, timeout).await
    }

    /// Removes the run's directories from every node, by pods in this namespace.
    async fn sweep(&self, from: &str, images: &Images, timeout: Duration) -> Result<(), DeployError> {
        let mut sweep = manifest::read(&self.manifests.join("sweep"))?;
        for object in &mut sweep {
            self.patch(object, &Tier::default(), images)?;
            object.metadata_mut().namespace = Some(from.to_owned());
            // The manifest sweeps what is called as the namespace that it is in.
            for container in object.pod_spec_mut().into_iter().flat_map(|pod| &mut pod.containers) {
                container.args = Some(vec!["sweep".to_owned(), format!("/state/{}", self.namespace)]);
            }
            object.apply(&self.client).await?;
        }
        for object in &sweep {
            object.await_ready(&self.client, timeout).await?;
        }
        Ok(())
    }

    /// A namespace like the run's own.
    async fn make_namespace(&self, name: &str) -> Result<(), DeployError> {
        for mut object in manifest::read(&self.manifests)? {
            if let Manifest::Namespace(namespace) = &mut object {
                namespace.metadata.name = Some(name.to_owned());
                object.label(RUN_LABEL, &self.run);
                object.apply(&self.client).await?;
            }
        }
        Ok(())
    }
}

/// Removes a namespace, and waits until it is gone.
async fn remove_namespace(client: &Client, name: &str, timeout: Duration) -> Result<(), DeployError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.delete(name, &DeleteParams::default()).await {
        Ok(_) => await_gone(namespaces, name, timeout).await,
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        // It is on its way out already.
        Err(kube::Error::Api(status)) if status.is_conflict() => await_gone(namespaces, name, timeout).await,
        Err(source) => Err(api("delete", format!("namespace {name}"))(source)),
    }
}

/// Waits until a namespace is gone. The error for one that stays holds what Kubernetes says about it.
async fn await_gone(namespaces: Api<Namespace>, name: &str, timeout: Duration) -> Result<(), DeployError> {
    match ready::await_gone(namespaces.clone(), name, timeout).await {
        Err(DeployError::NotReady { awaited, waited, state }) => {
            let found = tokio::time::timeout(LOOK, namespaces.get_opt(name)).await;
            let said = found.ok().and_then(Result::ok).flatten().and_then(|found| in_its_way(&found));
            let state = said.map_or(state, |said| format!("it is still there: {said}"));
            Err(DeployError::NotReady { awaited, waited, state })
        }
        ended => ended,
    }
}

/// Describes what keeps a namespace from being deleted, from its status; none if nothing does.
fn in_its_way(namespace: &Namespace) -> Option<String> {
    let conditions = namespace.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let true_ones = conditions.filter(|condition| condition.status == "True").map(|condition| {
        let message = condition.message.as_deref().filter(|message| !message.is_empty());
        format!("{} ({})", message.unwrap_or("no message"), condition.type_)
    });
    let own = namespace.metadata.finalizers.as_deref().filter(|names| !names.is_empty());
    let own = own.map(|names| format!("it waits for its own finalizers: {}", names.join(", ")));
    let said: Vec<_> = true_ones.chain(own).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn api(action: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> DeployError {
    let object = object.into();
    move |source| DeployError::Api { action, object, source: Box::new(source) }
}

pub(super) async fn delete<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    params: &DeleteParams,
) -> Result<(), DeployError>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    match objects.delete(name, params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(api("delete", format!("{} {name}", K::kind(&())))(source)),
    }
}

/// The pods with these labels.
pub(super) async fn list(pods: &Api<Pod>, labels: &ListParams) -> Result<Vec<Pod>, DeployError> {
    pods.list(labels).await.map(|listed| listed.items).map_err(api("list", "the tier's pods"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_stays_says_what_is_in_its_way() {
        let namespace = |status: serde_json::Value, finalizers: &[&str]| -> Namespace {
            let metadata = serde_json::json!({"name": "x", "finalizers": finalizers});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status})).unwrap()
        };
        let condition = |kind: &str, status: &str, message: &str| serde_json::json!({"type": kind, "status": status, "message": message, "reason": "x"});
        let conditions = serde_json::json!({"phase": "Terminating", "conditions": [
            condition("NamespaceDeletionDiscoveryFailure", "False", "All resources successfully discovered"),
            condition("NamespaceContentRemaining", "True", "configmaps. has 1 resource instances"),
            condition("NamespaceFinalizersRemaining", "True", "example.com/held in 1 resource instances"),
        ]});
        let said = in_its_way(&namespace(conditions, &[])).unwrap();
        let (first, second) = said.split_once("; ").unwrap();
        assert_eq!(first, "configmaps. has 1 resource instances (NamespaceContentRemaining)");
        assert_eq!(second, "example.com/held in 1 resource instances (NamespaceFinalizersRemaining)");
        assert_eq!(in_its_way(&namespace(serde_json::json!({}), &[])), None);
        let own = in_its_way(&namespace(serde_json::json!({}), &["example.com/held"])).unwrap();
        assert!(own.contains("own finalizers: example.com/held"), "{own}");
    }
}
