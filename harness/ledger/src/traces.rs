//! The outcomes of traces: delivered whole, in part, or not at all.
//!
//! A sampler keeps or drops a trace as a whole. The spans of a trace follow from their identity: a fixed count of
//! consecutive numbers in each stream of a group. Numbers of traces are kept as sets of ranges, so the cost follows
//! gaps, not spans.

use crate::{Identity, Range, RangeSet, Stream};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::iter::Peekable;

/// The traces with acknowledged spans of one group of streams, by number, from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceSets {
    /// Traces of which every acknowledged span arrived.
    pub whole: RangeSet,
    /// Traces of which some span arrived, but not every acknowledged one.
    pub partial: RangeSet,
    /// Traces of which no span arrived.
    pub absent: RangeSet,
}

/// The outcomes of a run's traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// By group of streams; see [`Identity::trace_group`].
    pub groups: BTreeMap<u16, TraceSets>,
}

impl Traces {
    /// Compares the acknowledged and the arrived numbers of each stream. A trace without an acknowledged span is in no set.
    pub fn of<'a>(
        identity: &Identity,
        streams: impl IntoIterator<Item = (Stream, &'a RangeSet, &'a RangeSet)>,
    ) -> Self {
        let mut together: BTreeMap<u16, Vec<(&RangeSet, &RangeSet)>> = BTreeMap::new();
        for (stream, acknowledged, arrived) in streams {
            together.entry(identity.trace_group(stream)).or_default().push((acknowledged, arrived));
        }
        let of_group = |streams: Vec<_>| group(identity.spans_per_trace(), &streams);
        Self { groups: together.into_iter().map(|(group, streams)| (group, of_group(streams))).collect() }
    }

    /// The number of whole traces.
    pub fn whole(&self) -> u64 {
        self.groups.values().map(|sets| sets.whole.count()).sum()
    }

    /// The number of partial traces.
    pub fn partial(&self) -> u64 {
        self.groups.values().map(|sets| sets.partial.count()).sum()
    }

    /// The number of absent traces.
    pub fn absent(&self) -> u64 {
        self.groups.values().map(|sets| sets.absent.count()).sum()
    }

    /// The number of traces with an acknowledged span.
    pub fn acknowledged(&self) -> u64 {
        self.whole() + self.partial() + self.absent()
    }
}

/// The sequence numbers, in each stream of a group, of the spans of some of the group's traces.
pub fn spans_of(traces: &RangeSet, spans_per_trace: u64) -> RangeSet {
    let spans = |number: u64| number.saturating_mul(spans_per_trace);
    traces.iter().map(|range| Range::new(spans(range.start), spans(range.end))).collect()
}

/// The traces of a group of streams. Between two bounds of ranges all traces are alike, so one of them is examined.
fn group(spans_per_trace: u64, streams: &[(&RangeSet, &RangeSet)]) -> TraceSets {
    let each = spans_per_trace.max(1);
    let both: Vec<RangeSet> = streams.iter().map(|(taken, arrived)| taken.intersection(arrived)).collect();
    let borders = streams.iter().flat_map(|(taken, arrived)| taken.iter().chain(arrived.iter()));
    let borders = borders.flat_map(|range| [range.start, range.end]);
    let mut cuts: Vec<u64> = borders.flat_map(|border| [border / each, border.div_ceil(each)]).collect();
    cuts.sort_unstable();
    cuts.dedup();

    let mut taken: Vec<_> = streams.iter().map(|(taken, _)| Counting::of(taken)).collect();
    let mut arrived: Vec<_> = streams.iter().map(|(_, arrived)| Counting::of(arrived)).collect();
    let mut both: Vec<_> = both.iter().map(Counting::of).collect();
    let mut sets = TraceSets::default();
    for pair in cuts.windows(2) {
        let first = Range::new(pair[0].saturating_mul(each), (pair[0] + 1).saturating_mul(each));
        let acknowledged = count(&mut taken, first);
        let (came, delivered) = (count(&mut arrived, first), count(&mut both, first));
        let set = match (acknowledged, came) {
            (0, _) => continue,
            _ if delivered == acknowledged => &mut sets.whole,
            (_, 0) => &mut sets.absent,
            _ => &mut sets.partial,
        };
        set.insert(Range::new(pair[0], pair[1]));
    }
    sets
}

fn count<I: Iterator<Item = Range>>(sets: &mut [Counting<I>], range: Range) -> u64 {
    sets.iter_mut().map(|set| set.within(range)).sum()
}

/// Counts a set's numbers in ranges that are given in order.
struct Counting<I: Iterator<Item = Range>>(Peekable<I>);

