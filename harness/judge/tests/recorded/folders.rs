//! Recorded run folders as what is in their files, so that one of these can be altered.

#![allow(dead_code, reason = "each test takes what it needs")]

use serde_json::{Value, json};
use spanproof_judge::record::{Record, RecordError};
use spanproof_judge::{Judgement, judge};
use spanproof_ledger::{EmitterLedger, EmitterRecord, MetricsRecord, SinkLedger, SinkRecord, log};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) const RUNS: [&str; 4] = ["two-drains", "gateway-upgrade", "agent-upgrade", "load-spike"];

/// A recorded run's folder.
pub(crate) fn folder(run: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs").join(run)
}

/// The files of a run folder, by name.
#[derive(Debug, Clone)]
pub(crate) struct Folder(pub(crate) BTreeMap<String, Vec<u8>>);

impl Folder {
    pub(crate) fn recorded(run: &str) -> Self {
        let root = folder(run);
        let mut files = BTreeMap::new();
        for dir in ["", "ledgers/"] {
            for entry in std::fs::read_dir(root.join(dir)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    files.insert(format!("{dir}{name}"), std::fs::read(&path).unwrap());
                }
            }
        }
        files.remove("verdict.json");
        Self(files)
    }

    pub(crate) fn written(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.0 {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    pub(crate) fn read(&self) -> Result<Record, RecordError> {
        Record::read(self.written().path())
    }

    pub(crate) fn judged(&self) -> Result<Judgement, RecordError> {
        self.read().map(|record| judge(&record))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.0[name].clone()).unwrap()
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(name.to_owned(), bytes.into());
        self
    }

    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name).unwrap();
        self
    }

    /// The lines of the timeline.
    pub(crate) fn timeline(&self) -> Vec<Value> {
        let lines = self.0["timeline.jsonl"].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    pub(crate) fn tell(&mut self, lines: &[Value]) {
        let text = lines.iter().fold(String::new(), |text, line| text + &line.to_string() + "\n");
        self.0.insert("timeline.jsonl".to_owned(), text.into_bytes());
    }

    /// Each line of the timeline that is of such an event, changed.
    #[must_use]
    pub(crate) fn told(mut self, event: &str, change: impl Fn(&mut Value)) -> Self {
        let mut lines = self.timeline();
        lines.iter_mut().filter(|line| line["event"] == event).for_each(change);
        self.tell(&lines);
        self
    }

    /// The first emitter's ledger with its records changed, and a seal that agrees with them.
    #[must_use]
    pub(crate) fn emitter(self, change: impl Fn(&mut Vec<EmitterRecord>)) -> Self {
        self.rewritten("ledgers/emit-dev-worker.ledger", unsealed(change))
    }

    /// The sink's.
    #[must_use]
    pub(crate) fn sink(self, change: impl Fn(&mut Vec<SinkRecord>)) -> Self {
        self.rewritten("ledgers/sink-0.ledger", unsealed(change))
    }

    /// A ledger with its records changed, and a seal that agrees with them.
    #[must_use]
    pub(crate) fn rewritten<R: Ledger>(self, name: &str, change: impl Fn(&mut Vec<R>)) -> Self {
        let mut records = decoded(&self.0[name]);
        change(&mut records);
        self.with(name, encoded(&resealed(records)))
    }

    /// One request never arrived.
    #[must_use]
    pub(crate) fn lost(self) -> Self {
        self.rewritten::<SinkRecord>("ledgers/sink-0.ledger", |records| {
            let delivered: Vec<usize> =
                (0..records.len()).filter(|n| matches!(records[*n], SinkRecord::Delivered(_))).collect();
            records.remove(delivered[delivered.len() / 2]);
        })
    }

    /// The budget demands nothing.
    #[must_use]
    pub(crate) fn toothless(self) -> Self {
        self.told("seen", |line| {
            if line["object"]["kind"] == "PodDisruptionBudget" {
                line["object"]["desired"] = json!(0);
            }
        })
    }

    /// Not all had arrived when the waiting ended.
    #[must_use]
    pub(crate) fn deadline(self) -> Self {
        self.told("settled", |line| (line["end"], line["outstanding"]) = (json!("deadline"), json!(50)))
    }

    /// The last content of the queues.
    #[must_use]
    pub(crate) fn queue_at_the_end(self, size: f64) -> Self {
        self.rewritten::<MetricsRecord>("metrics.log", |records| {
            let queue = records.iter().find_map(|record| match record {
                MetricsRecord::Metric { id, name } if name == "otelcol_exporter_queue_size" => Some(*id),
                _ => None,
            });
            for record in records.iter_mut() {
                if let MetricsRecord::Scraped { values, .. } = record {
                    values.retain(|(id, _)| Some(*id) != queue);
                    values.extend(queue.map(|queue| (queue, size)));
                }
            }
        })
    }

    /// A ledger without its last record.
    #[must_use]
    pub(crate) fn unsealed(self, name: &str) -> Self {
        let mut records: Vec<SinkRecord> = decoded(&self.0[name]);
        records.pop();
        self.with(name, encoded(&records))
    }
}

/// A kind of record, and its seal.
pub(crate) trait Ledger: log::Record + Clone {
    /// Makes a seal at the end agree with the records, unless these contradict each other.
    fn seal(records: &mut [Self]);
}

impl Ledger for EmitterRecord {
    fn seal(records: &mut [Self]) {
        let Some((Self::Sealed(seal), before)) = records.split_last_mut() else { return };
        seal.records = before.len() as u64;
        if let Ok(ledger) = EmitterLedger::from_records(&*before) {
            (seal.acknowledged, seal.incarnations) = (ledger.acknowledged().count(), ledger.incarnations());
        }
    }
}

impl Ledger for SinkRecord {
    fn seal(records: &mut [Self]) {
        let Some((Self::Sealed(seal), before)) = records.split_last_mut() else { return };
        seal.records = before.len() as u64;
        if let Ok(ledger) = SinkLedger::from_records(&*before) {
            (seal.delivered, seal.incarnations) = (ledger.delivered_count(), ledger.incarnations());
        }
    }
}

impl Ledger for MetricsRecord {
    fn seal(records: &mut [Self]) {
        if let Some((Self::Sealed { records }, before)) = records.split_last_mut() {
            *records = before.len() as u64;
        }
    }
}

/// A change of all records but the seal.
pub(crate) fn unsealed<R>(change: impl Fn(&mut Vec<R>)) -> impl Fn(&mut Vec<R>) {
    move |records| {
        let seal = records.pop().unwrap();
        change(records);
        records.push(seal);
    }
}

/// The records with a seal that agrees with them.
pub(crate) fn resealed<R: Ledger>(mut records: Vec<R>) -> Vec<R> {
    R::seal(&mut records);
    records
}

/// The records of a file; none if it is damaged.
pub(crate) fn decoded<R: log::Record>(bytes: &[u8]) -> Vec<R> {
    log::decode(bytes).map(|decoded| decoded.records).unwrap_or_default()
}

/// A file of these records.
pub(crate) fn encoded<R: log::Record>(records: &[R]) -> Vec<u8> {
    let mut bytes = log::header::<R>().to_vec();
    for record in records {
        log::encode(record, 0, &mut bytes).unwrap();
    }
    bytes
}
