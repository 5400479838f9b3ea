//! The steady state: the tier is seen to be well under load before anything is done to it.

use super::{Run, RunError};
use crate::load::{LoadStatus, Probes};
use crate::progress;
use crate::record::Event;
use crate::scenario::{Measure, Rate};
use crate::timeouts;
use crate::world::World;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The normal values of a steady tier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steady {
    /// The largest content of an agent's queue, in its own unit.
    pub(super) usual_queue: f64,
}

impl Run<'_> {
    /// Waits until the tier is well under load: the asked rate, and nothing lost.
    pub(super) async fn await_steady(
        &self,
        probes: &Probes,
        mut status: watch::Receiver<LoadStatus>,
        world: &watch::Receiver<World>,
        wanted: usize,
    ) -> Result<Option<Steady>, RunError> {
        let load = &self.scenario.load;
        let window = self.scenario.steady.duration();
        let mut reason = String::new();
        for _ in 0..timeouts::STEADY_TRIES {
            // From one answer of the probes to another, so that what the questions take does not count.
            let asked = async {
                status.changed().await.ok();
                let before = status.borrow_and_update().clone();
                let mut usual_queue: f64 = 0.0;
                while status.changed().await.is_ok() {
                    let now = status.borrow_and_update();
                    usual_queue = now.queues.values().copied().fold(usual_queue, f64::max);
                    if now.at.saturating_duration_since(before.at) >= window {
                        break;
                    }
                }
                (status.borrow().per_second(&before), usual_queue)
            };
            let asked = tokio::time::timeout(window + timeouts::DEPLOY, asked);
            let Ok(seen) = self.unless_cancelled(asked).await else {
                return Ok(None);
            };
            let Ok(((offered, rate), usual_queue)) = seen else {
                reason = format!("not all probes answered within {}s", (window + timeouts::DEPLOY).as_secs());
                break;
            };
            // A profile's rate is what the emitters, who keep it, offered at that time.
            let wanted_rate = load.constant().map_or(offered, Rate::in_a_second);
            if rate < wanted_rate * load.floor.fraction() {
                let floor = load.floor;
                reason =
                    format!("{rate:.0}/s acknowledged of {wanted_rate:.0}/s asked for; the floor is {floor}");
                continue;
            }
            let ready = world.borrow().ready("gateway");
            if ready < wanted {
                reason = format!("{ready} of {wanted} gateways are ready");
                continue;
            }
            if let Err(why) = self.await_autoscaler(world).await {
                reason = why;
                break;
            }
            match self.all_arrives(probes).await? {
                0 => {
                    self.recorder.event(Event::Steady)?;
                    tracing::info!(
                        target: progress::TARGET,
                        "steady: {rate:.0}/s acknowledged, nothing lost"
                    );
                    return Ok(Some(Steady { usual_queue }));
                }
                missing => {
                    let within = self.transit().as_secs();
                    reason = format!("{missing} acknowledged spans did not arrive within {within}s");
                }
            }
            break; // what is lost stays lost
        }
        self.not_steady(reason)
    }

    /// Waits until the HPA, if there is one, reads its metric and is stable. The error is the reason.
    async fn await_autoscaler(&self, world: &watch::Receiver<World>) -> Result<(), String> {
        if !self.scenario.tier.has(Measure::Hpa) {
            return Ok(());
        }
        tracing::info!(target: progress::TARGET, "waiting until the HPA reads its metric and is stable");
        let mut seen = world.clone();
        let at_rest = |world: &World| {
            let ready = world.ready("gateway");
            let hpa = world.autoscaler("gateway");
            hpa.is_some_and(|hpa| hpa.reads() && hpa.at_rest() && hpa.desired as usize == ready)
        };
        let rested = tokio::time::timeout(timeouts::DEPLOY, seen.wait_for(at_rest));
        if self.unless_cancelled(rested).await.is_ok_and(|rested| rested.is_ok_and(|rested| rested.is_ok())) {
            return Ok(());
        }
        Err(match world.borrow().autoscaler("gateway") {
            None => "there is no HPA".to_owned(),
            Some(hpa) if !hpa.reads() => format!("the HPA reads no metric: {}", hpa.why),
            Some(hpa) => {
                format!("the HPA is not stable: it wants {} gateways and has {}", hpa.desired, hpa.current)
            }
        })
    }

    fn not_steady(&self, reason: String) -> Result<Option<Steady>, RunError> {
        tracing::info!(target: progress::TARGET, "not steady, so nothing is done to the tier: {reason}");
        self.recorder.event(Event::NotSteady { reason })?;
        Ok(None)
    }

    /// Returns the longest time that acknowledged spans may be in transit in normal operation.
    fn transit(&self) -> Duration {
        timeouts::TRANSIT.saturating_add(self.demand().decision_wait())
    }

    /// Returns the number of spans acknowledged by now that have to arrive, and did not within the transit time.
    async fn all_arrives(&self, probes: &Probes) -> Result<u64, RunError> {
        let acknowledged = probes.acknowledged().await?;
        let (demand, until) = (self.demand(), Instant::now() + self.transit());
        loop {
            let missing = demand.outstanding(&acknowledged, &probes.delivered().await?);
            if missing == 0 || Instant::now() > until || self.cancel.is_cancelled() {
                return Ok(missing);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
