//! The clusters that a run may use: one in use, or one that looks like production, is refused and left unchanged.

use crate::support::{Alone, CLUSTER, Shared, program, scenario_file};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::process::Command;

/// The context that kind gives its cluster.
const CONTEXT: &str = "kind-spanproof-test";

/// Returns what a second process would change of the cluster: namespaces, nodes, and its owner.
async fn looked_at(client: &Client) -> Vec<String> {
    let mut seen = Vec::new();
    for namespace in Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await.unwrap() {
        seen.push(format!("{} {:?} {:?}", namespace.name_any(), namespace.uid(), namespace.labels()));
    }
    for node in Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap() {
        let cordoned = node.spec.as_ref().unwrap().unschedulable;
        seen.push(format!("{} {:?} {cordoned:?}", node.name_any(), node.labels()));
    }
    let lease = Api::<Lease>::namespaced(client.clone(), "default").get("spanproof").await.unwrap();
    seen.push(format!("{:?} {:?}", lease.uid(), lease.spec.unwrap().holder_identity));
    seen
}

/// Returns the exit code and the messages of a second process that is to run a scenario there.
fn second(alone: &Alone, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program())
        .arg("run")
        .arg(scenario_file("node-drain"))
        .args(arguments)
        .env("KUBECONFIG", alone.kubeconfig())
        // Whatever the user of this machine has configured.
        .env("SPANPROOF_CONFIG", "/dev/null")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_cluster_that_is_in_use_is_refused_whichever_way_it_is_named() {
    let alone = Shared::alone();
    alone.block_on(async {
        let client = alone.cluster().client();
        let before = looked_at(client).await;
        for arguments in [["--context", CONTEXT], ["--cluster", CLUSTER]] {
            let (code, said) = second(&alone, &arguments);
            assert_eq!(code, Some(4), "{said}");
            let holder = format!("is in use by process {} on ", std::process::id());
            assert!(said.contains(&holder) && said.contains("--wait"), "{said}");
        }
        assert_eq!(looked_at(client).await, before);
    });
}

#[test]
fn a_cluster_that_looks_like_production_is_refused() {
    let alone = Shared::alone();
    alone.block_on(async {
        let client = alone.cluster().client();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let label = async |value: Option<&str>| {
            let patch = json!({"metadata": {"labels": {"environment": value}}});
            namespaces.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        };
        label(Some("production")).await;
        let before = looked_at(client).await;
        let refused = second(&alone, &["--context", CONTEXT]);
        let meant = second(&alone, &["--context", CONTEXT, "--yes-really", CONTEXT]);
        let after = looked_at(client).await;
        label(None).await;
        let (code, said) = refused;
        assert_eq!(code, Some(2), "{said}");
        let label = "namespace default carries the label environment=production";
        assert!(said.contains(label) && said.contains(&format!("--yes-really {CONTEXT}")), "{said}");
        // Meant, it is still in use.
        assert_eq!(meant.0, Some(4), "{}", meant.1);
        assert_eq!(after, before);
    });
}
