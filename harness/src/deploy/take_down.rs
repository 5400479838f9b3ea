//! A hop of the tier taken down gracefully: its workload is deleted, and each of its pods has its grace period.

use super::{DeployError, Deployment};
use crate::kubernetes::await_condition;
use crate::record::PodEnd;
use crate::timeouts::TAKE_DOWN_MARGIN;
use k8s_openapi::api::apps::v1;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::wait::Condition;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A pod's grace period, where nothing is written.
const GRACE: Duration = Duration::from_secs(30);

impl Deployment {
    /// Deletes a hop's workload and waits until its pods are gone. Returns the pods, and whether each was seen to go.
    pub async fn take_down(&self, hop: &str) -> Result<Vec<PodEnd>, DeployError> {
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/name={hop}"));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut ends: BTreeMap<String, PodEnd> = BTreeMap::new();
        let mut until = Instant::now() + TAKE_DOWN_MARGIN;
        let mut grace = Duration::ZERO;
        // Foreground: the workload is there until its pods are gone, and it makes none in their place.
        let gracefully = DeleteParams::foreground();
        super::remove::delete::<v1::DaemonSet>(&self.client, &self.namespace, hop, &gracefully).await?;
        super::remove::delete::<v1::Deployment>(&self.client, &self.namespace, hop, &gracefully).await?;
        loop {
            let listed = super::remove::list(&pods, &labels).await?;
            for end in ends.values_mut().filter(|end| !listed.iter().any(|pod| pod.name_any() == end.pod)) {
                end.gone = true;
            }
            if listed.is_empty() {
                return Ok(ends.into_values().collect());
            }
            for pod in &listed {
                let longest = grace_of(pod);
                until += longest.saturating_sub(grace);
                grace = grace.max(longest);
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
                let (pod, gone) = (pod.name_any(), false);
                ends.insert(pod.clone(), PodEnd { pod, node, gone });
            }
            for pod in &listed {
                let name = pod.name_any();
                let gone = await_condition(pods.clone(), &name, is_gone(pod.uid()));
                if tokio::time::timeout_at(until, gone).await.is_err() {
                    return Ok(ends.into_values().collect());
                }
            }
        }
    }
}

/// A pod that has another's name is not that one.
fn is_gone(uid: Option<String>) -> impl Condition<Pod> {
    move |found: Option<&Pod>| found.is_none_or(|pod| pod.uid() != uid)
}

fn grace_of(pod: &Pod) -> Duration {
    let deleted = pod.metadata.deletion_grace_period_seconds;
    let seconds = deleted.or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(GRACE, Duration::from_secs)
}
