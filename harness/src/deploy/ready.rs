//! Waiting until objects are ready: watches with a deadline, and an error that names the awaited state and the last
//! one seen.

use super::DeployError;
use crate::kubernetes::await_condition;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

pub(super) async fn await_deployment(
    client: &Client,
    object: &Deployment,
    timeout: Duration,
) -> Result<(), DeployError> {
    let complete = |found: Option<&Deployment>| {
        found.is_some_and(|found| {
            let (Some(spec), Some(status)) = (&found.spec, &found.status) else {
                return false;
            };
            let wanted = Some(spec.replicas.unwrap_or(1));
            status.observed_generation >= found.metadata.generation
                && (status.updated_replicas, status.available_replicas, status.replicas)
                    == (wanted, wanted, wanted)
        })
    };
    let (namespace, name) = names(&object.metadata);
    let objects: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let awaited = format!("Deployment {name} to have all its replicas available");
    within(client, namespace, name, awaited, timeout, await_condition(objects, name, complete)).await
}

/// Waits until the HPA has brought its Deployment to the minimum: before that it is one replica.
pub(super) async fn await_autoscaler(
    client: &Client,
    object: &HorizontalPodAutoscaler,
    timeout: Duration,
) -> Result<(), DeployError> {
    let minimum = object.spec.as_ref().and_then(|spec| spec.min_replicas).unwrap_or(1);
    let target = object.spec.as_ref().map_or("", |spec| spec.scale_target_ref.name.as_str());
    let enough = |found: Option<&Deployment>| {
        let available = found.and_then(|found| found.status.as_ref()?.available_replicas);
        available.is_some_and(|available| available >= minimum)
    };
    let (namespace, _) = names(&object.metadata);
    let objects: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let awaited = format!("the HPA to bring Deployment {target} to {minimum} replicas");
    within(client, namespace, target, awaited, timeout, await_condition(objects, target, enough)).await
}

pub(crate) async fn await_daemon_set(
    client: &Client,
    object: &DaemonSet,
    timeout: Duration,
) -> Result<(), DeployError> {
    let complete = |found: Option<&DaemonSet>| {
        found.is_some_and(|found| {
            let Some(status) = &found.status else { return false };
            let wanted = status.desired_number_scheduled;
            status.observed_generation >= found.metadata.generation
                && wanted > 0
                && status.number_ready == wanted
                && status.updated_number_scheduled == Some(wanted)
        })
    };
    let (namespace, name) = names(&object.metadata);
    let objects: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let awaited = format!("DaemonSet {name} to be ready on every node");
    within(client, namespace, name, awaited, timeout, await_condition(objects, name, complete)).await
}

pub(super) async fn await_stateful_set(
    client: &Client,
    object: &StatefulSet,
    timeout: Duration,
) -> Result<(), DeployError> {
    let complete = |found: Option<&StatefulSet>| {
        found.is_some_and(|found| {
            let (Some(spec), Some(status)) = (&found.spec, &found.status) else {
                return false;
            };
            let wanted = spec.replicas.unwrap_or(1);
            status.observed_generation >= found.metadata.generation
                && status.ready_replicas == Some(wanted)
                && status.replicas == wanted
        })
    };
    let (namespace, name) = names(&object.metadata);
    let objects: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let awaited = format!("StatefulSet {name} to have all its replicas ready");
    within(client, namespace, name, awaited, timeout, await_condition(objects, name, complete)).await
}

pub(super) async fn await_api_service(
    client: &Client,
    object: &APIService,
    timeout: Duration,
) -> Result<(), DeployError> {
    let available = |found: Option<&APIService>| {
        let conditions = found.and_then(|found| found.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Available" && one.status == "True"))
    };
    let (_, name) = names(&object.metadata);
    let objects: Api<APIService> = Api::all(client.clone());
    let awaited = format!("APIService {name} to be available");
    within(
        client,
        "kube-system",
        "metrics-server",
        awaited,
        timeout,
        await_condition(objects, name, available),
    )
    .await
}

/// Waits until an object is gone, whatever its UID.
pub(super) async fn await_gone<K>(objects: Api<K>, name: &str, timeout: Duration) -> Result<(), DeployError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let gone = |found: Option<&K>| found.is_none();
    let awaited = format!("{} {name} to be gone", K::kind(&()));
    match tokio::time::timeout(timeout, await_condition(objects, name, gone)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(DeployError::NotReady { awaited, waited: timeout, state: error.to_string() }),
        Err(_) => {
            Err(DeployError::NotReady { awaited, waited: timeout, state: "it is still there".to_owned() })
        }
    }
}

/// Waits until no pod has these labels.
pub(super) async fn await_no_pods(
    client: &Client,
    namespace: &str,
    labels: &ListParams,
    timeout: Duration,
) -> Result<(), DeployError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let api_error =
        |source| DeployError::Api { action: "list", object: "pods".to_owned(), source: Box::new(source) };
    for pod in pods.list(labels).await.map_err(api_error)? {
        await_gone(pods.clone(), pod.metadata.name.as_deref().unwrap_or_default(), timeout).await?;
    }
    Ok(())
}

fn names(metadata: &kube::api::ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

async fn within<K>(
    client: &Client,
    namespace: &str,
    app: &str,
    awaited: String,
    timeout: Duration,
    condition: impl Future<Output = Result<Option<K>, kube::runtime::wait::Error>>,
) -> Result<(), DeployError> {
    match tokio::time::timeout(timeout, condition).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(DeployError::NotReady { awaited, waited: timeout, state: error.to_string() }),
        Err(_) => {
            let state = pods_state(client, namespace, app).await;
            Err(DeployError::NotReady { awaited, waited: timeout, state })
        }
    }
}

/// Describes what an application's pods wait for, for a message.
async fn pods_state(client: &Client, namespace: &str, app: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = pods.list(&ListParams::default()).await;
    let states = listed.into_iter().flatten().filter_map(|pod| {
        let name = pod.metadata.name?;
        name.starts_with(app).then(|| format!("{name}: {}", pod_state(pod.status.unwrap_or_default())))
    });
    let states: Vec<_> = states.collect();
    if states.is_empty() { format!("there is no pod of {app}") } else { states.join("; ") }
}

fn pod_state(status: k8s_openapi::api::core::v1::PodStatus) -> String {
    let containers = status.init_container_statuses.into_iter().chain(status.container_statuses).flatten();
    let waiting = containers.filter_map(|container| {
        let state = container.state?;
        let waiting = state.waiting.map(|waiting| (waiting.reason, waiting.message));
        let ended = state.terminated.filter(|end| end.exit_code != 0).map(|end| (end.reason, end.message));
        let (reason, message) = waiting.or(ended)?;
        Some(format!("{} {} {}", container.name, reason.unwrap_or_default(), message.unwrap_or_default()))
    });
    let unscheduled = status.conditions.into_iter().flatten().filter(|condition| condition.status == "False");
    let conditions = unscheduled.filter_map(|condition| condition.message);
    let parts: Vec<_> =
        std::iter::once(status.phase.unwrap_or_default()).chain(waiting).chain(conditions).collect();
    parts.join(", ")
}
