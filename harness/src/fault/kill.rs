//! Kills the Collectors in gateway pods with SIGKILL, as the kernel does when memory runs out. The kubelet starts them
//! again.
//!
//! The signal comes from a pod on the node that sees the node's processes: a container cannot kill its own first
//! process.

use super::window::{Fault, Observed, Window, within_window};
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets, target};
use crate::extent::DurationRange;
use crate::kubernetes::await_condition;
use crate::rights::{Purpose, RequiredRights, Within};
use crate::scenario::{Action, FaultName, Kill};
use crate::undo::Undo;
use crate::world::World;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

impl Perform for Kill {
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets> {
        Some(among.pods(self.targets()))
    }

    /// The time until they are started again, and until as many gateways are ready as before.
    fn planned_duration(&self, _among: &Candidates<'_>) -> DurationRange {
        DurationRange::up_to(self.deadline.duration().saturating_mul(2))
    }

    fn add_rights(
        &self,
        rights: &mut RequiredRights,
        here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
        rights.add(&Purpose::step(self.key()), here, "", "pods", &["create", "list", "watch", "delete"]);
    }

    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let pods = target::pods(stage, self.targets()).await?;
            let victims = pods.iter().map(|pod| Victim::of(stage, pod)).collect::<Result<_, _>>()?;
            let until = Instant::now() + self.deadline.duration();
            within_window(stage, &mut Kills { kill: *self, victims, killers: Vec::new(), until }).await
        })
    }
}

/// A Collector that is to be killed.
struct Victim {
    pod: String,
    node: String,
    /// The container's ID, without the runtime's name.
    container: String,
    /// The number of restarts of the pod's containers before.
    restarts: u32,
}

impl Victim {
    fn of(stage: &Stage<'_>, pod: &Pod) -> Result<Self, FaultError> {
        let name = pod.name_any();
        stage.shared.access.scope.pod(&pod.namespace().unwrap_or_default(), &name)?;
        let found = container(pod).and_then(|(id, restarts)| {
            let node = pod.spec.as_ref()?.node_name.clone()?;
            Some(Self { pod: name.clone(), node, container: id.to_owned(), restarts })
        });
        found.ok_or_else(|| FaultError::NoTarget(format!("the running container of pod {name}")))
    }
}

/// Returns the ID of a pod's first container and the number of restarts of all its containers; none if the first one
/// does not run.
fn container(pod: &Pod) -> Option<(&str, u32)> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let first = pod.spec.as_ref()?.containers.first()?;
    let status = statuses.iter().find(|status| status.name == first.name)?;
    status.state.as_ref()?.running.as_ref()?;
    // The runtime's name and the ID: `containerd://0123…`.
    let (_, id) = status.container_id.as_deref()?.split_once("://")?;
    let restarts = statuses.iter().map(|status| u32::try_from(status.restart_count).unwrap_or_default());
    Some((id, restarts.sum()))
}

struct Kills {
    kill: Kill,
    victims: Vec<Victim>,
    /// The names of the pods that send the signals.
    killers: Vec<String>,
    until: Instant,
}

impl Kills {
    fn pods(stage: &Stage<'_>) -> Api<Pod> {
        Api::namespaced(stage.shared.access.client.clone(), &stage.shared.access.namespace)
    }

    /// Waits until a pod has sent its signal.
    async fn sent(&self, stage: &Stage<'_>, killer: &str, victim: &Victim) -> Result<(), FaultError> {
        let has_ended = |pod: Option<&Pod>| pod.is_none_or(|pod| ended(pod).is_some());
        let ending = await_condition(Self::pods(stage), killer, has_ended);
        let pod = match tokio::time::timeout_at(self.until, ending).await {
            Ok(Ok(pod)) => pod,
            Ok(Err(error)) => return Err(self.late(victim, error.to_string())),
            Err(_) => return Err(self.late(victim, format!("pod {killer} has not ended"))),
        };
        match pod.as_ref().and_then(ended) {
            Some(end) if end.exit_code == 0 => Ok(()),
            Some(end) => {
                let said = end.message.clone().unwrap_or_default();
                Err(self.late(victim, format!("pod {killer} ended with {}: {}", end.exit_code, said.trim())))
            }
            None => Err(self.late(victim, format!("pod {killer} was deleted"))),
        }
    }

    fn late(&self, victim: &Victim, state: String) -> FaultError {
        let awaited = format!("the Collector in {} to be killed", victim.pod);
        FaultError::Deadline { awaited, waited: self.kill.deadline.duration(), state }
    }
}

/// Returns the state of a pod's container if it has terminated.
fn ended(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.as_ref()
}

