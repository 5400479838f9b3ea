//! Follows a sample of the traces, in a bounded window: which gateways delivered each of them.

use spanproof_ledger::SinkRecord;
use std::collections::{HashMap, VecDeque};

/// How many traces are followed at a time.
const MOST: usize = 4_096;
/// How long each of them is followed, in milliseconds.
const WINDOW_MS: u64 = 30_000;

/// The traces that are followed.
#[derive(Debug, Default)]
pub(super) struct Traces {
    followed: HashMap<u64, Followed>,
    /// The same traces, in the order in which they came.
    order: VecDeque<u64>,
}

#[derive(Debug)]
struct Followed {
    unix_ms: u64,
    spans: u32,
    /// In order.
    gateways: Vec<u16>,
}

impl Traces {
    /// Spans of a trace came from a gateway. Returns the record of a trace that gave way to it.
    pub(super) fn add(&mut self, unix_ms: u64, trace: u64, spans: u32, gateway: u16) -> Option<SinkRecord> {
        if let Some(followed) = self.followed.get_mut(&trace) {
            followed.spans = followed.spans.saturating_add(spans);
            if let Err(place) = followed.gateways.binary_search(&gateway) {
                followed.gateways.insert(place, gateway);
            }
            return None;
        }
        let gone = if self.followed.len() >= MOST { self.leave() } else { None };
        self.followed.insert(trace, Followed { unix_ms, spans, gateways: vec![gateway] });
        self.order.push_back(trace);
        gone
    }

    /// The record of a trace that has been followed for long enough; none if there is none any more.
    pub(super) fn over(&mut self, unix_ms: u64) -> Option<SinkRecord> {
        let first = self.followed.get(self.order.front()?)?;
        if unix_ms.saturating_sub(first.unix_ms) < WINDOW_MS { None } else { self.leave() }
    }

    /// The record of the trace that has been followed for longest.
    pub(super) fn leave(&mut self) -> Option<SinkRecord> {
        let trace = self.order.pop_front()?;
        let Followed { unix_ms, spans, gateways } = self.followed.remove(&trace)?;
        Some(SinkRecord::Trace { unix_ms, trace, spans, gateways })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_names_its_gateways_when_it_leaves_the_window() {
        let mut traces = Traces::default();
        assert_eq!(traces.add(1_000, 7, 3, 2), None);
        assert_eq!(traces.add(1_500, 8, 1, 0), None);
        assert_eq!(traces.add(2_000, 7, 2, 1), None);
        assert_eq!(traces.add(2_000, 7, 1, 2), None);
        assert_eq!(traces.over(30_999), None);
        let seven = SinkRecord::Trace { unix_ms: 1_000, trace: 7, spans: 6, gateways: vec![1, 2] };
        assert_eq!(traces.over(31_000), Some(seven));
        assert_eq!(traces.over(31_000), None);
        let eight = SinkRecord::Trace { unix_ms: 1_500, trace: 8, spans: 1, gateways: vec![0] };
        assert_eq!(traces.leave(), Some(eight));
        assert_eq!(traces.leave(), None);
    }

    #[test]
    fn the_oldest_gives_way_when_the_window_is_full() {
        let mut traces = Traces::default();
        for trace in 0..MOST as u64 {
            assert_eq!(traces.add(1, trace, 1, 0), None);
        }
        let first = SinkRecord::Trace { unix_ms: 1, trace: 0, spans: 1, gateways: vec![0] };
        assert_eq!(traces.add(2, u64::MAX, 1, 0), Some(first));
        assert_eq!((traces.followed.len(), traces.order.len()), (MOST, MOST));
    }
}
