//! The tier as it would be made: how large it is, and which of the six measures are there.

use super::budget;
use super::extent::Between;
use super::known::Covering;
use crate::deploy::{Made, Manifest};
use crate::scenario::Scenario;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{PodSpec, Service, Volume};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a run makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPlan {
    /// The namespace that it is in.
    pub namespace: String,
    /// The Collectors' versions, the first one first.
    pub collectors: Vec<String>,
    /// How many gateways there are when all is well.
    pub gateways: Between,
    /// How many sinks.
    pub sinks: u32,
    /// Every object, by kind and name.
    pub objects: Vec<String>,
    /// Those of them that are not in the namespace.
    pub outside: Vec<String>,
    /// Which of the six measures are there.
    pub measures: Vec<Measured>,
    /// How many evictions of gateways the tier's budget grants when all are ready; none if there is no budget.
    pub evictions: Option<u32>,
}

/// One of the six measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// What it is called.
    pub name: String,
    /// Whether the manifests have it.
    pub there: bool,
    /// How it is set, or what is missing.
    pub detail: String,
}

/// The parts of a tier that a plan asks about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    objects: &'a [Manifest],
    pub(super) gateway: Option<&'a Deployment>,
    agent: Option<&'a DaemonSet>,
    hpa: Option<&'a HorizontalPodAutoscaler>,
    pub(super) pdb: Option<&'a PodDisruptionBudget>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(objects: &'a [Manifest]) -> Self {
        let mut parts = Self { objects, gateway: None, agent: None, hpa: None, pdb: None };
        for object in objects {
            match object {
                Manifest::Deployment(it) if it.name_any() == "gateway" => parts.gateway = Some(it),
                Manifest::DaemonSet(it) if it.name_any() == "agent" => parts.agent = Some(it),
                _ => {}
            }
        }
        let labels = parts.gateway_labels();
        for object in objects {
            match object {
                Manifest::HorizontalPodAutoscaler(it)
                    if it.spec.as_ref().is_some_and(|spec| spec.scale_target_ref.name == "gateway") =>
                {
                    parts.hpa = Some(it);
                }
                Manifest::PodDisruptionBudget(it) if budget::selects(it, &labels) => parts.pdb = Some(it),
                _ => {}
            }
        }
        parts
    }

    /// The gateways' pods, as they would be made.
    pub(super) fn gateway_pod(&self) -> Option<&'a PodSpec> {
        self.gateway?.spec.as_ref()?.template.spec.as_ref()
    }

    /// The agents' pods, as they would be made.
    pub(super) fn agent_pod(&self) -> Option<&'a PodSpec> {
        self.agent?.spec.as_ref()?.template.spec.as_ref()
    }

    pub(super) fn service(&self, name: &str) -> Option<&'a Service> {
        self.services().find(|service| service.name_any() == name)
    }

    fn services(&self) -> impl Iterator<Item = &'a Service> {
        self.objects.iter().filter_map(|object| match object {
            Manifest::Service(service) => Some(service),
            _ => None,
        })
    }

    /// The gateways' labels, with the one that their ReplicaSet adds.
    pub(super) fn gateway_labels(&self) -> BTreeMap<String, String> {
        let template = self.gateway.and_then(|gateway| Some(&gateway.spec.as_ref()?.template));
        let labels = template.and_then(|template| template.metadata.as_ref()?.labels.clone());
        let revision = ("pod-template-hash".to_owned(), "of-this-run".to_owned());
        labels.unwrap_or_default().into_iter().chain([revision]).collect()
    }

    /// The gateways' HPA.
    pub(super) const fn autoscaler(&self) -> Option<&'a HorizontalPodAutoscaler> {
        self.hpa
    }

    /// How many gateways there are: as the HPA has it, or else the Deployment.
    pub(super) fn gateways(&self) -> Between {
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        if let Some(spec) = self.hpa.and_then(|hpa| hpa.spec.as_ref()) {
            return Between { least: count(spec.min_replicas.unwrap_or(1)), most: count(spec.max_replicas) };
        }
        let replicas = self.gateway.and_then(|gateway| gateway.spec.as_ref()?.replicas);
        Between::exactly(count(replicas.unwrap_or(1)))
    }

    fn measures(&self, scenario: &Scenario, covering: &Covering) -> Vec<Measured> {
        let left_out = |measure| !scenario.tier.has(measure);
        let why = |out: bool, else_why: &str| if out { "left out" } else { else_why }.to_owned();
        let measured = |name: &str, found: Option<String>, missing: String| Measured {
            name: name.to_owned(),
            there: found.is_some(),
            detail: found.unwrap_or(missing),
        };
        let number = self.gateways().least;
        let no_hpa = why(left_out(crate::scenario::Measure::Hpa), "none for Deployment/gateway");
        let no_pdb = why(left_out(crate::scenario::Measure::Pdb), "none selects the gateways");
        vec![
            measured("spread", self.spread(), "no constraint on kubernetes.io/hostname".to_owned()),
            measured("headless Service", self.headless(), "none selects the gateways".to_owned()),
            measured(
                "requests, limits",
                self.resources(),
                "not on every container of the gateways".to_owned(),
            ),
            measured("HPA", self.autoscaling(), format!("{no_hpa}: always {number}")),
            match covering.warning().filter(|_| self.pdb.is_some()) {
                Some(warning) => measured("PDB", None, warning),
                None => measured("PDB", self.budget(), format!("{no_pdb}: nothing refuses an eviction")),
            },
            measured("persistent queues", self.queues(), "the agents' queues go with their pods".to_owned()),
        ]
    }

    fn spread(&self) -> Option<String> {
        let constraints = self.gateway_pod()?.topology_spread_constraints.iter().flatten();
        let on_hosts: Vec<_> =
            constraints.filter(|one| one.topology_key == "kubernetes.io/hostname").collect();
        let said = on_hosts.iter().map(|one| {
            let how = if one.when_unsatisfiable == "DoNotSchedule" { "must" } else { "should" };
            format!("hosts {how} not differ by more than {}", one.max_skew)
        });
        let said: Vec<_> = said.collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    fn headless(&self) -> Option<String> {
        let labels = self.gateway_labels();
        let selects = |service: &Service| {
            let spec = service.spec.as_ref()?;
            let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
            let all = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            (all && spec.cluster_ip.as_deref() == Some("None")).then(|| service.name_any())
        };
        let name = self.services().find_map(selects)?;
        let agents = self.agents()?;
        let endpoint = agents["exporters"]["otlp_grpc"]["endpoint"].as_str().unwrap_or("?").to_owned();
        Some(format!("{name}; the agents send to {endpoint}"))
    }

    fn resources(&self) -> Option<String> {
        let containers = &self.gateway_pod()?.containers;
        let said = containers.iter().map(|container| {
            let resources = container.resources.as_ref()?;
            let (asked, most) = (resources.requests.as_ref()?, resources.limits.as_ref()?);
            let cpu = most.get("cpu").map_or("any", |cpu| &cpu.0);
            let memory = &most.get("memory")?.0;
            let (asked_cpu, asked_memory) = (&asked.get("cpu")?.0, &asked.get("memory")?.0);
            Some(format!("{asked_cpu} and {asked_memory}, at most {cpu} and {memory}"))
        });
        Some(said.collect::<Option<Vec<_>>>()?.join("; "))
    }

    fn autoscaling(&self) -> Option<String> {
        let spec = self.hpa?.spec.as_ref()?;
        let metrics = spec.metrics.iter().flatten().map(|metric| {
            let resource = metric.resource.as_ref();
            let percent = resource.and_then(|it| it.target.average_utilization);
            match (resource, percent) {
                (Some(it), Some(percent)) => format!("{percent} % {}", it.name),
                _ => metric.type_.clone(),
            }
        });
        let metrics = metrics.collect::<Vec<_>>().join(", ");
        Some(format!("{} gateways, at {metrics}", self.gateways()))
    }

    fn budget(&self) -> Option<String> {
        let demand = budget::demand(self.pdb?);
        let number = self.gateways().least;
        let granted = demand.grants(number);
        let evictions = if granted == 1 { "eviction" } else { "evictions" };
        let asked = demand.said();
        Some(format!("{asked}: grants {granted} {evictions} when all {number} gateways are ready"))
    }

    /// Where the agents' queues are, if that outlives a pod.
    fn queues(&self) -> Option<String> {
        let agents = self.agents()?;
        let storage = agents["exporters"]["otlp_grpc"]["sending_queue"]["storage"].as_str()?;
        let directory = agents["extensions"][storage]["directory"].as_str()?;
        let pod = self.agent_pod()?;
        let mounts = pod.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
        let mount = mounts.into_iter().find(|mount| directory.starts_with(mount.mount_path.as_str()))?;
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        lasting(volume)
    }

    /// The agents' configuration.
    pub(super) fn agents(&self) -> Option<Value> {
        let text = self.objects.iter().find_map(|object| match object {
            Manifest::ConfigMap(map) if map.name_any() == "agent" => map.data.as_ref()?.get("config.yaml"),
            _ => None,
        })?;
        serde_saphyr::from_str(text).ok()
    }
}

