//! Evicts all gateways at the same moment: what a PDB is there to refuse.

use super::drain::evict_together;
use super::{FaultError, Stage};
use crate::record::Event;
use crate::scenario::Evict;
use kube::ResourceExt;
use tokio::time::Instant;

/// Evicts every gateway at once; each until it is granted, or the deadline.
pub async fn evict_all(stage: &Stage<'_>, options: Evict) -> Result<(), FaultError> {
    let pods = stage.gateway_pods().await?;
    if pods.is_empty() {
        return Err(FaultError::NoTarget("evict"));
    }
    let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
    let fault = stage.begin("evict-all", &names.join(", "), names.clone())?;
    let until = Instant::now() + options.deadline.duration();
    let evicted = stage.unless_cancelled(evict_together(stage, fault, &pods, until)).await;
    if evicted.is_ok() {
        stage.recorder.event(Event::FaultLanded { fault })?;
    }
    let healed = stage.await_gateways(options.deadline.duration()).await;
    if healed.is_ok() {
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    stage.end(fault, evicted.and(healed))
}
