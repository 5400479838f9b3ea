//! Making and deleting kind clusters, by the programs `docker` and `kind`.

use super::reaper::Reaper;
use super::{ClusterError, Image};
use crate::host::command::{self, CommandError};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use procfs_core::{FromRead, Meminfo};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The memory that four nodes and the tier need, with some room.
const NEEDED_MIB: u64 = 3_000;
const WORKERS: usize = 3;
/// kind's pod network.
const POD_SUBNET: &str = "10.244.0.0/16";
/// The control plane's share of the processors, and a worker's: with two cores a busy worker must not
/// starve the API server.
const SHARES: [(&str, u32); 2] = [("control-plane", 4096), ("worker", 1024)];

/// Returns the settings of a cluster, for a run's record.
pub(super) fn settings() -> Vec<String> {
    let mut settings: Vec<_> = [
        "etcd --unsafe-no-fsync",
        "kube-controller-manager --horizontal-pod-autoscaler-sync-period=5s",
        "kube-controller-manager --node-monitor-period=2s --node-monitor-grace-period=20s",
        "kubelet nodeStatusUpdateFrequency 4s",
        "CoreDNS on the control-plane node",
        "nodes reach nothing but each other",
    ]
    .map(str::to_owned)
    .into();
    settings.extend(SHARES.map(|(role, shares)| format!("{role} containers: {shares} CPU shares")));
    settings
}

/// The version of the engine that answers.
pub(super) async fn engine_version() -> Result<String, ClusterError> {
    let asked = docker(&["version", "--format", "{{.Server.Version}}"]).await;
    asked
        .map(|version| version.trim().to_owned())
        .map_err(|error| ClusterError::NoEngine { tried: error.to_string() })
}

async fn docker(arguments: &[&str]) -> Result<String, CommandError> {
    command::run(OsStr::new("docker"), arguments, |_| {}).await
}

/// The kind program.
#[derive(Debug, Clone)]
pub(super) struct Kind(OsString);

impl Kind {
    /// The one on the path, or the one that the set-up built.
    pub(super) async fn find(cache: &Path) -> Result<Self, ClusterError> {
        let built = cache.join("bin").join("kind");
        let mut tried = String::new();
        for program in [OsString::from("kind"), built.clone().into()] {
            match command::run(&program, &["version"], |_| {}).await {
                Ok(_) => return Ok(Self(program)),
                Err(error) => tried = error.to_string(),
            }
        }
        Err(ClusterError::NoKind { cache: built, tried })
    }

    pub(super) fn program(&self) -> &OsStr {
        &self.0
    }

    async fn run(&self, doing: &'static str, arguments: &[&OsStr]) -> Result<String, ClusterError> {
        command::run(&self.0, arguments, |_| {})
            .await
            .map_err(|source| ClusterError::Command { doing, source })
    }

    /// Makes a cluster, with a kubeconfig of its own in `state`.
    pub(super) async fn create(
        &self,
        cluster: &str,
        state: &Path,
        node: &Image,
        reaper: &mut Reaper,
    ) -> Result<(), ClusterError> {
        enough_memory()?;
        let write = |name: &str, text: String| {
            let path = state.join(name);
            std::fs::write(&path, text).map_err(|source| ClusterError::State { path, source })
        };
        write("isolate.conf", isolation())?;
        write("kind.json", configuration(&state.join("isolate.conf")).to_string())?;
        let (kubeconfig, configuration) = (state.join("kubeconfig"), state.join("kind.json"));
        let arguments: [&OsStr; 12] = [
            "create".as_ref(),
            "cluster".as_ref(),
            "--name".as_ref(),
            cluster.as_ref(),
            "--image".as_ref(),
            node.image.as_ref(),
            "--config".as_ref(),
            configuration.as_ref(),
            "--kubeconfig".as_ref(),
            kubeconfig.as_ref(),
            "--wait".as_ref(),
            "180s".as_ref(),
        ];
        let made = command::run(&self.0, &arguments, |pid| reaper.watch(pid)).await;
        reaper.watch_none();
        made.map_err(|source| ClusterError::Command { doing: "making the cluster", source })?;
        for container in nodes(cluster).await? {
            let shares =
                SHARES.iter().find(|(role, _)| container.contains(role)).map_or(1024, |(_, shares)| *shares);
            let shared = docker(&["update", "--cpu-shares", &shares.to_string(), &container]).await;
            shared.map_err(|source| ClusterError::Command { doing: "sharing out the processors", source })?;
        }
        Ok(())
    }

    /// Loads images onto every node.
    pub(super) async fn load(&self, cluster: &str, images: &[&Image]) -> Result<(), ClusterError> {
        let mut arguments: Vec<&OsStr> =
            vec!["load".as_ref(), "docker-image".as_ref(), "--name".as_ref(), cluster.as_ref()];
        arguments.extend(images.iter().map(|image| OsStr::new(&image.image)));
        self.run("loading images onto the nodes", &arguments).await.map(|_| ())
    }

