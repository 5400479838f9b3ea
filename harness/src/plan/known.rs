//! Checks that will fail or be inconclusive, as far as the manifests alone tell.

use super::budget;
use super::parts::Parts;
use crate::deploy::{Manifest, RunManifests};
use crate::scenario::{Measure, Scenario};
use crate::world::Demand;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerSpec, MetricSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use kube::ResourceExt;
use std::collections::BTreeMap;

/// Returns a warning for each. `workers`: their number, if it is known.
pub(super) fn known(scenario: &Scenario, made: &RunManifests, workers: Option<u32>) -> Vec<String> {
    let parts = Parts::of(&made.tier);
    let mut found = Vec::new();
    if scenario.tier.has(Measure::Pdb) {
        found.extend(BudgetCoverage::of(&parts, made, workers).warning());
    } else {
        found.push(
            "the tier has no PDB: nothing refuses the eviction of its last gateway; `availability` judges what the PDB's \
             manifest asks for, or else whether one gateway was ready"
                .to_owned(),
        );
    }
    if scenario.tier.has(Measure::Hpa) {
        found.extend(
            parts
                .autoscaler()
                .and_then(|hpa| hpa.spec.as_ref())
                .iter()
                .flat_map(|spec| metrics(spec, &parts)),
        );
    }
    found
}

/// The pods that the tier's budgets cover.
pub(super) struct BudgetCoverage {
    /// The names of all budgets.
    budgets: Vec<String>,
    /// The budgets that cover gateways, with their demands.
    of_gateways: Vec<(String, Demand)>,
    /// The other workloads that the first of these covers, with their number of pods, if it is known.
    others: Vec<(String, Option<u32>)>,
    gateways: u32,
}

impl BudgetCoverage {
    pub(super) fn of(parts: &Parts<'_>, made: &RunManifests, workers: Option<u32>) -> Self {
        let labels = parts.gateway_labels();
        let budgets = made.tier.iter().filter_map(|object| {
            let Manifest::PodDisruptionBudget(it) = object else { return None };
            Some((it.name_any(), budget::demand(it)))
        });
        let budgets: Vec<(String, Demand)> = budgets.collect();
        let of_gateways: Vec<_> =
            budgets.iter().filter(|(_, demand)| demand.selects(&labels)).cloned().collect();
        let first = of_gateways.first().map(|(_, demand)| demand.clone());
        let beside = made.tier.iter().chain(&made.probes);
        let beside = beside.filter(|object| object.called() != "Deployment/gateway");
        let others = beside.filter_map(|object| {
            let (labels, number) = pods_of(object, workers)?;
            let covered = first.as_ref().is_some_and(|demand| demand.selects(&labels));
            covered.then(|| (object.called(), number))
        });
        Self {
            budgets: budgets.iter().map(|(name, _)| name.clone()).collect(),
            others: others.collect(),
            of_gateways,
            gateways: parts.gateways().least,
        }
    }

    /// Returns the number of evictions of gateways that are granted when all is well; none if no budget covers them.
    pub(super) fn evictions(&self) -> Option<u32> {
        let (_, demand) = self.of_gateways.first()?;
        if self.of_gateways.len() > 1 {
            return Some(0);
        }
        let beside = self.others.iter().map(|(_, number)| number.unwrap_or(1));
        let all = beside.fold(self.gateways, u32::saturating_add);
        Some(demand.grants(all).min(self.gateways))
    }

