//! Evicts gateways, all of them at the same moment (what a PDB is there to refuse), or one.

use super::eviction::evict_together;
use super::window::{Fault, Seen, Window, within_window};
use super::{About, Candidates, FaultError, Moved, Perform, Stage, target};
use crate::extent::Takes;
use crate::rights::{Asking, Use, Within};
use crate::scenario::{Action, Evict, FaultName};
use crate::undo::Undo;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

impl Perform for Evict {
    fn about(&self, among: &Candidates<'_>) -> Option<About> {
        Some(among.pods(self.targets()))
    }

    /// Until they are granted; until as many gateways are ready as before.
    fn takes(&self, _among: &Candidates<'_>) -> Takes {
        Takes::up_to(self.deadline.duration().saturating_mul(2))
    }

    fn rights(&self, asking: &mut Asking, here: Within<'_>, _moved: &Moved<'_>) {
        asking.ask(&Use::step(self.key()), here, "", "pods/eviction", &["create"]);
        asking.ask(&Use::step(self.key()), here, "", "pods", &["list", "watch"]);
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

    /// The workload replaces what was evicted.
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
    async fn landed(&mut self, _stage: &Stage<'_>) -> Result<Seen, FaultError> {
        Ok(Seen::Yes)
    }

    async fn hold(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    async fn heal(&mut self, _stage: &Stage<'_>) -> Result<(), FaultError> {
        Ok(())
    }

    async fn healed(&mut self, stage: &Stage<'_>) -> Result<Seen, FaultError> {
        stage.await_gateways(self.evict.deadline.duration()).await.map(|()| Seen::Yes)
    }
}
