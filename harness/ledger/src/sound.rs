//! What a record may say at all. A checksum tells what was written, not whether it makes sense: whatever passes here
//! can be added up and walked through without an overflow or an end that does not come.

use crate::{LedgerError, Range, SEQ_LIMIT};

/// The last moment of the year 9999, Unix time in milliseconds: no clock is beyond it.
const LATEST_MS: u64 = 253_402_300_799_999;

/// No more than this are counted in one record: spans, requests, milliseconds.
const MOST: u64 = SEQ_LIMIT;

/// A range of sequence numbers: not backwards, and of numbers that there are.
pub(crate) const fn range(index: usize, range: Range) -> Result<(), LedgerError> {
    if range.start > range.end {
        return Err(LedgerError::Absurd { index, what: "a range that ends before it begins" });
    }
    if range.end > SEQ_LIMIT {
        return Err(LedgerError::Absurd { index, what: "a sequence number that no span can have" });
    }
    Ok(())
}

/// Ranges of sequence numbers.
pub(crate) fn ranges(index: usize, ranges: &[Range]) -> Result<(), LedgerError> {
    ranges.iter().try_for_each(|one| range(index, *one))
}

/// A moment.
pub(crate) const fn moment(index: usize, unix_ms: u64) -> Result<(), LedgerError> {
    if unix_ms > LATEST_MS {
        return Err(LedgerError::Absurd { index, what: "a time that no clock shows" });
    }
    Ok(())
}

/// Counts.
pub(crate) fn counts(index: usize, counts: &[u64]) -> Result<(), LedgerError> {
    if counts.iter().any(|count| *count > MOST) {
        return Err(LedgerError::Absurd { index, what: "a count that is beyond all bounds" });
    }
    Ok(())
}
