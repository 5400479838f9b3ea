//! The outcome of every span, from the emitters' ledgers and the sinks' ledgers.

use crate::{EmitterLedger, RangeSet, SinkLedger, Stream};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

/// Numbers of spans by outcome; the crate's documentation defines each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Given to an agent.
    pub attempted: u64,
    /// Accepted by an agent.
    pub acknowledged: u64,
    /// Seen by a sink, once or more, and reserved by an emitter of this run.
    pub delivered: u64,
    /// Acknowledged, never delivered, and not stranded.
    pub lost: u64,
    /// Acknowledged, not delivered, and perhaps still held on a disk or by a process that was not seen to end.
    #[serde(default)]
    pub stranded: u64,
    /// Lost spans that the backend had refused; the other lost ones vanished.
    pub lost_refused: u64,
    /// Delivered more than once.
    pub duplicated: u64,
    /// Delivered, never acknowledged.
    pub recovered: u64,
    /// Delivered, never reserved; or foreign, or damaged.
    pub unexpected: u64,
    /// Refused by an agent permanently.
    pub rejected: u64,
    /// Attempted, outcome not recorded.
    pub unknown: u64,
    /// Deliveries beyond the first, of all spans.
    pub extra_copies: u64,
    /// Duplicated spans that the emitter itself had sent more than once.
    pub duplicated_by_resend: u64,
    /// Acknowledged, and not delivered because a sampler drops their traces by design; not counted as lost.
    #[serde(default, skip_serializing_if = "none")]
    pub not_sampled: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn none(count: &u64) -> bool {
    *count == 0
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.attempted = self.attempted.saturating_add(other.attempted);
        self.acknowledged = self.acknowledged.saturating_add(other.acknowledged);
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.lost = self.lost.saturating_add(other.lost);
        self.stranded = self.stranded.saturating_add(other.stranded);
        self.lost_refused = self.lost_refused.saturating_add(other.lost_refused);
        self.duplicated = self.duplicated.saturating_add(other.duplicated);
        self.recovered = self.recovered.saturating_add(other.recovered);
        self.unexpected = self.unexpected.saturating_add(other.unexpected);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.extra_copies = self.extra_copies.saturating_add(other.extra_copies);
        self.duplicated_by_resend = self.duplicated_by_resend.saturating_add(other.duplicated_by_resend);
        self.not_sampled = self.not_sampled.saturating_add(other.not_sampled);
    }
}

/// The outcomes of one stream's spans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamAccount {
    /// Acknowledged, not delivered and not stranded.
    pub lost: RangeSet,
    /// Acknowledged, not delivered, and perhaps still held in a queue.
    pub stranded: RangeSet,
    /// Spans that a sink refused, by gRPC code; most were accepted later.
    pub refused: BTreeMap<u8, RangeSet>,
    /// Delivered and never reserved.
    pub unexpected: RangeSet,
    /// The counts of all of these.
    pub counts: Counts,
}

/// The outcomes of every span of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// By stream.
    pub streams: BTreeMap<Stream, StreamAccount>,
    /// The sums over all streams, with spans that belong to none.
    pub counts: Counts,
}

impl Account {
    /// Compares emitters' ledgers with sinks' ledgers. Several ledgers of one stream add up, and so do several sinks.
    pub fn of<'a>(
        emitters: impl IntoIterator<Item = &'a EmitterLedger>,
        sinks: impl IntoIterator<Item = &'a SinkLedger>,
    ) -> Self {
        let emitters: Vec<_> = emitters.into_iter().collect();
        let sinks: Vec<_> = sinks.into_iter().collect();
        let sent = emitters.iter().map(|emitter| emitter.stream());
        let streams: BTreeSet<_> = sent.chain(sinks.iter().flat_map(|sink| sink.streams())).collect();
        let streams = streams.into_iter().map(|stream| (stream, of_stream(stream, &emitters, &sinks)));
        let mut account = Self { streams: streams.collect(), counts: Counts::default() };
        for stream in account.streams.values() {
            account.counts += stream.counts;
        }
        for sink in sinks {
            let strange = sink.foreign().saturating_add(sink.damaged());
            account.counts.unexpected = account.counts.unexpected.saturating_add(strange);
        }
        account
    }

    /// Counts the lost spans of these streams as stranded: they may still be held in a queue.
    pub fn strand(&mut self, streams: impl IntoIterator<Item = Stream>) {
        for stream in streams {
            let Some(account) = self.streams.get_mut(&stream) else { continue };
            let lost = std::mem::take(&mut account.lost);
            account.stranded.extend(&lost);
            let (lost, refused) = (lost.count(), account.counts.lost_refused);
            for counts in [&mut account.counts, &mut self.counts] {
                counts.lost = counts.lost.saturating_sub(lost);
                counts.lost_refused = counts.lost_refused.saturating_sub(refused);
                counts.stranded = counts.stranded.saturating_add(lost);
            }
        }
    }
}

