//! The emitter's books: the ledger on disk and its sum in memory, always in step.

use super::sdk::Sdk;
use crate::control::{EmitStatus, ProbeError};
use crate::ledger_file::LedgerFile;
use spanproof_ledger::{EmitterLedger, EmitterRecord, EmitterSeal, Latency, Range, RangeSet, Stream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::error;

/// How many numbers are reserved at a time, at least: those of about a second, since each reservation is synced to
/// the disk.
const BLOCK: u64 = 16_384;

/// Everything that is counted, behind one lock: what is counted is in the file.
#[derive(Debug)]
pub(super) struct Book(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: LedgerFile<EmitterRecord>,
    ledger: EmitterLedger,
    /// The next number to be used.
    next: u64,
    /// One past the last reserved number.
    reserved: u64,
    /// How many numbers the last second took.
    last_second: u64,
    /// What the second that runs holds so far.
    second: Second,
    /// What an application would have instead of this emitter.
    sdk: Sdk,
    status: EmitStatus,
    problem: String,
}

#[derive(Debug, Default)]
struct Second {
    first: u64,
    offered: u64,
    acknowledged: u64,
    failed_requests: u64,
    failed_spans: u64,
    /// What the SDK had dropped before it.
    sdk_dropped: u64,
    latency: Latency,
}

/// What became of an attempt to deliver a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Acknowledged,
    /// Never to be sent again: with which code, and why.
    Rejected(i32, String),
    /// Taken in part: nobody can say which part.
    Partial,
    /// Given up at the end, without an answer.
    Abandoned,
}

