//! Getting a request to the agent: again and again, until it is acknowledged or refused for good.

use super::book::{Book, Outcome};
use super::retry::{self, Answer};
use super::transport::Transport;
use super::{Load, Phase};
use crate::control::ProbeError;
use crate::otlp::template::Template;
use spanproof_ledger::Range;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// A request that the schedule asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) range: Range,
    /// When it was due, by this process's clock and by that of the world (Unix time in nanoseconds).
    pub(super) at: Instant,
    pub(super) unix_ns: u64,
}

/// How requests get to the agent.
#[derive(Debug)]
pub(super) struct Delivery {
    template: Template,
    transport: Transport,
    book: Arc<Book>,
    phases: watch::Receiver<Phase>,
    /// One for each request that is on its way. What waits for one, or pauses before another try, holds its
    /// numbers only: its bytes are made when it is sent.
    slots: Semaphore,
    seed: u64,
}

impl Delivery {
    pub(super) fn new(
        load: &Load,
        book: Arc<Book>,
        phases: watch::Receiver<Phase>,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            template: Template::new(load.identity, load.stream, load.shape),
            transport: Transport::new(load)?,
            book,
            phases,
            slots: Semaphore::new(load.in_flight),
            seed: load.seed,
        })
    }

    /// Sees one request through to its end. `held` goes when it is over.
    pub(super) async fn deliver(self: Arc<Self>, due: Due, held: OwnedSemaphorePermit) {
        let mut in_hand = InHand { book: &self.book, over: false };
        let outcome = self.attempts(due).await;
        self.book.settle(due.range, outcome, due.at.elapsed());
        in_hand.over = true;
        drop(held);
    }

    async fn attempts(&self, due: Due) -> Outcome {
        let mut resent = false;
        for attempt in 0u32.. {
            let slot = tokio::select! {
                biased;
                slot = self.slots.acquire() => slot,
                () = self.over() => return Outcome::Abandoned,
            };
            if slot.is_err() || !self.book.healthy() || self.is_over() {
                return Outcome::Abandoned;
            }
            let body = self.transport.body(|out| self.template.append(due.range, due.unix_ns, out));
            let chance = self.chance(due.range.start, attempt);
            // Another connection each time: one may lead to an agent that hangs.
            let connection = (due.range.start / due.range.count().max(1)).wrapping_add(attempt.into());
            let answer = self.transport.send(body, usize::try_from(connection).unwrap_or_default()).await;
            drop(slot);
            let after = match answer {
                Answer::Taken => return Outcome::Acknowledged,
                Answer::Partial => return Outcome::Partial,
                Answer::Rejected { code, why } => return Outcome::Rejected(code, why),
                Answer::Again { why, after, sent } => {
                    self.book.failed(due.range, sent && !resent, &why);
                    resent |= sent;
                    after
                }
            };
            tokio::select! {
                () = tokio::time::sleep(retry::pause(attempt, after, chance)) => {}
                () = self.over() => return Outcome::Abandoned,
            }
        }
        Outcome::Abandoned
    }

    /// From 0 to 1, by the seed.
    fn chance(&self, number: u64, attempt: u32) -> f64 {
        super::chance(self.seed, number ^ u64::from(attempt) << 48)
    }

    /// Whether the time for what is in flight is over: what waits then is not sent any more.
    fn is_over(&self) -> bool {
        self.phases.borrow().ends().is_some_and(|end| Instant::now() >= end)
    }

    /// Until that time is over.
    async fn over(&self) {
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

/// A request whose task broke has no outcome on the books: that must not go unnoticed.
struct InHand<'a> {
    book: &'a Book,
    over: bool,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.book.fail("a request was dropped before its end");
        }
    }
}
