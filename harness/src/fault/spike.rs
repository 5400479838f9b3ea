//! Raises the load until the HPA has scaled out, then holds it.

use super::stage::pods_state;
use super::window::{Fault, Observed, Window, within_window};
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets};
use crate::extent::DurationRange;
use crate::load::LoadStatus;
use crate::record::Event;
use crate::rights::{RequiredRights, Within};
use crate::scenario::{FaultName, Rate, Spike};
use crate::undo::Undo;
use crate::world::{Autoscaler, World};
use futures::future::BoxFuture;
use std::time::Duration;

/// The timeout of seeing the emitters offer another rate.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The time over which a rate is measured: requests hold many spans, so a shorter one would be inaccurate.
const MEASURED: Duration = Duration::from_secs(4);

impl Perform for Spike {
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets> {
        Some(StepTargets::pods_of("DaemonSet/emit", "the emitters", among.agents))
    }

    fn planned_duration(&self, among: &Candidates<'_>) -> DurationRange {
        let out = if among.hpa { self.deadline.duration() } else { Duration::ZERO };
        let seen = DurationRange { least: MEASURED, most: TIMEOUT };
        seen.then(DurationRange::up_to(out)).then(DurationRange::exactly(self.hold.duration()))
    }

    fn add_rights(
        &self,
        _rights: &mut RequiredRights,
        _here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
    }

    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let usual = stage.shared.usual.rate.ok_or(FaultError::HasProfile)?;
            let before = stage.shared.watched.world.borrow().autoscaler("gateway").map(|hpa| hpa.desired);
            within_window(stage, &mut Raised { spike: *self, usual, before }).await
        })
    }
}

struct Raised {
    spike: Spike,
    /// The load's own rate.
    usual: Rate,
    /// The number of gateways that the HPA wanted before; none if there is no HPA.
    before: Option<u32>,
}

impl Fault for Raised {
    fn name(&self) -> FaultName {
        FaultName::Spike
    }

    fn target(&self) -> String {
        self.spike.rate.to_string()
    }

    fn gateways(&self) -> Vec<String> {
        Vec::new()
    }

    fn undo(&self, stage: &Stage<'_>) -> Option<(Undo, &'static str)> {
        let offered = Rate::per_second(self.usual.in_a_second() * stage.shared.usual.share);
        let undo = Undo::rate(&stage.shared.access.namespace, offered);
        Some((undo, "the emitters were told the load's own rate"))
    }

    async fn inject(&mut self, stage: &Stage<'_>, _window: Window) -> Result<(), FaultError> {
        change(stage, self.spike.rate).await
    }

    async fn landed(&mut self, stage: &Stage<'_>) -> Result<Observed, FaultError> {
        await_change(stage, self.usual, self.spike.rate).await.map(|()| Observed::Yes)
    }

    async fn hold(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        if let Some(before) = self.before {
            await_scale_out(stage, before, self.spike.deadline.duration()).await?;
        }
        tokio::time::sleep(self.spike.hold.duration()).await;
        Ok(())
    }

    async fn heal(&mut self, stage: &Stage<'_>) -> Result<(), FaultError> {
        change(stage, self.usual).await
    }

    async fn healed(&mut self, _stage: &Stage<'_>) -> Result<Observed, FaultError> {
        Ok(Observed::Yes)
    }
}

/// Waits until the HPA wants more gateways than before, and as many are ready.
async fn await_scale_out(stage: &Stage<'_>, before: u32, timeout: Duration) -> Result<(), FaultError> {
    let out = |world: &World| {
        let desired = world.autoscaler("gateway").map_or(0, |hpa| hpa.desired);
        desired > before && world.ready("gateway") >= desired as usize
    };
    let state = |world: &World| {
        let pressure = world.autoscaler("gateway").and_then(Autoscaler::pressure);
        let metric = pressure.map_or_else(
            || "its metric is not known".to_owned(),
            |share| format!("its metric is at {:.0} % of the target", share * 100.0),
        );
        format!("{metric}; {}", pods_state(world, "gateway"))
    };
    let awaited = format!("the HPA to scale out from {before} gateways, and those to be ready");
    stage.await_world(&awaited, timeout, out, state).await
}

async fn change(stage: &Stage<'_>, rate: Rate) -> Result<(), FaultError> {
    stage.shared.probes.change_rate(Rate::per_second(rate.in_a_second() * stage.shared.usual.share)).await?;
    stage.shared.recorder.event(Event::Rate { rate: rate.in_a_second() })?;
    Ok(())
}

/// Waits until the emitters are seen to offer more of the new rate than of the old one.
async fn await_change(stage: &Stage<'_>, usual: Rate, rate: Rate) -> Result<(), FaultError> {
    let (old, new) =
        (usual.in_a_second() * stage.shared.usual.share, rate.in_a_second() * stage.shared.usual.share);
    let middle = f64::midpoint(old, new);
    let mut since: Option<LoadStatus> = None;
    let changed = |now: &LoadStatus| {
        let first = since.get_or_insert_with(|| now.clone());
        let measured = now.at.saturating_duration_since(first.at);
        let offered =
            now.offered.saturating_sub(first.offered) as f64 / measured.as_secs_f64().max(f64::EPSILON);
        measured >= MEASURED && if new > old { offered >= middle } else { offered <= middle }
    };
    stage.await_load(&format!("the emitters to offer {rate}"), TIMEOUT, changed).await
}
