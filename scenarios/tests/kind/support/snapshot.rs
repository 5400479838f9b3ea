//! A snapshot of a cluster, to be compared with a later one: nodes, namespaces, workloads, firewall rules, containers,
//! queue directories.

use super::{CLUSTER, containers_of, lent::Lent};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

/// The state of each thing, by its name.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot(BTreeMap<String, String>);

/// The time until an undo has had its last effect: rules are written, containers end.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

impl Snapshot {
    /// Takes a snapshot.
    pub(crate) fn take(lent: &Lent) -> Self {
        let mut all = lent.block_on(objects(&lent.client));
        all.extend(lent.block_on(pods(&lent.client)));
        let mut running = 0;
        for node in containers_of(CLUSTER, "{{.Names}}") {
            let queues = "find /var/lib/spanproof -mindepth 1 2>/dev/null | sort";
            all.insert(format!("queues on {node}"), inside(&node, queues));
            all.insert(format!("firewall of {node}"), rules(&inside(&node, "iptables-save")));
            running += inside(&node, "ctr -n k8s.io task ls")
                .lines()
                .filter(|line| line.ends_with("RUNNING"))
                .count();
        }
        // Which node has which is the scheduler's to say.
        all.insert("containers that run on the nodes".to_owned(), running.to_string());
        let machine = containers_of(CLUSTER, "{{.Names}} {{.State}}");
        all.insert("containers of the machine".to_owned(), lines(machine));
        Self(all)
    }

    /// Waits until the cluster is as it was. Returns the differences if it does not become so.
    #[track_caller]
    pub(crate) fn expect_again(&self, lent: &Lent) {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let now = Self::take(lent);
            if now == *self {
                return;
            }
            assert!(Instant::now() < until, "the cluster is not as it was:\n{}", self.difference(&now));
        }
    }

    /// Returns the differences, one a line: before (-) and after (+).
    fn difference(&self, now: &Self) -> String {
        let keys: BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        let lines = |all: &Self, key: &str| -> Vec<String> {
            all.0.get(key).map_or_else(Vec::new, |text| text.lines().map(str::to_owned).collect())
        };
        let mut told = Vec::new();
        for key in keys.into_iter().filter(|key| self.0.get(*key) != now.0.get(*key)) {
            let (before, after) = (lines(self, key), lines(now, key));
            told.push(key.clone());
            told.extend(before.iter().filter(|line| !after.contains(line)).map(|line| format!("  - {line}")));
            told.extend(after.iter().filter(|line| !before.contains(line)).map(|line| format!("  + {line}")));
        }
        told.join("\n")
    }
}

/// Returns the queue directories of runs on the nodes.
pub(crate) fn queues() -> Vec<String> {
    let on = |node: &String| {
        inside(node, "ls /var/lib/spanproof 2>/dev/null").lines().map(str::to_owned).collect()
    };
    containers_of(CLUSTER, "{{.Names}}").iter().flat_map(|node| -> Vec<String> { on(node) }).collect()
}

/// Runs a command on a node and returns its output.
fn inside(node: &str, command: &str) -> String {
    let output = Command::new("docker").args(["exec", node, "sh", "-c", command]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn lines(mut all: Vec<String>) -> String {
    all.sort();
    all.join("\n")
}

/// Returns the rules by table, without counters and times, and sorted, since kube-proxy has no order between Services.
fn rules(saved: &str) -> String {
    let mut table = "";
    let mut all = Vec::new();
    for line in saved.lines() {
        match line.as_bytes().first() {
            Some(b'*') => table = line,
            Some(b':') => all.push(format!("{table} {}", line.split(" [").next().unwrap_or_default())),
            Some(b'-') => all.push(format!("{table} {line}")),
            _ => {}
        }
    }
    lines(all)
}

/// Returns every object of these kinds, without the parts that change by themselves.
async fn objects(client: &Client) -> BTreeMap<String, String> {
    let kinds = [
        ApiResource::erase::<Node>(&()),
        ApiResource::erase::<Namespace>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<DaemonSet>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<Role>(&()),
        ApiResource::erase::<RoleBinding>(&()),
        ApiResource::erase::<ClusterRole>(&()),
        ApiResource::erase::<ClusterRoleBinding>(&()),
        ApiResource::erase::<APIService>(&()),
        ApiResource::erase::<Lease>(&()),
    ];
    let mut all = BTreeMap::new();
    for kind in kinds {
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        for object in objects.list(&ListParams::default()).await.unwrap() {
            let namespace = object.namespace().unwrap_or_default();
            // The cluster's own processes renew theirs all the time.
            if kind.kind == "Lease" && ["kube-node-lease", "kube-system"].contains(&namespace.as_str()) {
                continue;
            }
            all.insert(format!("{} {namespace}/{}", kind.kind, object.name_any()), told(&object));
        }
    }
    all
}

fn told(object: &DynamicObject) -> String {
    let mut data = object.data.clone();
    if let Value::Object(fields) = &mut data {
        fields.remove("status");
    }
    let phase = &object.data["status"]["phase"];
    let told = json!({
        "labels": object.metadata.labels,
        "annotations": object.metadata.annotations,
        "phase": phase,
        "data": data,
    });
    serde_json::to_string_pretty(&told).unwrap()
}

/// Returns the number of pods of each owner and their state, with the node where the scheduler does not choose it.
async fn pods(client: &Client) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let owner = pod.owner_references().first().cloned().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let ready =
            status.conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
        let bound = ["DaemonSet", "Node"].contains(&owner.kind.as_str());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|_| bound);
        let key = format!("pods of {} {}/{}", owner.kind, pod.namespace().unwrap_or_default(), owner.name);
        let leaving = pod.metadata.deletion_timestamp.is_some();
        let told = format!(
            "{} ready={ready} leaving={leaving} {}",
            status.phase.unwrap_or_default(),
            node.unwrap_or_default()
        );
        all.entry(key).or_default().push(told);
    }
    all.into_iter().map(|(key, pods)| (key, lines(pods))).collect()
}
