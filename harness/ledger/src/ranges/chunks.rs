//! Ranges in order, in chunks: a tree of two levels.

use super::Range;

/// The most ranges in a chunk. A change moves at most one chunk, 8 KiB; a million ranges take about two thousand
/// chunks. Small in tests, so that few ranges make many chunks.
const FULL: usize = if cfg!(test) { 4 } else { 512 };

/// The position of a range, or the one at which it would be inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    chunk: usize,
    index: usize,
}

/// Disjoint ranges in order, with a gap between any two of them. No chunk is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks(Vec<Vec<Range>>);

impl Chunks {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + Clone + '_ {
        self.0.iter().flatten().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub(super) fn last(&self) -> Option<Range> {
        self.0.last()?.last().copied()
    }

    /// The first position whose range does not satisfy `before`; the end if all do.
    pub(super) fn find(&self, before: impl Fn(&Range) -> bool) -> Position {
        // Most lookups are near the end.
        let chunk = match self.0.last() {
            Some(last) if before(&last[0]) => self.0.len() - 1,
            _ => self.0.partition_point(|chunk| chunk.last().is_some_and(&before)),
        };
        Position { chunk, index: self.0.get(chunk).map_or(0, |chunk| chunk.partition_point(before)) }
    }

    pub(super) fn get(&self, position: Position) -> Option<Range> {
        self.0.get(position.chunk)?.get(position.index).copied()
    }

    /// The ranges from a position to the end.
    pub(super) fn from(&self, position: Position) -> impl Iterator<Item = Range> + '_ {
        let (here, after) =
            self.0.get(position.chunk..).unwrap_or_default().split_at_checked(1).unwrap_or_default();
        let here = here.iter().flat_map(move |chunk| &chunk[position.index..]);
        here.chain(after.iter().flatten()).copied()
    }

    /// Appends a range. A set that only grows at its end has full chunks.
    fn push(&mut self, range: Range) {
        match self.0.last_mut() {
            Some(last) if last.len() < FULL => last.push(range),
            _ => self.0.push(vec![range]),
        }
    }

    /// Inserts a range that touches no other, at its position.
    pub(super) fn insert(&mut self, position: Position, range: Range) {
        let last = position.chunk + 1 >= self.0.len();
        let Some(chunk) = self.0.get_mut(position.chunk) else { return self.push(range) };
        if last && position.index == chunk.len() {
            return self.push(range);
        }
        if chunk.len() < FULL {
            return chunk.insert(position.index, range);
        }
        // The next ranges come near the end: only a small part of the last chunk is moved to the new one.
        let cut = if last { FULL - FULL / 8 - 1 } else { FULL / 2 };
        let mut right = chunk.split_off(cut);
        if position.index <= cut {
            chunk.insert(position.index, range);
        } else {
            right.insert(position.index - cut, range);
        }
        if !last {
            chunk.shrink_to_fit();
        }
        self.0.insert(position.chunk + 1, right);
    }

    /// Merges `range` with all ranges that touch it, the first of which is at `position`. Returns the number of its
    /// numbers that are new.
    pub(super) fn join(&mut self, position: Position, range: Range) -> u64 {
        let mut taken = 0;
        let mut all = range;
        let (mut from, mut chunk) = (position.index, position.chunk);
        // The ranges that touch are consecutive; they continue in the next chunk only if they reach the end of this one.
        while let Some(ranges) = self.0.get_mut(chunk) {
            let run = from + ranges[from..].partition_point(|other| other.start <= range.end);
            for other in &ranges[from..run] {
                taken += other.count();
                all = Range::new(all.start.min(other.start), all.end.max(other.end));
            }
            let through = run == ranges.len();
            // The first one is kept, to be replaced with the merged range.
            let first = usize::from(chunk == position.chunk);
            ranges.drain(from + first..run);
            if !through {
                break;
            }
            (from, chunk) = (0, chunk + 1);
        }
        self.0[position.chunk][position.index] = all;
        let after = position.chunk + 1;
        self.0.drain(after..chunk.max(after));
        self.tidy(position.chunk);
        all.count() - taken
    }

    /// Merges neighbouring chunks that fit into half a chunk, and frees unused memory.
    fn tidy(&mut self, chunk: usize) {
        let fits = |pair: &[Vec<Range>]| pair.len() == 2 && pair[0].len() + pair[1].len() <= FULL / 2;
        let mut chunk = chunk;
        if self.0.get(chunk..chunk + 2).is_some_and(fits) {
            let right = self.0.remove(chunk + 1);
            self.0[chunk].extend(right);
        }
        if chunk > 0 && self.0.get(chunk - 1..=chunk).is_some_and(fits) {
            let right = self.0.remove(chunk);
            chunk -= 1;
            self.0[chunk].extend(right);
        }
        let chunk = &mut self.0[chunk];
        if chunk.capacity() > 4 * chunk.len().next_power_of_two().max(4) {
            chunk.shrink_to(2 * chunk.len());
        }
    }

    /// Returns `true` if the invariants hold.
    #[cfg(test)]
    pub(super) fn is_valid(&self) -> bool {
        let sizes = self.0.iter().all(|chunk| (1..=FULL).contains(&chunk.len()));
        let all: Vec<_> = self.iter().collect();
        sizes
            && all.iter().all(|range| !range.is_empty())
            && all.windows(2).all(|pair| pair[0].end < pair[1].start)
    }

    /// The number of chunks.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.0.len()
    }
}
