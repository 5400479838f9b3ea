//! The sink's ledger: the file on disk and its sum in memory. Records are on disk before a request is answered.

use super::tally::{RunSettings, Tally};
use super::trace_sample::TraceSample;
use crate::control::ProbeError;
use crate::ledger_file::LedgerFile;
use spanproof_ledger::{Delivery, Latency, Range, SinkLedger, SinkRecord, SinkSeal, Stream};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use tracing::error;

/// The longest gateway's name, in bytes: no pod has a longer one.
const MAX_NAME_BYTES: usize = 253;

/// The ledger file, its sum, and the records that are not written yet.
#[derive(Debug)]
pub(super) struct SinkStore {
    file: LedgerFile<SinkRecord>,
    ledger: SinkLedger,
    /// The error after which nothing can be written; empty if there was none.
    problem: String,
    /// The latencies of the current second of Unix time.
    latency: Latency,
    second: u64,
    traces: TraceSample,
    /// The number of records that are synced to the disk.
    synced: u64,
}

/// An error: nothing can be written to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    /// The ledger is sealed.
    #[error("the sink is sealed: the run is over")]
    Sealed,
    /// An earlier write failed.
    #[error("the ledger cannot be written: {0}")]
    Failed(String),
}

impl SinkStore {
    /// Opens or creates the ledger of a run.
    pub(super) fn open(path: &Path, settings: &RunSettings) -> Result<Self, ProbeError> {
        let mut ledger = SinkLedger::default();
        let file = LedgerFile::open_with(path, |record| {
            let applied = ledger.apply(&record);
            applied.map_err(|source| ProbeError::Contradiction { path: path.to_owned(), source })
        })?;
        let source = if ledger.incarnations() == 0 { random() } else { ledger.source() };
        let mut store = Self {
            file,
            ledger,
            problem: String::new(),
            latency: Latency::new(),
            second: 0,
            traces: TraceSample::default(),
            synced: 0,
        };
        let run_tag = settings.identity.tag();
        // This also removes the seal of an earlier process.
        let opened = SinkRecord::Opened { run_tag, source, unix_ms: crate::unix_ms() };
        let records: Vec<_> =
            std::iter::once(opened).chain(boot().map(|boot| SinkRecord::Booted { boot })).collect();
        store.put(&records, true);
        store.synced = store.ledger.records();
        Ok(store)
    }

    /// The sum of the records on disk.
    pub(super) const fn ledger(&self) -> &SinkLedger {
        &self.ledger
    }

    /// The error after which nothing can be written; empty if there was none.
    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    /// Records accepted spans. They are on disk when this returns; if it fails they must not be acknowledged.
    pub(super) fn take(&mut self, now_unix_ns: u64, gateway: &str, tally: &Tally) -> Result<(), WriteError> {
        self.writable()?;
        let unix_ms = now_unix_ns / 1_000_000;
        let mut records = self.expired(unix_ms);
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
        // A span without a due time has no latency.
        for (due, spans) in tally.due.iter().filter(|(due, _)| *due > 0) {
            self.latency.record(now_unix_ns.saturating_sub(*due) / 1_000, *spans);
        }
        self.write(&records)
    }

    /// Records refused spans with their code.
    pub(super) fn refuse(&mut self, unix_ms: u64, tally: &Tally, code: u8) -> Result<(), WriteError> {
        let refused = |(stream, ranges): &(Stream, Vec<Range>)| {
            let (stream, ranges) = (*stream, ranges.clone());
            SinkRecord::Refused { unix_ms, code, stream, ranges }
        };
        let records: Vec<_> = tally.streams.iter().map(refused).collect();
        self.write(&records)
    }

    /// Writes the expired records: the latency of a past second, and sampled traces at the end of their window.
    pub(super) fn tick(&mut self, unix_ms: u64) -> Result<(), WriteError> {
        let records = self.expired(unix_ms);
        self.write(&records)
    }

    /// A handle to the file and the number of its records, if some may not be synced yet.
    pub(super) fn unsynced(&self) -> Option<(std::io::Result<std::fs::File>, u64)> {
        let records = self.ledger.records();
        let writable = self.writable().is_ok() && records > self.synced;
        writable.then(|| (self.file.handle(), records))
    }

