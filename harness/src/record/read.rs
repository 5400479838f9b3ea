//! A run folder, read back. What is missing or damaged in it is part of what was read, and the judge draws
//! its conclusions.

use super::{Entry, Environment, Event, FORMAT, RecordError};
use crate::scenario::Scenario;
use spanproof_ledger::{Copies, EmitterLedger, LedgerError, Metrics, SinkLedger, SinkRecord, log};
use spanproof_probe::ledger_file::{self, LedgerFileError};
use std::io;
use std::path::{Path, PathBuf};

/// A run folder that was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// The scenario as it was run.
    pub scenario: Scenario,
    /// Where it was run.
    pub environment: Environment,
    /// What happened, in order.
    pub timeline: Vec<Entry>,
    /// The emitters' ledgers.
    pub emitters: Vec<EmitterLedger>,
    /// The sinks' ledgers.
    pub sinks: Vec<SinkLedger>,
    /// Who delivered what came more than once.
    pub copies: Copies,
    /// What was read of the Collectors' metrics; none if there is no log of it.
    pub metrics: Option<Metrics>,
    /// What is damaged in the folder: with any of these nothing can be concluded.
    pub damage: Vec<String>,
}

impl Record {
    /// Reads a run folder. A run that broke off leaves one that can be read; ledgers that are missing are
    /// missing in the record, and those that contradict themselves are damage.
    pub fn read(dir: &Path) -> Result<Self, RecordError> {
        let content = |name: &str, message: String| RecordError::Content { path: dir.join(name), message };
        let text = bytes(&dir.join("scenario.yaml"))?;
        let scenario = Scenario::parse(&dir.join("scenario.yaml"), &String::from_utf8_lossy(&text))
            .map_err(|error| content("scenario.yaml", error.to_string()))?;
        let environment = match optional(&dir.join("environment.json"))? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| content("environment.json", error.to_string()))?,
            // A run that broke off before it knew where it was.
            None => Environment { format: FORMAT, ..Environment::default() },
        };
        if environment.format != FORMAT {
            let message = format!("format {}; this program reads format {FORMAT}", environment.format);
            return Err(content("environment.json", message));
        }
        let mut record = Self {
            scenario,
            environment,
            timeline: timeline(&dir.join("timeline.jsonl"))?,
            emitters: Vec::new(),
            sinks: Vec::new(),
            copies: Copies::default(),
            metrics: None,
            damage: Vec::new(),
        };
        let folder = dir.join("ledgers");
        let entries =
            std::fs::read_dir(&folder).map_err(|source| RecordError::Io { path: folder, source })?;
        let mut ledgers: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        ledgers.sort();
        for path in &ledgers {
            record.add_ledger(path)?;
        }
        record.copies = copies(&ledgers, &record.sinks)?;
        match summed(&dir.join("metrics.log"), Metrics::apply) {
            Ok(metrics) => record.metrics = Some(metrics),
            Err(Unread::Damage(problem)) => record.damage.push(format!("metrics.log: {problem}")),
            Err(Unread::Io(RecordError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {}
            Err(Unread::Io(error)) => return Err(error),
        }
        Ok(record)
    }

    fn add_ledger(&mut self, path: &Path) -> Result<(), RecordError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let added = if name.starts_with("emit") {
            summed(path, EmitterLedger::apply).map(|ledger| self.emitters.push(ledger))
        } else if name.starts_with("sink") {
            summed(path, SinkLedger::apply).map(|ledger| self.sinks.push(ledger))
        } else {
            let message = "a ledger is called emit… or sink…".to_owned();
            return Err(RecordError::Content { path: path.to_owned(), message });
        };
        match added {
            Ok(()) => {}
            Err(Unread::Damage(problem)) => self.damage.push(format!("ledgers/{name}: {problem}")),
            Err(Unread::Io(error)) => return Err(error),
        }
        Ok(())
    }

    /// When the run began, Unix time in milliseconds.
    pub fn began_unix_ms(&self) -> u64 {
        let began = self.timeline.iter().find_map(|entry| match entry.event {
            Event::Began { unix_ms, .. } => Some(unix_ms),
            _ => None,
        });
        began.unwrap_or_default()
    }

    /// The seed of whatever was random in it.
    pub fn seed(&self) -> u64 {
        let seed = self.timeline.iter().find_map(|entry| match entry.event {
            Event::Began { seed, .. } => Some(seed),
            _ => None,
        });
        seed.unwrap_or_default()
    }

    /// By how many milliseconds a node's clock is ahead of this run's.
    fn ahead_ms(&self, node: &str) -> f64 {
        self.environment.clock_offsets_ms.get(node).copied().unwrap_or_default()
    }

    /// A moment of a node's clock, Unix time in milliseconds, as seconds on the run's clock.
    pub fn moment(&self, node: &str, unix_ms: u64) -> f64 {
        (unix_ms as f64 - self.ahead_ms(node) - self.began_unix_ms() as f64) / 1e3
    }

    /// A moment of the run's clock, in seconds, as a node's: Unix time in milliseconds.
    pub fn unix_ms(&self, node: &str, t: f64) -> u64 {
        let unix_ms = t * 1e3 + self.ahead_ms(node) + self.began_unix_ms() as f64;
        // Far below 2^53, and never before 1970.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let unix_ms = unix_ms.max(0.0) as u64;
        unix_ms
    }

    /// A stream's node; empty if it is not known.
    pub fn node_of(&self, stream: spanproof_ledger::Stream) -> &str {
        self.environment.streams.get(&stream).map_or("", String::as_str)
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, RecordError> {
    std::fs::read(path).map_err(|source| RecordError::Io { path: path.to_owned(), source })
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    match bytes(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(RecordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lines; a last one that a crash tore off is left out.
fn timeline(path: &Path) -> Result<Vec<Entry>, RecordError> {
    let bytes = bytes(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let read = lines.map(|(number, line)| {
        serde_json::from_slice(line).map_err(|error| RecordError::Content {
            path: path.to_owned(),
            message: format!("line {}: {error}", number + 1),
        })
    });
    read.collect()
}

/// Why a log's records cannot be added up.
enum Unread {
    Io(RecordError),
    Damage(String),
}

impl From<LedgerFileError> for Unread {
    fn from(error: LedgerFileError) -> Self {
        match error {
            LedgerFileError::Io { path, source, .. } => Self::Io(RecordError::Io { path, source }),
            LedgerFileError::Content { source, .. } => Self::Damage(source.to_string()),
        }
    }
}

/// Who delivered what came more than once: a second look, and only if there is such a thing.
fn copies(ledgers: &[PathBuf], sinks: &[SinkLedger]) -> Result<Copies, RecordError> {
    let mut copies = Copies::of(sinks);
    let named =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sink"));
    for path in ledgers.iter().filter(named).filter(|_| !copies.is_empty()).collect::<Vec<_>>() {
        let looked = ledger_file::read(path, |record: SinkRecord| {
            copies.look(&record);
            Ok::<(), Unread>(())
        });
        match looked {
            // What is damaged was found so before.
            Ok(_) | Err(Unread::Damage(_)) => {}
            Err(Unread::Io(error)) => return Err(error),
        }
    }
    Ok(copies)
}

/// A log's records, added up one by one.
fn summed<R: log::Record, T: Default>(
    path: &Path,
    apply: impl Fn(&mut T, &R) -> Result<(), LedgerError>,
) -> Result<T, Unread> {
    let mut sum = T::default();
    ledger_file::read(path, |record: R| {
        apply(&mut sum, &record).map_err(|error| Unread::Damage(error.to_string()))
    })?;
    Ok(sum)
}
