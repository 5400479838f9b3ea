//! The sink's ledger: what the agents' batches become.

use super::emitter::Cut;
use super::{LATER_MS, Plan, wrong};
use crate::BenchError;
use spanproof_ledger::{Delivery, Range, SinkRecord, SinkSeal};
use std::collections::BTreeSet;

/// An agent sends what it has after this, in milliseconds.
const BATCH_MS: u64 = 200;

pub(super) fn draw_out(
    plan: &Plan,
    cuts: &[Cut],
    records: Vec<SinkRecord>,
) -> Result<Vec<SinkRecord>, BenchError> {
    let cut_ms = plan.cut_ms(&plan.environment["sink_node"]);
    let (mut before, mut behind, mut seal) = (Vec::new(), Vec::new(), None);
    for record in records {
        match record {
            SinkRecord::Delivered(delivery) => {
                let at =
                    cuts.iter().find(|cut| cut.stream == delivery.stream).map_or(u64::MAX, |cut| cut.number);
                let ranges = delivery.ranges.iter().flat_map(|range| plan.moved(at, *range));
                let (early, late): (Vec<Range>, Vec<Range>) = ranges.partition(|range| range.start < at);
                let of = |ranges, unix_ms| SinkRecord::Delivered(Delivery { ranges, unix_ms, ..delivery });
                if !early.is_empty() {
                    before.push(of(early, delivery.unix_ms));
                }
                if !late.is_empty() {
                    behind.push(of(late, delivery.unix_ms.max(cut_ms) + LATER_MS));
                }
            }
            SinkRecord::Latency { unix_ms, latency } if unix_ms >= cut_ms => {
                behind.push(SinkRecord::Latency { unix_ms: unix_ms + LATER_MS, latency });
            }
            SinkRecord::Trace { unix_ms, trace, spans, gateways } if unix_ms >= cut_ms => {
                behind.push(SinkRecord::Trace { unix_ms: unix_ms + LATER_MS, trace, spans, gateways });
            }
            SinkRecord::Refused { .. } => return Err(wrong("its backend refused something")),
            SinkRecord::Sealed(last) => seal = Some(last),
            other if behind.is_empty() => before.push(other),
            other => behind.push(other),
        }
    }
    let seal = seal.ok_or_else(|| wrong("not sealed"))?;
    let gateways: BTreeSet<u16> = before.iter().filter_map(gateway).collect();
    let mut turns = gateways.iter().copied().cycle();
    let mut all = before;
    for batch in 0..LATER_MS / BATCH_MS {
        for cut in cuts {
            let bound = |batch: u64| cut.number + plan.new_numbers(batch * BATCH_MS);
            let range = Range::new(bound(batch), bound(batch + 1));
            let gateway = turns.next().ok_or_else(|| wrong("no gateway delivered"))?;
            let (unix_ms, stream) = (cut_ms + (batch + 1) * BATCH_MS, cut.stream);
            all.push(SinkRecord::Delivered(Delivery { unix_ms, gateway, stream, ranges: vec![range] }));
        }
    }
    all.extend(behind);
    let delivered = seal.delivered + plan.shift() * cuts.len() as u64;
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
