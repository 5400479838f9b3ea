//! The contents of a run folder besides timeline and ledgers.

use super::{Run, RunError};
use crate::deploy::TierFacts;
use crate::load::Probes;
use crate::record::{Environment, FORMAT, Recorder};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use std::time::Duration;

/// Describes where this run takes place.
pub(super) async fn environment(
    run: &Run<'_>,
    probes: &Probes,
    facts: &TierFacts,
) -> Result<Environment, RunError> {
    let client = run.cluster.client();
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    let role = |node: &Node| {
        let control = node.labels().contains_key("node-role.kubernetes.io/control-plane");
        if control { "control plane" } else { "worker" }
    };
    let runtime = nodes.iter().find_map(|node| {
        let info = &node.status.as_ref()?.node_info.as_ref()?;
        Some(format!("{}, {}, kernel {}", info.container_runtime_version, info.os_image, info.kernel_version))
    });
    let capacity = nodes.iter().find_map(|node| {
        let capacity = node.status.as_ref()?.capacity.as_ref()?;
        Some(format!("{} cores, {} of memory", capacity.get("cpu")?.0, capacity.get("memory")?.0))
    });
    Ok(Environment {
        format: FORMAT,
        spanproof: env!("CARGO_PKG_VERSION").to_owned(),
        probe_sources: spanproof_probe::SOURCES.to_owned(),
        cluster: run.cluster.name().to_owned(),
        namespace: run.deployment.namespace().to_owned(),
        kubernetes: client.apiserver_version().await?.git_version,
        node_runtime: runtime.unwrap_or_default(),
        machine: capacity.unwrap_or_default(),
        images: serde_json::to_value(run.cluster.images()).unwrap_or_default(),
        cluster_settings: run.cluster.settings().to_vec(),
        nodes: nodes.iter().map(|node| format!("{} ({})", node.name_any(), role(node))).collect(),
        streams: probes.streams(),
        nodes_without: probes.nodes_without().clone(),
        sink_node: probes.sink_node().await?,
        pdb_minimum: facts.pdb_minimum(&run.scenario.tier),
        pdb: facts.pdb.clone(),
        worst_retry_pause: facts.worst_retry_pause().as_secs_f64(),
        hops: facts.hops.clone(),
        entry_of_its_node: facts.entry_of_its_node,
        sampling: run.sampling.clone(),
        clock_offsets_ms: probes.clock_offsets().await?,
    })
}

/// The interval between fetching the ledgers during a run.
const SNAPSHOTS: Duration = Duration::from_secs(60);

/// Fetches the ledgers every so often: a harness that dies leaves what was known by then. Those that are sealed
/// take their place at the end.
pub(super) async fn snapshots(probes: Probes, recorder: Recorder) {
    loop {
        tokio::time::sleep(SNAPSHOTS).await;
        for (name, ledger) in probes.ledgers().await {
            if let Ok(bytes) = ledger {
                // A folder that cannot be written ends the run elsewhere.
                let _ = recorder.write(&name, &bytes);
            }
        }
    }
}

/// Collects the logs of all pods of the namespace. Missing logs are left out: they help people, and decide nothing.
pub(super) async fn diagnostics(client: &Client, namespace: &str, recorder: &Recorder) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
        let name = pod.name_any();
        let containers =
            pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.clone());
        for container in containers.collect::<Vec<_>>() {
            for previous in [false, true] {
                let params = LogParams {
                    container: Some(container.clone()),
                    previous,
                    timestamps: true,
                    limit_bytes: Some(4 << 20),
                    ..LogParams::default()
                };
                if let Ok(log) = pods.logs(&name, &params).await {
                    let which = if previous { "-previous" } else { "" };
                    let _ = recorder.write(&format!("logs/{name}-{container}{which}.log"), log.as_bytes());
                }
            }
        }
    }
}
