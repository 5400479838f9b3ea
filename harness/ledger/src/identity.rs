//! The identity of a span, carried by its trace ID and span ID.
//!
//! Span ID: a keyed bijection of (stream, sequence number), never zero. Trace ID: the version and the
//! run's tag in the high 64 bits, a mixed trace number in the low 64 (which samplers read). So the
//! identity survives processors that drop or rename attributes, looks random where it should, and
//! foreign spans are recognised.

use crate::Stream;

/// The upper bound of sequence numbers, exclusive: they have 48 bits.
pub const SEQ_LIMIT: u64 = 1 << 48;

/// The version of this scheme, the first byte of each trace ID.
const VERSION: u8 = 0xA7;
const TAG_BITS: u32 = 56;

/// The stream and the sequence number of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanIdentity {
    /// The stream, never 0.
    pub stream: Stream,
    /// The sequence number, below [`SEQ_LIMIT`].
    pub seq: u64,
}

/// The origin of a span, by its trace ID and span ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A span of this run.
    Ours(SpanIdentity),
    /// A span of anything else.
    Foreign,
    /// A span with this run's tag whose IDs contradict each other.
    Damaged,
}

/// Encodes and decodes the IDs of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    tag: u64,
    spans_per_trace: u64,
    streams_per_trace: u16,
    span_keys: [u64; 3],
    trace_key: u64,
}

impl Identity {
    /// The identities of a run: `tag` (its low 56 bits count) tells runs apart, and
    /// `spans_per_trace` consecutive numbers of each of `streams_per_trace` streams share a trace.
    pub fn new(tag: u64, spans_per_trace: u32, streams_per_trace: u32) -> Self {
        let tag = tag & ((1 << TAG_BITS) - 1);
        let key = |n: u64| mix(tag ^ mix(n));
        Self {
            tag,
            spans_per_trace: u64::from(spans_per_trace.max(1)),
            streams_per_trace: u16::try_from(streams_per_trace.max(1)).unwrap_or(u16::MAX),
            span_keys: [key(1), key(2), key(3)],
            trace_key: key(4),
        }
    }

    /// The run's tag.
    pub const fn tag(&self) -> u64 {
        self.tag
    }

    /// The number of consecutive spans of a stream that share a trace.
    pub const fn spans_per_trace(&self) -> u64 {
        self.spans_per_trace
    }

    /// The span ID.
    pub fn span_id(&self, span: SpanIdentity) -> u64 {
        let plain = pack(span.stream, span.seq);
        // The one input that would give zero gets the image of 0 instead, which no span has.
        match self.encrypt(plain) {
            0 => self.encrypt(0),
            id => id,
        }
    }

    /// The group of streams that share their traces, from 0: streams 1 to n, n + 1 to 2n, and so on.
    pub const fn trace_group(&self, stream: Stream) -> u16 {
        stream.saturating_sub(1) / self.streams_per_trace
    }

    /// The trace ID.
    pub fn trace_id(&self, span: SpanIdentity) -> u128 {
        self.trace(self.trace_group(span.stream), span.seq / self.spans_per_trace)
    }

    /// The trace ID of trace `number` of a group of streams (see [`Self::trace_group`]).
    pub fn trace(&self, group: u16, number: u64) -> u128 {
        let high = u64::from(VERSION) << TAG_BITS | self.tag;
        let number = u64::from(group) << 48 | (number & (SEQ_LIMIT - 1));
        u128::from(high) << 64 | u128::from(mix(number ^ self.trace_key))
    }

    /// The span with these IDs, or the reason why it is none of this run's.
    pub fn origin(&self, trace_id: u128, span_id: u64) -> Origin {
        if trace_id >> 64 != u128::from(u64::from(VERSION) << TAG_BITS | self.tag) {
            return Origin::Foreign;
        }
        let plain = match self.decrypt(span_id) {
            0 => self.decrypt(0),
            plain => plain,
        };
        let (stream, seq) = unpack(plain);
        let span = SpanIdentity { stream, seq };
        if span_id == 0 || stream == 0 || self.trace_id(span) != trace_id {
            return Origin::Damaged;
        }
        Origin::Ours(span)
    }

    fn encrypt(&self, plain: u64) -> u64 {
        self.span_keys.iter().fold(plain, |value, key| mix(value ^ key))
    }

    fn decrypt(&self, id: u64) -> u64 {
        self.span_keys.iter().rev().fold(id, |value, key| unmix(value) ^ key)
    }
}

