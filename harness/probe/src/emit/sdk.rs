//! A model of the spans that an SDK with default settings would have dropped in the emitter's place. Pure.
//!
//! The model is one application with OpenTelemetry's batch span processor and its OTLP exporter, at their
//! defaults. Spans wait in a queue of 2,048; one batch of up to 512 is exported at a time, retried for 10 s, and
//! then dropped; spans that do not fit into the queue are dropped at once.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#batch-span-processor>,
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>. While the agent acknowledges anything, the SDK
//! is assumed to keep up: the model is about the agent's pauses, not about an SDK's throughput.

/// The queue of the batch span processor, in spans.
const QUEUE: u64 = 2_048;
/// A batch, in spans.
const BATCH: u64 = 512;
/// The time for which the exporter retries, in milliseconds.
const TIMEOUT_MS: u64 = 10_000;
/// The time without an acknowledgement after which the agent counts as paused, in milliseconds.
const PAUSE_MS: u64 = 1_000;

/// The state of that application. Times are in milliseconds and never decrease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SdkModel {
    acknowledged_ms: u64,
    /// Spans offered since then and not dropped.
    pending: u64,
    /// Batches dropped since then.
    given_up: u64,
    dropped: u64,
}

impl SdkModel {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { acknowledged_ms: now_ms, pending: 0, given_up: 0, dropped: 0 }
    }

    /// The number of spans dropped so far.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Adds spans that the application ended.
    pub(super) fn offered(&mut self, now_ms: u64, spans: u64) {
        self.pending += spans;
        self.pass(now_ms);
    }

    /// Notes that the agent accepted a request.
    pub(super) fn acknowledged(&mut self, now_ms: u64) {
        self.pass(now_ms);
        (self.acknowledged_ms, self.pending, self.given_up) = (now_ms, 0, 0);
    }

    /// Notes that the agent refused spans permanently: an SDK drops them at once.
    pub(super) fn rejected(&mut self, spans: u64) {
        self.dropped += spans;
        self.pending = self.pending.saturating_sub(spans);
    }

    /// Advances the time.
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

    /// The spans dropped at 1,000 spans a second while the agent accepts nothing for some seconds.
    fn pause(seconds: u64) -> u64 {
        let mut sdk = SdkModel::new(0);
        for ms in 1..=seconds * 1_000 {
            sdk.offered(ms, 1);
        }
        sdk.acknowledged(seconds * 1_000);
        sdk.dropped()
    }

    #[test]
    fn a_pause_drops_the_spans_that_the_queue_does_not_hold() {
        assert_eq!(pause(2), 0);
        assert_eq!(pause(3), 3_000 - 2_048 - 512);
        // At 10 s a batch is given up, and another one takes its place in the queue.
        assert_eq!(pause(9), 9_000 - 2_560);
        assert_eq!(pause(11), 11_000 - 2_560);
        assert_eq!(pause(60), 60_000 - 2_049);
    }

    #[test]
    fn nothing_is_dropped_while_the_agent_accepts_spans() {
        let mut sdk = SdkModel::new(0);
        for ms in 0..5_000 {
            sdk.offered(ms * 10, 10_000);
            sdk.acknowledged(ms * 10 + 5);
        }
        assert_eq!(sdk.dropped(), 0);
        sdk.rejected(50);
        assert_eq!(sdk.dropped(), 50);
    }

    proptest! {
        /// No more is dropped than was offered, and the rest fits into queue and batch.
        #[test]
        fn nothing_is_dropped_twice(events in prop::collection::vec((0u64..3_000, 0u64..900, 0u8..9), 0..200)) {
            let (mut sdk, mut now, mut offered) = (SdkModel::new(0), 0, 0);
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
