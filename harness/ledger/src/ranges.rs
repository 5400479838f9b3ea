//! Sets of sequence numbers, kept as ranges: the cost follows gaps, not numbers.
//!
//! The ranges are in order in chunks of at most 512: ranges that come in order fill them, and any other change
//! moves one chunk at most. Chosen by measurement (`examples/gaps.rs --compare`, two cores). First
//! 10⁹ spans with 10⁶ gaps in requests of 512, in any order within windows; then 10⁸ spans with 10⁵ gaps,
//! each in a request of its own:
//!
//! ```text
//!                            a request      delivered      with the lost ones   to name those
//! chunks of ranges    170 ns   200 ns   20 MiB   7 MiB       36 MiB   7 MiB      80 ms   3 ms
//! BTreeMap            870 ns   840 ns   33 MiB   6 MiB       68 MiB   8 MiB     270 ms  31 ms
//! RoaringTreemap      260 ns    70 ns   13 MiB  15 MiB       21 MiB  15 MiB      90 ms  19 ms
//! ```
//!
//! Roaring is the smallest where spans come in hundreds. Where they come one by one, its parts of 65,536
//! numbers become bitmaps of 8 KiB until they are optimised explicitly: the cost follows the numbers, which would
//! be 120 MiB for 10⁹. Chunks take 16 bytes a gap in any case (up to twice that where they were split), need no
//! tuning, and can be iterated from both ends.

mod chunks;

use chunks::Chunks;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// The numbers `start, start + 1, …, end - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// The first number.
    pub start: u64,
    /// The last number plus one.
    pub end: u64,
}

impl Range {
    /// `start..end`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// The number of numbers in it.
    pub const fn count(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns `true` if it has no numbers.
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

/// A set of numbers, kept as disjoint ranges with a gap between any two of them.
#[derive(Debug, Clone, Default)]
pub struct RangeSet {
    ranges: Chunks,
    count: u64,
}

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: Chunks::new(), count: 0 }
    }

    /// The number of numbers in it.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns `true` if it has no numbers.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns `true` if it contains `number`.
    pub fn contains(&self, number: u64) -> bool {
        self.covers(Range::new(number, number + 1))
    }

    /// Returns `true` if it contains every number of `range`.
    pub fn covers(&self, range: Range) -> bool {
        let around = self.ranges.get(self.ranges.find(|other| other.end <= range.start));
        range.is_empty() || around.is_some_and(|around| around.intersection(range) == range)
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + Clone + '_ {
        self.ranges.iter()
    }

    /// The number of its ranges, which its memory is proportional to.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// The largest number plus one; 0 if empty.
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |last| last.end)
    }

    /// Adds a range; returns the number of its numbers that are new.
    pub fn insert(&mut self, range: Range) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let position = self.ranges.find(|other| other.end < range.start);
        let new = match self.ranges.get(position) {
            Some(other) if other.start <= range.end => self.ranges.join(position, range),
            _ => {
                self.ranges.insert(position, range);
                range.count()
            }
        };
        self.count += new;
        new
    }

    /// Adds every number of another set.
    pub fn extend(&mut self, other: &Self) {
        // The set with fewer ranges is inserted into the other one.
        let fewer =
            if other.ranges() > self.ranges() { &std::mem::replace(self, other.clone()) } else { other };
        for range in fewer.iter() {
            self.insert(range);
        }
    }

    /// The union of sets; borrowed if at most one of them is not empty.
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Cow<'a, Self> {
        let mut sets = sets.into_iter().filter(|set| !set.is_empty());
        let Some(first) = sets.next() else { return Cow::Owned(Self::new()) };
        sets.fold(Cow::Borrowed(first), |mut all, set| {
            all.to_mut().extend(set);
            all
        })
    }

    /// The numbers of `range` that are in this set.
    pub fn within(&self, range: Range) -> Self {
        let from = self.ranges.find(|other| other.end <= range.start);
        let within = self.ranges.from(from).take_while(|other| other.start < range.end);
        within.map(|other| other.intersection(range)).collect()
    }

    /// The numbers that are in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        self.common(other).collect()
    }

    /// The number of numbers that are in both sets. Allocates nothing.
    pub fn intersection_count(&self, other: &Self) -> u64 {
        self.common(other).map(Range::count).sum()
    }

    /// Returns `true` if every number of this set is in the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|range| other.covers(range))
    }

    /// The ranges of numbers that are in both sets, in order.
    fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Range> + 'a {
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        std::iter::from_fn(move || {
            loop {
                let (a, b) = (*ours.peek()?, *theirs.peek()?);
                if a.end <= b.end {
                    ours.next();
                } else {
                    theirs.next();
                }
                let both = a.intersection(b);
                if !both.is_empty() {
                    return Some(both);
                }
            }
        })
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

impl PartialEq for RangeSet {
    /// Sets with the same numbers are equal, however they were built.
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for RangeSet {}

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
mod tests;
