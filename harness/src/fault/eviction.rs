//! Evicts a pod as `kubectl drain` does: asks until the eviction is granted, then waits until the pod is gone.
//!
//! [`EvictionAnswer::of`], which does no I/O, decides on the meaning of an answer.

use super::{FaultError, Stage};
use crate::kubernetes::await_condition;
use crate::record::Event;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::PostParams;
use kube::core::Status;
use kube::runtime::wait::conditions;
use kube::{Api, ResourceExt};
use std::time::Duration;
use tokio::time::Instant;

/// The pause after a disruption budget has refused; the same as kubectl's.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// The pause after an answer that says nothing about the pod.
const TRANSIENT_PAUSE: Duration = Duration::from_secs(1);

/// The API server's answer to an eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EvictionAnswer {
    /// Granted: the pod is terminating.
    Accepted,
    /// The pod is gone, or another one has its name.
    Gone,
    /// A disruption budget does not allow it now.
    Budget(String),
    /// The API server is overloaded, and may say when to ask again.
    Throttled(Option<Duration>),
    /// It will never be granted.
    Final(String),
    /// Nothing is known: the connection failed, or the server did.
    Unclear(String),
}

impl EvictionAnswer {
    pub(super) fn of(result: &Result<Status, kube::Error>) -> Self {
        let status = match result {
            Ok(_) => return Self::Accepted,
            Err(kube::Error::Api(status)) => status,
            Err(error) => return Self::Unclear(error.to_string()),
        };
        let details = status.details.as_ref();
        let caused_by =
            |cause: &str| details.is_some_and(|all| all.causes.iter().any(|one| one.reason == cause));
        match status.code {
            404 => Self::Gone,
            // The precondition on the UID failed: another pod has the name. Any other conflict is a race between two
            // writers.
            409 if status.message.contains("precondition") => Self::Gone,
            409 => Self::Unclear(status.message.clone()),
            429 if caused_by("DisruptionBudget") => Self::Budget(status.message.clone()),
            429 => {
                let seconds = details.map_or(0, |details| details.retry_after_seconds);
                Self::Throttled((seconds > 0).then(|| Duration::from_secs(seconds.into())))
            }
            403 if caused_by("NamespaceTerminating") => Self::Accepted,
            500 if status.message.contains("more than one PodDisruptionBudget") => {
                Self::Final(status.message.clone())
            }
            code if code >= 500 => Self::Unclear(status.message.clone()),
            _ => Self::Final(status.message.clone()),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Accepted => "accepted".to_owned(),
            Self::Gone => "already gone".to_owned(),
            Self::Budget(message) => format!("refused by the disruption budget: {message}"),
            Self::Throttled(_) => "throttled by the API server".to_owned(),
            Self::Final(message) => format!("refused for good: {message}"),
            Self::Unclear(message) => format!("unclear: {message}"),
        }
    }
}

/// Returns the object that is posted to evict a pod, with the pod's UID as a precondition.
///
/// Typed, since `kube`'s own `Request::evict` serialises `delete_options`, which the API does not read.
pub(super) fn eviction_of(pod: &Pod) -> Eviction {
    let preconditions = Preconditions { uid: pod.uid(), ..Preconditions::default() };
    Eviction {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.namespace(),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(preconditions),
            ..DeleteOptions::default()
        }),
    }
}

