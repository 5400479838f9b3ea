//! Awaiting that a cluster is up: kind itself waits for its control plane only, and a node that is not ready takes no
//! pod of a DaemonSet, so that a run would go on with fewer agents than it should have.

use super::ClusterError;
use crate::deploy::{self, DeployError};
use crate::kubernetes::await_condition;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const NAMESPACE: &str = "kube-system";
/// The longest time until the nodes, and the `DaemonSet`s on them, are ready.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The limit that kind's documentation tells users to set
/// (<https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files>).
const INOTIFY_INSTANCES: u32 = 512;

/// Waits until every node is ready, and every DaemonSet of the system on all of them.
pub(super) async fn await_up(client: &Client, name: &str) -> Result<(), ClusterError> {
    match until(client, Instant::now() + TIMEOUT).await {
        Ok(None) => Ok(()),
        Ok(Some(missing)) => {
            let words = words(client).await;
            let help = help(std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").ok(), &words);
            let missing = [vec![missing], words].concat().join("\n");
            Err(ClusterError::NotUp { name: name.to_owned(), waited: TIMEOUT, missing, help })
        }
        Err(source) => Err(ClusterError::Unseen {
            name: name.to_owned(),
            what: "nodes and system",
            source: Box::new(source),
        }),
    }
}

/// Returns none once everything is ready, or else what was missing at the deadline.
async fn until(client: &Client, deadline: Instant) -> Result<Option<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await? {
        let name = node.name_any();
        let is_there = |node: Option<&Node>| node.is_some_and(is_ready);
        let mut last = "it is not ready".to_owned();
        let ready = async {
            // A young API server may well end a watch.
            while let Err(error) = await_condition(nodes.clone(), &name, is_there).await {
                last = error.to_string();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        if timeout_at(deadline, ready).await.is_err() {
            return Ok(Some(format!("node {name}: {last}")));
        }
    }
    let daemons: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    for daemon in daemons.list(&ListParams::default()).await? {
        let left = deadline.saturating_duration_since(Instant::now());
        match deploy::await_daemon_set(client, &daemon, left).await {
            Ok(()) => {}
            Err(DeployError::NotReady { awaited, state, .. }) => {
                return Ok(Some(format!("waited for {awaited}: {state}")));
            }
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// The last words of the system's containers that had to be started again.
async fn words(client: &Client) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut words = Vec::new();
    for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        for status in
            statuses.into_iter().flatten().filter(|status| status.restart_count > 0 && !status.ready)
        {
            let container = Some(status.name.clone());
            let params = LogParams { container, tail_lines: Some(1), previous: true, ..LogParams::default() };
            // Who is down may have no log any more.
            if let Ok(log) = pods.logs(&pod.name_any(), &params).await {
                words.push(format!("{}, last words: {}", pod.name_any(), log.trim()));
            }
        }
    }
    words
}

/// Returns advice for the user, from the kernel's limit (as read) and the last log lines.
fn help(limit: Option<String>, words: &[String]) -> String {
    let limit = limit.and_then(|limit| limit.trim().parse::<u32>().ok());
    let out = words.iter().any(|line| line.contains("too many open files"));
    let Some(limit) = limit.filter(|limit| out || *limit < INOTIFY_INSTANCES) else {
        return "remove it, and other clusters on this machine (kind get clusters), and run it again"
            .to_owned();
    };
    let sure = if out { "" } else { "it may be that " };
    format!(
        "{sure}the kernel allows too few inotify instances: {limit} (fs.inotify.max_user_instances), for all clusters on \
         this machine together; remove those that nobody needs (kind get clusters; kind delete cluster --name …), or \
         allow more, as root: sysctl fs.inotify.max_user_instances={}",
        INOTIFY_INSTANCES.max(limit.saturating_mul(2))
    )
}

#[cfg(test)]
mod tests {
    use super::help;

    #[test]
    fn a_kernel_that_allows_few_instances_is_named() {
        let named = "sysctl fs.inotify.max_user_instances=512";
        assert!(help(Some("128\n".to_owned()), &[]).ends_with(named));
        let said = ["kube-proxy-x, last words: failed complete: too many open files".to_owned()];
        assert!(help(Some("4096\n".to_owned()), &said).ends_with("=8192"));
        assert!(!help(Some("4096\n".to_owned()), &[]).contains("sysctl"));
        assert!(!help(None, &said).contains("sysctl"));
    }
}
