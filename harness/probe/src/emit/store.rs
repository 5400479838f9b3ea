//! The emitter's ledger: the file on disk and its sum in memory, always consistent.

use super::sdk::SdkModel;
use crate::control::{EmitStatus, ProbeError};
use crate::ledger_file::LedgerFile;
use parking_lot::Mutex;
use spanproof_ledger::{EmitterLedger, EmitterRecord, EmitterSeal, Latency, Range, RangeSet, Stream};
use std::path::Path;
use std::time::Duration;
use tracing::error;

/// The fewest numbers that are reserved at a time: those of about a second, because each reservation is synced to
/// the disk.
const BLOCK: u64 = 16_384;

/// Ledger and counts under one lock: everything counted is in the file.
#[derive(Debug)]
pub(super) struct EmitterStore(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: LedgerFile<EmitterRecord>,
    ledger: EmitterLedger,
    /// The next number to be used.
    next: u64,
    /// The last reserved number plus one.
    reserved: u64,
    /// The count of numbers used in the last second.
    last_second: u64,
    /// The counts of the current second.
    second: CurrentSecond,
    /// The model of an application's SDK in this emitter's place.
    sdk: SdkModel,
    status: EmitStatus,
    problem: String,
}

#[derive(Debug, Default)]
struct CurrentSecond {
    first: u64,
    offered: u64,
    acknowledged: u64,
    failed_requests: u64,
    failed_spans: u64,
    /// Spans that the SDK model had dropped before this second.
    sdk_dropped: u64,
    latency: Latency,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    Acknowledged,
    /// Refused permanently, with a code and a reason.
    Rejected(i32, String),
    /// Accepted in part; it is not known which part.
    Partial,
    /// Given up at the end of the drain, without an answer.
    Abandoned,
}

impl EmitterStore {
    /// Opens the ledger; the numbers of earlier incarnations are never used again.
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
        let second = CurrentSecond { first: next, ..CurrentSecond::default() };
        let (sdk, problem) = (SdkModel::new(crate::unix_ms()), String::new());
        let mut inner =
            Inner { file, ledger, next, reserved: next, last_second: 0, second, sdk, status, problem };
        inner.record(&EmitterRecord::Opened { run_tag, stream, unix_ms: crate::unix_ms() }, true);
        Ok(Self(Mutex::new(inner)))
    }

    /// The numbers of a new request, reserved on disk; none if the ledger failed.
    pub(super) fn take(&self, spans: u64) -> Option<Range> {
        let mut inner = self.0.lock();
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

    /// Counts spans that the schedule asked for, whether or not they can be sent.
    pub(super) fn offer(&self, spans: u64, slipped_ms: u64) {
        let mut inner = self.0.lock();
        inner.second.offered += spans;
        inner.sdk.offered(crate::unix_ms(), spans);
        inner.status.offered += spans;
        inner.status.slipped_ms = slipped_ms;
    }

    /// Counts a failed attempt that will be retried; `resent` is set at the first one that may have reached the agent.
    pub(super) fn failed(&self, range: Range, resent: bool, why: &str) {
        let mut inner = self.0.lock();
        if resent {
            inner.record(&EmitterRecord::Resent { range }, false);
        }
        inner.count_failure(range);
        why.clone_into(&mut inner.status.last_error);
    }

    /// Records the outcome of a request, and its latency `took` since it was due.
    pub(super) fn settle(&self, range: Range, outcome: RequestOutcome, took: Duration) {
        let mut inner = self.0.lock();
        inner.status.in_flight -= range.count();
        match outcome {
            RequestOutcome::Acknowledged => {
                if inner.record(&EmitterRecord::Acknowledged { range }, false) {
                    inner.second.acknowledged += range.count();
                    inner.second.latency.record(micros(took), 1);
                    inner.status.acknowledged += range.count();
                    inner.sdk.acknowledged(crate::unix_ms());
                }
            }
            RequestOutcome::Rejected(code, why) => {
                inner.record(&EmitterRecord::Rejected { range, code }, false);
                inner.count_failure(range);
                inner.status.rejected += range.count();
                inner.sdk.rejected(range.count());
                inner.status.last_error = format!("rejected: {why}");
            }
            RequestOutcome::Partial => {
                "partial success: counted as unknown".clone_into(&mut inner.status.last_error);
            }
            RequestOutcome::Abandoned => {}
        }
    }

    /// Records the counts of the second that ended.
    pub(super) fn tick(&self, began_unix_ms: u64) {
        let mut inner = self.0.lock();
        inner.sdk.pass(crate::unix_ms());
        let (next, dropped) = (inner.next, inner.sdk.dropped());
        let begun = CurrentSecond { first: next, sdk_dropped: dropped, ..CurrentSecond::default() };
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

    /// Seals the ledger.
    pub(super) fn seal(&self, complete: bool) {
        let mut inner = self.0.lock();
        let seal = EmitterSeal {
            next: inner.next,
            acknowledged: inner.ledger.acknowledged().count(),
            incarnations: inner.ledger.incarnations(),
            records: inner.ledger.records(),
            complete,
        };
        inner.record(&EmitterRecord::Sealed(seal), true);
    }

    /// Fails permanently: the ledger cannot be written, or a part of the emitter broke.
    pub(super) fn fail(&self, problem: &str) {
        self.0.lock().fail(problem);
    }

    pub(super) fn healthy(&self) -> bool {
        self.0.lock().problem.is_empty()
    }

    /// (status, problem, incarnations).
    pub(super) fn status(&self) -> (EmitStatus, String, u32) {
        let inner = self.0.lock();
        (inner.status.clone(), inner.problem.clone(), inner.ledger.incarnations())
    }

    pub(super) fn acknowledged(&self) -> (Stream, RangeSet) {
        let inner = self.0.lock();
        (inner.ledger.stream(), inner.ledger.acknowledged().clone())
    }
}

impl Inner {
    fn count_failure(&mut self, range: Range) {
        self.second.failed_requests += 1;
        self.second.failed_spans += range.count();
        self.status.failed_requests += 1;
    }

    /// Writes a record to the file, then adds it to the sum. Returns `false` if the ledger cannot be written.
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
        error!(problem, "the ledger cannot be written");
        if self.problem.is_empty() {
            problem.clone_into(&mut self.problem);
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
