//! The sink's books: the ledger file and its sum. What is in them is on disk before anybody is told.

use super::tally::{Tally, Terms};
use super::traces::Traces;
use crate::control::ProbeError;
use crate::ledger_file::LedgerFile;
use spanproof_ledger::{Delivery, Latency, SinkLedger, SinkRecord, SinkSeal};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use tracing::error;

/// A gateway's name is cut after so many bytes: no pod's is longer.
const LONGEST_NAME: usize = 253;

/// What the sink took and what it refused.
#[derive(Debug)]
pub(super) struct Books {
    file: LedgerFile<SinkRecord>,
    ledger: SinkLedger,
    /// Why nothing can be written any more; empty as long as it can.
    problem: String,
    /// Of the second (of Unix time) that is going on.
    latency: Latency,
    second: u64,
    traces: Traces,
}

/// Why nothing is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    /// The run is over.
    #[error("the sink is sealed: the run is over")]
    Sealed,
    /// What cannot be written down is not taken.
    #[error("the ledger cannot be kept: {0}")]
    Failed(String),
}

impl Books {
    /// Opens the books of a run, or goes on with those that are there.
    pub(super) fn open(path: &Path, terms: &Terms) -> Result<Self, ProbeError> {
        let (file, records) = LedgerFile::open(path)?;
        let ledger = SinkLedger::from_records(&records)
            .map_err(|source| ProbeError::Contradiction { path: path.to_owned(), source })?;
        let source = if ledger.incarnations() == 0 { random() } else { ledger.source() };
        let mut books = Self {
            file,
            ledger,
            problem: String::new(),
            latency: Latency::new(),
            second: 0,
            traces: Traces::default(),
        };
        let run_tag = terms.identity.tag();
        books.record(&SinkRecord::Opened { run_tag, source, unix_ms: crate::unix_ms() }, true);
        Ok(books)
    }

    /// The sum of what is on disk.
    pub(super) const fn ledger(&self) -> &SinkLedger {
        &self.ledger
    }

    /// Why nothing can be written any more; empty as long as it can.
    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    fn open_for_records(&self) -> Result<(), Closed> {
        if !self.problem.is_empty() {
            return Err(Closed::Failed(self.problem.clone()));
        }
        if self.ledger.seal().is_some() { Err(Closed::Sealed) } else { Ok(()) }
    }

    /// Takes spans. Once this has returned they are on disk; if it fails they must not be acknowledged.
    pub(super) fn take(&mut self, now_unix_ns: u64, gateway: &str, tally: &Tally) -> Result<(), Closed> {
        self.open_for_records()?;
        let unix_ms = now_unix_ns / 1_000_000;
        self.tick(unix_ms);
        let gateway = self.gateway(gateway);
        for (stream, ranges) in &tally.streams {
            let delivery = Delivery { unix_ms, gateway, stream: *stream, ranges: ranges.clone() };
            self.record(&SinkRecord::Delivered(delivery), false);
        }
        let Tally { foreign, damaged, .. } = *tally;
        if foreign + damaged > 0 {
            self.record(&SinkRecord::Unexpected { foreign, damaged }, false);
        }
        // A span that does not say when it was due has no latency.
        for (due, spans) in tally.due.iter().filter(|(due, _)| *due > 0) {
            self.latency.record(now_unix_ns.saturating_sub(*due) / 1_000, *spans);
        }
        for (trace, spans) in &tally.traces {
            if let Some(gone) = self.traces.add(unix_ms, *trace, *spans, gateway) {
                self.record(&gone, false);
            }
        }
        self.open_for_records()
    }

    /// Writes down what was refused, and with what code.
    pub(super) fn refuse(&mut self, unix_ms: u64, tally: &Tally, code: u8) -> Result<(), Closed> {
        self.open_for_records()?;
        for (stream, ranges) in &tally.streams {
            let (stream, ranges) = (*stream, ranges.clone());
            self.record(&SinkRecord::Refused { unix_ms, code, stream, ranges }, false);
        }
        self.open_for_records()
    }

    /// Writes down what is over: the latency of a second, the traces that were followed for long enough.
    pub(super) fn tick(&mut self, unix_ms: u64) {
        let second = unix_ms / 1_000;
        if self.second != second {
            self.end_second();
            self.second = second;
        }
        while let Some(trace) = self.traces.over(unix_ms) {
            self.record(&trace, false);
        }
    }

    fn end_second(&mut self) {
        if self.latency.count() > 0 {
            let record =
                SinkRecord::Latency { unix_ms: self.second * 1_000, latency: self.latency.to_bytes() };
            self.record(&record, false);
            self.latency.clear();
        }
    }

    /// Writes down all that is kept in memory: the process is about to end.
    pub(super) fn flush(&mut self) {
        self.end_second();
        while let Some(trace) = self.traces.leave() {
            self.record(&trace, false);
        }
    }

    /// Nothing is taken any more. Once is enough.
    pub(super) fn seal(&mut self) {
        if self.open_for_records().is_err() {
            return;
        }
        self.flush();
        let (delivered, incarnations) = (self.ledger.delivered_count(), self.ledger.incarnations());
        let records = self.ledger.records();
        self.record(&SinkRecord::Sealed(SinkSeal { delivered, incarnations, records }), true);
    }

    fn gateway(&mut self, name: &str) -> u16 {
        let name = name.get(..LONGEST_NAME).unwrap_or(name);
        if let Some(known) = self.ledger.gateway_number(name) {
            return known;
        }
        let id = u16::try_from(self.ledger.gateways()).unwrap_or(u16::MAX);
        self.record(&SinkRecord::Gateway { id, name: name.to_owned() }, false);
        id
    }

    /// To the file first, then to the sum. After a failure, and after the seal, to neither.
    fn record(&mut self, record: &SinkRecord, durable: bool) {
        if self.open_for_records().is_err() && !matches!(record, SinkRecord::Opened { .. }) {
            return;
        }
        let written = self.file.append(record, durable).map_err(|error| error.to_string());
        let applied = written.and_then(|()| self.ledger.apply(record).map_err(|error| error.to_string()));
        if let Err(problem) = applied {
            error!(problem, "the ledger cannot be kept");
            self.problem = problem;
        }
    }
}

/// A number that no other sink has drawn.
fn random() -> u64 {
    // Seeded by the system; the rest is for a system that has no randomness yet.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(crate::unix_ms());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
