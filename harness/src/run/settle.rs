//! Waiting until everything acknowledged is delivered; and where that leaves a doubt, taking the tier down, which
//! ends the doubt.

use super::{Run, RunError};
use crate::deploy::TierFacts;
use crate::load::{LoadStatus, Probes, Streams};
use crate::progress;
use crate::record::{Event, SettleEnd};
use crate::settle::{Observation, Settling};
use crate::world::World;
use spanproof_ledger::RangeSet;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The interval between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The result of waiting.
struct WaitResult {
    end: SettleEnd,
    /// The acknowledged spans that had not arrived; none if the sinks did not answer.
    outstanding: Option<u64>,
    arrived: u64,
    still: Duration,
    /// The queue that could not be read, or how much the queues hold.
    queues: String,
}

impl Run<'_> {
    pub(super) async fn settle(
        &self,
        probes: &Probes,
        facts: &TierFacts,
        world: &watch::Receiver<World>,
    ) -> Result<(), RunError> {
        let acknowledged = probes.acknowledged().await?;
        let waited = self.wait_for_the_rest(probes, facts, world, &acknowledged).await;
        let worst_retry_pause = facts.worst_retry_pause().as_secs_f64();
        let settled = |end, outstanding: Option<u64>, still: Option<Duration>| Event::Settled {
            end,
            worst_retry_pause,
            outstanding: outstanding.unwrap_or_default(),
            still_s: still.map(|still| still.as_secs_f64()),
        };
        self.recorder.event(settled(waited.end, waited.outstanding, Some(waited.still)))?;
        let left = match (waited.end, waited.outstanding) {
            // Without the backend's word nothing would be decided.
            (SettleEnd::Unread | SettleEnd::Deadline, Some(left)) if left > 0 => left,
            _ => return Ok(()),
        };
        let why = format!(
            "{left} acknowledged spans have not arrived, nothing has arrived for {:.0}s, and {}",
            waited.still.as_secs_f64(),
            waited.queues
        );
        tracing::info!(
            target: progress::TARGET,
            "{why}: the tier is taken down, hop by hop, to settle that"
        );
        self.recorder.event(Event::TakeDown { why })?;
        if !self.take_down(probes, facts, waited.arrived).await? {
            self.recorder.event(settled(SettleEnd::Interrupted, Some(left), None))?;
            return Ok(());
        }
        let delivered = probes.delivered().await?;
        let (left, arrived) = (self.demand().outstanding(&acknowledged, &delivered), count(&delivered));
        tracing::info!(
            target: progress::TARGET,
            "the tier is gone: {} spans arrived meanwhile, {left} did not",
            arrived.saturating_sub(waited.arrived)
        );
        self.recorder.event(settled(SettleEnd::TakenDown, Some(left), None))?;
        Ok(())
    }

    async fn wait_for_the_rest(
        &self,
        probes: &Probes,
        facts: &TierFacts,
        world: &watch::Receiver<World>,
        acknowledged: &Streams,
    ) -> WaitResult {
        let wanted = self.scenario.settle;
        let pause = facts.worst_retry_pause();
        let mut settling = Settling::new(wanted.tail.duration(), pause, wanted.deadline.duration());
        let (demand, began) = (self.demand(), Instant::now());
        let mut said = false;
        loop {
            let delivered = probes.delivered().await.ok();
            let load = probes.seen_by_sinks(&facts.hops, world).await;
            let (outstanding, there) = match &delivered {
                Some(delivered) => (Some(demand.not_yet(acknowledged, delivered)), count(delivered)),
                None => (None, 0),
            };
            let held = load.as_ref().map_or_else(
                || Err("the sinks do not answer".to_owned()),
                |load: &LoadStatus| load.held.clone(),
            );
            let copies = load.map_or(0, |load| load.duplicated);
            let observation =
                Observation { outstanding, queued: held.as_ref().ok().copied(), arrived: there + copies };
            let now = began.elapsed();
            let end = if self.cancel.is_cancelled() {
                Some(SettleEnd::Interrupted)
            } else {
                settling.observe(now, observation)
            };
            if let Some(end) = end {
                let queues = held.map_or_else(
                    |whose| whose,
                    |held| {
                        let empty = held < 0.5;
                        if empty { "every queue is empty" } else { "the queues are not empty" }.to_owned()
                    },
                );
                let still = settling.still_for(now);
                return WaitResult { end, outstanding, arrived: there, still, queues };
            }
            let left = outstanding.unwrap_or_default();
            if left > 0 && held.is_ok_and(|held| held < 0.5) && !said {
                said = true;
                tracing::info!(
                    target: progress::TARGET,
                    "{left} acknowledged spans have not arrived, and every queue is empty: waiting {:.1}s, \
                     the longest that a span may be on its way (timeout + 1.5 × max_interval + reconnecting, of \
                     each hop that keeps something: {})",
                    pause.as_secs_f64(),
                    facts.pauses()
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Takes the hops down, the entry first, each after the one before it is gone: a hop receives nothing any more
    /// when its turn comes. Returns false if it was cancelled.
    async fn take_down(
        &self,
        probes: &Probes,
        facts: &TierFacts,
        mut arrived: u64,
    ) -> Result<bool, RunError> {
        for hop in &facts.hops {
            tracing::info!(target: progress::TARGET, "taking down each {}, gracefully", hop.name);
            let Ok(taken) = self.unless_cancelled(self.deployment.take_down(&hop.name)).await else {
                return Ok(false);
            };
            let problem = taken.as_ref().err().map(ToString::to_string);
            // What was on its way to the sinks, and copies of it.
            if self.unless_cancelled(tokio::time::sleep(self.scenario.settle.tail.duration())).await.is_err()
            {
                return Ok(false);
            }
            let there = count(&probes.delivered().await?);
            self.recorder.event(Event::HopGone {
                hop: hop.name.clone(),
                pods: taken.unwrap_or_default(),
                arrived: there.saturating_sub(arrived),
                problem,
            })?;
            arrived = there;
        }
        Ok(true)
    }
}

fn count(streams: &Streams) -> u64 {
    streams.values().map(RangeSet::count).sum()
}
