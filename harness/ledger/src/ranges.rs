//! Sets of sequence numbers, kept as ranges: the cost follows gaps, not numbers.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The numbers `start, start + 1, …, end - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The first number.
    pub start: u64,
    /// One past the last number.
    pub end: u64,
}

impl Range {
    /// `start..end`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// How many numbers it holds.
    pub const fn count(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The numbers in both.
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            0 => write!(f, "none"),
            1 => write!(f, "{}", self.start),
            _ => write!(f, "{}-{}", self.start, self.end - 1),
        }
    }
}

/// A set of numbers as disjoint ranges with a gap between any two of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// start → end of each range.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: BTreeMap::new(), count: 0 }
    }

    /// How many numbers it holds.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it holds `number`.
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + '_ {
        self.ranges.iter().map(|(start, end)| Range::new(*start, *end))
    }

    /// How many ranges it takes: what it costs.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// One past the largest number; 0 if empty.
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, end)| *end)
    }

    /// Adds a range; returns how many of its numbers were not there before.
    pub fn insert(&mut self, range: Range) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let Range { mut start, mut end } = range;
        let before = self.count;
        // A range that begins before and reaches into (or touches) this one is taken in …
        if let Some((&left, &left_end)) = self.ranges.range(..=start).next_back()
            && left_end >= start
        {
            if left_end >= end {
                return 0;
            }
            self.count -= left_end - left;
            start = left;
            self.ranges.remove(&left);
        }
        // … and so is every one that begins in it or right behind it.
        while let Some((&right, &right_end)) = self.ranges.range(start..=end).next() {
            self.count -= right_end - right;
            end = end.max(right_end);
            self.ranges.remove(&right);
        }
        self.ranges.insert(start, end);
        self.count += end - start;
        self.count - before
    }

    /// Adds every number of another set.
    pub fn extend(&mut self, other: &Self) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// The numbers of `range` that are in this set.
    pub fn within(&self, range: Range) -> Self {
        let mut inside = Self::new();
        let first = self.ranges.range(..=range.start).next_back().map_or(range.start, |(start, _)| *start);
        for (start, end) in self.ranges.range(first..range.end.max(first)) {
            inside.insert(Range::new(*start, *end).intersection(range));
        }
        inside
    }

    /// The numbers in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(a), Some(b)) = (ours.peek().copied(), theirs.peek().copied()) {
            both.insert(a.intersection(b));
            if a.end <= b.end {
                ours.next();
            } else {
                theirs.next();
            }
        }
        both
    }

    /// The numbers of this set that are not in the other.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self::new();
        let mut theirs = other.iter().peekable();
        for Range { mut start, end } in self.iter() {
            while let Some(hole) = theirs.peek().copied() {
                if hole.end <= start {
                    theirs.next();
                    continue;
                }
                if hole.start >= end {
                    break;
                }
                left.insert(Range::new(start, hole.start));
                start = hole.end;
                if hole.end > end {
                    break;
                }
                theirs.next();
            }
            left.insert(Range::new(start, end));
        }
        left
    }
}

impl FromIterator<Range> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

impl FromIterator<u64> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        numbers.into_iter().map(|number| Range::new(number, number + 1)).collect()
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.iter().enumerate() {
            write!(f, "{}{range}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ranges() -> impl Strategy<Value = Vec<Range>> {
        prop::collection::vec(
            (0u64..120, 0u64..12).prop_map(|(start, len)| Range::new(start, start + len)),
            0..24,
        )
    }

    fn model(ranges: &[Range]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|range| range.start..range.end).collect()
    }

    fn numbers(set: &RangeSet) -> BTreeSet<u64> {
        set.iter().flat_map(|range| range.start..range.end).collect()
    }

    proptest! {
        /// Any ranges in any order make the set of their numbers, in as few ranges as there can be.
        #[test]
        fn a_set_is_its_numbers(ranges in ranges()) {
            let set: RangeSet = ranges.iter().copied().collect();
            prop_assert_eq!(numbers(&set), model(&ranges));
            prop_assert_eq!(set.count(), model(&ranges).len() as u64);
            let kept: Vec<_> = set.iter().collect();
            prop_assert!(kept.windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        /// Inserting says how many numbers are new.
        #[test]
        fn insert_counts_what_is_new(ranges in ranges(), more in (0u64..120, 0u64..12)) {
            let mut set: RangeSet = ranges.iter().copied().collect();
            let before = set.count();
            let added = set.insert(Range::new(more.0, more.0 + more.1));
            prop_assert_eq!(before + added, set.count());
        }

        /// Intersection, difference and `within` are those of sets of numbers.
        #[test]
        fn operations_are_those_of_sets(a in ranges(), b in ranges(), window in (0u64..120, 0u64..40)) {
            let (left, right): (RangeSet, RangeSet) = (a.iter().copied().collect(), b.iter().copied().collect());
            let (ours, theirs) = (model(&a), model(&b));
            prop_assert_eq!(numbers(&left.intersection(&right)), &ours & &theirs);
            prop_assert_eq!(numbers(&left.difference(&right)), &ours - &theirs);
            let window = Range::new(window.0, window.0 + window.1);
            prop_assert_eq!(numbers(&left.within(window)), &ours & &model(&[window]));
            for number in 0..140 {
                prop_assert_eq!(left.contains(number), ours.contains(&number));
            }
        }
    }
}