/// The account of one stream. With one emitter and one sink, none of their sets is copied.
fn of_stream(stream: Stream, emitters: &[&EmitterLedger], sinks: &[&SinkLedger]) -> StreamAccount {
    let ours = || emitters.iter().filter(|emitter| emitter.stream() == stream);
    let reserved = RangeSet::union(ours().map(|emitter| emitter.reserved()));
    let acknowledged = RangeSet::union(ours().map(|emitter| emitter.acknowledged()));
    let attempted: Vec<_> = ours().map(|emitter| emitter.attempted()).collect();
    let attempted = RangeSet::union(attempted.iter().map(AsRef::as_ref));
    // Spans that one process was refused permanently may have been accepted from another.
    let rejected = RangeSet::union(ours().flat_map(|emitter| emitter.rejected_by_code()));
    let rejected = rejected.difference(&acknowledged);
    let resent = RangeSet::union(ours().map(|emitter| emitter.resent()));

    let mut refused: BTreeMap<u8, RangeSet> = BTreeMap::new();
    for (code, set) in sinks.iter().flat_map(|sink| sink.refused(stream)) {
        refused.entry(code).or_default().extend(set);
    }
    let arrived = StreamDeliveries::at(stream, sinks);

    // Everything acknowledged is reserved: a ledger accepts no other outcome.
    let lost = acknowledged.difference(&arrived.once);
    let delivered = arrived.once.intersection_count(&reserved);
    let counts = Counts {
        attempted: attempted.count(),
        acknowledged: acknowledged.count(),
        delivered,
        lost: lost.count(),
        stranded: 0,
        lost_refused: lost.intersection_count(&RangeSet::union(refused.values())),
        duplicated: arrived.twice.count(),
        recovered: delivered - arrived.once.intersection_count(&acknowledged),
        unexpected: arrived.once.count() - delivered,
        rejected: rejected.count(),
        unknown: attempted.difference(&acknowledged).difference(&rejected).count(),
        extra_copies: arrived.copies,
        duplicated_by_resend: arrived.twice.intersection_count(&resent),
        not_sampled: 0,
    };
    let unexpected = arrived.once.difference(&reserved);
    StreamAccount { lost, stranded: RangeSet::new(), refused, unexpected, counts }
}

/// The numbers of a stream that were delivered more than once, to one sink or to several.
pub(crate) fn duplicated(stream: Stream, sinks: &[&SinkLedger]) -> RangeSet {
    StreamDeliveries::at(stream, sinks).twice
}

/// The deliveries of a stream to all sinks.
struct StreamDeliveries<'a> {
    once: Cow<'a, RangeSet>,
    twice: RangeSet,
    copies: u64,
}

