//! The arithmetic of the crate's definitions, with crashes, several sinks and copies of ledgers, compared with
//! sets of numbers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use proptest::sample::Index;
use spanproof_ledger::{
    Account, Counts, Delivery, EmitterLedger, EmitterRecord, EmitterSeal, LedgerError, Ledgers, MergeError,
    Range, RangeSet, SinkLedger, SinkRecord,
};
use std::collections::{BTreeMap, BTreeSet};

type Numbers = BTreeSet<u64>;

const RUN: u64 = 7;
const BLOCK: u64 = 16;

#[derive(Debug, Clone, Copy)]
enum Answer {
    Acknowledged,
    Rejected,
    /// Accepted in part, or never answered: nothing is recorded.
    None,
}

/// (spans, answer, sent more than once, the process is killed after it).
type Request = (u64, Answer, bool, bool);

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let answer =
        prop_oneof![6 => Just(Answer::Acknowledged), 1 => Just(Answer::Rejected), 2 => Just(Answer::None)];
    prop::collection::vec((1u64..7, answer, any::<bool>(), prop::bool::weighted(0.1)), 0..24)
}

/// The records of an emitter, and the numbers whose outcome it never learned.
fn emitter(requests: &[Request]) -> (Vec<EmitterRecord>, Numbers) {
    let opened = || EmitterRecord::Opened { run_tag: RUN, stream: 1, unix_ms: 0 };
    let (mut records, mut unanswered) = (vec![opened()], Numbers::new());
    let (mut next, mut reserved) = (0, 0);
    for (spans, answer, resent, killed) in requests {
        let range = Range::new(next, next + spans);
        if range.end > reserved {
            records.push(EmitterRecord::Reserved { range: Range::new(reserved, reserved + BLOCK) });
            reserved += BLOCK;
        }
        if *resent {
            records.push(EmitterRecord::Resent { range });
        }
        match answer {
            Answer::Acknowledged => records.push(EmitterRecord::Acknowledged { range }),
            Answer::Rejected => records.push(EmitterRecord::Rejected { range, code: 3 }),
            Answer::None => unanswered.extend(next..range.end),
        }
        next = range.end;
        if *killed {
            records.push(opened());
            next = reserved;
        }
    }
    (records, unanswered)
}

fn sealed(mut records: Vec<EmitterRecord>) -> Vec<EmitterRecord> {
    let ledger = EmitterLedger::from_records(&records).unwrap();
    let outcomes = [ledger.acknowledged().end(), ledger.rejected().end(), ledger.resent().end()];
    records.push(EmitterRecord::Sealed(EmitterSeal {
        next: outcomes.into_iter().max().unwrap_or(0),
        acknowledged: ledger.acknowledged().count(),
        incarnations: ledger.incarnations(),
        records: ledger.records(),
        complete: true,
    }));
    records
}

/// A request at one of three sinks: (sink, first number, numbers, refused, the sink is killed after it).
type Arrival = (u64, u64, u64, bool, bool);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let refused = prop::bool::weighted(0.15);
    let arrival = (0u64..3, 0u64..130, 1u64..8, refused, prop::bool::weighted(0.1));
    prop::collection::vec(arrival, 0..40)
}

/// The records of the sinks, by source.
fn sinks(arrivals: &[Arrival]) -> BTreeMap<u64, Vec<SinkRecord>> {
    let mut sinks: BTreeMap<u64, Vec<SinkRecord>> = BTreeMap::new();
    for (sink, start, count, refused, killed) in arrivals {
        let opened = SinkRecord::Opened { run_tag: RUN, source: *sink, unix_ms: 0 };
        let records = sinks.entry(*sink).or_insert_with(|| vec![opened.clone()]);
        let ranges = vec![Range::new(*start, start + count)];
        records.push(if *refused {
            SinkRecord::Refused { unix_ms: 0, code: 14, stream: 1, ranges }
        } else {
            SinkRecord::Delivered(Delivery { unix_ms: 0, gateway: 0, stream: 1, ranges })
        });
        if *killed {
            records.push(opened);
        }
    }
    sinks
}