    /// Records the result of a sync begun at `unix_ms` with `records` records. After a failed one nothing is accepted.
    pub(super) fn synced(&mut self, unix_ms: u64, records: u64, done: std::io::Result<()>) {
        match done {
            Ok(()) => {
                let _ = self.write(&[SinkRecord::Synced { unix_ms }]);
                // The record of the sync need not be synced itself: an idle sink writes nothing.
                let mine = u64::from(self.ledger.records() == records + 1);
                self.synced = records + mine;
            }
            Err(problem) => {
                error!(%problem, "the ledger cannot be written");
                self.problem = format!("sync: {problem}");
            }
        }
    }

    /// Writes all records that are only in memory, before the process ends.
    pub(super) fn flush(&mut self) -> Result<(), WriteError> {
        let mut records: Vec<_> = self.take_latency().into_iter().collect();
        records.extend(std::iter::from_fn(|| self.traces.remove_oldest()));
        self.write(&records)
    }

    /// Seals the ledger: nothing is accepted afterwards.
    pub(super) fn seal(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        let (delivered, incarnations) = (self.ledger.delivered_count(), self.ledger.incarnations());
        let records = self.ledger.records();
        self.put(&[SinkRecord::Sealed(SinkSeal { delivered, incarnations, records })], true);
        Ok(())
    }

    fn expired(&mut self, unix_ms: u64) -> Vec<SinkRecord> {
        let second = unix_ms / 1_000;
        let mut records = Vec::new();
        if self.second != second {
            records.extend(self.take_latency());
            self.second = second;
        }
        records.extend(std::iter::from_fn(|| self.traces.remove_expired(unix_ms)));
        records
    }

    fn take_latency(&mut self) -> Option<SinkRecord> {
        if self.latency.count() == 0 {
            return None;
        }
        let latency = self.latency.to_bytes();
        self.latency.clear();
        Some(SinkRecord::Latency { unix_ms: self.second * 1_000, latency })
    }

    /// The ID of a gateway; a new one is defined in `records`.
    fn gateway(&self, name: &str, records: &mut Vec<SinkRecord>) -> u16 {
        let name = name.get(..MAX_NAME_BYTES).unwrap_or(name);
        if let Some(known) = self.ledger.gateway_number(name) {
            return known;
        }
        let id = u16::try_from(self.ledger.gateways()).unwrap_or(u16::MAX);
        records.push(SinkRecord::Gateway { id, name: name.to_owned() });
        id
    }

    fn writable(&self) -> Result<(), WriteError> {
        if !self.problem.is_empty() {
            return Err(WriteError::Failed(self.problem.clone()));
        }
        if self.ledger.seal().is_some() { Err(WriteError::Sealed) } else { Ok(()) }
    }

    fn write(&mut self, records: &[SinkRecord]) -> Result<(), WriteError> {
        self.writable()?;
        if !records.is_empty() {
            self.put(records, false);
        }
        self.writable()
    }

    /// Writes records to the file, then adds them to the sum.
    fn put(&mut self, records: &[SinkRecord], durable: bool) {
        let written = self.file.append_all(records, durable).map_err(|error| error.to_string());
        let applied = written.and_then(|()| {
            let mut records = records.iter();
            records.try_for_each(|record| self.ledger.apply(record)).map_err(|error| error.to_string())
        });
        if let Err(problem) = applied {
            error!(problem, "the ledger cannot be written");
            self.problem = problem;
        }
    }
}

/// A number derived from the kernel's boot ID; none if that cannot be read.
fn boot() -> Option<u64> {
    let digits: String = crate::clock::boot_id()?.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    // Both halves are random.
    u64::try_from(number & u128::from(u64::MAX)).ok()
}

/// A random ID for a new sink.
fn random() -> u64 {
    // Seeded by the system; the rest is for a system without entropy.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(crate::unix_ms());
    hasher.write_u32(std::process::id());
    hasher.finish()
}
