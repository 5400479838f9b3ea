//! The objects of a run, trimmed to what is recorded of them: as watches show them while a run goes on, and
//! again when it is judged. No I/O.

mod demand;
mod placement;

pub use demand::{Demand, selects};
pub use demand::{nothing, written};
pub use placement::{counts, selected, tolerated};

use k8s_openapi::api::core::v1::{NodeSelector, Taint, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The kinds of objects that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are Kubernetes' own")]
pub enum Kind {
    Node,
    Pod,
    Deployment,
    ReplicaSet,
    DaemonSet,
    EndpointSlice,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
    /// No object, but the API server itself: while it does not answer, nothing is seen.
    ApiServer,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An object, as it is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
#[allow(missing_docs, reason = "they are Kubernetes' own")]
pub enum Object {
    Node(Node),
    Pod(Pod),
    Deployment(Workload),
    ReplicaSet(Workload),
    DaemonSet(Workload),
    EndpointSlice(Endpoints),
    PodDisruptionBudget(Budget),
    HorizontalPodAutoscaler(Autoscaler),
}

impl Object {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Deployment(_) => Kind::Deployment,
            Self::ReplicaSet(_) => Kind::ReplicaSet,
            Self::DaemonSet(_) => Kind::DaemonSet,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::PodDisruptionBudget(_) => Kind::PodDisruptionBudget,
            Self::HorizontalPodAutoscaler(_) => Kind::HorizontalPodAutoscaler,
        }
    }
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Condition Ready.
    pub ready: bool,
    /// Cordoned.
    pub unschedulable: bool,
    /// Its labels; none if they are not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Its taints; none if they are not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<Taint>>,
}

/// The part of a pod's specification that says where it may be placed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// `topologySpreadConstraints`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<TopologySpreadConstraint>,
    /// `nodeSelector`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// The required node affinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeSelector>,
    /// The tolerations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Label `app.kubernetes.io/name`: `gateway`, `agent`, `emit`, `sink`.
    pub app: String,
    /// Its UID.
    pub uid: String,
    /// The node that it runs on; empty while it is not scheduled.
    pub node: String,
    /// Its address; empty while it has none.
    pub ip: String,
    /// Condition Ready, and not being deleted: as the PDB's controller counts.
    pub ready: bool,
    /// Being deleted.
    pub terminating: bool,
    /// Its first container's image.
    pub image: String,
    /// The number of restarts of its containers.
    pub restarts: u32,
    /// The revision of its template.
    pub revision: String,
    /// All of its labels.
    pub labels: BTreeMap<String, String>,
    /// Its phase; empty if it is not on record.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Its placement; none if that is not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Box<Placement>>,
}

impl Pod {
    /// Returns `true` if all of its containers have ended for good. The kubelet leaves such a pod behind (evicted for want of
    /// memory, a node that was shut down): it no longer belongs to its workload.
    pub fn finished(&self) -> bool {
        matches!(self.phase.as_str(), "Failed" | "Succeeded")
    }
}

/// A Deployment, `ReplicaSet` or `DaemonSet`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// The number of pods that there should be.
    pub desired: u32,
    /// The number of pods that there are.
    pub total: u32,
    /// The number of pods of the newest revision.
    pub updated: u32,
    /// The number of ready pods.
    pub ready: u32,
    /// The number of available pods.
    pub available: u32,
    /// The version of its specification.
    pub generation: u64,
    /// The version that its controller has observed.
    pub observed: u64,
    /// Rolling update: `maxUnavailable`, as written.
    pub max_unavailable: Option<String>,
    /// Rolling update: `maxSurge`, as written.
    pub max_surge: Option<String>,
    /// The image of its pods' first container.
    pub image: String,
}

impl Workload {
    /// Returns `true` if all of its pods are there, of the newest revision, and no others.
    pub const fn complete(&self) -> bool {
        self.observed >= self.generation
            && self.updated == self.desired
            && self.available == self.desired
            && self.total == self.desired
    }
}

/// A Service's endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// The Service.
    pub service: String,
    /// The addresses that are ready.
    pub ready: Vec<String>,
}

/// A `PodDisruptionBudget`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// `minAvailable`, as written.
    pub min_available: Option<String>,
    /// `maxUnavailable`, as written.
    pub max_unavailable: Option<String>,
    /// The selector of its pods.
    pub selector: LabelSelector,
    /// The number of evictions that it would grant now.
    pub allowed: u32,
    /// The number of its pods that are healthy.
    pub healthy: u32,
    /// The number of its pods that must be healthy.
    pub desired: u32,
    /// The number of pods that it counts.
    pub expected: u32,
}

impl Budget {
    /// Returns what it demands.
    pub fn demand(&self) -> Demand {
        Demand {
            min_available: self.min_available.clone(),
            max_unavailable: self.max_unavailable.clone(),
            selector: self.selector.clone(),
        }
    }
}

/// A `HorizontalPodAutoscaler`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Autoscaler {
    /// The workload that it scales.
    pub target: String,
    /// The fewest replicas.
    pub min: u32,
    /// The most replicas.
    pub max: u32,
    /// The number of replicas that it wants.
    pub desired: u32,
    /// The number of replicas that it saw.
    pub current: u32,
    /// The metrics that it reads.
    pub metrics: Vec<Reading>,
    /// The stabilisation window before a scale-in, in seconds.
    pub stabilisation_s: u32,
    /// Condition `ScalingActive`: `false` if it cannot compute anything.
    pub active: Option<bool>,
    /// The reason of that condition.
    pub why: String,
}