/// The definitions, computed with sets of numbers.
fn model(emitter: &[EmitterRecord], arrivals: &[Arrival]) -> (Counts, Numbers) {
    let numbers = |range: &Range| range.start..range.end;
    let [mut reserved, mut acknowledged, mut answered_no, mut resent] = [const { Numbers::new() }; 4];
    let mut used = u64::MAX;
    for record in emitter {
        match record {
            EmitterRecord::Reserved { range } => reserved.extend(numbers(range)),
            EmitterRecord::Acknowledged { range } => acknowledged.extend(numbers(range)),
            EmitterRecord::Rejected { range, .. } => answered_no.extend(numbers(range)),
            EmitterRecord::Resent { range } => resent.extend(numbers(range)),
            EmitterRecord::Opened { .. } => used = u64::MAX,
            EmitterRecord::Sealed(seal) => used = seal.next,
            EmitterRecord::Second { .. } => {}
        }
    }
    let attempted: Numbers = reserved.iter().copied().filter(|number| *number < used).collect();
    let (mut times, mut refused) = (BTreeMap::<u64, u64>::new(), Numbers::new());
    for (_, start, count, no, _) in arrivals {
        for number in *start..start + count {
            if *no {
                refused.insert(number);
            } else {
                *times.entry(number).or_default() += 1;
            }
        }
    }
    let arrived: Numbers = times.keys().copied().collect();
    let twice: Numbers = times.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect();
    let delivered = &arrived & &reserved;
    let lost = &acknowledged - &delivered;
    let rejected = &answered_no - &acknowledged;
    let unknown = &(&attempted - &acknowledged) - &rejected;
    let count = |set: &Numbers| set.len() as u64;
    let counts = Counts {
        attempted: count(&attempted),
        acknowledged: count(&acknowledged),
        delivered: count(&delivered),
        lost: count(&lost),
        stranded: 0,
        lost_refused: count(&(&lost & &refused)),
        duplicated: count(&twice),
        recovered: count(&(&delivered - &acknowledged)),
        unexpected: count(&(&arrived - &reserved)),
        rejected: count(&rejected),
        unknown: count(&unknown),
        extra_copies: times.values().map(|times| times - 1).sum(),
        duplicated_by_resend: count(&(&twice & &resent)),
        not_sampled: 0,
    };
    (counts, lost)
}

fn adds_up(counts: &Counts) -> bool {
    counts.attempted == counts.acknowledged + counts.rejected + counts.unknown
        && counts.acknowledged + counts.recovered == counts.delivered + counts.lost + counts.stranded
}

fn ledgers<'a>(
    emitters: impl IntoIterator<Item = &'a [EmitterRecord]>,
    sinks: impl IntoIterator<Item = &'a [SinkRecord]>,
) -> Ledgers {
    let mut all = Ledgers::default();
    for records in emitters {
        all.add_emitter(EmitterLedger::from_records(records).unwrap()).unwrap();
    }
    for records in sinks {
        all.add_sink(SinkLedger::from_records(records).unwrap()).unwrap();
    }
    all
}

fn merged(a: &Ledgers, b: &Ledgers) -> Ledgers {
    let mut both = a.clone();
    both.merge(b.clone()).unwrap();
    both
}

/// Prefixes of some ledgers.
fn prefixes(emitter: &[EmitterRecord], sinks: &BTreeMap<u64, Vec<SinkRecord>>, cut: Index) -> Ledgers {
    let emitter = &emitter[..cut.index(emitter.len() + 1)];
    ledgers([emitter], sinks.values().map(|records| &records[..cut.index(records.len() + 1)]))
}

proptest! {
    /// The account is that of sets of numbers, and adds up, however much of the emitter's ledger a crash removed, and
    /// whether or not it was sealed. Requests that were never answered are unknown.
    #[test]
    fn the_account_is_that_of_sets_of_numbers(
        requests in requests(), arrivals in arrivals(), cut: Index, seal: bool,
    ) {
        let (mut records, unanswered) = emitter(&requests);
        let ledger = EmitterLedger::from_records(&records).unwrap();
        prop_assert!(unanswered.into_iter().collect::<RangeSet>().is_subset(&ledger.unknown()));
        records.truncate(1 + cut.index(records.len()));
        records.push(EmitterRecord::Opened { run_tag: RUN, stream: 1, unix_ms: 1 });
        if seal {
            records = sealed(records);
        }
        let all = ledgers([&records[..]], sinks(&arrivals).values().map(Vec::as_slice));
        let account = all.account();
        let (counts, lost) = model(&records, &arrivals);
        prop_assert_eq!(account.counts, counts);
        prop_assert!(adds_up(&account.counts), "{:?}", account.counts);
        let mut stranded = account.clone();
        stranded.strand(account.streams.keys().copied());
        prop_assert!(adds_up(&stranded.counts), "{:?}", stranded.counts);
        prop_assert_eq!((stranded.counts.lost, stranded.counts.stranded), (0, account.counts.lost));
        prop_assert_eq!(&account.streams[&1].lost, &lost.into_iter().collect::<RangeSet>());
    }

    /// Order, distribution over sinks and restarts do not change the account.
    #[test]
    fn order_and_sinks_and_restarts_change_nothing(
        requests in requests(),
        (arrivals, other) in arrivals().prop_flat_map(|arrivals| {
            let sinks = prop::collection::vec((0u64..3, any::<bool>()), arrivals.len());
            let other = (Just(arrivals.clone()).prop_shuffle(), sinks).prop_map(|(arrivals, sinks)| {
                let moved = arrivals.into_iter().zip(sinks);
                moved.map(|((_, start, count, refused, _), (sink, killed))| (sink, start, count, refused, killed))
                    .collect::<Vec<_>>()
            });
            (Just(arrivals), other)
        }),
    ) {
        let (records, _) = emitter(&requests);
        let ledger = [EmitterLedger::from_records(&records).unwrap()];
        let account = |arrivals: &[Arrival]| {
            let sinks = sinks(arrivals).into_values();
            let sinks: Vec<_> = sinks.map(|records| SinkLedger::from_records(&records).unwrap()).collect();
            Account::of(&ledger, &sinks)
        };
        prop_assert_eq!(account(&arrivals), account(&other));
        // Outcomes, too, may come in any order: here, all reservations first and the last outcome first.
        let (mut first, mut rest): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| {
            matches!(record, EmitterRecord::Opened { .. } | EmitterRecord::Reserved { .. })
        });
        rest.reverse();
        first.append(&mut rest);
        let backwards = EmitterLedger::from_records(&first).unwrap();
        prop_assert_eq!(Account::of([&backwards], []), Account::of(&ledger, []));
    }

    /// Copies of ledgers, collected early or late, merge to the same result in any order and grouping, and merging a
    /// copy again changes nothing.
    #[test]
    fn merging_is_associative_commutative_and_idempotent(
        requests in requests(), arrivals in arrivals(), cuts: [Index; 3],
    ) {
        let (records, _) = emitter(&requests);
        let (records, sinks) = (sealed(records), sinks(&arrivals));
        let [a, b, c] = cuts.map(|cut| prefixes(&records, &sinks, cut));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(&merged(&a, &a), &a);
        let whole = ledgers([&records[..]], sinks.values().map(Vec::as_slice));
        prop_assert_eq!(&merged(&merged(&a, &whole), &b), &whole);
        prop_assert_eq!(merged(&whole, &c).account().counts, model(&records, &arrivals).0);
    }
}

