//! An emitter's ledger: a reservation, a record of each request, and one of each second.

use super::{Extension, LATER_MS, REQUEST, unusable};
use crate::BenchError;
use spanproof_ledger::{EmitterRecord, EmitterSeal, Range, Stream};

/// The cut in a stream's numbers.
pub(super) struct Cut {
    pub(super) stream: Stream,
    pub(super) number: u64,
}

pub(super) fn extend(
    extension: &Extension,
    records: &[EmitterRecord],
) -> Result<(Cut, Vec<EmitterRecord>), BenchError> {
    let Some(EmitterRecord::Opened { stream, .. }) = records.first() else {
        return Err(unusable("not opened"));
    };
    let (stream, cut_ms) = (*stream, extension.cut_ms(extension.node(*stream)));
    let first_after = records
        .iter()
        .position(|record| matches!(record, EmitterRecord::Second { unix_ms, .. } if *unix_ms >= cut_ms));
    let first_after = first_after.ok_or_else(|| unusable("no second after the cut"))?;
    let EmitterRecord::Second { unix_ms, emitted, .. } = &records[first_after] else {
        return Err(unusable("no second after the cut"));
    };
    let (began_ms, at) = (*unix_ms, emitted.start);

    let mut all = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if index == first_after {
            all.extend(
                (0..LATER_MS / 1_000).flat_map(|second| new_second(extension, record, began_ms, at, second)),
            );
        }
        moved(extension, cut_ms, at, record, &mut all);
    }
    Ok((Cut { stream, number: at }, all))
}

/// The records of a new second after the cut.
fn new_second(
    extension: &Extension,
    like: &EmitterRecord,
    began_ms: u64,
    at: u64,
    second: u64,
) -> Vec<EmitterRecord> {
    let bound = |second: u64| at + extension.new_numbers(second * 1_000);
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

fn moved(extension: &Extension, cut_ms: u64, at: u64, record: &EmitterRecord, all: &mut Vec<EmitterRecord>) {
    match record {
        EmitterRecord::Opened { .. } => all.push(record.clone()),
        EmitterRecord::Reserved { range } => {
            all.extend(extension.moved(at, *range).map(|range| EmitterRecord::Reserved { range }));
        }
        EmitterRecord::Acknowledged { range } => {
            all.extend(extension.moved(at, *range).map(|range| EmitterRecord::Acknowledged { range }));
        }
        EmitterRecord::Rejected { range, code } => {
            all.extend(
                extension.moved(at, *range).map(|range| EmitterRecord::Rejected { range, code: *code }),
            );
        }
        EmitterRecord::Resent { range } => {
            all.extend(extension.moved(at, *range).map(|range| EmitterRecord::Resent { range }));
        }
        EmitterRecord::Second { unix_ms, emitted, .. } => {
            let mut second = record.clone();
            if *unix_ms >= cut_ms
                && let EmitterRecord::Second { unix_ms: later, emitted: numbers, .. } = &mut second
            {
                *later += LATER_MS;
                *numbers = Range::new(emitted.start + extension.shift(), emitted.end + extension.shift());
            }
            all.push(second);
        }
        EmitterRecord::Sealed(seal) => {
            let (next, acknowledged) = (seal.next + extension.shift(), seal.acknowledged + extension.shift());
            let records = all.len() as u64;
            all.push(EmitterRecord::Sealed(EmitterSeal { next, acknowledged, records, ..*seal }));
        }
    }
}
