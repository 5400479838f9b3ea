//! Drains nodes as `kubectl drain` does: cordons each, evicts its pods, and waits until they are gone. Afterwards
//! uncordons it in any case, if this drain cordoned it.

use super::eviction::{await_gone, evict};
use super::window::{Fault, Observed, Window, within_window};
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets, target};
use crate::extent::DurationRange;
use crate::progress;
use crate::record::Event;
use crate::rights::{Purpose, RequiredRights, Within};
use crate::scenario::{Action, Drain, FaultName};
use crate::undo::{Cordon, Undo, UndoOutcome};
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use std::time::Duration;
use tokio::time::Instant;

/// The timeout of uncordoning a node.
const UNDO_TIMEOUT: Duration = Duration::from_secs(60);

/// The action of a drain on a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// None: the pod belongs to the node.
    Leave(&'static str),
    /// Evict the pod.
    Evict,
    /// Delete the pod: it has finished, and no budget counts it.
    Delete,
    /// Wait: the pod is terminating already.
    Await,
    /// Stop: the scenario does not allow to move the pod.
    Refuse(&'static str),
}

impl Disposition {
    /// Returns what `kubectl drain --ignore-daemonsets` does with a pod. The options `unmanaged` and `empty_dir` are
    /// its `--force` and `--delete-emptydir-data`.
    pub(crate) fn of(pod: &Pod, options: &Drain) -> Self {
        let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        if pod.annotations().contains_key("kubernetes.io/config.mirror") {
            Self::Leave("a mirror pod")
        } else if controller.is_some_and(|owner| owner.kind == "DaemonSet") {
            Self::Leave("a DaemonSet's")
        } else if pod.metadata.deletion_timestamp.is_some() {
            Self::Await
        } else if matches!(phase, Some("Succeeded" | "Failed")) {
            Self::Delete
        } else if controller.is_none() && !options.unmanaged {
            Self::Refuse("has no controller that would replace it (drain: {unmanaged: true} allows it)")
        } else if volumes.into_iter().any(|volume| volume.empty_dir.is_some()) && !options.empty_dir {
            Self::Refuse("has an emptyDir, which is lost with it (drain: {empty_dir: true} allows it)")
        } else {
            Self::Evict
        }
    }
}

impl Perform for Drain {
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets> {
        Some(StepTargets { at_once: self.at_once, ..among.nodes(self.nodes()) })
    }

    /// For each node: until its pods are gone, the hold, and until as many gateways are ready as before.
    fn planned_duration(&self, among: &Candidates<'_>) -> DurationRange {
        let (deadline, hold) = (self.deadline.duration(), self.hold.duration());
        let one = DurationRange::exactly(hold).then(DurationRange::up_to(deadline.saturating_mul(2)));
        if self.at_once { one } else { one.times(among.nodes(self.nodes()).number) }
    }

    fn add_rights(
        &self,
        rights: &mut RequiredRights,
        here: Within<'_>,
        bystanders: &BystanderNamespaces<'_>,
    ) {
        let drain = Purpose::step(self.key());
        rights.add(&drain, Within::Cluster, "", "nodes", &["get", "list", "patch"]);
        rights.add(&drain, Within::Cluster, "", "pods", &["list"]);
        rights.add(&Purpose::Explain, Within::Cluster, "policy", "poddisruptionbudgets", &["list"]);
        for within in bystanders.evicted.iter().copied().map(Within::Namespace).chain([here]) {
            rights.add(&drain, within, "", "pods/eviction", &["create"]);
            rights.add(&drain, within, "", "pods", &["list", "watch"]);
        }
        for within in bystanders.deleted.iter().copied().map(Within::Namespace) {
            rights.add(&drain, within, "", "pods", &["delete"]);
        }
    }

    /// Drains the nodes one after the other, or all at the same time.
    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let nodes = target::nodes(stage, self.nodes()).await?;
            if self.at_once {
                // Each to its end, even if another one fails: every one must be undone.
                let drains = nodes.iter().map(|node| drain(stage, node, self));
                return join_all(drains).await.into_iter().collect();
            }
            for node in &nodes {
                drain(stage, node, self).await?;
            }
            Ok(())
        })
    }
}

/// Drains one node, holds it drained, and uncordons it.
async fn drain(stage: &Stage<'_>, node: &str, options: &Drain) -> Result<(), FaultError> {
    tracing::info!(target: progress::TARGET, "draining {node}");
    let _turn = stage.unless_cancelled(turn(stage, node, options)).await?;
    within_window(stage, &mut Drained { node, options, gateways: stage.gateways_on(node) }).await?;
    tracing::info!(target: progress::TARGET, "{node} was drained, and is schedulable again");
    Ok(())
}