fn acknowledged(run_tag: u64, ranges: &[Range]) -> EmitterLedger {
    let mut records = vec![
        EmitterRecord::Opened { run_tag, stream: 1, unix_ms: 0 },
        EmitterRecord::Reserved { range: Range::new(0, 100) },
    ];
    records.extend(ranges.iter().map(|range| EmitterRecord::Acknowledged { range: *range }));
    EmitterLedger::from_records(&records).unwrap()
}

fn delivered(run_tag: u64, source: u64, ranges: &[Range]) -> SinkLedger {
    let mut records = vec![SinkRecord::Opened { run_tag, source, unix_ms: 0 }];
    records.extend(ranges.iter().map(|range| {
        SinkRecord::Delivered(Delivery { unix_ms: 0, gateway: 0, stream: 1, ranges: vec![*range] })
    }));
    SinkLedger::from_records(&records).unwrap()
}

#[test]
fn ledgers_that_contradict_each_other_are_refused() {
    let (a, b, c) = (Range::new(0, 5), Range::new(5, 9), Range::new(10, 20));
    let mut all = Ledgers::default();
    all.add_emitter(acknowledged(RUN, &[a])).unwrap();
    all.add_sink(delivered(RUN, 1, &[a])).unwrap();
    let before = all.clone();
    for ranges in [&[b][..], &[b, c]] {
        let (shorter, longer) = (3, 2 + ranges.len() as u64);
        let refused = all.clone().add_emitter(acknowledged(RUN, ranges));
        assert_eq!(refused, Err(MergeError::Emitters { stream: 1, shorter, longer }));
        let refused = all.clone().add_sink(delivered(RUN, 1, ranges));
        assert_eq!(refused, Err(MergeError::Sinks { source_id: 1, shorter: 2, longer: longer - 1 }));
    }
    let other_run = Err(MergeError::OtherRun { expected: RUN, found: RUN + 1 });
    assert_eq!(all.add_emitter(acknowledged(RUN + 1, &[a])), other_run);
    assert_eq!(all.add_sink(delivered(RUN + 1, 2, &[a])), other_run);
    assert_eq!(all, before);
    all.add_sink(delivered(RUN, 2, &[a])).unwrap();
    assert_eq!(all.account().counts.duplicated, 5, "two sinks took the same spans");
    all.add_emitter(EmitterLedger::default()).unwrap();
    assert_eq!(all.emitters().count(), 1, "an empty ledger is nobody's");
}

#[test]
fn a_seal_that_would_not_add_up_is_refused() {
    let seal = |next| {
        EmitterRecord::Sealed(EmitterSeal {
            next,
            acknowledged: 5,
            incarnations: 1,
            records: 3,
            complete: true,
        })
    };
    let mut ledger = acknowledged(RUN, &[Range::new(3, 8)]);
    let what = "used numbers";
    assert_eq!(ledger.apply(&seal(7)), Err(LedgerError::SealDisagrees { what, sealed: 7, counted: 8 }));
    ledger.apply(&seal(9)).unwrap();
    let range = Range::new(8, 10);
    let refused = ledger.apply(&EmitterRecord::Acknowledged { range });
    assert_eq!(refused, Err(LedgerError::NeverUsed { index: 4, stream: 1, range }));
}

#[test]
fn a_file_that_two_sinks_opened_is_refused() {
    let mut ledger = delivered(RUN, 1, &[]);
    let refused = ledger.apply(&SinkRecord::Opened { run_tag: RUN, source: 2, unix_ms: 0 });
    assert_eq!(refused, Err(LedgerError::OtherSink { index: 1, expected: 1, found: 2 }));
}
