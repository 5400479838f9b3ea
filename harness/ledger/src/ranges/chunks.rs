//! Ranges in order, in chunks: a tree of two levels.

use super::Range;

/// No chunk holds more ranges than this. A change moves at most one chunk, 8 KiB; a million ranges are some
/// two thousand chunks. In tests few ranges are many chunks.
const FULL: usize = if cfg!(test) { 4 } else { 512 };

/// Where a range is, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
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

    /// The first place whose range is not before what is looked for; the end, if all are.
    pub(super) fn find(&self, before: impl Fn(&Range) -> bool) -> Place {
        // Most that is looked for is near the end.
        let chunk = match self.0.last() {
            Some(last) if before(&last[0]) => self.0.len() - 1,
            _ => self.0.partition_point(|chunk| chunk.last().is_some_and(&before)),
        };
        Place { chunk, index: self.0.get(chunk).map_or(0, |chunk| chunk.partition_point(before)) }
    }

    pub(super) fn get(&self, place: Place) -> Option<Range> {
        self.0.get(place.chunk)?.get(place.index).copied()
    }

    /// The ranges from a place on.
    pub(super) fn from(&self, place: Place) -> impl Iterator<Item = Range> + '_ {
        let (here, behind) =
            self.0.get(place.chunk..).unwrap_or_default().split_at_checked(1).unwrap_or_default();
        let here = here.iter().flat_map(move |chunk| &chunk[place.index..]);
        here.chain(behind.iter().flatten()).copied()
    }

    /// Adds a range behind all others. What only grows at its end is in full chunks.
    fn push(&mut self, range: Range) {
        match self.0.last_mut() {
            Some(last) if last.len() < FULL => last.push(range),
            _ => self.0.push(vec![range]),
        }
    }

    /// Adds a range that touches no other, at its place.
    pub(super) fn insert(&mut self, place: Place, range: Range) {
        let last = place.chunk + 1 >= self.0.len();
        let Some(chunk) = self.0.get_mut(place.chunk) else { return self.push(range) };
        if last && place.index == chunk.len() {
            return self.push(range);
        }
        if chunk.len() < FULL {
            return chunk.insert(place.index, range);
        }
        // What comes next comes near the end: little of the last chunk goes into a new one.
        let cut = if last { FULL - FULL / 8 - 1 } else { FULL / 2 };
        let mut right = chunk.split_off(cut);
        if place.index <= cut {
            chunk.insert(place.index, range);
        } else {
            right.insert(place.index - cut, range);
        }
        if !last {
            chunk.shrink_to_fit();
        }
        self.0.insert(place.chunk + 1, right);
    }

    /// Makes one of `range` and all that touch it, the first of which is at `place`. Returns how many of its
    /// numbers are new.
    pub(super) fn join(&mut self, place: Place, range: Range) -> u64 {
        let mut taken = 0;
        let mut all = range;
        let (mut from, mut chunk) = (place.index, place.chunk);
        // In each chunk those that touch are a run; it goes on in the next one only if it reaches the end.
        while let Some(ranges) = self.0.get_mut(chunk) {
            let run = from + ranges[from..].partition_point(|other| other.start <= range.end);
            for other in &ranges[from..run] {
                taken += other.count();
                all = Range::new(all.start.min(other.start), all.end.max(other.end));
            }
            let through = run == ranges.len();
            // The first of all makes room for what becomes of them.
            let first = usize::from(chunk == place.chunk);
            ranges.drain(from + first..run);
            if !through {
                break;
            }
            (from, chunk) = (0, chunk + 1);
        }
        self.0[place.chunk][place.index] = all;
        let behind = place.chunk + 1;
        self.0.drain(behind..chunk.max(behind));
        self.tidy(place.chunk);
        all.count() - taken
    }

    /// Two neighbours that fit into half a chunk become one, and memory that is not needed is given back.
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

    /// Whether the chunks are as they ought to be.
    #[cfg(test)]
    pub(super) fn sound(&self) -> bool {
        let sizes = self.0.iter().all(|chunk| (1..=FULL).contains(&chunk.len()));
        let all: Vec<_> = self.iter().collect();
        sizes
            && all.iter().all(|range| !range.is_empty())
            && all.windows(2).all(|pair| pair[0].end < pair[1].start)
    }

    /// How many chunks there are.
    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.0.len()
    }
}
