//! What a default SDK in the emitter's place would have dropped. Pure.
//!
//! The model: one application with OpenTelemetry's batch span processor and its OTLP exporter, at their
//! defaults. Spans wait in a queue of 2,048; one batch of up to 512 is exported at a time, tried again for 10 s, and
//! then dropped; what does not fit into the queue is dropped at once.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#batch-span-processor>,
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. While the agent acknowledges anything, the SDK
//! is taken to keep up: it is the agent's pauses that are judged here, not an SDK's throughput.

/// The queue of the batch span processor, in spans.
const QUEUE: u64 = 2_048;
/// A batch, in spans.
const BATCH: u64 = 512;
/// How long the exporter tries, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// An agent that has acknowledged nothing for so long does not take spans, in milliseconds.
const PAUSE_MS: u64 = 1_000;

/// The state of that application. Times are in milliseconds, and never go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sdk {
    acknowledged_ms: u64,
    /// Spans offered since then, and not dropped.
    pending: u64,
    /// Batches that were given up since then.
    given_up: u64,
    dropped: u64,
}

impl Sdk {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { acknowledged_ms: now_ms, pending: 0, given_up: 0, dropped: 0 }
    }

    /// Spans that were dropped so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The application ended spans.
    pub(super) fn offered(&mut self, now_ms: u64, spans: u64) {
        self.pending += spans;
        self.pass(now_ms);
    }

    /// The agent took a request.
    pub(super) fn acknowledged(&mut self, now_ms: u64) {
        self.pass(now_ms);
        (self.acknowledged_ms, self.pending, self.given_up) = (now_ms, 0, 0);
    }

    /// The agent refused a request for good: an SDK drops it at once.
    pub(super) fn rejected(&mut self, spans: u64) {
        self.dropped += spans;
        self.pending = self.pending.saturating_sub(spans);
    }

    /// Time went by.
    pub(super) fn pass(&mut self, now_ms: u64) {
        let paused = now_ms.saturating_sub(self.acknowledged_ms);
        if paused < PAUSE_MS {
            return;
        }
        while self.given_up < paused / TIMEOUT_MS {
            self.given_up += 1;
            self.drop(BATCH.min(self.pending));
        }
        self.drop(self.pending.saturating_sub(QUEUE + BATCH));
    }

    fn drop(&mut self, spans: u64) {
        self.pending -= spans;
        self.dropped += spans;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What 1,000 spans a second lose while the agent takes nothing for so many seconds.
    fn pause(seconds: u64) -> u64 {
        let mut sdk = Sdk::new(0);
        for ms in 1..=seconds * 1_000 {
            sdk.offered(ms, 1);
        }
        sdk.acknowledged(seconds * 1_000);
        sdk.dropped()
    }

    #[test]
    fn a_pause_costs_what_the_queue_does_not_hold() {
        assert_eq!(pause(2), 0);
        assert_eq!(pause(3), 3_000 - 2_048 - 512);
        // At 10 s a batch is given up, and another one takes its place in the queue.
        assert_eq!(pause(9), 9_000 - 2_560);
        assert_eq!(pause(11), 11_000 - 2_560);
        assert_eq!(pause(60), 60_000 - 2_049);
    }

    #[test]
    fn an_agent_that_takes_spans_costs_nothing_however_many_there_are() {
        let mut sdk = Sdk::new(0);
        for ms in 0..5_000 {
            sdk.offered(ms * 10, 10_000);
            sdk.acknowledged(ms * 10 + 5);
        }
        assert_eq!(sdk.dropped(), 0);
        sdk.rejected(50);
        assert_eq!(sdk.dropped(), 50);
    }

    proptest! {
        /// No more is dropped than was offered, and all that is not dropped fits.
        #[test]
        fn nothing_is_dropped_twice(events in prop::collection::vec((0u64..3_000, 0u64..900, 0u8..9), 0..200)) {
            let (mut sdk, mut now, mut offered) = (Sdk::new(0), 0, 0);
            for (pause, spans, what) in events {
                now += pause;
                if what == 0 { sdk.acknowledged(now) } else {
                    sdk.offered(now, spans);
                    offered += spans;
                }
                prop_assert!(sdk.dropped() + sdk.pending <= offered);
                prop_assert!(now - sdk.acknowledged_ms < PAUSE_MS || sdk.pending <= QUEUE + BATCH);
            }
        }
    }
}
