//! Evicts all gateways at the same moment: what a PDB is there to refuse.

use super::drain::evict_together;
use super::{FaultError, Stage};
use crate::record::Event;
use crate::scenario::Evict;
use kube::ResourceExt;
use tokio::time::Instant;

/// Evicts every gateway at once; each until it is granted, or the deadline.
pub async fn evict_all(stage: &Stage, options: Evict) -> Result<(), FaultError> {
    let pods = stage.gateway_pods().await?;
    if pods.is_empty() {
        return Err(FaultError::NoTarget("evict"));
    }
    let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
    let fault = stage.begin("evict-all", &names.join(", "), names.clone())?;
    let until = Instant::now() + options.deadline.duration();
    let evicted = tokio::select! {
        evicted = evict_together(stage, fault, &pods, until) => evicted,
        () = stage.cancel.cancelled() => Err(FaultError::Interrupted),
    };
    if evicted.is_ok() {
        stage.recorder.event(Event::FaultLanded { fault })?;
    }
    let healed = stage.await_gateways(options.deadline.duration()).await;
    if healed.is_ok() {
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    let result = evicted.and(healed);
    let problem = result.as_ref().err().map(ToString::to_string);
    stage.recorder.event(Event::FaultEnded { fault, problem })?;
    result
}
