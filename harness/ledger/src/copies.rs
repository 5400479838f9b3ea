//! Through which gateways those spans came that came more than once. A second look at the sinks' records, for these
//! spans only: the ledger itself costs by gaps, and not by deliveries.

use crate::{RangeSet, SinkLedger, SinkRecord, Stream, account};
use std::collections::BTreeMap;

/// What came more than once, and who delivered it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copies {
    wanted: BTreeMap<Stream, RangeSet>,
    /// The gateways' names by their numbers, in the ledger that is read.
    names: BTreeMap<u16, String>,
    /// By stream and who delivered: the numbers, and when that first was, Unix time in milliseconds.
    delivered: BTreeMap<(Stream, String), (u64, RangeSet)>,
}

impl Copies {
    /// Of these sinks, whose records are still to be looked at.
    pub fn of(sinks: &[SinkLedger]) -> Self {
        let all: Vec<&SinkLedger> = sinks.iter().collect();
        let streams: std::collections::BTreeSet<Stream> =
            all.iter().flat_map(|sink| sink.streams()).collect();
        let twice = streams.into_iter().map(|stream| (stream, account::duplicated(stream, &all)));
        let wanted = twice.filter(|(_, spans)| !spans.is_empty()).collect();
        Self { wanted, ..Self::default() }
    }

    /// Whether nothing came more than once: then there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Looks at a sink's record, each sink's in order.
    pub fn look(&mut self, record: &SinkRecord) {
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

    /// The numbers of a stream that came more than once.
    pub fn twice(&self, stream: Stream) -> &RangeSet {
        static NONE: RangeSet = RangeSet::new();
        self.wanted.get(&stream).unwrap_or(&NONE)
    }

    /// Who delivered them, since when (Unix time in milliseconds), and which.
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
    fn only_what_came_more_than_once_is_looked_for() {
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
        let mut copies = Copies::of(&sinks);
        for record in &records {
            copies.look(record);
        }
        assert_eq!(copies.twice(1).count(), 3);
        let by: Vec<_> = copies.delivered_by(1).map(|(who, _, spans)| (who, spans.count())).collect();
        assert_eq!(by, [("a", 2), ("b", 3)]);
        assert!(Copies::of(&[]).is_empty());
    }
}
