//! Waits for a condition, and puts on record whether it came about.

use super::stage::pods_state;
use super::{BystanderNamespaces, Candidates, FaultError, Perform, Stage, StepTargets};
use crate::extent::DurationRange;
use crate::load::LoadStatus;
use crate::record::Event;
use crate::rights::{RequiredRights, Within};
use crate::scenario::{Condition, Need, Wait};
use crate::world::World;
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::time::Instant;

/// The number of times in a row, a second apart, that a condition on queues must hold.
const LOOKS: u32 = 3;
/// The interval at which the delivered spans are read.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Perform for Wait {
    fn planned_targets(&self, _among: &Candidates<'_>) -> Option<StepTargets> {
        None
    }

    fn planned_duration(&self, _among: &Candidates<'_>) -> DurationRange {
        DurationRange::up_to(self.deadline.duration())
    }

    fn add_rights(
        &self,
        _rights: &mut RequiredRights,
        _here: Within<'_>,
        _bystanders: &BystanderNamespaces<'_>,
    ) {
    }

    /// Puts on record whether the condition came about.
    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>> {
        Box::pin(async move {
            let came = await_condition(stage, self.what, self.deadline.duration()).await;
            let what = self.what.name().to_owned();
            stage.shared.recorder.event(Event::Awaited { what, came: came.is_ok() })?;
            came
        })
    }
}

/// Waits for a precondition of a control, and puts on record whether it came about. Without it the control shows
/// nothing.
///
/// # Errors
/// If it does not come about: no further step is taken then.
pub async fn need(stage: &Stage<'_>, need: &Need) -> Result<(), FaultError> {
    let came = await_condition(stage, need.is, need.deadline.duration()).await;
    let what = need.is.name().to_owned();
    stage.shared.recorder.event(Event::Need { before: need.before.clone(), what, came: came.is_ok() })?;
    came
}

async fn await_condition(stage: &Stage<'_>, what: Condition, timeout: Duration) -> Result<(), FaultError> {
    let (agents, mut seen) = (stage.shared.probes.emitters(), 0);
    let mut in_a_row = |holds: bool| {
        seen = if holds { seen + 1 } else { 0 };
        seen >= LOOKS
    };
    let awaited = what.name();
    let coming = async {
        match what {
            Condition::GatewaysReady => stage.await_gateways(timeout).await,
            Condition::Delivered => await_delivered(stage, timeout).await,
            Condition::QueuesFill => {
                let full = |load: &LoadStatus| {
                    let more = |size: &f64| *size > 2.0 * stage.shared.usual.queue.max(1.0);
                    in_a_row(load.queues.len() >= agents && load.queues.values().all(more))
                };
                stage.await_load(awaited, timeout, full).await
            }
            Condition::QueuesEmpty => {
                let empty = |load: &LoadStatus| in_a_row(load.held.as_ref().is_ok_and(|held| *held < 0.5));
                stage.await_load(awaited, timeout, empty).await
            }
            Condition::ScaledIn => {
                let inside = |world: &World| {
                    let hpa = world.autoscaler("gateway");
                    hpa.is_some_and(|hpa| hpa.desired == hpa.min)
                        && world.pods("gateway").count() == stage.shared.usual.gateways
                        && world.ready("gateway") == stage.shared.usual.gateways
                };
                stage.await_world(awaited, timeout, inside, |world| pods_state(world, "gateway")).await
            }
        }
    };
    stage.unless_cancelled(coming).await
}

/// Waits until every span that is acknowledged by now is delivered.
async fn await_delivered(stage: &Stage<'_>, timeout: Duration) -> Result<(), FaultError> {
    let began = Instant::now();
    let until = began + timeout;
    let acknowledged = stage.shared.probes.acknowledged().await?;
    loop {
        let missing = stage.shared.demand.outstanding(&acknowledged, &stage.shared.probes.delivered().await?);
        // Where only a share is expected, spans may still wait for a sampling decision.
        if missing == 0 && began.elapsed() >= stage.shared.demand.least_wait() {
            return Ok(());
        }
        if Instant::now() > until {
            let awaited = Condition::Delivered.name().to_owned();
            let state = format!("{missing} spans are on their way, or lost");
            return Err(FaultError::Deadline { awaited, waited: timeout, state });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
