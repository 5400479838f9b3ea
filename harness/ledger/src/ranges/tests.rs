//! Sets of ranges compared with sets of numbers.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn ranges() -> impl Strategy<Value = Vec<Range>> {
    prop::collection::vec(
        (0u64..120, 0u64..12).prop_map(|(start, len)| Range::new(start, start + len)),
        0..24,
    )
}

/// Short ranges and some that cover many of them.
fn many() -> impl Strategy<Value = Vec<Range>> {
    let short = (0u64..2000, 0u64..8);
    let long = (0u64..2000, 0u64..400);
    let range = prop_oneof![12 => short, 1 => long].prop_map(|(start, len)| Range::new(start, start + len));
    prop::collection::vec(range, 0..300)
}

fn model(ranges: &[Range]) -> BTreeSet<u64> {
    ranges.iter().flat_map(|range| range.start..range.end).collect()
}

fn numbers(set: &RangeSet) -> BTreeSet<u64> {
    set.iter().flat_map(|range| range.start..range.end).collect()
}

proptest! {
    /// Any ranges in any order make the set of their numbers, in as few ranges as possible.
    #[test]
    fn a_set_is_its_numbers(ranges in ranges()) {
        let set: RangeSet = ranges.iter().copied().collect();
        prop_assert_eq!(numbers(&set), model(&ranges));
        prop_assert_eq!(set.count(), model(&ranges).len() as u64);
        prop_assert!(set.ranges.is_valid());
    }

    /// `insert` returns the number of new numbers.
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

    /// Ranges in any order, over many chunks, which split and join: the set is right after each step.
    #[test]
    fn chunks_split_and_join(ranges in many()) {
        let (mut set, mut model) = (RangeSet::new(), BTreeSet::new());
        for range in ranges {
            let before = model.len();
            model.extend(range.start..range.end);
            prop_assert_eq!(set.insert(range), (model.len() - before) as u64);
            prop_assert!(set.ranges.is_valid());
            prop_assert_eq!(set.end(), model.last().map_or(0, |last| last + 1));
        }
        prop_assert_eq!(numbers(&set), model);
        prop_assert_eq!(set.iter().rev().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>());
        prop_assert_eq!(set.iter().count(), set.ranges());
    }

    /// Over many chunks too, the operations are those of sets, and sets of the same numbers are equal.
    #[test]
    fn operations_over_many_chunks(a in many(), b in many(), window in (0u64..2000, 0u64..800)) {
        let (left, right): (RangeSet, RangeSet) = (a.iter().copied().collect(), b.iter().copied().collect());
        let (ours, theirs) = (model(&a), model(&b));
        let both = &ours & &theirs;
        prop_assert_eq!(numbers(&left.intersection(&right)), both.clone());
        prop_assert_eq!(left.intersection_count(&right), both.len() as u64);
        prop_assert_eq!(numbers(&left.difference(&right)), &ours - &theirs);
        prop_assert_eq!(left.is_subset(&right), ours.is_subset(&theirs));
        prop_assert!(left.intersection(&right).is_subset(&left));
        let window = Range::new(window.0, window.0 + window.1);
        prop_assert_eq!(numbers(&left.within(window)), &ours & &model(&[window]));
        prop_assert_eq!(left.covers(window), model(&[window]).is_subset(&ours));
        let union = RangeSet::union([&left, &right]);
        prop_assert_eq!(numbers(&union), &ours | &theirs);
        prop_assert!(union.ranges.is_valid());
        let sorted: RangeSet = union.iter().collect();
        prop_assert_eq!(union.as_ref(), &sorted);
    }
}

/// Two equal sets may have different chunks.
#[test]
fn a_set_that_grows_at_its_end_has_full_chunks() {
    let forwards: RangeSet = (0..400).map(|n| 2 * n).collect();
    let backwards: RangeSet = (0..400).rev().map(|n| 2 * n).collect();
    assert_eq!(forwards.ranges.chunks(), 100);
    assert!(backwards.ranges.chunks() > 100);
    assert_eq!(forwards, backwards);
}

#[test]
fn a_set_that_is_filled_up_frees_its_chunks() {
    let mut set: RangeSet = (0..400).map(|n| 2 * n).collect();
    // From both sides, so that chunks become small before they join.
    for n in (0..400).filter(|n| n % 8 != 0).chain((0..400).filter(|n| n % 8 == 0)) {
        set.insert(Range::new(2 * n + 1, 2 * n + 2));
        assert!(set.ranges.chunks() <= set.ranges().max(1));
    }
    assert_eq!((set.ranges(), set.ranges.chunks(), set.count()), (1, 1, 800));
    assert_eq!(set.insert(Range::new(0, 900)), 100);
}

#[test]
fn a_union_of_one_set_copies_nothing() {
    let (one, none) = (RangeSet::from_iter([1u64, 3]), RangeSet::new());
    assert!(matches!(RangeSet::union([&none, &one, &none]), std::borrow::Cow::Borrowed(set) if *set == one));
    assert!(RangeSet::union([&none]).is_empty());
}
