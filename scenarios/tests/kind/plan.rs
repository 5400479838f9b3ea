//! The plan on the shared cluster: it names other workloads and their PDBs, says what is not permitted, and changes
//! nothing. A run does not touch what the plan did not name.

use crate::support::{self, Alone, Shared, check};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::discovery::{ApiGroup, Discovery, verbs};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use spanproof::judge::Verdict::Inconclusive;
use spanproof::scenario::Scenario;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// The namespace of other workloads.
const BYSTANDER: &str = "spanproof-bystander";
/// A user who may do everything but evict.
const NO_EVICTIONS: &str = "spanproof-no-evictions";

/// A Deployment of two pods on one worker, with a PDB that permits one eviction.
#[test]
fn a_plan_names_the_bystanders_and_changes_nothing() {
    let alone = Shared::alone();
    let client = alone.client();
    let (worker, planned, before, after) = alone.block_on(async {
        let worker = workers(&client).await.into_iter().min().unwrap();
        deploy_bystander(&client, BYSTANDER, &worker).await;
        let before = versions(&client).await;
        let planned = plan(&["--cluster", support::CLUSTER], None);
        let after = versions(&client).await;
        remove_namespace(&client, BYSTANDER).await;
        (worker, planned, before, after)
    });
    let text = said(&planned);
    assert_eq!(planned.status.code(), Some(0), "{text}");
    assert!(text.contains(&format!("\n  {worker}:\n")), "{text}");
    let named = format!("{BYSTANDER}: 2 pods of ReplicaSet web-");
    assert!(text.contains(&named) && text.contains("PDB web grants 1 now"), "{text}");
    assert!(before.len() > 100, "{} objects were seen", before.len());
    let objects: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed: Vec<_> = objects.into_iter().filter(|it| before.get(*it) != after.get(*it)).collect();
    assert!(changed.is_empty(), "{changed:?} changed");
}

#[test]
fn a_right_that_is_missing_is_named() {
    let alone = Shared::alone();
    let client = alone.client();
    let planned = alone.block_on(async {
        make_user(&client).await;
        let (context, path) = kubeconfig_of(&alone, &format!("system:serviceaccount:default:{NO_EVICTIONS}"));
        let planned = plan(&["--context", &context], Some(&path));
        std::fs::remove_file(path).unwrap();
        forget_user(&client).await;
        planned
    });
    let text = said(&planned);
    assert_eq!(planned.status.code(), Some(1), "{text}");
    let result = text.split("\nresult").nth(1).unwrap();
    let missing: Vec<_> = result.lines().filter(|line| line.contains("may not")).collect();
    assert_eq!(missing.len(), 1, "{text}");
    assert!(
        missing[0].contains("may not create pods/eviction in namespace spanproof-<run>, to drain"),
        "{text}"
    );
}

/// Other pods that come to the workers after the run has begun: no node with them is cordoned.
#[test]
#[ignore = "ci/nightly: a run of its own"]
fn what_the_plan_did_not_name_is_not_touched() {
    let alone = Shared::alone();
    let client = alone.client();
    let scenario = Scenario::load(&support::scenario_file("node-drain"), &[]).unwrap();
    let outcome = alone.block_on(async {
        let late = async {
            let namespaces: Api<Namespace> = Api::all(client.clone());
            let deploying = ListParams::default().labels(spanproof::labels::RUN_LABEL);
            while namespaces.list(&deploying).await.unwrap().items.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            for worker in workers(&client).await {
                deploy_bystander(&client, &format!("{BYSTANDER}-{worker}"), &worker).await;
            }
        };
        let (outcome, ()) = tokio::join!(Box::pin(alone.run(&scenario)), Box::pin(late));
        for worker in workers(&client).await {
            remove_namespace(&client, &format!("{BYSTANDER}-{worker}")).await;
        }
        outcome
    });
    let faults = check(&outcome, "faults");
    assert_eq!(outcome.judgement.verdict, Inconclusive, "{:#?}", outcome.judgement.checks);
    assert!(faults.reason.contains("is not in the plan, so it is not touched"), "{}", faults.reason);
    let timeline = std::fs::read_to_string(outcome.folder.join("timeline.jsonl")).unwrap();
    assert!(!timeline.contains("\"event\":\"cordon\""), "a node was cordoned");
}

