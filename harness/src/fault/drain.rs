//! Drains a node as `kubectl drain` does: cordon, evict what may be evicted, wait until it is gone.
//! Uncordons it afterwards, whatever happened, if it was this drain that cordoned it.

use super::eviction::{await_gone, evict};
use super::{FaultError, Stage, target};
use crate::record::Event;
use crate::scenario::Drain;
use crate::undo::{Cordon, Did, Undo};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an undoing is tried for.
const UNDO_PATIENCE: Duration = Duration::from_secs(60);

/// What a drain does with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing: it belongs to the node.
    Leave(&'static str),
    /// Evict it.
    Evict,
    /// Delete it: it has finished, and no budget speaks for it.
    Delete,
    /// Wait: it is on its way out already.
    Await,
    /// Stop: the scenario does not allow to move it.
    Refuse(&'static str),
}

impl Disposition {
    /// What `kubectl drain --ignore-daemonsets` does with a pod; `--force` and
    /// `--delete-emptydir-data` are the scenario's to give.
    pub fn of(pod: &Pod, options: &Drain) -> Self {
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

/// Drains the nodes of a step: one after the other, or all at the same time.
pub async fn drain_each(stage: &Stage<'_>, options: &Drain, say: impl Fn(&str)) -> Result<(), FaultError> {
    let one = async |node: &String| {
        say(&format!("draining {node}"));
        drain(stage, node, options).await?;
        say(&format!("{node} was drained, and is back"));
        Ok(())
    };
    let nodes = target::nodes(stage, options.nodes()).await?;
    if options.at_once {
        // Each to its end, whatever became of the others: every one must be undone.
        return join_all(nodes.iter().map(one)).await.into_iter().collect();
    }
    for node in &nodes {
        one(node).await?;
    }
    Ok(())
}

/// Drains one node, holds it drained, and uncordons it.
async fn drain(stage: &Stage<'_>, node: &str, options: &Drain) -> Result<(), FaultError> {
    let turn = stage.unless_cancelled(turn(stage, node, options)).await?;
    let fault = stage.begin("drain", node, stage.gateways_on(node))?;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let drained = stage.unless_cancelled(cordon_and_evict(stage, fault, &nodes, node, options)).await;
    let undone = undo(stage, node).await;
    let healed = match &undone {
        Ok(()) => stage.await_gateways(options.deadline.duration()).await,
        Err(_) => Ok(()),
    };
    if undone.is_ok() && healed.is_ok() {
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    drop(turn);
    stage.end(fault, drained.and(undone).and(healed))
}

/// A node is this step's to drain, as long as this is there.
struct Turn<'a> {
    stage: &'a Stage<'a>,
    node: &'a str,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut drained = self.stage.drained();
        drained.now.remove(self.node);
        drained.over.notify_waiters();
    }
}

/// Waits until no other step drains a node: two drains of it would each undo the other.
async fn turn<'a>(stage: &'a Stage<'a>, node: &'a str, options: &Drain) -> Result<Turn<'a>, FaultError> {
    let over = Arc::clone(&stage.drained().over);
    let free = async {
        loop {
            // Before it is looked whether it is free: else the end of the other drain could be missed.
            let told = over.notified();
            if take(stage, node) {
                return;
            }
            told.await;
        }
    };
    let patience = options.deadline.duration();
    match tokio::time::timeout(patience, free).await {
        Ok(()) => Ok(Turn { stage, node }),
        Err(_) => Err(FaultError::Deadline {
            awaited: format!("{node} to be in nobody else's drain"),
            waited: patience,
            state: stage
                .drained()
                .now
                .get(node)
                .map_or_else(String::new, |by| format!("it is in step {by}'s")),
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

async fn cordon_and_evict(
    stage: &Stage<'_>,
    fault: usize,
    nodes: &Api<Node>,
    node: &str,
    options: &Drain,
) -> Result<(), FaultError> {
    let until = Instant::now() + options.deadline.duration();
    stage.scope.node(node)?;
    let all: Api<Pod> = Api::all(stage.client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let list = async || all.list(&on_node).await.map_err(FaultError::api("list pods on", node));
    // Before anything is touched; and again when no pod comes any more.
    may_move(stage, node, &list().await?.items, options)?;
    cordon(stage, node).await?;
    let pods = list().await?.items;
    may_move(stage, node, &pods, options)?;
    // As kubectl does, all at once; and every one to its end, so that each answer is on record.
    let moves = pods.iter().map(|pod| move_away(stage, fault, pod, options, until));
    join_all(moves).await.into_iter().collect::<Result<(), _>>()?;

    // Seen to have landed: unschedulable, and nothing left that could be evicted.
    let left = list().await?;
    let left: Vec<_> = left
        .iter()
        .filter(|pod| !matches!(Disposition::of(pod, options), Disposition::Leave(_)))
        .map(ResourceExt::name_any)
        .collect();
    let cordoned = nodes.get(node).await.map_err(FaultError::api("get", node))?;
    if left.is_empty() && cordoned.spec.is_some_and(|spec| spec.unschedulable == Some(true)) {
        stage.recorder.event(Event::FaultLanded { fault })?;
    } else {
        let message = format!("{node} is not drained: {} left", left.join(", "));
        stage.recorder.event(Event::Note { message })?;
    }
    tokio::time::sleep(options.hold.duration()).await;
    Ok(())
}

/// Whether each pod on a node may be moved: by the scenario, and by the plan.
fn may_move(stage: &Stage<'_>, node: &str, pods: &[Pod], options: &Drain) -> Result<(), FaultError> {
    for pod in pods {
        match Disposition::of(pod, options) {
            Disposition::Leave(_) => {}
            Disposition::Refuse(why) => {
                return Err(FaultError::NotAllowed { pod: pod.name_any(), node: node.to_owned(), why });
            }
            Disposition::Evict | Disposition::Delete | Disposition::Await => {
                stage.scope.pod(&pod.namespace().unwrap_or_default(), &pod.name_any())?;
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
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &namespace);
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

/// Marks a node unschedulable, and whose doing that is. One that somebody else cordoned stays theirs.
async fn cordon(stage: &Stage<'_>, node: &str) -> Result<(), FaultError> {
    let undo = stage.journal.open(Undo::cordon(node, &stage.run))?;
    let ours = Cordon::new(node, &stage.run).set(&stage.client).await;
    if ours.map_err(FaultError::api("cordon", node))? {
        stage.recorder.event(Event::Cordon { node: node.to_owned(), cordoned: true })?;
        return Ok(());
    }
    stage.journal.close(undo, "it is somebody else's")?;
    let message = format!("{node} was cordoned before, by somebody else: it stays so");
    Ok(stage.recorder.event(Event::Note { message })?)
}

/// Uncordons a node that this run cordoned, trying until the API server has heard it.
async fn undo(stage: &Stage<'_>, node: &str) -> Result<(), FaultError> {
    let until = Instant::now() + UNDO_PATIENCE;
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
    let lifted = Cordon::new(node, &stage.run).lift(&stage.client).await;
    if lifted.map_err(FaultError::api("uncordon", node))? == Did::Undid {
        stage.recorder.event(Event::Cordon { node: node.to_owned(), cordoned: false })?;
    }
    let cordon = Undo::cordon(node, &stage.run);
    Ok(stage.journal.close_all("uncordoned", |open| *open == cordon)?)
}

/// Evicts pods at the same moment, each to its end.
pub(super) async fn evict_together(
    stage: &Stage<'_>,
    fault: usize,
    pods: &[Pod],
    until: Instant,
) -> Result<(), FaultError> {
    let barrier = tokio::sync::Barrier::new(pods.len());
    let evictions = pods.iter().map(|pod| async {
        barrier.wait().await;
        evict(stage, fault, pod, until).await
    });
    join_all(evictions).await.into_iter().collect()
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
