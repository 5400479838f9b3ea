//! The sink's books: the ledger file and its sum. What is in them is on disk before anybody is told.

use super::tally::{Tally, Terms};
use super::traces::Traces;
use crate::control::ProbeError;
use crate::ledger_file::LedgerFile;
use spanproof_ledger::{Delivery, Latency, Range, SinkLedger, SinkRecord, SinkSeal, Stream};
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
    /// How many records are on the disk for certain.
    synced: u64,
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
        let mut ledger = SinkLedger::default();
        let file = LedgerFile::open_with(path, |record| {
            let applied = ledger.apply(&record);
            applied.map_err(|source| ProbeError::Contradiction { path: path.to_owned(), source })
        })?;
        let source = if ledger.incarnations() == 0 { random() } else { ledger.source() };
        let mut books = Self {
            file,
            ledger,
            problem: String::new(),
            latency: Latency::new(),
            second: 0,
            traces: Traces::default(),
            synced: 0,
        };
        let run_tag = terms.identity.tag();
        // This also breaks the seal of a process before this one.
        let opened = SinkRecord::Opened { run_tag, source, unix_ms: crate::unix_ms() };
        let records: Vec<_> =
            std::iter::once(opened).chain(boot().map(|boot| SinkRecord::Booted { boot })).collect();
        books.put(&records, true);
        books.synced = books.ledger.records();
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

    /// Takes spans. Once this has returned they are on disk; if it fails they must not be acknowledged.
    pub(super) fn take(&mut self, now_unix_ns: u64, gateway: &str, tally: &Tally) -> Result<(), Closed> {
        self.writable()?;
        let unix_ms = now_unix_ns / 1_000_000;
        let mut records = self.over(unix_ms);
        let gateway = self.gateway(gateway, &mut records);
        for (trace, spans) in &tally.traces {
            records.extend(self.traces.add(unix_ms, *trace, *spans, gateway));
        }
        for (stream, ranges) in &tally.streams {
            let delivery = Delivery { unix_ms, gateway, stream: *stream, ranges: ranges.clone() };
            records.push(SinkRecord::Delivered(delivery));
        }
        let Tally { foreign, damaged, .. } = *tally;
        if foreign + damaged > 0 {
            records.push(SinkRecord::Unexpected { foreign, damaged });
        }
        // A span that does not say when it was due has no latency.
        for (due, spans) in tally.due.iter().filter(|(due, _)| *due > 0) {
            self.latency.record(now_unix_ns.saturating_sub(*due) / 1_000, *spans);
        }
        self.write(&records)
    }

    /// Writes down what was refused, and with what code.
    pub(super) fn refuse(&mut self, unix_ms: u64, tally: &Tally, code: u8) -> Result<(), Closed> {
        let refused = |(stream, ranges): &(Stream, Vec<Range>)| {
            let (stream, ranges) = (*stream, ranges.clone());
            SinkRecord::Refused { unix_ms, code, stream, ranges }
        };
        let records: Vec<_> = tally.streams.iter().map(refused).collect();
        self.write(&records)
    }

    /// Writes down what is over: the latency of a second, the traces that were followed for long enough.
    pub(super) fn tick(&mut self, unix_ms: u64) -> Result<(), Closed> {
        let records = self.over(unix_ms);
        self.write(&records)
    }

    /// The file, if something was written to it that may not be on the disk yet, and how many records there are.
    pub(super) fn unsynced(&self) -> Option<(std::io::Result<std::fs::File>, u64)> {
        let records = self.ledger.records();
        let writable = self.writable().is_ok() && records > self.synced;
        writable.then(|| (self.file.handle(), records))
    }

    /// Everything that was written by a moment is on the disk, or is not: then nothing can be vouched for any more.
    pub(super) fn synced(&mut self, unix_ms: u64, records: u64, done: std::io::Result<()>) {
        match done {
            Ok(()) => {
                let _ = self.write(&[SinkRecord::Synced { unix_ms }]);
                // That it is so need not be on the disk as well: nothing is written when nothing came.
                let mine = u64::from(self.ledger.records() == records + 1);
                self.synced = records + mine;
            }
            Err(problem) => {
                error!(%problem, "the ledger cannot be kept");
                self.problem = format!("sync: {problem}");
            }
        }
    }

    /// Writes down all that is kept in memory: the process is about to end.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        let mut records: Vec<_> = self.end_second().into_iter().collect();
        records.extend(std::iter::from_fn(|| self.traces.leave()));
        self.write(&records)
    }

    /// Nothing is taken any more.
    pub(super) fn seal(&mut self) -> Result<(), Closed> {
        self.flush()?;
        let (delivered, incarnations) = (self.ledger.delivered_count(), self.ledger.incarnations());
        let records = self.ledger.records();
        self.put(&[SinkRecord::Sealed(SinkSeal { delivered, incarnations, records })], true);
        Ok(())
    }

    fn over(&mut self, unix_ms: u64) -> Vec<SinkRecord> {
        let second = unix_ms / 1_000;
        let mut records = Vec::new();
        if self.second != second {
            records.extend(self.end_second());
            self.second = second;
        }
        records.extend(std::iter::from_fn(|| self.traces.over(unix_ms)));
        records
    }

    fn end_second(&mut self) -> Option<SinkRecord> {
        if self.latency.count() == 0 {
            return None;
        }
        let latency = self.latency.to_bytes();
        self.latency.clear();
        Some(SinkRecord::Latency { unix_ms: self.second * 1_000, latency })
    }

    /// A gateway's number; with its name among the records if it is new.
    fn gateway(&self, name: &str, records: &mut Vec<SinkRecord>) -> u16 {
        let name = name.get(..LONGEST_NAME).unwrap_or(name);
        if let Some(known) = self.ledger.gateway_number(name) {
            return known;
        }
        let id = u16::try_from(self.ledger.gateways()).unwrap_or(u16::MAX);
        records.push(SinkRecord::Gateway { id, name: name.to_owned() });
        id
    }

    fn writable(&self) -> Result<(), Closed> {
        if !self.problem.is_empty() {
            return Err(Closed::Failed(self.problem.clone()));
        }
        if self.ledger.seal().is_some() { Err(Closed::Sealed) } else { Ok(()) }
    }

    fn write(&mut self, records: &[SinkRecord]) -> Result<(), Closed> {
        self.writable()?;
        if !records.is_empty() {
            self.put(records, false);
        }
        self.writable()
    }

    /// To the file first, then to the sum.
    fn put(&mut self, records: &[SinkRecord], durable: bool) {
        let written = self.file.append_all(records, durable).map_err(|error| error.to_string());
        let applied = written.and_then(|()| {
            let mut records = records.iter();
            records.try_for_each(|record| self.ledger.apply(record)).map_err(|error| error.to_string())
        });
        if let Err(problem) = applied {
            error!(problem, "the ledger cannot be kept");
            self.problem = problem;
        }
    }
}

/// A number that stands for this start of the machine's kernel; none if it does not say.
fn boot() -> Option<u64> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    // Random in both halves.
    u64::try_from(number & u128::from(u64::MAX)).ok()
}

/// A number that no other sink has drawn.
fn random() -> u64 {
    // Seeded by the system; the rest is for a system that has no randomness yet.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(crate::unix_ms());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