    /// Returns why the check `pdb` will fail, if it will.
    pub(super) fn warning(&self) -> Option<String> {
        let Some((name, demand)) = self.of_gateways.first() else {
            let names = self.budgets.join(", ");
            return Some(if self.budgets.is_empty() {
                "the tier has no PDB: nothing refuses the eviction of its last gateway, and `pdb` fails"
                    .to_owned()
            } else {
                format!("PDB {names} covers no gateway: it guards nothing, and `pdb` fails")
            });
        };
        if self.of_gateways.len() > 1 {
            let names: Vec<_> = self.of_gateways.iter().map(|(name, _)| name.as_str()).collect();
            let names = names.join(" and ");
            return Some(format!(
                "PDBs {names} cover the same gateways: with more than one, every eviction is refused, and `pdb` fails"
            ));
        }
        if !self.others.is_empty() {
            let others: Vec<_> = self.others.iter().map(|(name, _)| name.as_str()).collect();
            let numbers: Option<Vec<u32>> = self.others.iter().map(|(_, number)| *number).collect();
            let numbers = numbers.map(|all| all.into_iter().fold(self.gateways, u32::saturating_add)).map(|all| {
                let (granted, gateways) = (demand.grants(all), self.gateways);
                format!(" (it grants {granted} evictions when all {all} are healthy, of which {gateways} are gateways)")
            });
            return Some(format!(
                "PDB {name} also covers {}: these count as much as gateways{}, and `pdb` fails",
                others.join(", "),
                numbers.unwrap_or_default()
            ));
        }
        if demand.min_available.is_none() && demand.max_unavailable.is_none() {
            return Some(format!(
                "PDB {name} gives neither minAvailable nor maxUnavailable: Kubernetes refuses every eviction, and \
                 `pdb` fails"
            ));
        }
        let nothing = demand.healthy(self.gateways) == 0;
        nothing.then(|| {
            let asks = demand.said();
            format!(
                "PDB {name} ({asks}) demands none of {} gateways: it guards nothing, and `pdb` fails",
                self.gateways
            )
        })
    }
}

/// Returns the labels of a workload's pods and their number, if it is known; none if the object is no workload.
fn pods_of(object: &Manifest, workers: Option<u32>) -> Option<(BTreeMap<String, String>, Option<u32>)> {
    let count = |number: Option<i32>| Some(u32::try_from(number.unwrap_or(1)).unwrap_or_default());
    let (template, number): (&PodTemplateSpec, _) = match object {
        Manifest::Deployment(it) => it.spec.as_ref().map(|spec| (&spec.template, count(spec.replicas)))?,
        Manifest::StatefulSet(it) => it.spec.as_ref().map(|spec| (&spec.template, count(spec.replicas)))?,
        Manifest::DaemonSet(it) => it.spec.as_ref().map(|spec| (&spec.template, workers))?,
        Manifest::Namespace(_)
        | Manifest::ServiceAccount(_)
        | Manifest::ClusterRole(_)
        | Manifest::ClusterRoleBinding(_)
        | Manifest::Role(_)
        | Manifest::RoleBinding(_)
        | Manifest::ConfigMap(_)
        | Manifest::Secret(_)
        | Manifest::Service(_)
        | Manifest::PodDisruptionBudget(_)
        | Manifest::HorizontalPodAutoscaler(_)
        | Manifest::APIService(_) => return None,
    };
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    Some((labels.unwrap_or_default(), number))
}

/// Returns a warning for each metric that the HPA will not be able to read.
fn metrics(spec: &HorizontalPodAutoscalerSpec, parts: &Parts<'_>) -> Vec<String> {
    let Some(pod) = parts.gateway_pod() else { return Vec::new() };
    let never = "so the tier is never steady, and the run is inconclusive";
    let found = spec.metrics.iter().flatten().filter_map(|metric| unreadable(metric, pod));
    let mut found: Vec<String> =
        found.map(|why| format!("the HPA cannot read its metric: {why}: {never}")).collect();
    // Without metrics, an HPA scales by the CPU, at 80 %.
    if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
        found.extend(
            without_request(pod, "cpu").map(|why| format!("the HPA cannot read its metric: {why}: {never}")),
        );
    }
    found
}

fn unreadable(metric: &MetricSpec, pod: &PodSpec) -> Option<String> {
    if let Some(resource) = &metric.resource {
        let share = resource.target.average_utilization.is_some();
        return without_request(pod, &resource.name).filter(|_| share);
    }
    if let Some(resource) = &metric.container_resource {
        let Some(container) = pod.containers.iter().find(|it| it.name == resource.container) else {
            return Some(format!("the gateways have no container `{}`", resource.container));
        };
        let share = resource.target.average_utilization.is_some();
        let name = &resource.name;
        return (share && !asks(container, name))
            .then(|| format!("container `{}` of the gateways requests no {name}", container.name));
    }
    Some(format!(
        "it is of type {}, which needs a metrics adapter: the harness brings none, and did not look for one",
        metric.type_
    ))
}

