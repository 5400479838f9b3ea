//! Offers more load for a while: until the HPA has gone out, and for some time behind that.

use super::{FaultError, Stage, pods_state};
use crate::record::Event;
use crate::scenario::{Rate, Spike};
use crate::world::World;
use std::time::Duration;

/// How long it may take until the load is seen to have changed.
const PATIENCE: Duration = Duration::from_secs(30);
/// The load has changed when this much of the difference is seen.
const SEEN: f64 = 0.5;

/// Offers the spike's rate, and the scenario's own again afterwards, whatever happens.
pub async fn spike(stage: &Stage<'_>, options: Spike) -> Result<(), FaultError> {
    let fault = stage.begin("spike", &options.rate.to_string(), Vec::new())?;
    let before = stage.world.borrow().autoscaler("gateway").map(|hpa| hpa.desired);
    let spiked = stage.unless_cancelled(async {
        offer(stage, options.rate).await?;
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
    let ended = offer(stage, stage.rate).await;
    if ended.is_ok() {
        stage.recorder.event(Event::FaultHealed { fault })?;
    }
    stage.end(fault, spiked.and(ended))
}

/// Changes the rate, and waits until the emitters are seen to offer it.
async fn offer(stage: &Stage<'_>, rate: Rate) -> Result<(), FaultError> {
    let was = stage.status.borrow().clone();
    stage.probes.change_rate(rate).await?;
    stage.recorder.event(Event::Rate { rate: rate.in_a_second() })?;
    let mut last = was;
    let mut first = true;
    let offered = |now: &crate::load::LoadStatus| {
        let seconds = now.at.saturating_duration_since(last.at).as_secs_f64();
        if seconds < 0.5 {
            return false;
        }
        let seen = now.offered.saturating_sub(last.offered) as f64 / seconds;
        last = now.clone();
        // The first second holds both rates.
        let whole = !std::mem::take(&mut first);
        whole && (seen - rate.in_a_second()).abs() < SEEN * rate.in_a_second()
    };
    stage.await_load(&format!("the emitters to offer {rate}"), PATIENCE, offered).await
}