fn pack(stream: Stream, seq: u64) -> u64 {
    debug_assert!(seq < SEQ_LIMIT);
    u64::from(stream) << 48 | seq
}

fn unpack(plain: u64) -> (Stream, u64) {
    ((plain >> 48) as Stream, plain & (SEQ_LIMIT - 1))
}

/// Returns `true` if an ID is in the share of 1 / `one_in` selected by hash: `hash(seed, id) mod one_in = 0`.
/// A share of 1 / 0 selects none.
pub fn is_selected(seed: u64, id: u64, one_in: u64) -> bool {
    one_in != 0 && hash(seed, id).is_multiple_of(one_in)
}

/// The hash of a number under a seed, uniform over 64 bits.
pub fn hash(seed: u64, number: u64) -> u64 {
    mix(number ^ mix(seed))
}

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014; constants: Stafford's variant 13), a bijection.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

/// The inverse of [`mix`]: the constants are the odd factors' inverses modulo 2^64.
fn unmix(value: u64) -> u64 {
    let value = (value ^ value >> 31 ^ value >> 62).wrapping_mul(0x3196_42B2_D24D_8EC3);
    let value = (value ^ value >> 27 ^ value >> 54).wrapping_mul(0x96DE_1B17_3F11_9089);
    value ^ value >> 30 ^ value >> 60
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans() -> impl Strategy<Value = SpanIdentity> {
        (1u16.., 0..SEQ_LIMIT).prop_map(|(stream, seq)| SpanIdentity { stream, seq })
    }

    proptest! {
        /// Every span of a run is recognised by its IDs, and no ID is zero.
        #[test]
        fn ids_name_their_span(tag: u64, share in 1u32..100, streams in 0u32..5, span in spans()) {
            let run = Identity::new(tag, share, streams);
            prop_assert_ne!(run.span_id(span), 0);
            prop_assert_eq!(run.origin(run.trace_id(span), run.span_id(span)), Origin::Ours(span));
        }

        /// A span ID of another trace, or a foreign one, is never recognised as one of this run.
        #[test]
        fn foreign_and_damaged_spans_are_recognised(tag: u64, a in spans(), b in spans(), trace: u128, id: u64) {
            let run = Identity::new(tag, 10, 1);
            if run.trace_id(a) != run.trace_id(b) {
                prop_assert_eq!(run.origin(run.trace_id(a), run.span_id(b)), Origin::Damaged);
            }
            let other = Identity::new(tag ^ 1, 10, 1);
            prop_assert_eq!(other.origin(run.trace_id(a), run.span_id(a)), Origin::Foreign);
            prop_assert!(!matches!(run.origin(trace, id), Origin::Ours(_)));
        }

        /// Mixing can be undone, so it is a bijection.
        #[test]
        fn mixing_is_a_bijection(value: u64) {
            prop_assert_eq!(unmix(mix(value)), value);
            prop_assert_eq!(mix(unmix(value)), value);
        }
    }

    /// The span whose plain image would be zero still has an ID, and that ID leads back to it.
    #[test]
    fn the_span_that_would_be_zero_has_an_id() {
        for tag in 0..2_000 {
            let run = Identity::new(tag, 1, 1);
            let (stream, seq) = unpack(run.decrypt(0));
            if stream == 0 {
                continue;
            }
            let span = SpanIdentity { stream, seq };
            assert_ne!(run.span_id(span), 0);
            assert_eq!(run.origin(run.trace_id(span), run.span_id(span)), Origin::Ours(span));
        }
    }

    #[test]
    fn streams_share_traces_in_groups() {
        let run = Identity::new(7, 10, 2);
        let trace = |stream, seq| run.trace_id(SpanIdentity { stream, seq });
        assert_eq!(trace(1, 3), trace(2, 9));
        assert_ne!(trace(1, 3), trace(1, 10));
        assert_ne!(trace(2, 3), trace(3, 3));
        assert_eq!(trace(3, 3), trace(4, 3));
    }

    #[test]
    fn one_span_in_a_thousand_is_selected() {
        let run = Identity::new(7, 10, 1);
        let hit = (0..100_000)
            .filter(|seq| is_selected(42, run.span_id(SpanIdentity { stream: 1, seq: *seq }), 1_000))
            .count();
        assert!((60..140).contains(&hit), "{hit} of 100,000 selected, about 100 expected");
        assert!(!is_selected(42, 17, 0), "one in 0 is none");
    }
}