/// Returns the output of `spanproof plan` for node-drain.
fn plan(arguments: &[&str], kubeconfig: Option<&Path>) -> Output {
    let mut command = Command::new(support::program());
    command.arg("plan").arg(support::scenario_file("node-drain")).args(arguments);
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    texts.concat()
}

async fn workers(client: &Client) -> Vec<String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let workers = ListParams::default().labels("!node-role.kubernetes.io/control-plane");
    nodes.list(&workers).await.unwrap().iter().map(ResourceExt::name_any).collect()
}

/// Creates two pods on a worker, of an image that every kind node has, and a PDB that permits one eviction.
async fn deploy_bystander(client: &Client, name: &str, worker: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let images = nodes.get(worker).await.unwrap().status.unwrap().images.unwrap_or_default();
    let mut names = images.into_iter().flat_map(|image| image.names.unwrap_or_default());
    let pause = names.find(|name| name.contains("/pause:")).unwrap();
    let namespace = json!({"metadata": {"name": name}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    let labels = json!({"app": "web"});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": worker},
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "pause", "image": pause, "imagePullPolicy": "Never"}],
                },
            },
        },
    }))
    .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), name);
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let budget: PodDisruptionBudget = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
    }))
    .unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), name);
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    let grants = |found: Option<&PodDisruptionBudget>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|status| status.disruptions_allowed == 1)
    };
    let granted = await_condition(budgets, "web", grants);
    tokio::time::timeout(Duration::from_secs(90), granted).await.unwrap().unwrap();
}

async fn remove_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespaces.get(name).await.unwrap().uid().unwrap();
    namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    let gone = await_condition(namespaces, name, conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_secs(90), gone).await.unwrap().unwrap();
}

/// Returns the version of every object, except for those that change by themselves.
async fn versions(client: &Client) -> BTreeMap<String, Option<String>> {
    let discovery = Discovery::new(client.clone()).exclude(&["metrics.k8s.io"]).run().await.unwrap();
    let mut found = BTreeMap::new();
    for (resource, capabilities) in discovery.groups().flat_map(ApiGroup::recommended_resources) {
        let beats = ["Node", "Lease", "Event"].contains(&resource.kind.as_str());
        if beats || !capabilities.supports_operation(verbs::LIST) {
            continue;
        }
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        for object in objects.list_metadata(&ListParams::default()).await.unwrap() {
            let namespace = object.namespace().unwrap_or_default();
            found.insert(
                format!("{}/{namespace}/{}", resource.kind, object.name_any()),
                object.resource_version(),
            );
        }
    }
    found
}

/// Grants all permissions of a run but that to evict.
async fn make_user(client: &Client) {
    let pods = json!([
        "pods",
        "pods/log",
        "pods/portforward",
        "nodes",
        "nodes/proxy",
        "namespaces",
        "services",
        "configmaps",
        "events"
    ]);
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": {"name": NO_EVICTIONS},
        "rules": [
            {"apiGroups": [""], "resources": pods, "verbs": ["*"]},
            {"apiGroups": ["apps", "policy", "autoscaling", "discovery.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        ],
    }))
    .unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": NO_EVICTIONS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NO_EVICTIONS},
        "subjects": [{"kind": "ServiceAccount", "name": NO_EVICTIONS, "namespace": "default"}],
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &role).await.unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &binding).await.unwrap();
}

async fn forget_user(client: &Client) {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let _ = bindings.delete(NO_EVICTIONS, &DeleteParams::default()).await;
    let _ = roles.delete(NO_EVICTIONS, &DeleteParams::default()).await;
}

/// Writes a kubeconfig whose user impersonates another one, and returns it with its context.
fn kubeconfig_of(alone: &Alone, user: &str) -> (String, PathBuf) {
    let mut read = Kubeconfig::read_from(alone.kubeconfig()).unwrap();
    for named in &mut read.auth_infos {
        named.auth_info.as_mut().unwrap().impersonate = Some(user.to_owned());
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-evictions.kubeconfig");
    std::fs::write(&path, serde_saphyr::to_string(&read).unwrap()).unwrap();
    (read.current_context.unwrap(), path)
}