fn lasting(volume: &Volume) -> Option<String> {
    let host = volume.host_path.as_ref().map(|host| format!("on the nodes' disks, {}", host.path));
    let claim = volume.persistent_volume_claim.as_ref();
    host.or_else(|| claim.map(|claim| format!("on the volume of {}", claim.claim_name)))
}

impl TierPlan {
    /// What a scenario's run makes.
    pub(super) fn of(scenario: &Scenario, made: &Made, workers: u32) -> Self {
        let parts = Parts::of(&made.tier);
        let mut collectors: Vec<String> = Vec::new();
        for version in scenario.collectors() {
            if !collectors.iter().any(|known| known == version) {
                collectors.push(version.to_owned());
            }
        }
        let covering = Covering::of(&parts, made, Some(workers));
        let outside = made.all().filter(|object| {
            let metadata = object.metadata();
            metadata.namespace.as_ref().or(metadata.name.as_ref()) != Some(&made.namespace)
        });
        Self {
            namespace: made.namespace.clone(),
            collectors,
            gateways: parts.gateways(),
            sinks: scenario.tier.sinks.into(),
            outside: outside.map(Manifest::called).collect(),
            objects: made.all().map(Manifest::called).collect(),
            measures: parts.measures(scenario, &covering),
            evictions: covering.evictions(),
        }
    }
}