struct Drained<'a> {
    node: &'a str,
    options: &'a Drain,
    /// The gateways on the node when the drain begins.
    gateways: Vec<String>,
}

impl Fault for Drained<'_> {
    fn name(&self) -> FaultName {
        FaultName::Drain
    }

    fn target(&self) -> String {
        self.node.to_owned()
    }

    fn gateways(&self) -> Vec<String> {
        self.gateways.clone()
    }

    /// Journalled by [`cordon`] right before the node is cordoned: a node that somebody else cordoned stays cordoned.
    fn undo(&self, _stage: &Stage<'_>) -> Option<(Undo, &'static str)> {
        None
    }

    async fn inject(&mut self, stage: &Stage<'_>, window: Window) -> Result<(), FaultError> {
        let (node, options) = (self.node, self.options);
        let until = Instant::now() + options.deadline.duration();
        stage.shared.access.scope.node(node)?;
        // Before anything is touched, and again once no more pods can be scheduled there.
        may_move(stage, node, &pods_on(stage, node).await?, options)?;
        cordon(stage, node).await?;
        let pods = pods_on(stage, node).await?;
        may_move(stage, node, &pods, options)?;
        // All at once, as kubectl does; and each to its end, so that every answer is on record.
        let moves = pods.iter().map(|pod| move_away(stage, window.fault, pod, options, until));
        join_all(moves).await.into_iter().collect()
    }

    /// The node is unschedulable, and no pod is left that a drain moves.
    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        let left = pods_on(stage, self.node).await?;
        let left: Vec<_> = left
            .iter()
            .filter(|pod| !matches!(Disposition::of(pod, self.options), Disposition::Leave(_)))
            .map(ResourceExt::name_any)
            .collect();
        let nodes: Api<Node> = Api::all(stage.shared.access.client.clone());
        let node = nodes.get(self.node).await.map_err(FaultError::api("get", self.node))?;
        if left.is_empty() && node.spec.is_some_and(|spec| spec.unschedulable == Some(true)) {
            return Ok(Observed::Yes);
        }
        Ok(Observed::No(Some(format!("{} is not drained: {} left", self.node, left.join(", ")))))
    }

    async fn hold(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        tokio::time::sleep(self.options.hold.duration()).await;
        Ok(())
    }

    async fn heal(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        undo(stage, self.node).await
    }

    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        stage.await_gateways(self.options.deadline.duration()).await.map(|()| Observed::Yes)
    }
}

async fn pods_on(stage: &Stage<'_>, node: &str) -> Result<Vec<Pod>, FaultError> {
    let all: Api<Pod> = Api::all(stage.shared.access.client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(all.list(&on_node).await.map_err(FaultError::api("list pods on", node))?.items)
}

/// The exclusive right of a step to drain a node, until it is dropped.
struct Turn<'a> {
    stage: &'a Stage<'a>,
    node: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.stage.drained().now.remove(self.node);
        self.stage.drain_over().notify_waiters();
    }
}

/// Waits until no other step drains a node: two drains of the same node would undo each other.
async fn turn<'a>(stage: &'a Stage<'a>, node: &'a str, options: &Drain) -> Result<Turn<'a>, FaultError> {
    let over = stage.drain_over();
    let free = async {
        loop {
            // Before the check: otherwise the end of the other drain could be missed.
            let told = over.notified();
            if take(stage, node) {
                return;
            }
            told.await;
        }
    };
    let timeout = options.deadline.duration();
    match tokio::time::timeout(timeout, free).await {
        Ok(()) => Ok(Turn { stage, node }),
        Err(_) => Err(FaultError::Deadline {
            awaited: format!("{node} not to be drained by another step"),
            waited: timeout,
            state: stage
                .drained()
                .now
                .get(node)
                .map_or_else(String::new, |by| format!("step {by} drains it")),
        }),
    }
}

fn take(stage: &Stage<'_>, node: &str) -> bool {
    let mut drained = stage.drained();
    if drained.now.contains_key(node) {
        return false;
    }
    drained.now.insert(node.to_owned(), stage.step.clone());
    drained.ever.insert(node.to_owned());
    true
}

/// Checks that each pod on a node may be moved, by the scenario and by the plan.
fn may_move(stage: &Stage<'_>, node: &str, pods: &[Pod], options: &Drain) -> Result<(), FaultError> {
    for pod in pods {
        match Disposition::of(pod, options) {
            Disposition::Leave(_) => {}
            Disposition::Refuse(why) => {
                return Err(FaultError::NotAllowed { pod: pod.name_any(), node: node.to_owned(), why });
            }
            Disposition::Evict | Disposition::Delete | Disposition::Await => {
                stage.shared.access.scope.pod(&pod.namespace().unwrap_or_default(), &pod.name_any())?;
            }
        }
    }
    Ok(())
}