/// Returns why the utilisation of a resource cannot be computed, if a container of the gateways does not request it.
fn without_request(pod: &PodSpec, resource: &str) -> Option<String> {
    let beside = pod.init_containers.iter().flatten();
    let beside = beside.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let container = pod.containers.iter().chain(beside).find(|container| !asks(container, resource))?;
    Some(format!("container `{}` of the gateways requests no {resource}", container.name))
}

/// Returns whether a container requests a resource; the API server uses the limit as the default of the request.
fn asks(container: &Container, resource: &str) -> bool {
    let resources = container.resources.as_ref();
    let of = |all: Option<&BTreeMap<_, _>>| all.is_some_and(|all| all.contains_key(resource));
    resources.is_some_and(|it| of(it.requests.as_ref()) || of(it.limits.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::manifests_dir;
    use crate::scenario::TierPatch;
    use serde_json::{Value, json};

    fn warned(of: &str, merge: Value) -> Vec<String> {
        let scenario = json!({"name": "x", "steps": []});
        let mut scenario: Scenario = serde_json::from_value(scenario).unwrap();
        scenario.tier.patches = vec![TierPatch { of: of.to_owned(), merge, config: Value::Null }];
        let made = RunManifests::of_run(&manifests_dir(None).unwrap(), &scenario.tier, "x").unwrap();
        known(&scenario, &made, Some(3))
    }

    #[track_caller]
    fn one(of: &str, merge: Value, says: &str) {
        let said = warned(of, merge);
        assert!(matches!(&said[..], [one] if one.contains(says)), "{said:?}");
    }

    #[test]
    fn a_budget_that_is_not_the_gateways_alone_is_said_beforehand() {
        const PDB: &str = "PodDisruptionBudget/gateway";
        assert_eq!(warned(PDB, json!({})), [""; 0]);
        let selector = |selector: Value| json!({"spec": {"selector": selector}});
        let any = selector(json!({"matchLabels": null}));
        one(PDB, any, "also covers DaemonSet/agent");
        let expression = |operator: &str, values: Value| {
            let one = json!({"key": "app.kubernetes.io/name", "operator": operator, "values": values});
            selector(json!({"matchLabels": null, "matchExpressions": [one]}))
        };
        one(
            PDB,
            expression("Exists", json!([])),
            "grants 8 evictions when all 9 are healthy, of which 2 are gateways",
        );
        one(PDB, expression("In", json!(["gateway", "agent"])), "also covers DaemonSet/agent:");
        one(PDB, expression("NotIn", json!(["gateway"])), "covers no gateway");
        one(PDB, expression("DoesNotExist", json!([])), "covers no gateway");
        assert_eq!(warned(PDB, expression("In", json!(["gateway"]))), [""; 0]);
        assert_eq!(warned(PDB, json!({"spec": {"minAvailable": "50%"}})), [""; 0]);
        assert_eq!(warned(PDB, json!({"spec": {"minAvailable": null, "maxUnavailable": 1}})), [""; 0]);
        one(
            PDB,
            json!({"spec": {"minAvailable": null, "maxUnavailable": "100%"}}),
            "demands none of 2 gateways",
        );
        one(PDB, json!({"spec": {"minAvailable": null}}), "neither minAvailable nor maxUnavailable");
    }

    #[test]
    fn a_metric_that_an_autoscaler_cannot_read_is_said_beforehand() {
        let resources =
            json!([{"name": "collector", "resources": {"requests": {"cpu": null}, "limits": {"cpu": null}}}]);
        let template = json!({"spec": {"template": {"spec": {"containers": resources}}}});
        one("Deployment/gateway", template, "container `collector` of the gateways requests no cpu");
        // The API server uses the limit as the default of the request.
        let resources = json!([{"name": "collector", "resources": {"requests": {"cpu": null}}}]);
        let template = json!({"spec": {"template": {"spec": {"containers": resources}}}});
        assert_eq!(warned("Deployment/gateway", template), [""; 0]);
        let metrics = json!([{"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]);
        one("HorizontalPodAutoscaler/gateway", json!({"spec": {"metrics": metrics}}), "of type Pods");
    }
}