/// One metric of a `HorizontalPodAutoscaler`, in the target's own unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// Its name: `cpu`, or a metric's.
    pub name: String,
    /// The target, on average.
    pub target: f64,
    /// The value; none if it could not be read.
    pub current: Option<f64>,
}

impl Autoscaler {
    /// Returns `true` if each of its metrics could be read.
    pub fn reads(&self) -> bool {
        self.active != Some(false)
            && !self.metrics.is_empty()
            && self.metrics.iter().all(|metric| metric.current.is_some())
    }

    /// Returns `true` if it has the replicas that it wants, and its metrics give no reason to want more.
    pub fn at_rest(&self) -> bool {
        self.desired == self.current && self.pressure().is_some_and(|share| share <= 1.0)
    }

    /// Returns the highest of its metrics, as a share of the target; none if one could not be read.
    pub fn pressure(&self) -> Option<f64> {
        let shares = self.metrics.iter().map(|metric| Some(metric.current? / metric.target));
        shares.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
    }
}

/// The objects that are there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    objects: BTreeMap<(Kind, String), Object>,
}

impl World {
    /// Adds an object, or replaces it.
    pub fn see(&mut self, name: &str, object: Object) {
        self.objects.insert((object.kind(), name.to_owned()), object);
    }

    /// Removes an object.
    pub fn lose(&mut self, kind: Kind, name: &str) {
        self.objects.remove(&(kind, name.to_owned()));
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, &Object)> {
        let from = (kind, String::new());
        let all = self.objects.range(from..).take_while(move |((other, _), _)| *other == kind);
        all.map(|((_, name), object)| (name.as_str(), object))
    }

    /// Returns an application's pods, by name, without those that have finished.
    pub fn pods<'a>(&'a self, app: &'a str) -> impl Iterator<Item = (&'a str, &'a Pod)> {
        self.of(Kind::Pod).filter_map(move |(name, object)| {
            let Object::Pod(pod) = object else { return None };
            (pod.app == app && !pod.finished()).then_some((name, pod))
        })
    }

    /// Returns the number of an application's pods that are ready.
    pub fn ready(&self, app: &str) -> usize {
        self.pods(app).filter(|(_, pod)| pod.ready).count()
    }

    /// A Deployment or `DaemonSet`.
    pub fn workload(&self, kind: Kind, name: &str) -> Option<&Workload> {
        match self.objects.get(&(kind, name.to_owned()))? {
            Object::Deployment(it) | Object::ReplicaSet(it) | Object::DaemonSet(it) => Some(it),
            Object::Node(_)
            | Object::Pod(_)
            | Object::EndpointSlice(_)
            | Object::PodDisruptionBudget(_)
            | Object::HorizontalPodAutoscaler(_) => None,
        }
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.of(Kind::Node).filter_map(|(name, object)| {
            let Object::Node(node) = object else { return None };
            Some((name, node))
        })
    }

    /// The budgets, by name.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, &Budget)> {
        self.of(Kind::PodDisruptionBudget).filter_map(|(name, object)| {
            let Object::PodDisruptionBudget(budget) = object else { return None };
            Some((name, budget))
        })
    }

    /// The autoscaler of a Deployment.
    pub fn autoscaler(&self, target: &str) -> Option<&Autoscaler> {
        self.of(Kind::HorizontalPodAutoscaler).find_map(|(_, object)| {
            let Object::HorizontalPodAutoscaler(it) = object else { return None };
            (it.target == target).then_some(it)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_is_complete_when_nothing_old_is_left() {
        let done = Workload {
            desired: 2,
            total: 2,
            updated: 2,
            available: 2,
            generation: 3,
            observed: 3,
            ..Workload::default()
        };
        assert!(done.complete());
        assert!(!Workload { observed: 2, ..done.clone() }.complete());
        assert!(!Workload { total: 3, ..done.clone() }.complete());
        assert!(!Workload { available: 1, ..done }.complete());
    }

    #[test]
    fn a_pod_that_has_finished_is_no_longer_counted() {
        let mut world = World::default();
        for (name, phase) in
            [("a", "Running"), ("b", "Failed"), ("c", "Succeeded"), ("d", ""), ("e", "Pending")]
        {
            let (app, phase) = ("gateway".to_owned(), phase.to_owned());
            world.see(name, Object::Pod(Pod { app, phase, ready: true, ..Pod::default() }));
        }
        assert_eq!(world.pods("gateway").map(|(name, _)| name).collect::<Vec<_>>(), ["a", "d", "e"]);
        assert_eq!(world.ready("gateway"), 3);
    }

    #[test]
    fn a_metric_that_is_not_read_gives_no_pressure() {
        let reading = |current| Reading { name: "cpu".to_owned(), target: 70.0, current };
        let mut hpa = Autoscaler { metrics: vec![reading(Some(35.0))], ..Autoscaler::default() };
        assert_eq!((hpa.reads(), hpa.pressure()), (true, Some(0.5)));
        hpa.metrics.push(reading(None));
        assert_eq!((hpa.reads(), hpa.pressure()), (false, None));
        hpa.metrics.clear();
        assert_eq!((hpa.reads(), hpa.pressure()), (false, None));
    }

    #[test]
    fn objects_read_back_as_they_were_written() {
        let pod = Object::Pod(Pod { app: "gateway".to_owned(), ready: true, ..Pod::default() });
        let text = serde_json::to_string(&pod).unwrap();
        assert!(text.starts_with(r#"{"kind":"Pod""#), "{text}");
        assert_eq!(serde_json::from_str::<Object>(&text).unwrap(), pod);
    }
}
