//! Evicts all gateways at the same moment, which a PDB must refuse, or one gateway.

use super::eviction::evict_together;
use super::window::{Fault, Observed, Window, within_window};
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets, target};
use crate::extent::DurationRange;
use crate::rights::{Purpose, RequiredRights, Within};
use crate::scenario::{Action, Evict, FaultName};
use crate::undo::Undo;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

impl Perform for Evict {
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets> {
        Some(among.pods(self.targets()))
    }

    /// The time until the evictions are granted, and until as many gateways are ready as before.
    fn planned_duration(&self, _among: &Candidates<'_>) -> DurationRange {
        DurationRange::up_to(self.deadline.duration().saturating_mul(2))
    }

    fn add_rights(
        &self,
        rights: &mut RequiredRights,
        here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
        rights.add(&Purpose::step(self.key()), here, "", "pods/eviction", &["create"]);
        rights.add(&Purpose::step(self.key()), here, "", "pods", &["list", "watch"]);
    }

    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let pods = target::pods(stage, self.targets()).await?;
            within_window(stage, &mut Evictions { evict: *self, pods }).await
        })
    }
}

struct Evictions {
    evict: Evict,
    pods: Vec<Pod>,
}

impl Fault for Evictions {
    fn name(&self) -> FaultName {
        self.evict.fault()
    }

    fn target(&self) -> String {
        self.gateways().join(", ")
    }

    fn gateways(&self) -> Vec<String> {
        self.pods.iter().map(ResourceExt::name_any).collect()
    }

    /// None: the workload replaces the pods.
    fn undo(&self, _stage: &Stage<'_>) -> Option<(Undo, &'static str)> {
        None
    }

    async fn inject(&mut self, stage: &Stage<'_>, window: Window) -> Result<(), FaultError> {
        let until = Instant::now() + self.evict.deadline.duration();
        for pod in &self.pods {
            stage.shared.access.scope.pod(&pod.namespace().unwrap_or_default(), &pod.name_any())?;
        }
        evict_together(stage, window.fault, &self.pods, until).await
    }

    /// Each eviction was awaited until its pod was gone.
    async fn landed(&mut self, _stage: &Stage<'_>) -> Result<Observed, FaultError> {
        Ok(Observed::Yes)
    }

    async fn hold(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    async fn heal(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        stage.await_gateways(self.evict.deadline.duration()).await.map(|()| Observed::Yes)
    }
}
