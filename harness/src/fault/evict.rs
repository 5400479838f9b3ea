//! Evicts gateways, all of them at the same moment (what a PDB is there to refuse), or one.

use super::drain::evict_together;
use super::{FaultError, Stage, target};
use crate::record::Event;
use crate::scenario::{Evict, Targets};
use kube::ResourceExt;
use tokio::time::Instant;

/// Evicts the pods at once; each until it is granted, or the deadline.
pub async fn evict(stage: &Stage<'_>, options: Evict) -> Result<(), FaultError> {
    let pods = target::pods(stage, options.targets()).await?;
    let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
    let fault = match options.targets() {
        Targets::Each(_) => "evict-all",
        Targets::One(_) => "evict",
    };
    let fault = stage.begin(fault, &names.join(", "), names.clone())?;
    let until = Instant::now() + options.deadline.duration();
    let evicted = stage.unless_cancelled(async {
        for pod in &pods {
            stage.scope.pod(&pod.namespace().unwrap_or_default(), &pod.name_any())?;
        }
        evict_together(stage, fault, &pods, until).await
    });
    let evicted = evicted.await;
    if evicted.is_ok() {
        stage.recorder.event(Event::FaultLanded { fault })?;
    }
    let healed = stage.await_gateways(options.deadline.duration()).await;
    if healed.is_ok() {
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    stage.end(fault, evicted.and(healed))
}
