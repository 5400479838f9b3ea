//! The emitter's ledger: the numbers it used and the agent's answers.

use crate::log::Record;
use crate::{LedgerError, Range, RangeSet, Stream, bounds};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A record of an emitter's ledger. Records are in the order of the events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmitterRecord {
    /// An incarnation (a process) of the emitter begins.
    Opened {
        /// The run.
        run_tag: u64,
        /// The stream.
        stream: Stream,
        /// Unix time in milliseconds.
        unix_ms: u64,
    },
    /// These numbers may be used from now on. Written to disk before the first of them is sent.
    Reserved {
        /// The numbers.
        range: Range,
    },
    /// The agent accepted all of them. Written to disk before it is counted.
    Acknowledged {
        /// The numbers.
        range: Range,
    },
    /// The agent refused them permanently.
    Rejected {
        /// The numbers.
        range: Range,
        /// The gRPC code.
        code: i32,
    },
    /// These numbers were sent more than once, so a duplicate of them may be the emitter's own.
    Resent {
        /// The numbers.
        range: Range,
    },
    /// The counts of one second.
    Second {
        /// The second's start, Unix time in milliseconds.
        unix_ms: u64,
        /// The numbers sent for the first time in it.
        emitted: Range,
        /// Spans that the schedule asked for.
        offered: u64,
        /// Spans acknowledged.
        acknowledged: u64,
        /// Failed attempts.
        failed_requests: u64,
        /// Spans of these attempts.
        failed_spans: u64,
        /// Spans that an SDK with default settings would have dropped in the emitter's place.
        sdk_dropped: u64,
        /// Milliseconds by which the schedule was late at the second's end.
        slipped_ms: u64,
        /// Latencies of the requests acknowledged in it, measured from their due time: an encoded
        /// [`crate::Latency`], weighted by requests; empty if there were none.
        latency: Vec<u8>,
    },
    /// The end: nothing is emitted after it.
    Sealed(EmitterSeal),
}

impl Record for EmitterRecord {
    const KIND: u8 = b'E';
}

/// The last record of a complete emitter's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmitterSeal {
    /// The first number that was reserved but never used; everything below was sent.
    pub next: u64,
    /// The number of acknowledged spans.
    pub acknowledged: u64,
    /// The number of processes that wrote this ledger.
    pub incarnations: u32,
    /// The number of records before this one.
    pub records: u64,
    /// `true` if the schedule ran to its end; `false` if it was stopped or the lease expired.
    pub complete: bool,
}

/// One second of an emitter; see [`EmitterRecord::Second`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitSecond {
    /// Its start, Unix time in milliseconds.
    pub unix_ms: u64,
    /// The numbers sent for the first time in it.
    pub emitted: Range,
    /// Spans that the schedule asked for.
    pub offered: u64,
    /// Spans acknowledged.
    pub acknowledged: u64,
    /// Failed attempts.
    pub failed_requests: u64,
    /// Spans of these attempts.
    pub failed_spans: u64,
    /// Spans that an SDK with default settings would have dropped in the emitter's place.
    pub sdk_dropped: u64,
    /// Milliseconds by which the schedule was late at its end.
    pub slipped_ms: u64,
    /// Latencies of the requests acknowledged in it, as an encoded [`crate::Latency`].
    pub latency: Vec<u8>,
}

/// The sum of an emitter's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmitterLedger {
    run_tag: u64,
    stream: Stream,
    incarnations: u32,
    openings: Vec<u64>,
    reserved: RangeSet,
    acknowledged: RangeSet,
    rejected: BTreeMap<i32, RangeSet>,
    resent: RangeSet,
    seconds: Vec<EmitSecond>,
    seal: Option<EmitterSeal>,
    records: usize,
}