impl<'a> Counting<Box<dyn Iterator<Item = Range> + 'a>> {
    fn of(set: &'a (impl Borrow<RangeSet> + ?Sized)) -> Self {
        let ranges: Box<dyn Iterator<Item = Range> + 'a> = Box::new(set.borrow().iter());
        Self(ranges.peekable())
    }
}

impl<I: Iterator<Item = Range>> Counting<I> {
    fn within(&mut self, range: Range) -> u64 {
        let mut count = 0;
        while let Some(next) = self.0.peek() {
            if next.start >= range.end {
                break;
            }
            count += next.intersection(range).count();
            if next.end > range.end {
                break;
            }
            self.0.next();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    type Numbers = BTreeSet<u64>;

    fn set(numbers: &Numbers) -> RangeSet {
        numbers.iter().copied().collect()
    }

    fn runs() -> impl Strategy<Value = Numbers> {
        prop::collection::vec((0u64..120, 1u64..25), 0..6)
            .prop_map(|runs| runs.into_iter().flat_map(|(start, long)| start..start + long).collect())
    }

    proptest! {
        /// Compared with the classification of every trace, span by span.
        #[test]
        fn traces_are_classified_by_their_spans(
            each in 1u32..15, shared in 1u32..4,
            streams in prop::collection::vec((runs(), runs()), 1..5),
        ) {
            let identity = Identity::new(7, each, shared);
            let sets: Vec<_> = (1u16..).zip(&streams).map(|(stream, (taken, came))| (stream, set(taken), set(came))).collect();
            let traces = Traces::of(&identity, sets.iter().map(|(stream, taken, came)| (*stream, taken, came)));
            for (group, together) in (0u16..).zip(streams.chunks(shared as usize)) {
                let found = &traces.groups[&group];
                for trace in 0..150u64 {
                    let spans: Numbers = (trace * u64::from(each)..(trace + 1) * u64::from(each)).collect();
                    let (mut taken, mut came, mut both) = (0, 0, 0);
                    for (acknowledged, arrived) in together {
                        taken += (&spans & acknowledged).len();
                        came += (&spans & arrived).len();
                        both += (&(&spans & acknowledged) & arrived).len();
                    }
                    let is = [&found.whole, &found.partial, &found.absent].map(|set| set.contains(trace));
                    let must = [
                        taken > 0 && both == taken,
                        taken > 0 && both < taken && came > 0,
                        taken > 0 && came == 0,
                    ];
                    prop_assert_eq!(is, must, "trace {}", trace);
                }
            }
            prop_assert_eq!(traces.acknowledged(), traces.whole() + traces.partial() + traces.absent());
        }
    }

    #[test]
    fn a_missing_span_makes_a_trace_partial() {
        let identity = Identity::new(7, 10, 2);
        let all: RangeSet = [Range::new(0, 40)].into_iter().collect();
        // Of trace 1 the second stream's spans are missing, of trace 2 one span, of trace 3 everything.
        let one: RangeSet = [Range::new(0, 30)].into_iter().collect();
        let other: RangeSet = [Range::new(0, 10), Range::new(20, 29)].into_iter().collect();
        let traces = Traces::of(&identity, [(1, &all, &one), (2, &all, &other)]);
        let sets = &traces.groups[&0];
        assert_eq!(sets.whole.to_string(), "0");
        assert_eq!(sets.partial.to_string(), "1-2");
        assert_eq!(sets.absent.to_string(), "3");
        assert_eq!(spans_of(&sets.partial, 10).to_string(), "10-29");
    }

    /// Numbers that no emitter reaches cost no more than any others.
    #[test]
    fn huge_numbers_cost_no_more() {
        let identity = Identity::new(7, 10, 1);
        let all: RangeSet = [Range::new(5, u64::MAX)].into_iter().collect();
        let none = RangeSet::new();
        let traces = Traces::of(&identity, [(1, &all, &none)]);
        assert_eq!(traces.absent(), u64::MAX.div_ceil(10));
    }

    #[test]
    fn a_million_spans_are_classified_within_a_second() {
        let identity = Identity::new(7, 10, 1);
        let all: RangeSet = [Range::new(0, 1_200_000)].into_iter().collect();
        let some: RangeSet = (0..120_000).step_by(4).map(|n| Range::new(n * 10, n * 10 + 10)).collect();
        let began = Instant::now();
        let traces = Traces::of(&identity, [(1, &all, &some)]);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!((traces.whole(), traces.partial(), traces.absent()), (30_000, 0, 90_000));
    }
}
