//! A sample of the traces, each followed for a limited time, with the gateways that delivered it.

use spanproof_ledger::SinkRecord;
use std::collections::{HashMap, VecDeque};

/// The most traces that are followed at a time.
const MAX_TRACES: usize = 4_096;
/// The time for which each is followed, in milliseconds.
const WINDOW_MS: u64 = 30_000;

/// The traces that are being followed.
#[derive(Debug, Default)]
pub(super) struct TraceSample {
    sampled: HashMap<u64, SampledTrace>,
    /// The same traces, in the order of their arrival.
    order: VecDeque<u64>,
}

#[derive(Debug)]
struct SampledTrace {
    unix_ms: u64,
    spans: u32,
    /// In order.
    gateways: Vec<u16>,
}

impl TraceSample {
    /// Adds spans of a trace from a gateway. Returns the record of a trace that was removed for it.
    pub(super) fn add(&mut self, unix_ms: u64, trace: u64, spans: u32, gateway: u16) -> Option<SinkRecord> {
        if let Some(sampled) = self.sampled.get_mut(&trace) {
            sampled.spans = sampled.spans.saturating_add(spans);
            if let Err(place) = sampled.gateways.binary_search(&gateway) {
                sampled.gateways.insert(place, gateway);
            }
            return None;
        }
        let gone = if self.sampled.len() >= MAX_TRACES { self.remove_oldest() } else { None };
        self.sampled.insert(trace, SampledTrace { unix_ms, spans, gateways: vec![gateway] });
        self.order.push_back(trace);
        gone
    }

    /// Removes a trace at the end of its window and returns its record; none if there is none.
    pub(super) fn remove_expired(&mut self, unix_ms: u64) -> Option<SinkRecord> {
        let first = self.sampled.get(self.order.front()?)?;
        if unix_ms.saturating_sub(first.unix_ms) < WINDOW_MS { None } else { self.remove_oldest() }
    }

    /// Removes the oldest trace and returns its record.
    pub(super) fn remove_oldest(&mut self) -> Option<SinkRecord> {
        let trace = self.order.pop_front()?;
        let SampledTrace { unix_ms, spans, gateways } = self.sampled.remove(&trace)?;
        Some(SinkRecord::Trace { unix_ms, trace, spans, gateways })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_its_gateways_at_the_end_of_the_window() {
        let mut traces = TraceSample::default();
        assert_eq!(traces.add(1_000, 7, 3, 2), None);
        assert_eq!(traces.add(1_500, 8, 1, 0), None);
        assert_eq!(traces.add(2_000, 7, 2, 1), None);
        assert_eq!(traces.add(2_000, 7, 1, 2), None);
        assert_eq!(traces.remove_expired(30_999), None);
        let seven = SinkRecord::Trace { unix_ms: 1_000, trace: 7, spans: 6, gateways: vec![1, 2] };
        assert_eq!(traces.remove_expired(31_000), Some(seven));
        assert_eq!(traces.remove_expired(31_000), None);
        let eight = SinkRecord::Trace { unix_ms: 1_500, trace: 8, spans: 1, gateways: vec![0] };
        assert_eq!(traces.remove_oldest(), Some(eight));
        assert_eq!(traces.remove_oldest(), None);
    }

    #[test]
    fn the_oldest_trace_is_removed_when_the_sample_is_full() {
        let mut traces = TraceSample::default();
        for trace in 0..MAX_TRACES as u64 {
            assert_eq!(traces.add(1, trace, 1, 0), None);
        }
        let first = SinkRecord::Trace { unix_ms: 1, trace: 0, spans: 1, gateways: vec![0] };
        assert_eq!(traces.add(2, u64::MAX, 1, 0), Some(first));
        assert_eq!((traces.sampled.len(), traces.order.len()), (MAX_TRACES, MAX_TRACES));
    }
}