impl Book {
    /// Opens the books; an earlier incarnation's numbers are never used again.
    pub(super) fn open(path: &Path, run_tag: u64, stream: Stream) -> Result<Self, ProbeError> {
        let mut ledger = EmitterLedger::default();
        let file = LedgerFile::open_with(path, |record| {
            ledger
                .apply(&record)
                .map_err(|source| ProbeError::Contradiction { path: path.to_owned(), source })
        })?;
        let next = ledger.reserved().end();
        let status = EmitStatus {
            acknowledged: ledger.acknowledged().count(),
            rejected: ledger.rejected().count(),
            emitted: next,
            offered: next,
            ..EmitStatus::default()
        };
        let second = Second { first: next, ..Second::default() };
        let (sdk, problem) = (Sdk::new(crate::unix_ms()), String::new());
        let mut inner =
            Inner { file, ledger, next, reserved: next, last_second: 0, second, sdk, status, problem };
        inner.record(&EmitterRecord::Opened { run_tag, stream, unix_ms: crate::unix_ms() }, true);
        Ok(Self(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schedule asks for a request: its numbers, reserved on disk. None if the ledger failed.
    pub(super) fn take(&self, spans: u64) -> Option<Range> {
        let mut inner = self.lock();
        let range = Range::new(inner.next, inner.next + spans);
        if range.end > inner.reserved {
            let block = Range::new(inner.reserved, inner.reserved + spans.max(BLOCK).max(inner.last_second));
            inner.record(&EmitterRecord::Reserved { range: block }, true);
            inner.reserved = block.end;
        }
        if !inner.problem.is_empty() {
            return None;
        }
        inner.next = range.end;
        inner.status.emitted += spans;
        inner.status.in_flight += spans;
        Some(range)
    }

    /// The schedule asked for spans, whether or not they could be taken up.
    pub(super) fn offer(&self, spans: u64, slipped_ms: u64) {
        let mut inner = self.lock();
        inner.second.offered += spans;
        inner.sdk.offered(crate::unix_ms(), spans);
        inner.status.offered += spans;
        inner.status.slipped_ms = slipped_ms;
    }

    /// An attempt failed and will be made again; `resent`: for the first time of those that may have been sent.
    pub(super) fn failed(&self, range: Range, resent: bool, why: &str) {
        let mut inner = self.lock();
        if resent {
            inner.record(&EmitterRecord::Resent { range }, false);
        }
        inner.count_failure(range);
        why.clone_into(&mut inner.status.last_error);
    }

    /// A request is done with, so long after it was due.
    pub(super) fn settle(&self, range: Range, outcome: Outcome, took: Duration) {
        let mut inner = self.lock();
        inner.status.in_flight -= range.count();
        match outcome {
            Outcome::Acknowledged => {
                if inner.record(&EmitterRecord::Acknowledged { range }, false) {
                    inner.second.acknowledged += range.count();
                    inner.second.latency.record(micros(took), 1);
                    inner.status.acknowledged += range.count();
                    inner.sdk.acknowledged(crate::unix_ms());
                }
            }
            Outcome::Rejected(code, why) => {
                inner.record(&EmitterRecord::Rejected { range, code }, false);
                inner.count_failure(range);
                inner.status.rejected += range.count();
                inner.sdk.rejected(range.count());
                inner.status.last_error = format!("rejected: {why}");
            }
            Outcome::Partial => "partial success: taken for unknown".clone_into(&mut inner.status.last_error),
            Outcome::Abandoned => {}
        }
    }

    /// A second is over.
    pub(super) fn tick(&self, began_unix_ms: u64) {
        let mut inner = self.lock();
        inner.sdk.pass(crate::unix_ms());
        let (next, dropped) = (inner.next, inner.sdk.dropped());
        let begun = Second { first: next, sdk_dropped: dropped, ..Second::default() };
        let second = std::mem::replace(&mut inner.second, begun);
        inner.status.sdk_dropped = dropped;
        inner.last_second = next - second.first;
        let record = EmitterRecord::Second {
            unix_ms: began_unix_ms,
            emitted: Range::new(second.first, next),
            offered: second.offered,
            acknowledged: second.acknowledged,
            failed_requests: second.failed_requests,
            failed_spans: second.failed_spans,
            sdk_dropped: dropped - second.sdk_dropped,
            slipped_ms: inner.status.slipped_ms,
            latency: second.latency.to_bytes(),
        };
        inner.record(&record, false);
    }

    /// Nothing comes after it.
    pub(super) fn seal(&self, complete: bool) {
        let mut inner = self.lock();
        let seal = EmitterSeal {
            next: inner.next,
            acknowledged: inner.ledger.acknowledged().count(),
            incarnations: inner.ledger.incarnations(),
            records: inner.ledger.records(),
            complete,
        };
        inner.record(&EmitterRecord::Sealed(seal), true);
    }

    /// The books cannot be kept any more, or a part of the emitter broke.
    pub(super) fn fail(&self, problem: &str) {
        self.lock().fail(problem);
    }

    pub(super) fn healthy(&self) -> bool {
        self.lock().problem.is_empty()
    }

    /// (status, problem, incarnations)
    pub(super) fn status(&self) -> (EmitStatus, String, u32) {
        let inner = self.lock();
        (inner.status.clone(), inner.problem.clone(), inner.ledger.incarnations())
    }

    pub(super) fn acknowledged(&self) -> (Stream, RangeSet) {
        let inner = self.lock();
        (inner.ledger.stream(), inner.ledger.acknowledged().clone())
    }
}

impl Inner {
    fn count_failure(&mut self, range: Range) {
        self.second.failed_requests += 1;
        self.second.failed_spans += range.count();
        self.status.failed_requests += 1;
    }

    /// To the file first, then to the sum. False if the ledger cannot be kept.
    fn record(&mut self, record: &EmitterRecord, durable: bool) -> bool {
        if !self.problem.is_empty() {
            return false;
        }
        if let Err(error) = self.file.append(record, durable) {
            self.fail(&error.to_string());
            return false;
        }
        if let Err(error) = self.ledger.apply(record) {
            self.fail(&error.to_string());
            return false;
        }
        true
    }

    fn fail(&mut self, problem: &str) {
        error!(problem, "the ledger cannot be kept");
        if self.problem.is_empty() {
            problem.clone_into(&mut self.problem);
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