/// Evicts a pod and waits until it is gone. Every attempt is put on record.
pub(super) async fn evict(
    stage: &Stage<'_>,
    fault: usize,
    pod: &Pod,
    until: Instant,
) -> Result<(), FaultError> {
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(stage.shared.access.client.clone(), &namespace);
    let eviction = eviction_of(pod);
    for attempt in 1u32.. {
        let params = PostParams::default();
        let asked = (stage.shared.recorder.clock().now() * 1e3).floor() / 1e3;
        let asking = pods.create_subresource("eviction", &name, &params, &eviction);
        let result: Result<Status, _> = match tokio::time::timeout_at(until, asking).await {
            Ok(result) => result,
            Err(_) => Err(kube::Error::Service("no answer before the deadline".into())),
        };
        let answer = EvictionAnswer::of(&result);
        stage.shared.recorder.event(Event::Eviction {
            fault,
            pod: name.clone(),
            uid: uid.clone(),
            attempt,
            outcome: answer.describe(),
            code: match &result {
                Ok(_) => 201,
                Err(kube::Error::Api(status)) => status.code,
                Err(_) => 0,
            },
            asked: Some(asked),
        })?;
        let pause = match answer {
            EvictionAnswer::Accepted | EvictionAnswer::Gone => break,
            EvictionAnswer::Budget(_) => REFUSED_PAUSE,
            EvictionAnswer::Throttled(asked) => asked.unwrap_or(TRANSIENT_PAUSE),
            EvictionAnswer::Unclear(_) => TRANSIENT_PAUSE,
            EvictionAnswer::Final(why) => return Err(FaultError::Refused { pod: name, why }),
        };
        let again = Instant::now() + pause;
        if again > until {
            return Err(FaultError::Deadline {
                awaited: format!("the eviction of {name} to be granted"),
                waited: pause * attempt,
                state: format!(
                    "asked {attempt} times; the last answer: {}",
                    EvictionAnswer::of(&result).describe()
                ),
            });
        }
        tokio::time::sleep_until(again).await;
    }
    await_gone(pods, &name, &uid, until).await?;
    stage.shared.recorder.event(Event::PodGone { fault, pod: name })?;
    Ok(())
}

/// Evicts pods at the same moment; each to its end, even if another one fails.
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

/// Waits until the pod with this UID is gone.
pub(super) async fn await_gone(
    pods: Api<Pod>,
    name: &str,
    uid: &str,
    until: Instant,
) -> Result<(), FaultError> {
    let began = Instant::now();
    let gone = await_condition(pods, name, conditions::is_deleted(uid));
    let state = match tokio::time::timeout_at(until, gone).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it is still there".to_owned(),
    };
    Err(FaultError::Deadline { awaited: format!("pod {name} to be gone"), waited: began.elapsed(), state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(code: u16, message: &str, details: &serde_json::Value) -> EvictionAnswer {
        let status = json!({"code": code, "message": message, "status": "Failure", "details": details});
        EvictionAnswer::of(&Err(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))))
    }

    #[test]
    fn a_budget_is_told_apart_from_throttling() {
        let budget =
            json!({"causes": [{"reason": "DisruptionBudget", "message": "needs 1 healthy pods and has 1"}]});
        assert_eq!(answer(429, "Cannot evict", &budget), EvictionAnswer::Budget("Cannot evict".to_owned()));
        let throttled = answer(429, "too many requests", &json!({"retryAfterSeconds": 7}));
        assert_eq!(throttled, EvictionAnswer::Throttled(Some(Duration::from_secs(7))));
        assert_eq!(answer(429, "too many requests", &json!({})), EvictionAnswer::Throttled(None));
    }

    #[test]
    fn what_is_final_is_not_tried_again() {
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert!(matches!(answer(500, two, &json!({})), EvictionAnswer::Final(_)));
        assert!(matches!(answer(403, "forbidden", &json!({})), EvictionAnswer::Final(_)));
        assert!(matches!(answer(500, "etcd is busy", &json!({})), EvictionAnswer::Unclear(_)));
    }

    #[test]
    fn a_pod_that_is_not_there_is_gone() {
        assert_eq!(answer(404, "not found", &json!({})), EvictionAnswer::Gone);
        assert_eq!(
            answer(409, "the UID in the precondition does not match", &json!({})),
            EvictionAnswer::Gone
        );
        assert!(matches!(
            answer(409, "the object has been modified", &json!({})),
            EvictionAnswer::Unclear(_)
        ));
    }

    /// The bytes on the wire: what the API server reads is `deleteOptions`.
    #[test]
    fn the_posted_object_has_the_names_that_the_api_reads() {
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some("gateway-1".to_owned()),
                namespace: Some("tier".to_owned()),
                uid: Some("0001".to_owned()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        };
        let posted = serde_json::to_value(eviction_of(&pod)).unwrap();
        assert_eq!(
            posted,
            json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": "gateway-1", "namespace": "tier"},
                "deleteOptions": {"preconditions": {"uid": "0001"}},
            })
        );
    }
}
