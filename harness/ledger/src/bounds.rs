//! Bounds of the values in a record. A checksum shows that a record is as it was written, not that it makes sense:
//! values that pass these checks can be summed and iterated without an overflow or an endless loop.

use crate::{LedgerError, Range, SEQ_LIMIT};

/// The latest accepted time: the end of the year 9999, Unix time in milliseconds.
const LATEST_MS: u64 = 253_402_300_799_999;

/// The largest accepted count in one record, of spans, requests or milliseconds.
const MOST: u64 = SEQ_LIMIT;

/// Checks a range of sequence numbers: its end is not before its start, and every number is below [`SEQ_LIMIT`].
pub(crate) const fn range(index: usize, range: Range) -> Result<(), LedgerError> {
    if range.start > range.end {
        return Err(LedgerError::Invalid { index, what: "a range that ends before it begins" });
    }
    if range.end > SEQ_LIMIT {
        return Err(LedgerError::Invalid { index, what: "a sequence number out of bounds" });
    }
    Ok(())
}

/// Checks each of several ranges of sequence numbers.
pub(crate) fn ranges(index: usize, ranges: &[Range]) -> Result<(), LedgerError> {
    ranges.iter().try_for_each(|one| range(index, *one))
}

/// Checks a time: not after [`LATEST_MS`].
pub(crate) const fn time(index: usize, unix_ms: u64) -> Result<(), LedgerError> {
    if unix_ms > LATEST_MS {
        return Err(LedgerError::Invalid { index, what: "a time after the year 9999" });
    }
    Ok(())
}

/// Checks counts: none above [`MOST`].
pub(crate) fn counts(index: usize, counts: &[u64]) -> Result<(), LedgerError> {
    if counts.iter().any(|count| *count > MOST) {
        return Err(LedgerError::Invalid { index, what: "a count out of bounds" });
    }
    Ok(())
}