/// Returns the pod that sends the signal: on the victim's node, and with the node's process IDs.
fn killer(name: &str, image: &str, victim: &Victim) -> Result<Pod, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "kill"}},
        "spec": {
            "nodeName": victim.node,
            "hostPID": true,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "kill",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["kill", "--container", victim.container],
                // The output of a failure becomes a part of the pod's status.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "runAsUser": 0,
                    "runAsNonRoot": false,
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"], "add": ["KILL"]},
                },
            }],
        },
    }))
}

impl Fault for Kills {
    fn name(&self) -> FaultName {
        FaultName::Kill
    }

    fn target(&self) -> String {
        self.gateways().join(", ")
    }

    fn gateways(&self) -> Vec<String> {
        self.victims.iter().map(|victim| victim.pod.clone()).collect()
    }

    /// None: the kubelet starts them again, and the pods that send the signals are deleted with the namespace.
    fn undo(&self, _stage: &Stage<'_>) -> Option<(Undo, &'static str)> {
        None
    }

    async fn inject(&mut self, stage: &Stage<'_>, window: Window) -> Result<(), FaultError> {
        let pods = Self::pods(stage);
        for (number, victim) in (1..).zip(&self.victims) {
            let name = format!("kill-{}-{number}", window.fault);
            let image = &stage.shared.access.images.probe().image;
            let pod = killer(&name, image, victim)
                .map_err(|error| FaultError::api("write", &name)(kube::Error::SerdeError(error)))?;
            // Listed first, so that it is deleted even if the answer is lost.
            self.killers.push(name.clone());
            pods.create(&PostParams::default(), &pod).await.map_err(FaultError::api("create", name))?;
        }
        let sent = self.killers.iter().zip(&self.victims).map(|(killer, it)| self.sent(stage, killer, it));
        join_all(sent).await.into_iter().collect()
    }

    /// Each was started again, by its pod's count of restarts.
    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        let restarted = |world: &World, victim: &Victim| {
            world.pods("gateway").any(|(name, pod)| name == victim.pod && pod.restarts > victim.restarts)
        };
        let all = |world: &World| self.victims.iter().all(|victim| restarted(world, victim));
        let state = |world: &World| {
            let left = self.victims.iter().filter(|victim| !restarted(world, victim));
            format!("not yet: {}", left.map(|victim| victim.pod.as_str()).collect::<Vec<_>>().join(", "))
        };
        let left = self.until.saturating_duration_since(Instant::now());
        stage.await_world("what was killed to be started again", left, all, state).await?;
        Ok(Observed::Yes)
    }

    async fn hold(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    async fn heal(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        for killer in &self.killers {
            match Self::pods(stage).delete(killer, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(deleted.map_err(FaultError::api("delete", killer))?),
            }
        }
        Ok(())
    }

    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        stage.await_gateways(self.kill.deadline.duration()).await.map(|()| Observed::Yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(state: &serde_json::Value) -> Pod {
        let collector = json!({
            "name": "collector", "image": "x", "imageID": "x", "ready": true, "restartCount": 2,
            "containerID": "containerd://0123abc", "state": state,
        });
        let value = json!({
            "metadata": {"name": "gateway-1"},
            "spec": {"containers": [{"name": "collector"}], "nodeName": "worker"},
            "status": {"containerStatuses": [collector]},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_a_container_that_runs_can_be_killed() {
        let running = pod(&json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
        assert_eq!(container(&running), Some(("0123abc", 2)));
        let waiting = pod(&json!({"waiting": {"reason": "CrashLoopBackOff"}}));
        assert_eq!(container(&waiting), None);
        let terminated = pod(&json!({"terminated": {"exitCode": 1, "message": "no such process"}}));
        assert_eq!(container(&terminated), None);
        assert_eq!(ended(&terminated).map(|end| end.exit_code), Some(1));
        assert!(ended(&running).is_none());
    }

    #[test]
    fn the_signal_comes_from_the_victims_node_with_one_capability() {
        let (node, container) = ("worker".to_owned(), "0123abc".to_owned());
        let victim = Victim { pod: "gateway-1".to_owned(), node, container, restarts: 0 };
        let spec = killer("kill-0-1", "probe:1", &victim).unwrap().spec.unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.host_pid), (Some("worker"), Some(true)));
        let only = &spec.containers[0];
        assert_eq!(only.args.as_ref().unwrap()[..], ["kill", "--container", "0123abc"]);
        let security = only.security_context.as_ref().unwrap();
        assert_eq!(security.capabilities.as_ref().unwrap().add.as_ref().unwrap()[..], ["KILL"]);
        assert_eq!(security.privileged, None);
    }
}
