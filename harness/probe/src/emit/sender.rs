//! Sends requests to the agent, with retries, until they are acknowledged or refused permanently.

use super::retry::{self, AttemptResult};
use super::store::{EmitterStore, RequestOutcome};
use super::transport::Transport;
use super::{Load, Phase};
use crate::control::ProbeError;
use crate::otlp::template::Template;
use spanproof_ledger::Range;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// A request that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct DueRequest {
    pub(super) range: Range,
    /// Its due time, on the monotonic clock and as Unix time in nanoseconds.
    pub(super) at: Instant,
    pub(super) unix_ns: u64,
}

/// Sends requests to the agent.
#[derive(Debug)]
pub(super) struct RequestSender {
    template: Template,
    transport: Transport,
    store: Arc<EmitterStore>,
    phases: watch::Receiver<Phase>,
    /// One for each request being sent or awaiting an answer. Others hold their numbers only: their bytes are made
    /// when they are sent.
    slots: Semaphore,
    seed: u64,
}

impl RequestSender {
    pub(super) fn new(
        load: &Load,
        store: Arc<EmitterStore>,
        phases: watch::Receiver<Phase>,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            template: Template::new(load.identity, load.stream, load.shape),
            transport: Transport::new(load)?,
            store,
            phases,
            slots: Semaphore::new(load.in_flight),
            seed: load.seed,
        })
    }

    /// Delivers one request and records its outcome. `held` is released afterwards.
    pub(super) async fn deliver(self: Arc<Self>, due: DueRequest, held: OwnedSemaphorePermit) {
        let mut guard = OutcomeGuard { store: &self.store, settled: false };
        let outcome = self.attempts(due).await;
        self.store.settle(due.range, outcome, due.at.elapsed());
        guard.settled = true;
        drop(held);
    }

    async fn attempts(&self, due: DueRequest) -> RequestOutcome {
        let mut resent = false;
        for attempt in 0u32.. {
            let slot = tokio::select! {
                biased;
                slot = self.slots.acquire() => slot,
                () = self.drained() => return RequestOutcome::Abandoned,
            };
            if slot.is_err() || !self.store.healthy() || self.is_drained() {
                return RequestOutcome::Abandoned;
            }
            let body = self.transport.body(|out| self.template.append(due.range, due.unix_ns, out));
            let chance = self.chance(due.range.start, attempt);
            // Another connection for each attempt: one may lead to an agent that hangs.
            let connection = (due.range.start / due.range.count().max(1)).wrapping_add(attempt.into());
            let answer = self.transport.send(body, usize::try_from(connection).unwrap_or_default()).await;
            drop(slot);
            let after = match answer {
                AttemptResult::Accepted => return RequestOutcome::Acknowledged,
                AttemptResult::Partial => return RequestOutcome::Partial,
                AttemptResult::Rejected { code, why } => return RequestOutcome::Rejected(code, why),
                AttemptResult::Retry { why, after, sent } => {
                    self.store.failed(due.range, sent && !resent, &why);
                    resent |= sent;
                    after
                }
            };
            tokio::select! {
                () = tokio::time::sleep(retry::pause(attempt, after, chance)) => {}
                () = self.drained() => return RequestOutcome::Abandoned,
            }
        }
        RequestOutcome::Abandoned
    }

    /// A pseudo-random number from 0 to 1, by the seed.
    fn chance(&self, number: u64, attempt: u32) -> f64 {
        super::chance(self.seed, number ^ u64::from(attempt) << 48)
    }

    /// Returns `true` after the end of the drain: nothing is sent any more.
    fn is_drained(&self) -> bool {
        self.phases.borrow().ends().is_some_and(|end| Instant::now() >= end)
    }

    /// Waits for the end of the drain.
    async fn drained(&self) {
        let mut phases = self.phases.clone();
        loop {
            let ends = phases.borrow_and_update().ends();
            let changed = tokio::select! {
                changed = phases.changed() => changed,
                () = sleep_until(ends) => return,
            };
            if changed.is_err() {
                return;
            }
        }
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Fails the emitter if a request's task ended without recording an outcome.
struct OutcomeGuard<'a> {
    store: &'a EmitterStore,
    settled: bool,
}

impl Drop for OutcomeGuard<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.store.fail("a request was dropped before its end");
        }
    }
}
