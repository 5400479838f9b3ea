//! The tier of a run: its size, and which of the six measures it has.

use super::budget;
use super::known::BudgetCoverage;
use super::parts::Parts;
use crate::deploy::{Manifest, RunManifests};
use crate::extent::CountRange;
use crate::scenario::Scenario;
use k8s_openapi::api::core::v1::{Service, Volume};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};

/// The tier of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierPlan {
    /// The namespace.
    pub namespace: String,
    /// The versions of the Collector, in the order of the roll-outs.
    pub collectors: Vec<String>,
    /// The number of gateways when all is well.
    pub gateways: CountRange,
    /// The number of sinks.
    pub sinks: u32,
    /// Every object that is made, by kind and name.
    pub objects: Vec<String>,
    /// The objects that are not in the namespace.
    pub outside: Vec<String>,
    /// The six measures.
    pub measures: Vec<MeasurePlan>,
    /// The number of evictions of gateways that the tier's budget grants when all are ready; none without a budget.
    pub evictions: Option<u32>,
}

/// One of the six measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasurePlan {
    /// The name.
    pub name: String,
    /// True if the manifests have it.
    pub there: bool,
    /// Its settings, or what is missing.
    pub detail: String,
}

impl Parts<'_> {
    fn measures(&self, scenario: &Scenario, coverage: &BudgetCoverage) -> Vec<MeasurePlan> {
        let left_out = |measure| !scenario.tier.has(measure);
        let why = |out: bool, else_why: &str| if out { "left out" } else { else_why }.to_owned();
        let measured = |name: &str, found: Option<String>, missing: String| MeasurePlan {
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
            match coverage.warning().filter(|_| self.pdb.is_some()) {
                Some(warning) => measured("PDB", None, warning),
                None => measured("PDB", self.budget(), format!("{no_pdb}: nothing refuses an eviction")),
            },
            measured(
                "persistent queues",
                self.queues(),
                "the agents' queues are lost with their pods".to_owned(),
            ),
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
            let target = resource.zip(percent).map(|(it, percent)| format!("{percent} % {}", it.name));
            target.unwrap_or_else(|| metric.type_.clone())
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

    /// The storage of the agents' queues, if it outlives a pod.
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
}

fn lasting(volume: &Volume) -> Option<String> {
    let host = volume.host_path.as_ref().map(|host| format!("on the nodes' disks, {}", host.path));
    let claim = volume.persistent_volume_claim.as_ref();
    host.or_else(|| claim.map(|claim| format!("on the volume of {}", claim.claim_name)))
}

impl TierPlan {
    /// Plans the tier of a scenario.
    pub(super) fn of(scenario: &Scenario, made: &RunManifests, workers: u32) -> Self {
        let parts = Parts::of(&made.tier);
        let mut collectors: Vec<String> = Vec::new();
        for version in scenario.collectors() {
            if !collectors.iter().any(|known| known == version) {
                collectors.push(version.to_owned());
            }
        }
        let coverage = BudgetCoverage::of(&parts, made, Some(workers));
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
            measures: parts.measures(scenario, &coverage),
            evictions: coverage.evictions(),
        }
    }
}
