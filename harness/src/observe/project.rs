//! Kubernetes objects, trimmed to what is recorded.

use crate::kubernetes::quantity_value;
use crate::world::{
    Autoscaler, Budget, Endpoints, Node, Object, Placement, Pod, Reading, Workload, nothing, written,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::api::core::v1::{self, PodTemplateSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

/// An object that is recorded.
pub(super) trait Recorded {
    fn recorded(&self) -> Object;
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

fn version(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn first_image(template: Option<&PodTemplateSpec>) -> String {
    let spec = template.and_then(|template| template.spec.as_ref());
    spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default()
}

impl Recorded for v1::Node {
    fn recorded(&self) -> Object {
        let conditions = self.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
        let unschedulable = self.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        // When a taint was added is of no matter: the controllers write it anew.
        let taints = self.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let taints = taints.map(|taint| v1::Taint { time_added: None, ..taint.clone() }).collect();
        Object::Node(Node { ready, unschedulable, labels: Some(self.labels().clone()), taints: Some(taints) })
    }
}

impl Recorded for v1::Pod {
    fn recorded(&self) -> Object {
        let terminating = self.metadata.deletion_timestamp.is_some();
        let status = self.status.as_ref();
        let conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
        let phase = status.and_then(|status| status.phase.clone()).unwrap_or_default();
        let containers = status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
        let restarts = containers.map(|container| count(Some(container.restart_count)));
        let restarts = restarts.fold(0, u32::saturating_add);
        let labels = self.labels().clone();
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let revision = match label("pod-template-hash") {
            none if none.is_empty() => label("controller-revision-hash"),
            hash => hash,
        };
        let spec = self.spec.as_ref();
        Object::Pod(Pod {
            app: label("app.kubernetes.io/name"),
            uid: self.uid().unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            ip: status.and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
            // What the kubelet leaves of a pod that has finished is not ready, whatever its conditions say.
            ready: ready && !terminating && !matches!(phase.as_str(), "Failed" | "Succeeded"),
            terminating,
            image: spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default(),
            restarts,
            revision,
            labels,
            phase,
            placement: spec.map(|spec| Box::new(placement(spec))),
        })
    }
}

fn placement(spec: &v1::PodSpec) -> Placement {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    Placement {
        spread: spec.topology_spread_constraints.clone().unwrap_or_default(),
        node_selector: spec.node_selector.clone().unwrap_or_default(),
        node_affinity: affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.clone()),
        tolerations: spec.tolerations.clone().unwrap_or_default(),
    }
}

impl Recorded for Deployment {
    fn recorded(&self) -> Object {
        let (spec, status) = (self.spec.as_ref(), self.status.clone().unwrap_or_default());
        let rolling = spec.and_then(|spec| spec.strategy.as_ref()?.rolling_update.clone());
        let rolling = rolling.unwrap_or_default();
        Object::Deployment(Workload {
            desired: spec.map_or(0, |spec| count(Some(spec.replicas.unwrap_or(1)))),
            total: count(status.replicas),
            updated: count(status.updated_replicas),
            ready: count(status.ready_replicas),
            available: count(status.available_replicas),
            generation: version(self.metadata.generation),
            observed: version(status.observed_generation),
            max_unavailable: written(rolling.max_unavailable.as_ref()),
            max_surge: written(rolling.max_surge.as_ref()),
            image: first_image(spec.map(|spec| &spec.template)),
        })
    }
}

impl Recorded for ReplicaSet {
    fn recorded(&self) -> Object {
        let (spec, status) = (self.spec.as_ref(), self.status.clone().unwrap_or_default());
        Object::ReplicaSet(Workload {
            desired: spec.map_or(0, |spec| count(Some(spec.replicas.unwrap_or(1)))),
            total: count(Some(status.replicas)),
            updated: count(status.fully_labeled_replicas),
            ready: count(status.ready_replicas),
            available: count(status.available_replicas),
            generation: version(self.metadata.generation),
            observed: version(status.observed_generation),
            image: first_image(spec.and_then(|spec| spec.template.as_ref())),
            ..Workload::default()
        })
    }
}

impl Recorded for DaemonSet {
    fn recorded(&self) -> Object {
        let (spec, status) = (self.spec.as_ref(), self.status.clone().unwrap_or_default());
        let rolling = spec.and_then(|spec| spec.update_strategy.as_ref()?.rolling_update.clone());
        let rolling = rolling.unwrap_or_default();
        Object::DaemonSet(Workload {
            desired: count(Some(status.desired_number_scheduled)),
            total: count(Some(status.current_number_scheduled)),
            updated: count(status.updated_number_scheduled),
            ready: count(Some(status.number_ready)),
            available: count(status.number_available),
            generation: version(self.metadata.generation),
            observed: version(status.observed_generation),
            max_unavailable: written(rolling.max_unavailable.as_ref()),
            max_surge: written(rolling.max_surge.as_ref()),
            image: first_image(spec.map(|spec| &spec.template)),
        })
    }
}

impl Recorded for EndpointSlice {
    fn recorded(&self) -> Object {
        let label = self.labels().get("kubernetes.io/service-name");
        // Unknown counts as ready, as the API says.
        let ready = self.endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let mut ready: Vec<String> = ready.flat_map(|endpoint| endpoint.addresses.clone()).collect();
        ready.sort();
        Object::EndpointSlice(Endpoints { service: label.cloned().unwrap_or_default(), ready })
    }
}

impl Recorded for PodDisruptionBudget {
    fn recorded(&self) -> Object {
        let spec = self.spec.clone().unwrap_or_default();
        let status = self.status.clone().unwrap_or_default();
        Object::PodDisruptionBudget(Budget {
            min_available: written(spec.min_available.as_ref()),
            max_unavailable: written(spec.max_unavailable.as_ref()),
            selector: spec.selector.unwrap_or_else(nothing),
            allowed: count(Some(status.disruptions_allowed)),
            healthy: count(Some(status.current_healthy)),
            desired: count(Some(status.desired_healthy)),
            expected: count(Some(status.expected_pods)),
        })
    }
}

impl Recorded for HorizontalPodAutoscaler {
    fn recorded(&self) -> Object {
        let spec = self.spec.clone().unwrap_or_default();
        let status = self.status.clone().unwrap_or_default();
        let current = status.current_metrics.unwrap_or_default();
        let metrics = spec.metrics.iter().flatten().map(|wanted| reading(wanted, &current)).collect();
        let scale_down = spec.behavior.and_then(|behavior| behavior.scale_down);
        let stabilisation = scale_down.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(300);
        let active = status.conditions.into_iter().flatten().find(|one| one.type_ == "ScalingActive");
        Object::HorizontalPodAutoscaler(Autoscaler {
            target: spec.scale_target_ref.name,
            min: count(Some(spec.min_replicas.unwrap_or(1))),
            max: count(Some(spec.max_replicas)),
            desired: count(Some(status.desired_replicas)),
            current: count(status.current_replicas),
            metrics,
            stabilisation_s: count(Some(stabilisation)),
            active: active.as_ref().map(|condition| condition.status == "True"),
            why: active.and_then(|condition| condition.reason).unwrap_or_default(),
        })
    }
}

/// Returns a metric's target, and its current value.
fn reading(wanted: &MetricSpec, current: &[MetricStatus]) -> Reading {
    let (name, target) = match (
        &wanted.resource,
        &wanted.container_resource,
        &wanted.pods,
        &wanted.object,
        &wanted.external,
    ) {
        (Some(it), ..) => (it.name.clone(), &it.target),
        (_, Some(it), ..) => (it.name.clone(), &it.target),
        (_, _, Some(it), ..) => (it.metric.name.clone(), &it.target),
        (_, _, _, Some(it), _) => (it.metric.name.clone(), &it.target),
        (.., Some(it)) => (it.metric.name.clone(), &it.target),
        _ => return Reading::default(),
    };
    let found = current.iter().filter_map(|status| {
        let resource = status.resource.as_ref().map(|it| (&it.name, &it.current));
        let container = status.container_resource.as_ref().map(|it| (&it.name, &it.current));
        let pods = status.pods.as_ref().map(|it| (&it.metric.name, &it.current));
        let object = status.object.as_ref().map(|it| (&it.metric.name, &it.current));
        let external = status.external.as_ref().map(|it| (&it.metric.name, &it.current));
        resource.or(container).or(pods).or(object).or(external)
    });
    let value = found.into_iter().find(|(other, _)| **other == name).map(|(_, value)| value);
    let (target, current) = in_its_unit(target, value);
    Reading { name, target: target.unwrap_or_default(), current }
}

/// The target and the value, both in the unit of the target.
fn in_its_unit(target: &MetricTarget, value: Option<&MetricValueStatus>) -> (Option<f64>, Option<f64>) {
    if let Some(percent) = target.average_utilization {
        return (Some(percent.into()), value.and_then(|value| value.average_utilization).map(f64::from));
    }
    let number = |quantity: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        quantity.and_then(|quantity| quantity_value(&quantity.0))
    };
    match &target.average_value {
        Some(average) => {
            (number(Some(average)), number(value.and_then(|value| value.average_value.as_ref())))
        }
        None => (number(target.value.as_ref()), number(value.and_then(|value| value.value.as_ref()))),
    }
}

/// An object's name.
pub(super) fn name(metadata: &ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    fn recorded<K: Recorded + DeserializeOwned>(value: serde_json::Value) -> Object {
        serde_json::from_value::<K>(value).unwrap().recorded()
    }

    #[test]
    fn a_pod_on_its_way_out_is_not_ready() {
        let pod = |deleted: Option<&str>| {
            json!({
                "metadata": {"name": "a", "deletionTimestamp": deleted, "labels": {"app.kubernetes.io/name": "gateway"}},
                "spec": {"containers": [{"name": "x", "image": "collector:1"}], "nodeName": "worker"},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            })
        };
        let is_ready = |object| matches!(object, Object::Pod(Pod { ready: true, .. }));
        assert!(is_ready(recorded::<v1::Pod>(pod(None))));
        assert!(
            !is_ready(recorded::<v1::Pod>(pod(Some("2026-01-01T00:00:00Z")))),
            "as the PDB's controller counts"
        );
    }

    #[test]
    fn an_autoscaler_is_read_in_its_targets_unit() {
        let value = json!({
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "gateway"}, "minReplicas": 2, "maxReplicas": 5,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
                    {"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "2k"}}},
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            },
            "status": {
                "desiredReplicas": 3, "currentReplicas": 2,
                "currentMetrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "queue"}, "current": {"averageValue": "500m"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 90}}},
                ],
                "conditions": [{"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"}],
            },
        });
        let Object::HorizontalPodAutoscaler(hpa) = recorded::<HorizontalPodAutoscaler>(value) else {
            panic!()
        };
        assert_eq!(
            (hpa.min, hpa.max, hpa.desired, hpa.stabilisation_s, hpa.active),
            (2, 5, 3, 60, Some(true))
        );
        let cpu = Reading { name: "cpu".to_owned(), target: 70.0, current: Some(90.0) };
        let queue = Reading { name: "queue".to_owned(), target: 2_000.0, current: Some(0.5) };
        assert_eq!(hpa.metrics, [cpu, queue]);
    }

    #[test]
    fn a_budget_without_a_selector_selects_nothing() {
        let Object::PodDisruptionBudget(budget) =
            recorded::<PodDisruptionBudget>(json!({"spec": {"minAvailable": 1}}))
        else {
            panic!()
        };
        assert_eq!(budget.min_available.as_deref(), Some("1"));
        assert!(budget.selector.match_labels.is_some());
    }
}
