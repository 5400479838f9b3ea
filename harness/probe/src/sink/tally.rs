//! What is in one request, added up without building it.

use crate::otlp::scan::{ScanError, SpanView, scan};
use spanproof_ledger::{Identity, Origin, Range, Stream, is_selected};

/// What a sink must know to read requests: it stays the same for a whole run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) identity: Identity,
    /// Whether spans carry a checksum of their payload.
    pub(super) checksum: bool,
    /// Of whatever is chosen by hash.
    pub(super) seed: u64,
    /// Of so many traces one is followed; 0: none is.
    pub(super) trace_one_in: u64,
}

/// The spans of a request, or those of it that something else is done to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The numbers of each stream; one that is in the request twice is in twice.
    pub(super) streams: Vec<(Stream, Vec<Range>)>,
    pub(super) foreign: u64,
    pub(super) damaged: u64,
    /// (when they were due, Unix time in nanoseconds; spans), in the order of the request.
    pub(super) due: Vec<(u64, u64)>,
    /// (low half of the trace ID, spans) of the traces that are followed, in the order of the request.
    pub(super) traces: Vec<(u64, u32)>,
}

/// A request, split.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// What is taken of it, if it is.
    pub(super) taken: Tally,
    /// What is left out in any case.
    pub(super) left_out: Tally,
}

impl Request {
    /// Adds up an encoded request. Of its spans, one in `leave_out` is left out by hash; 0: none is.
    pub(super) fn of(bytes: &[u8], terms: &Terms, leave_out: u64) -> Result<Self, ScanError> {
        let mut request = Self::default();
        let mut trace = Trace { id: 0, followed: false };
        scan(bytes, terms.checksum, |span| {
            let Some((trace_id, span_id)) = ids(&span) else {
                request.taken.damaged += 1;
                return;
            };
            match terms.identity.origin(trace_id, span_id) {
                Origin::Ours(_) if terms.checksum && !intact(&span) => request.taken.damaged += 1,
                Origin::Ours(identity) => {
                    let left_out = is_selected(terms.seed, span_id, leave_out);
                    let tally = if left_out { &mut request.left_out } else { &mut request.taken };
                    tally.add(identity.stream, identity.seq);
                    tally.add_due(span.start_time_unix_nano);
                    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
                    if trace.is_followed(trace_id as u64, terms) {
                        tally.add_trace(trace.id);
                    }
                }
                Origin::Foreign => request.taken.foreign += 1,
                Origin::Damaged => request.taken.damaged += 1,
            }
        })?;
        request.taken.tidy();
        request.left_out.tidy();
        Ok(request)
    }
}

/// The trace of the last span: most often the next one's, too.
struct Trace {
    id: u64,
    followed: bool,
}

impl Trace {
    fn is_followed(&mut self, id: u64, terms: &Terms) -> bool {
        if self.id != id {
            *self = Self { id, followed: is_selected(terms.seed, id, terms.trace_one_in) };
        }
        self.followed
    }
}

fn ids(span: &SpanView<'_>) -> Option<(u128, u64)> {
    let trace_id = <[u8; 16]>::try_from(span.trace_id).ok()?;
    let span_id = <[u8; 8]>::try_from(span.span_id).ok()?;
    Some((u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id)))
}

/// Whether the payload is what its checksum says.
fn intact(span: &SpanView<'_>) -> bool {
    let expected = span.payload.map(|payload| i64::from(crc32fast::hash(payload)));
    expected.is_some() && expected == span.checksum
}

impl Tally {
    fn add(&mut self, stream: Stream, seq: u64) {
        let one = Range::new(seq, seq + 1);
        // Most often the number after the last one.
        let last = self.streams.last_mut().filter(|(last, _)| *last == stream);
        let ranges = match last {
            Some((_, ranges)) => ranges,
            None => self.ranges_of(stream),
        };
        match ranges.last_mut() {
            Some(range) if range.end == seq => range.end += 1,
            _ => ranges.push(one),
        }
    }

    /// The ranges of a stream, which is the last one afterwards.
    fn ranges_of(&mut self, stream: Stream) -> &mut Vec<Range> {
        let known = self.streams.iter().position(|(known, _)| *known == stream);
        let ranges = known.map(|index| self.streams.swap_remove(index).1).unwrap_or_default();
        self.streams.push((stream, ranges));
        let last = self.streams.len() - 1;
        &mut self.streams[last].1
    }

    fn add_due(&mut self, due: u64) {
        match self.due.last_mut() {
            Some((last, spans)) if *last == due => *spans += 1,
            _ => self.due.push((due, 1)),
        }
    }

    fn add_trace(&mut self, trace: u64) {
        match self.traces.last_mut() {
            Some((last, spans)) if *last == trace => *spans += 1,
            _ => self.traces.push((trace, 1)),
        }
    }

    /// As few ranges as there can be; copies stay copies.
    fn tidy(&mut self) {
        for (_, ranges) in self.streams.iter_mut().filter(|(_, ranges)| ranges.len() > 1) {
            ranges.sort_unstable();
            // What overlaps or repeats the range before it stays a range of its own.
            ranges.dedup_by(|next, range| {
                let follows = next.start == range.end;
                if follows {
                    range.end = next.end;
                }
                follows
            });
        }
        self.streams.sort_unstable_by_key(|(stream, _)| *stream);
    }

    /// How many spans of this run are in it.
    pub(super) fn spans(&self) -> u64 {
        self.streams.iter().flat_map(|(_, ranges)| ranges).map(|range| range.count()).sum()
    }
}

#[cfg(test)]
mod tests;
