//! The gateways that delivered duplicated spans. A second pass over the sinks' records, for these spans only, because
//! the ledger itself keeps sets of numbers and not deliveries.

use crate::{RangeSet, SinkLedger, SinkRecord, Stream, account};
use std::collections::BTreeMap;

/// The spans that were delivered more than once, and the gateways that delivered them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuplicateSources {
    wanted: BTreeMap<Stream, RangeSet>,
    /// The gateways' names by ID, in the ledger being read.
    names: BTreeMap<u16, String>,
    /// By stream and gateway: the time of the first such delivery (Unix time in milliseconds) and the numbers.
    delivered: BTreeMap<(Stream, String), (u64, RangeSet)>,
}

impl DuplicateSources {
    /// Finds the duplicated spans of these sinks; their records are to be given to [`Self::apply`] afterwards.
    pub fn of(sinks: &[SinkLedger]) -> Self {
        let all: Vec<&SinkLedger> = sinks.iter().collect();
        let streams: std::collections::BTreeSet<Stream> =
            all.iter().flat_map(|sink| sink.streams()).collect();
        let twice = streams.into_iter().map(|stream| (stream, account::duplicated(stream, &all)));
        let wanted = twice.filter(|(_, spans)| !spans.is_empty()).collect();
        Self { wanted, ..Self::default() }
    }

    /// Returns `true` if no span was delivered more than once; then the records need not be read.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Adds one record of a sink. The records of each sink come in order.
    pub fn apply(&mut self, record: &SinkRecord) {
        match record {
            SinkRecord::Opened { .. }
            | SinkRecord::Refused { .. }
            | SinkRecord::Unexpected { .. }
            | SinkRecord::Latency { .. }
            | SinkRecord::Trace { .. }
            | SinkRecord::Booted { .. }
            | SinkRecord::Synced { .. }
            | SinkRecord::Sealed(_) => {}
            SinkRecord::Gateway { id, name } => {
                self.names.insert(*id, name.clone());
            }
            SinkRecord::Delivered(delivery) => {
                let Some(wanted) = self.wanted.get(&delivery.stream) else { return };
                for range in &delivery.ranges {
                    let here = wanted.within(*range);
                    if !here.is_empty() {
                        let name = self.names.get(&delivery.gateway).map_or("?", String::as_str);
                        let of = self.delivered.entry((delivery.stream, name.to_owned()));
                        of.or_insert_with(|| (delivery.unix_ms, RangeSet::new())).1.extend(&here);
                    }
                }
            }
        }
    }

    /// The numbers of a stream that were delivered more than once.
    pub fn duplicated(&self, stream: Stream) -> &RangeSet {
        static NONE: RangeSet = RangeSet::new();
        self.wanted.get(&stream).unwrap_or(&NONE)
    }

    /// By gateway: its name, the time of its first such delivery (Unix time in milliseconds) and the numbers.
    pub fn delivered_by(&self, stream: Stream) -> impl Iterator<Item = (&str, u64, &RangeSet)> + '_ {
        let of =
            self.delivered.range((stream, String::new())..).take_while(move |((it, _), _)| *it == stream);
        of.map(|((_, name), (since, spans))| (name.as_str(), *since, spans))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delivery, Range};

    #[test]
    fn only_duplicated_spans_are_recorded() {
        let delivered = |gateway, from, to| {
            let ranges = vec![Range::new(from, to)];
            SinkRecord::Delivered(Delivery { unix_ms: 5, gateway, stream: 1, ranges })
        };
        let gateway = |id, name: &str| SinkRecord::Gateway { id, name: name.to_owned() };
        let records = [
            SinkRecord::Opened { run_tag: 7, source: 1, unix_ms: 0 },
            gateway(0, "a"),
            delivered(0, 0, 10),
            gateway(1, "b"),
            delivered(1, 8, 12),
            delivered(1, 11, 12),
        ];
        let sinks = [SinkLedger::from_records(&records).unwrap()];
        let mut copies = DuplicateSources::of(&sinks);
        for record in &records {
            copies.apply(record);
        }
        assert_eq!(copies.duplicated(1).count(), 3);
        let by: Vec<_> = copies.delivered_by(1).map(|(who, _, spans)| (who, spans.count())).collect();
        assert_eq!(by, [("a", 2), ("b", 3)]);
        assert!(DuplicateSources::of(&[]).is_empty());
    }
}
