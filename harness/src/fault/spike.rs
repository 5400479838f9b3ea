//! Offers more load for a while: until the HPA has gone out, and for some time behind that.

use super::{FaultError, Stage, pods_state};
use crate::load::LoadStatus;
use crate::record::Event;
use crate::scenario::{Rate, Spike};
use crate::undo::Undo;
use crate::world::World;
use std::time::Duration;

/// How long it may take until the load is seen to have changed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// For how long it is measured before it is believed: a request holds many spans.
pub(crate) const MEASURED: Duration = Duration::from_secs(4);

/// Offers the spike's rate, and the scenario's own again afterwards, whatever happens.
pub async fn spike(stage: &Stage<'_>, options: Spike) -> Result<(), FaultError> {
    let usual = stage.rate.ok_or(FaultError::HasProfile)?;
    let offered = Rate::per_second(usual.in_a_second() * stage.share);
    let undo = stage.journal.open(Undo::rate(&stage.namespace, offered))?;
    let fault = stage.begin("spike", &options.rate.to_string(), Vec::new())?;
    let before = stage.world.borrow().autoscaler("gateway").map(|hpa| hpa.desired);
    let spiked = stage.unless_cancelled(async {
        change(stage, options.rate).await?;
        await_change(stage, usual, options.rate).await?;
        stage.recorder.event(Event::FaultLanded { fault })?;
        if let Some(before) = before {
            let out = |world: &World| {
                let desired = world.autoscaler("gateway").map_or(0, |hpa| hpa.desired);
                desired > before && world.ready("gateway") >= desired as usize
            };
            let state = |world: &World| {
                let hpa = world.autoscaler("gateway");
                let pressure = hpa.and_then(crate::world::Autoscaler::pressure);
                let metric = pressure.map_or_else(
                    || "its metric is not known".to_owned(),
                    |share| format!("its metric is at {:.0} % of the target", share * 100.0),
                );
                format!("{metric}; {}", pods_state(world, "gateway"))
            };
            let awaited = format!("the HPA to go out from {before} gateways, and those to be ready");
            stage.await_world(&awaited, options.deadline.duration(), out, state).await?;
        }
        tokio::time::sleep(options.hold.duration()).await;
        Ok(())
    });
    let spiked = spiked.await;
    let ended = change(stage, usual).await;
    if ended.is_ok() {
        stage.journal.close(undo, "the emitters were told the load's own rate")?;
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    stage.end(fault, spiked.and(ended))
}

async fn change(stage: &Stage<'_>, rate: Rate) -> Result<(), FaultError> {
    stage.probes.change_rate(Rate::per_second(rate.in_a_second() * stage.share)).await?;
    stage.recorder.event(Event::Rate { rate: rate.in_a_second() })?;
    Ok(())
}

/// Waits until the emitters are seen to offer more of the new rate than of the old one.
async fn await_change(stage: &Stage<'_>, usual: Rate, rate: Rate) -> Result<(), FaultError> {
    let (old, new) = (usual.in_a_second() * stage.share, rate.in_a_second() * stage.share);
    let middle = f64::midpoint(old, new);
    let mut since: Option<LoadStatus> = None;
    let changed = |now: &LoadStatus| {
        let first = since.get_or_insert_with(|| now.clone());
        let measured = now.at.saturating_duration_since(first.at);
        let offered =
            now.offered.saturating_sub(first.offered) as f64 / measured.as_secs_f64().max(f64::EPSILON);
        measured >= MEASURED && if new > old { offered >= middle } else { offered <= middle }
    };
    stage.await_load(&format!("the emitters to offer {rate}"), PATIENCE, changed).await
}