    /// Removes a cluster, and everything of it.
    pub(super) async fn delete(&self, cluster: &str, state: &Path) -> Result<(), ClusterError> {
        // Without a kubeconfig of its own it would edit the user's.
        let kubeconfig = state.join("kubeconfig");
        let arguments: [&OsStr; 6] = [
            "delete".as_ref(),
            "cluster".as_ref(),
            "--name".as_ref(),
            cluster.as_ref(),
            "--kubeconfig".as_ref(),
            kubeconfig.as_ref(),
        ];
        self.run("removing the cluster", &arguments).await.map(|_| ())
    }
}

/// The containers of a cluster's nodes, running or not.
pub(super) async fn nodes(cluster: &str) -> Result<Vec<String>, ClusterError> {
    let filter = format!("label=io.x-k8s.kind.cluster={cluster}");
    let listed = docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).await;
    let listed = listed.map_err(|source| ClusterError::Command { doing: "listing the nodes", source })?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Pins `CoreDNS` to the control plane, where no drain moves it: a fault of a worker should not be one of DNS as
/// well.
pub(super) async fn pin_dns(client: &Client) -> Result<(), kube::Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}}}});
    deployments.patch("coredns", &PatchParams::default(), &Patch::Strategic(patch)).await.map(|_| ())
}

/// Returns kind's configuration: one control plane, three workers, and the settings for two cores.
fn configuration(isolation: &Path) -> serde_json::Value {
    let mounts = json!([{
        "hostPath": isolation,
        "containerPath": "/etc/systemd/system/containerd.service.d/10-isolate.conf",
        "readOnly": true,
    }]);
    let mut nodes = vec![json!({"role": "control-plane", "extraMounts": mounts})];
    nodes.extend(std::iter::repeat_n(json!({"role": "worker", "extraMounts": mounts}), WORKERS));
    let etcd = [("unsafe-no-fsync", "true")];
    let manager = [
        ("horizontal-pod-autoscaler-sync-period", "5s"),
        ("node-monitor-period", "2s"),
        ("node-monitor-grace-period", "20s"),
    ];
    // kubeadm's third beta takes extra arguments as a map, the fourth as a list; kind uses what fits the
    // node's version, and a patch for the other one is not applied.
    let map = |arguments: &[(&str, &str)]| -> serde_json::Value {
        arguments.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
    };
    let list = |arguments: &[(&str, &str)]| -> serde_json::Value {
        arguments.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
    };
    let patch = |version: &str, etcd: serde_json::Value, manager: serde_json::Value| {
        json!({
            "apiVersion": format!("kubeadm.k8s.io/{version}"),
            "kind": "ClusterConfiguration",
            "etcd": {"local": {"extraArgs": etcd}},
            "controllerManager": {"extraArgs": manager},
        })
        .to_string()
    };
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "nodeStatusUpdateFrequency": "4s",
    });
    json!({
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "kind": "Cluster",
        "networking": {"podSubnet": POD_SUBNET, "apiServerAddress": "127.0.0.1"},
        "nodes": nodes,
        "kubeadmConfigPatches": [
            patch("v1beta3", map(&etcd), map(&manager)),
            patch("v1beta4", list(&etcd), list(&manager)),
            kubelet.to_string(),
        ],
    })
}

/// A drop-in for the nodes' containerd: before it starts (so before any pod), and again after a restart
/// of the node, whatever would leave the cluster is refused at the node.
///
/// A packet to a Service that kube-proxy has not programmed yet would leave the machine, and whoever
/// answers it there is believed. (A question to the engine's DNS has been redirected to 127.0.0.11 by the
/// time that it is looked at here, and still seems to leave by eth0.)
fn isolation() -> String {
    let rules = format!(
        "subnet=$$(ip -4 route show dev eth0 proto kernel scope link | cut -d\" \" -f1); \
         iptables -N INSIDE 2>/dev/null || exit 0; \
         iptables -A INSIDE -d $$subnet -j RETURN; \
         iptables -A INSIDE -d 127.0.0.0/8 -j RETURN; \
         iptables -A INSIDE -d {POD_SUBNET} -j RETURN; \
         iptables -A INSIDE -j REJECT; \
         iptables -I OUTPUT -o eth0 -j INSIDE; \
         iptables -I FORWARD -o eth0 -j INSIDE; \
         ip -6 route del default 2>/dev/null; \
         exit 0"
    );
    format!("[Service]\nExecStartPre=/bin/sh -c '{rules}'\n")
}

fn enough_memory() -> Result<(), ClusterError> {
    // Where the kernel does not say how much is free, the engine decides.
    let available = Meminfo::from_file("/proc/meminfo").ok().and_then(|memory| memory.mem_available);
    match available.map(|bytes| bytes >> 20) {
        Some(available_mib) if available_mib < NEEDED_MIB => {
            Err(ClusterError::TooLittleMemory { available_mib, needed_mib: NEEDED_MIB })
        }
        _ => Ok(()),
    }
}