impl<'a> StreamDeliveries<'a> {
    /// A number that two sinks received counts as delivered twice.
    fn at(stream: Stream, sinks: &[&'a SinkLedger]) -> Self {
        let mut arrived = Self { once: Cow::Owned(RangeSet::new()), twice: RangeSet::new(), copies: 0 };
        for sink in sinks {
            let here = sink.delivered(stream);
            if let Some(again) = sink.duplicates(stream) {
                arrived.copies = arrived.copies.saturating_add(again.copies);
                arrived.twice.extend(&again.spans);
            }
            if arrived.once.is_empty() {
                arrived.once = Cow::Borrowed(here);
                continue;
            }
            let both = arrived.once.intersection(here);
            arrived.copies = arrived.copies.saturating_add(both.count());
            arrived.twice.extend(&both);
            arrived.once.to_mut().extend(here);
        }
        arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delivery, EmitterRecord, EmitterSeal, Range, SinkRecord};
    use proptest::prelude::*;

    const RESERVED: u64 = 64;

    fn emitter(acknowledged: &BTreeSet<u64>, rejected: &BTreeSet<u64>, used: u64) -> EmitterLedger {
        let mut records = vec![
            EmitterRecord::Opened { run_tag: 7, stream: 1, unix_ms: 0 },
            EmitterRecord::Reserved { range: Range::new(0, RESERVED) },
        ];
        records.extend(
            acknowledged.iter().map(|n| EmitterRecord::Acknowledged { range: Range::new(*n, n + 1) }),
        );
        records.extend(
            rejected.iter().map(|n| EmitterRecord::Rejected { range: Range::new(*n, n + 1), code: 3 }),
        );
        let acknowledged = acknowledged.len() as u64;
        records.push(EmitterRecord::Sealed(EmitterSeal {
            next: used,
            acknowledged,
            incarnations: 1,
            records: records.len() as u64,
            complete: true,
        }));
        EmitterLedger::from_records(&records).unwrap()
    }

    fn sink(deliveries: &[u64]) -> SinkLedger {
        let mut ledger = SinkLedger::default();
        ledger.apply(&SinkRecord::Opened { run_tag: 7, source: 1, unix_ms: 0 }).unwrap();
        for number in deliveries {
            let ranges = vec![Range::new(*number, number + 1)];
            let delivery = Delivery { unix_ms: 0, gateway: 0, stream: 1, ranges };
            ledger.apply(&SinkRecord::Delivered(delivery)).unwrap();
        }
        ledger
    }

    proptest! {
        /// The arithmetic of the definitions, compared with sets of numbers; however the deliveries are spread
        /// over sinks and whatever their order, the account is the same.
        #[test]
        fn counts_follow_the_definitions(
            acknowledged in prop::collection::btree_set(0u64..40, 0..40),
            rejected in prop::collection::btree_set(0u64..40, 0..8),
            deliveries in prop::collection::vec(0u64..80, 0..80),
            cut: prop::sample::Index,
        ) {
            let rejected = &rejected - &acknowledged;
            let emitters = [emitter(&acknowledged, &rejected, 40)];
            let account = Account::of(&emitters, &[sink(&deliveries)]);
            let counts = account.counts;

            let seen: BTreeSet<u64> = deliveries.iter().copied().collect();
            let attempted: BTreeSet<u64> = (0..40).collect();
            let reserved: BTreeSet<u64> = (0..RESERVED).collect();
            let twice = seen.iter().filter(|n| deliveries.iter().filter(|m| m == n).count() > 1).count();
            prop_assert_eq!(counts.attempted, 40);
            prop_assert_eq!(counts.acknowledged, acknowledged.len() as u64);
            prop_assert_eq!(counts.lost, (&acknowledged - &seen).len() as u64);
            prop_assert_eq!(counts.delivered, (&seen & &reserved).len() as u64);
            prop_assert_eq!(counts.recovered, (&(&seen & &reserved) - &acknowledged).len() as u64);
            prop_assert_eq!(counts.unexpected, (&seen - &reserved).len() as u64);
            prop_assert_eq!(counts.rejected, rejected.len() as u64);
            prop_assert_eq!(counts.unknown, (&(&attempted - &acknowledged) - &rejected).len() as u64);
            prop_assert_eq!(counts.duplicated, twice as u64);
            prop_assert_eq!(counts.extra_copies, (deliveries.len() - seen.len()) as u64);

            let (left, right) = deliveries.split_at(cut.index(deliveries.len() + 1));
            prop_assert_eq!(&Account::of(&emitters, &[sink(left), sink(right)]), &account);
            let backwards: Vec<_> = deliveries.iter().rev().copied().collect();
            prop_assert_eq!(&Account::of(&emitters, &[sink(&backwards)]), &account);
        }
    }

    #[test]
    fn spans_refused_by_the_backend_and_never_accepted_are_counted_apart() {
        let mut sink = sink(&[0, 1, 4]);
        let ranges = vec![Range::new(1, 3)];
        sink.apply(&SinkRecord::Refused { unix_ms: 0, code: 14, stream: 1, ranges }).unwrap();
        let account = Account::of(&[emitter(&(0..5).collect(), &BTreeSet::new(), 5)], &[sink]);
        assert_eq!((account.counts.lost, account.counts.lost_refused), (2, 1), "2 was refused, 3 vanished");
        assert_eq!(account.streams[&1].refused[&14].count(), 2);
    }

    #[test]
    fn an_outcome_needs_a_reservation() {
        let records = [
            EmitterRecord::Opened { run_tag: 7, stream: 1, unix_ms: 0 },
            EmitterRecord::Acknowledged { range: Range::new(0, 5) },
        ];
        assert!(EmitterLedger::from_records(&records).is_err());
    }

    #[test]
    fn a_new_incarnation_breaks_the_seal_and_leaves_the_rest_unknown() {
        let mut ledger = emitter(&(0..10).collect(), &BTreeSet::new(), 12);
        assert_eq!(ledger.unknown().count(), 2, "12 sent, 10 acknowledged");
        ledger.apply(&EmitterRecord::Opened { run_tag: 7, stream: 1, unix_ms: 9 }).unwrap();
        assert!(ledger.seal().is_none());
        assert_eq!(ledger.unknown().count(), RESERVED - 10, "anything reserved may have been sent");
    }
}