impl EmitterLedger {
    /// Sums up records.
    pub fn from_records<'a>(
        records: impl IntoIterator<Item = &'a EmitterRecord>,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        for record in records {
            ledger.apply(record)?;
        }
        Ok(ledger)
    }

    /// Adds one record. A new incarnation that continues after a seal removes the seal.
    pub fn apply(&mut self, record: &EmitterRecord) -> Result<(), LedgerError> {
        let index = self.records;
        if self.incarnations == 0 && !matches!(record, EmitterRecord::Opened { .. }) {
            return Err(LedgerError::NotOpened { index });
        }
        match record {
            EmitterRecord::Opened { run_tag, stream, unix_ms } => {
                bounds::time(index, *unix_ms)?;
                if self.incarnations > 0 && (self.run_tag, self.stream) != (*run_tag, *stream) {
                    return Err(LedgerError::OtherRun { index, expected: self.run_tag, found: *run_tag });
                }
                (self.run_tag, self.stream) = (*run_tag, *stream);
                self.incarnations += 1;
                self.openings.push(*unix_ms);
                self.seal = None;
            }
            EmitterRecord::Reserved { range } => {
                bounds::range(index, *range)?;
                self.reserved.insert(*range);
            }
            EmitterRecord::Acknowledged { range } => {
                self.require_reserved(index, *range)?;
                self.acknowledged.insert(*range);
            }
            EmitterRecord::Rejected { range, code } => {
                self.require_reserved(index, *range)?;
                self.rejected.entry(*code).or_default().insert(*range);
            }
            EmitterRecord::Resent { range } => {
                self.require_reserved(index, *range)?;
                self.resent.insert(*range);
            }
            EmitterRecord::Second {
                unix_ms,
                emitted,
                offered,
                acknowledged,
                failed_requests,
                failed_spans,
                sdk_dropped,
                slipped_ms,
                latency,
            } => {
                bounds::time(index, *unix_ms)?;
                bounds::counts(
                    index,
                    &[*offered, *acknowledged, *failed_requests, *failed_spans, *sdk_dropped, *slipped_ms],
                )?;
                self.require_next(index, *emitted)?;
                self.seconds.push(EmitSecond {
                    unix_ms: *unix_ms,
                    emitted: *emitted,
                    offered: *offered,
                    acknowledged: *acknowledged,
                    failed_requests: *failed_requests,
                    failed_spans: *failed_spans,
                    sdk_dropped: *sdk_dropped,
                    slipped_ms: *slipped_ms,
                    latency: latency.clone(),
                });
            }
            EmitterRecord::Sealed(seal) => {
                if seal.records != index as u64 {
                    let (sealed, counted) = (seal.records, index as u64);
                    return Err(LedgerError::SealDisagrees { what: "records", sealed, counted });
                }
                if seal.incarnations != self.incarnations {
                    let (sealed, counted) = (seal.incarnations.into(), self.incarnations.into());
                    return Err(LedgerError::SealDisagrees { what: "incarnations", sealed, counted });
                }
                if seal.acknowledged != self.acknowledged.count() {
                    let (sealed, counted) = (seal.acknowledged, self.acknowledged.count());
                    return Err(LedgerError::SealDisagrees { what: "acknowledged spans", sealed, counted });
                }
                let used = self.rejected.values().map(RangeSet::end).fold(self.acknowledged.end(), u64::max);
                if seal.next < used {
                    let (sealed, counted) = (seal.next, used);
                    return Err(LedgerError::SealDisagrees { what: "used numbers", sealed, counted });
                }
                if seal.next > self.reserved.end() {
                    let (sealed, counted) = (seal.next, self.reserved.end());
                    return Err(LedgerError::SealDisagrees { what: "used numbers", sealed, counted });
                }
                self.seal = Some(*seal);
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Checks that a second's numbers follow those of the second before it, and were reserved.
    fn require_next(&self, index: usize, emitted: Range) -> Result<(), LedgerError> {
        bounds::range(index, emitted)?;
        if emitted.is_empty() {
            return Ok(());
        }
        let before = self.seconds.iter().rev().find(|second| !second.emitted.is_empty());
        if before.is_some_and(|before| emitted.start < before.emitted.end) {
            return Err(LedgerError::Invalid { index, what: "numbers that an earlier second sent" });
        }
        if !self.reserved.covers(emitted) {
            let (stream, range) = (self.stream, emitted);
            return Err(LedgerError::NeverReserved { index, stream, range });
        }
        Ok(())
    }

    fn require_reserved(&self, index: usize, range: Range) -> Result<(), LedgerError> {
        let stream = self.stream;
        bounds::range(index, range)?;
        if !self.reserved.covers(range) {
            return Err(LedgerError::NeverReserved { index, stream, range });
        }
        match self.seal {
            Some(seal) if seal.next < range.end => Err(LedgerError::NeverUsed { index, stream, range }),
            _ => Ok(()),
        }
    }

    /// Returns `true` unless something shows that this ledger's records are not the first records of `longer`.
    pub(crate) fn may_be_prefix_of(&self, longer: &Self) -> bool {
        let rejected = |(code, set): (&i32, &RangeSet)| {
            longer.rejected.get(code).is_some_and(|longer| set.is_subset(longer))
        };
        if self.records >= longer.records {
            return self == longer;
        }
        (self.run_tag, self.stream) == (longer.run_tag, longer.stream)
            && self.incarnations <= longer.incarnations
            && self.reserved.is_subset(&longer.reserved)
            && self.acknowledged.is_subset(&longer.acknowledged)
            && self.rejected.iter().all(rejected)
            && self.resent.is_subset(&longer.resent)
            && longer.seconds.starts_with(&self.seconds)
    }

    /// The tag of its run.
    pub const fn run_tag(&self) -> u64 {
        self.run_tag
    }
    /// Its stream.
    pub const fn stream(&self) -> Stream {
        self.stream
    }
    /// The number of processes that wrote it.
    pub const fn incarnations(&self) -> u32 {
        self.incarnations
    }
    /// The start of each process after the first, Unix time in milliseconds.
    pub fn restarts(&self) -> impl Iterator<Item = u64> + '_ {
        self.openings.iter().skip(1).copied()
    }
    /// The numbers that were ever reserved.
    pub const fn reserved(&self) -> &RangeSet {
        &self.reserved
    }
    /// The numbers that the agent accepted.
    pub const fn acknowledged(&self) -> &RangeSet {
        &self.acknowledged
    }
    /// The numbers that were sent more than once.
    pub const fn resent(&self) -> &RangeSet {
        &self.resent
    }
    /// The number of its records.
    pub const fn records(&self) -> u64 {
        self.records as u64
    }
    /// The seal; none if the ledger was never closed.
    pub const fn seal(&self) -> Option<EmitterSeal> {
        self.seal
    }

    /// The numbers that the agent refused permanently.
    pub fn rejected(&self) -> Cow<'_, RangeSet> {
        RangeSet::union(self.rejected_by_code())
    }

    pub(crate) fn rejected_by_code(&self) -> impl Iterator<Item = &RangeSet> {
        self.rejected.values()
    }

    /// The numbers given to the agent: all reserved ones, less those never used according to the seal.
    pub fn attempted(&self) -> Cow<'_, RangeSet> {
        match self.seal {
            Some(seal) => Cow::Owned(self.reserved.within(Range::new(0, seal.next))),
            None => Cow::Borrowed(&self.reserved),
        }
    }

    /// The attempted numbers with no recorded outcome.
    pub fn unknown(&self) -> RangeSet {
        self.attempted().difference(&self.acknowledged).difference(&self.rejected())
    }

    /// The start of the second in which a number was first sent, Unix time in milliseconds.
    pub fn emitted_at(&self, seq: u64) -> Option<u64> {
        let after = self.seconds.partition_point(|second| second.emitted.end <= seq);
        self.seconds.get(after).filter(|second| second.emitted.start <= seq).map(|second| second.unix_ms)
    }

    /// The counts of each second, in order.
    pub fn seconds(&self) -> &[EmitSecond] {
        &self.seconds
    }
}
