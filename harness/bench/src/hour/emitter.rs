//! An emitter's ledger: a reservation, a record of each request, and one of each second.

use super::{LATER_MS, Plan, REQUEST, wrong};
use crate::BenchError;
use spanproof_ledger::{EmitterRecord, EmitterSeal, Range, Stream};

/// Where a stream's numbers are cut.
pub(super) struct Cut {
    pub(super) stream: Stream,
    pub(super) number: u64,
}

pub(super) fn draw_out(
    plan: &Plan,
    records: &[EmitterRecord],
) -> Result<(Cut, Vec<EmitterRecord>), BenchError> {
    let Some(EmitterRecord::Opened { stream, .. }) = records.first() else { return Err(wrong("not opened")) };
    let (stream, cut_ms) = (*stream, plan.cut_ms(plan.node(*stream)));
    let first_behind = records
        .iter()
        .position(|record| matches!(record, EmitterRecord::Second { unix_ms, .. } if *unix_ms >= cut_ms));
    let first_behind = first_behind.ok_or_else(|| wrong("no second behind the cut"))?;
    let EmitterRecord::Second { unix_ms, emitted, .. } = &records[first_behind] else {
        return Err(wrong("no second behind the cut"));
    };
    let (began_ms, at) = (*unix_ms, emitted.start);

    let mut all = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if index == first_behind {
            all.extend(
                (0..LATER_MS / 1_000).flat_map(|second| new_second(plan, record, began_ms, at, second)),
            );
        }
        moved(plan, cut_ms, at, record, &mut all);
    }
    Ok((Cut { stream, number: at }, all))
}

/// What was written in a new second behind the cut.
fn new_second(plan: &Plan, like: &EmitterRecord, began_ms: u64, at: u64, second: u64) -> Vec<EmitterRecord> {
    let bound = |second: u64| at + plan.new_numbers(second * 1_000);
    let emitted = Range::new(bound(second), bound(second + 1));
    let requests = (emitted.start..emitted.end)
        .step_by(usize::try_from(REQUEST).unwrap_or(1))
        .map(|start| Range::new(start, start + REQUEST));
    let mut written = vec![EmitterRecord::Reserved { range: emitted }];
    written.extend(requests.map(|range| EmitterRecord::Acknowledged { range }));
    let mut last = like.clone();
    if let EmitterRecord::Second { unix_ms, emitted: numbers, offered, acknowledged, .. } = &mut last {
        (*unix_ms, *numbers) = (began_ms + second * 1_000, emitted);
        (*offered, *acknowledged) = (emitted.count(), emitted.count());
    }
    written.push(last);
    written
}

fn moved(plan: &Plan, cut_ms: u64, at: u64, record: &EmitterRecord, all: &mut Vec<EmitterRecord>) {
    match record {
        EmitterRecord::Opened { .. } => all.push(record.clone()),
        EmitterRecord::Reserved { range } => {
            all.extend(plan.moved(at, *range).map(|range| EmitterRecord::Reserved { range }));
        }
        EmitterRecord::Acknowledged { range } => {
            all.extend(plan.moved(at, *range).map(|range| EmitterRecord::Acknowledged { range }));
        }
        EmitterRecord::Rejected { range, code } => {
            all.extend(plan.moved(at, *range).map(|range| EmitterRecord::Rejected { range, code: *code }));
        }
        EmitterRecord::Resent { range } => {
            all.extend(plan.moved(at, *range).map(|range| EmitterRecord::Resent { range }));
        }
        EmitterRecord::Second { unix_ms, emitted, .. } => {
            let mut second = record.clone();
            if *unix_ms >= cut_ms
                && let EmitterRecord::Second { unix_ms: later, emitted: numbers, .. } = &mut second
            {
                *later += LATER_MS;
                *numbers = Range::new(emitted.start + plan.shift(), emitted.end + plan.shift());
            }
            all.push(second);
        }
        EmitterRecord::Sealed(seal) => {
            let (next, acknowledged) = (seal.next + plan.shift(), seal.acknowledged + plan.shift());
            let records = all.len() as u64;
            all.push(EmitterRecord::Sealed(EmitterSeal { next, acknowledged, records, ..*seal }));
        }
    }
}