async fn move_away(
    stage: &Stage<'_>,
    fault: usize,
    pod: &Pod,
    options: &Drain,
    until: Instant,
) -> Result<(), FaultError> {
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(stage.shared.access.client.clone(), &namespace);
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    match Disposition::of(pod, options) {
        Disposition::Leave(_) | Disposition::Refuse(_) => Ok(()),
        Disposition::Evict => evict(stage, fault, pod, until).await,
        Disposition::Await => await_gone(pods, &name, &uid, until).await,
        Disposition::Delete => {
            match pods.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                Err(source) => return Err(FaultError::api("delete", name)(source)),
            }
            await_gone(pods, &name, &uid, until).await
        }
    }
}

/// Cordons a node, and marks it as cordoned by this run. A node that somebody else cordoned is left as it is.
async fn cordon(stage: &Stage<'_>, node: &str) -> Result<(), FaultError> {
    let undo = stage.shared.journal.open(Undo::cordon(node, &stage.shared.access.run))?;
    let ours = Cordon::new(node, &stage.shared.access.run).set(&stage.shared.access.client).await;
    if ours.map_err(FaultError::api("cordon", node))? {
        stage.shared.recorder.event(Event::Cordon { node: node.to_owned(), cordoned: true })?;
        return Ok(());
    }
    stage.shared.journal.close(undo, "it is somebody else's")?;
    let message = format!("{node} was cordoned before, by somebody else: it stays cordoned");
    Ok(stage.shared.recorder.event(Event::Note { message })?)
}

/// Uncordons a node that this run cordoned; tries again until the API server has answered or the timeout is over.
async fn undo(stage: &Stage<'_>, node: &str) -> Result<(), FaultError> {
    let until = Instant::now() + UNDO_TIMEOUT;
    loop {
        let trying = tokio::time::timeout(Duration::from_secs(10), uncordon_ours(stage, node));
        let tried = trying.await.unwrap_or_else(|_| {
            Err(FaultError::Deadline {
                awaited: format!("the API server to hear that {node} is schedulable again"),
                waited: Duration::from_secs(10),
                state: "no answer".to_owned(),
            })
        });
        if tried.is_ok() || Instant::now() > until {
            return tried;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn uncordon_ours(stage: &Stage<'_>, node: &str) -> Result<(), FaultError> {
    let lifted = Cordon::new(node, &stage.shared.access.run).lift(&stage.shared.access.client).await;
    if lifted.map_err(FaultError::api("uncordon", node))? == UndoOutcome::Undone {
        stage.shared.recorder.event(Event::Cordon { node: node.to_owned(), cordoned: false })?;
    }
    let cordon = Undo::cordon(node, &stage.shared.access.run);
    Ok(stage.shared.journal.close_all("uncordoned", |open| *open == cordon)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn owned_by(kind: &str) -> serde_json::Value {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "1", "controller": true}])
    }

    #[test]
    fn pods_are_treated_as_kubectl_treats_them() {
        let strict = Drain::default();
        let lenient = Drain { unmanaged: true, empty_dir: true, ..Drain::default() };
        let of = |value, options| Disposition::of(&pod(value), options);

        let managed = json!({"metadata": {"ownerReferences": owned_by("ReplicaSet")}});
        assert_eq!(of(managed, &strict), Disposition::Evict);
        let daemon = json!({"metadata": {"ownerReferences": owned_by("DaemonSet")}});
        assert!(matches!(of(daemon, &lenient), Disposition::Leave(_)));
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        assert!(matches!(of(mirror, &lenient), Disposition::Leave(_)));
        let finished = json!({"metadata": {}, "status": {"phase": "Succeeded"}});
        assert_eq!(of(finished, &strict), Disposition::Delete);
        let alone = json!({"metadata": {}});
        assert!(matches!(of(alone.clone(), &strict), Disposition::Refuse(_)));
        assert_eq!(of(alone, &lenient), Disposition::Evict);
        let scratch = json!({
            "metadata": {"ownerReferences": owned_by("ReplicaSet")},
            "spec": {"containers": [], "volumes": [{"name": "x", "emptyDir": {}}]},
        });
        assert!(matches!(of(scratch.clone(), &strict), Disposition::Refuse(_)));
        assert_eq!(of(scratch, &lenient), Disposition::Evict);
        let leaving = json!({
            "metadata": {"ownerReferences": owned_by("ReplicaSet"), "deletionTimestamp": "2026-01-01T00:00:00Z"},
        });
        assert_eq!(of(leaving, &strict), Disposition::Await);
    }
}
