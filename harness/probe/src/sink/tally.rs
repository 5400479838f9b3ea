//! The spans of one request, summed up without decoding it completely.

use crate::otlp::scan::{ScanError, SpanView, scan};
use spanproof_ledger::{Identity, Origin, Range, Stream, is_selected};

/// The settings of a run that the sink needs to read requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunSettings {
    pub(super) identity: Identity,
    /// `true` if spans carry a checksum of their payload.
    pub(super) checksum: bool,
    /// The seed of every selection by hash.
    pub(super) seed: u64,
    /// One trace in this many is sampled; 0: none.
    pub(super) trace_one_in: u64,
}

/// The spans of a request, or a part of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The numbers of each stream; a number that is in the request twice is in two ranges.
    pub(super) streams: Vec<(Stream, Vec<Range>)>,
    pub(super) foreign: u64,
    pub(super) damaged: u64,
    /// (due time, Unix time in nanoseconds; spans), in the order of the request.
    pub(super) due: Vec<(u64, u64)>,
    /// (low half of the trace ID, spans) of the sampled traces, in the order of the request.
    pub(super) traces: Vec<(u64, u32)>,
}

/// The tallies of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ScannedRequest {
    /// The spans that are accepted if the request is.
    pub(super) taken: Tally,
    /// The spans that are left out in any case.
    pub(super) left_out: Tally,
}

impl ScannedRequest {
    /// Sums up an encoded request. One span in `left_out_one_in` is left out, selected by hash; 0: none.
    pub(super) fn of(bytes: &[u8], settings: &RunSettings, left_out_one_in: u64) -> Result<Self, ScanError> {
        let mut request = Self::default();
        let mut trace = LastTrace { id: 0, sampled: false };
        scan(bytes, settings.checksum, |span| {
            let Some((trace_id, span_id)) = ids(&span) else {
                request.taken.damaged += 1;
                return;
            };
            match settings.identity.origin(trace_id, span_id) {
                Origin::Ours(_) if settings.checksum && !intact(&span) => request.taken.damaged += 1,
                Origin::Ours(identity) => {
                    let left_out = is_selected(settings.seed, span_id, left_out_one_in);
                    let tally = if left_out { &mut request.left_out } else { &mut request.taken };
                    tally.add(identity.stream, identity.seq);
                    tally.add_due(span.start_time_unix_nano);
                    #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
                    if trace.is_sampled(trace_id as u64, settings) {
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

/// The trace of the last span, which most often is that of the next one, too.
struct LastTrace {
    id: u64,
    sampled: bool,
}

impl LastTrace {
    fn is_sampled(&mut self, id: u64, settings: &RunSettings) -> bool {
        if self.id != id {
            *self = Self { id, sampled: is_selected(settings.seed, id, settings.trace_one_in) };
        }
        self.sampled
    }
}

fn ids(span: &SpanView<'_>) -> Option<(u128, u64)> {
    let trace_id = <[u8; 16]>::try_from(span.trace_id).ok()?;
    let span_id = <[u8; 8]>::try_from(span.span_id).ok()?;
    Some((u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id)))
}

/// Returns `true` if the payload agrees with its checksum.
fn intact(span: &SpanView<'_>) -> bool {
    let expected = span.payload.map(|payload| i64::from(crc32fast::hash(payload)));
    expected.is_some() && expected == span.checksum
}

impl Tally {
    fn add(&mut self, stream: Stream, seq: u64) {
        let one = Range::new(seq, seq + 1);
        // Most often the same stream as that of the last span.
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

    /// The ranges of a stream, which is moved to the end.
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

    /// Merges ranges as far as possible; duplicates stay.
    fn tidy(&mut self) {
        for (_, ranges) in self.streams.iter_mut().filter(|(_, ranges)| ranges.len() > 1) {
            ranges.sort_unstable();
            // A range that overlaps the one before it stays separate.
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

    /// The number of this run's spans.
    pub(super) fn spans(&self) -> u64 {
        self.streams.iter().flat_map(|(_, ranges)| ranges).map(|range| range.count()).sum()
    }
}

#[cfg(test)]
mod tests;
