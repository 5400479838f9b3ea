//! The sink's ledger: deliveries of the agents' batches.

use super::emitter::Cut;
use super::{Extension, LATER_MS, unusable};
use crate::BenchError;
use spanproof_ledger::{Delivery, Range, SinkRecord, SinkSeal};
use std::collections::BTreeSet;

/// The time after which an agent sends a batch, in milliseconds.
const BATCH_MS: u64 = 200;

pub(super) fn extend(
    extension: &Extension,
    cuts: &[Cut],
    records: Vec<SinkRecord>,
) -> Result<Vec<SinkRecord>, BenchError> {
    let cut_ms = extension.cut_ms(&extension.environment["sink_node"]);
    let (mut before, mut after, mut seal) = (Vec::new(), Vec::new(), None);
    for record in records {
        match record {
            SinkRecord::Delivered(delivery) => {
                let at =
                    cuts.iter().find(|cut| cut.stream == delivery.stream).map_or(u64::MAX, |cut| cut.number);
                let ranges = delivery.ranges.iter().flat_map(|range| extension.moved(at, *range));
                let (early, late): (Vec<Range>, Vec<Range>) = ranges.partition(|range| range.start < at);
                let of = |ranges, unix_ms| SinkRecord::Delivered(Delivery { ranges, unix_ms, ..delivery });
                if !early.is_empty() {
                    before.push(of(early, delivery.unix_ms));
                }
                if !late.is_empty() {
                    after.push(of(late, delivery.unix_ms.max(cut_ms) + LATER_MS));
                }
            }
            SinkRecord::Latency { unix_ms, latency } if unix_ms >= cut_ms => {
                after.push(SinkRecord::Latency { unix_ms: unix_ms + LATER_MS, latency });
            }
            SinkRecord::Trace { unix_ms, trace, spans, gateways } if unix_ms >= cut_ms => {
                after.push(SinkRecord::Trace { unix_ms: unix_ms + LATER_MS, trace, spans, gateways });
            }
            SinkRecord::Refused { .. } => return Err(unusable("its backend refused something")),
            SinkRecord::Sealed(last) => seal = Some(last),
            other if after.is_empty() => before.push(other),
            other => after.push(other),
        }
    }
    let seal = seal.ok_or_else(|| unusable("not sealed"))?;
    let gateways: BTreeSet<u16> = before.iter().filter_map(gateway).collect();
    let mut turns = gateways.iter().copied().cycle();
    let mut all = before;
    for batch in 0..LATER_MS / BATCH_MS {
        for cut in cuts {
            let bound = |batch: u64| cut.number + extension.new_numbers(batch * BATCH_MS);
            let range = Range::new(bound(batch), bound(batch + 1));
            let gateway = turns.next().ok_or_else(|| unusable("no gateway delivered"))?;
            let (unix_ms, stream) = (cut_ms + (batch + 1) * BATCH_MS, cut.stream);
            all.push(SinkRecord::Delivered(Delivery { unix_ms, gateway, stream, ranges: vec![range] }));
        }
    }
    all.extend(after);
    let delivered = seal.delivered + extension.shift() * cuts.len() as u64;
    let records = all.len() as u64;
    all.push(SinkRecord::Sealed(SinkSeal { delivered, records, ..seal }));
    Ok(all)
}

fn gateway(record: &SinkRecord) -> Option<u16> {
    match record {
        SinkRecord::Delivered(delivery) => Some(delivery.gateway),
        _ => None,
    }
}
