//! A run folder, read back. What is missing or damaged in it is part of what was read, and the judge draws
//! its conclusions.

use super::vouch::{self, Files};
use super::{Began, Entry, Environment, FORMAT, RecordError};
use crate::scenario::given::{self, Unreadable};
use crate::scenario::{LONGEST_LOAD, Scenario};
use spanproof_ledger::log::{self, StreamError, read_records};
use spanproof_ledger::{DuplicateSources, EmitterLedger, LedgerError, Metrics, SinkLedger, SinkRecord};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A run folder that was read.
#[derive(Debug, Clone)]
pub struct Record {
    /// The scenario as it was run.
    pub scenario: Scenario,
    /// The environment.
    pub environment: Environment,
    /// The events, in order.
    pub timeline: Vec<Entry>,
    /// The emitters' ledgers.
    pub emitters: Vec<EmitterLedger>,
    /// The sinks' ledgers.
    pub sinks: Vec<SinkLedger>,
    /// The deliverers of the spans that arrived more than once.
    pub copies: DuplicateSources,
    /// The Collectors' metrics; none if there is no log of them.
    pub metrics: Option<Metrics>,
    /// The damage in the folder: with any of it nothing can be concluded.
    pub damage: Vec<String>,
}

impl Record {
    /// Reads a run folder. A run that broke off leaves one that can be read; ledgers that are missing are missing in the
    /// record. What contradicts itself, or another part of the folder, is damage.
    pub fn read(dir: &Path) -> Result<Self, RecordError> {
        let content = |name: &str, message: String| RecordError::Content { path: dir.join(name), message };
        let text = bytes(&dir.join("scenario.yaml"), LARGEST_SCENARIO)?;
        let scenario = Scenario::parse(&dir.join("scenario.yaml"), &String::from_utf8_lossy(&text))
            .map_err(|error| content("scenario.yaml", error.to_string()))?;
        if let Some(problem) = scenario.too_long() {
            return Err(content("scenario.yaml", format!("{}: {}", problem.at, problem.message)));
        }
        let (timeline, broken_line) = timeline(&dir.join("timeline.jsonl"), longest(&scenario))?;
        let mut record = Self {
            scenario,
            environment: Environment { format: FORMAT, ..Environment::default() },
            timeline,
            emitters: Vec::new(),
            sinks: Vec::new(),
            copies: DuplicateSources::default(),
            metrics: None,
            damage: broken_line.into_iter().collect(),
        };
        let environment = optional(&dir.join("environment.json"), LARGEST)?;
        match environment.as_deref().map(serde_json::from_slice::<Environment>) {
            Some(Ok(read)) => record.environment = read,
            Some(Err(error)) => record.damage.push(format!("environment.json: {error}")),
            // A run that broke off before it knew where it was; or else it is missed below.
            None => {}
        }
        match record.environment.format {
            FORMAT => {}
            BEFORE => record.damage.push(format!(
                "environment.json: format {BEFORE}, in which the parts of a run folder do not vouch for one another yet: run it anew"
            )),
            other => {
                let message = format!("format {other}; this program reads format {FORMAT}");
                return Err(content("environment.json", message));
            }
        }
        let mut files = Files {
            scenario: Some(text),
            environment,
            plan: optional(&dir.join("plan.json"), LARGEST)?,
            ..Files::default()
        };
        let ledgers = ledgers(&dir.join("ledgers"))?;
        for path in &ledgers {
            record.add_ledger(path, &mut files)?;
        }
        record.copies = copies(&ledgers, &record.sinks)?;
        match summed(&dir.join("metrics.log"), Metrics::apply) {
            Ok(metrics) => record.metrics = Some(metrics),
            Err(Unread::Damage(problem)) => record.damage.push(format!("metrics.log: {problem}")),
            Err(Unread::Io(RecordError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {}
            Err(Unread::Io(error)) => return Err(error),
        }
        // An older format lacks what the files are checked against.
        if record.environment.format == FORMAT {
            let contradictions = vouch::contradictions(&record, &files);
            record.damage.extend(contradictions);
        }
        Ok(record)
    }

    fn add_ledger(&mut self, path: &Path, files: &mut Files) -> Result<(), RecordError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = format!("ledgers/{name}");
        let added = if name.starts_with("emit") {
            summed(path, EmitterLedger::apply).map(|ledger| {
                self.emitters.push(ledger);
                files.emitters.push(file);
            })
        } else if name.starts_with("sink") {
            summed(path, SinkLedger::apply).map(|ledger| {
                self.sinks.push(ledger);
                files.sinks.push(file);
            })
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

    /// The run's beginning; none if it is not on record.
    pub(super) fn began(&self) -> Option<Began<'_>> {
        self.timeline.iter().find_map(|entry| entry.event.as_began())
    }

    /// Returns the beginning of the run, Unix time in milliseconds.
    pub fn began_unix_ms(&self) -> u64 {
        self.began().map_or(0, |began| began.unix_ms)
    }

    /// Returns the longest time that such a run can take, in seconds.
    pub fn longest(&self) -> f64 {
        longest(&self.scenario)
    }

    /// Returns the seed of whatever was random in it.
    pub fn seed(&self) -> u64 {
        self.began().map_or(0, |began| began.seed)
    }

    /// Returns the offset of a node's clock from the run's, in milliseconds ahead.
    fn ahead_ms(&self, node: &str) -> f64 {
        self.environment.clock_offsets_ms.get(node).copied().unwrap_or_default()
    }

    /// Converts a moment of a node's clock, Unix time in milliseconds, to seconds on the run's clock.
    pub fn moment(&self, node: &str, unix_ms: u64) -> f64 {
        (unix_ms as f64 - self.ahead_ms(node) - self.began_unix_ms() as f64) / 1e3
    }

    /// Converts a moment of the run's clock, in seconds, to a node's: Unix time in milliseconds.
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

/// The format before this one.
const BEFORE: u32 = FORMAT - 1;

/// The largest scenario, in bytes.
const LARGEST_SCENARIO: u64 = 1 << 20;
/// The largest of the other files that are read whole, in bytes: hours of a timeline take a few megabytes.
const LARGEST: u64 = 128 << 20;
/// The largest ledger or metrics' log, in bytes: these are read record by record.
const LARGEST_LOG: u64 = 2 << 30;

/// The time that a run may take besides its load and the waiting for the rest: deployment, and fetching.
const BESIDES: Duration = Duration::from_secs(4 * 3600);

/// Returns the longest time that a run of a scenario can take, in seconds.
fn longest(scenario: &Scenario) -> f64 {
    let settle = scenario.settle.deadline.duration().min(LONGEST_LOAD);
    (LONGEST_LOAD + settle + BESIDES).as_secs_f64()
}

/// Returns the error of a file that is not there, not a regular one, or too large.
fn unreadable(path: &Path, why: Unreadable) -> RecordError {
    let path = path.to_owned();
    let message = match why {
        Unreadable::Io(source) => return RecordError::Io { path, source },
        Unreadable::NoFile(_) => "not a regular file".to_owned(),
        Unreadable::TooLarge(most) => format!("no run writes more than {most} bytes there"),
        why @ (Unreadable::TooMuch | Unreadable::NoText(_)) => why.to_string(),
    };
    RecordError::Content { path, message }
}

fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, RecordError> {
    given::bytes_up_to(most, path).map_err(|why| unreadable(path, why))
}

fn optional(path: &Path, most: u64) -> Result<Option<Vec<u8>>, RecordError> {
    match bytes(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(RecordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The ledgers' files, in order. A folder that is not there holds none.
fn ledgers(folder: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RecordError::Io { path: folder.to_owned(), source }),
    };
    let mut ledgers: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    ledgers.sort();
    Ok(ledgers)
}

/// Returns the lines up to the first that no run writes, and the problem with that one: nothing after it counts. A last line
/// that a crash tore off is left out.
fn timeline(path: &Path, longest: f64) -> Result<(Vec<Entry>, Option<String>), RecordError> {
    let bytes = bytes(path, LARGEST)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in lines {
        let before = entries.last().map_or(0.0, |entry| entry.t);
        let wrong = match serde_json::from_slice::<Entry>(line) {
            Ok(entry) if !entry.t.is_finite() || entry.t > longest => {
                format!("at {}s: no run lasts that long", entry.t)
            }
            Ok(entry) if entry.t < before => format!("at {}s, after one at {before}s", entry.t),
            Ok(entry) => {
                entries.push(entry);
                continue;
            }
            Err(error) => error.to_string(),
        };
        return Ok((entries, Some(format!("timeline.jsonl: line {}: {wrong}", number + 1))));
    }
    Ok((entries, None))
}

/// An error of adding up a log's records.
enum Unread {
    Io(RecordError),
    Damage(String),
}

/// Gives each record of a log to `each`, which says what is wrong with one.
fn each_record<R: log::Record>(
    path: &Path,
    mut each: impl FnMut(R) -> Result<(), LedgerError>,
) -> Result<(), Unread> {
    enum Stopped {
        Log(StreamError),
        Record(LedgerError),
    }
    impl From<StreamError> for Stopped {
        fn from(error: StreamError) -> Self {
            Self::Log(error)
        }
    }
    let io = |source| Unread::Io(RecordError::Io { path: path.to_owned(), source });
    let mut file = File::open(path).map_err(io)?;
    match read_records(&mut file, |record| each(record).map_err(Stopped::Record)) {
        Ok(_) => Ok(()),
        Err(Stopped::Log(StreamError::Read(source))) => Err(io(source)),
        Err(Stopped::Log(StreamError::Content(error))) => Err(Unread::Damage(error.to_string())),
        Err(Stopped::Record(error)) => Err(Unread::Damage(error.to_string())),
    }
}

/// Returns the deliverers of the spans that arrived more than once: a second pass, and only if there are any.
fn copies(ledgers: &[PathBuf], sinks: &[SinkLedger]) -> Result<DuplicateSources, RecordError> {
    let mut copies = DuplicateSources::of(sinks);
    let named =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sink"));
    for path in ledgers.iter().filter(named).filter(|_| !copies.is_empty()).collect::<Vec<_>>() {
        let looked = each_record(path, |record: SinkRecord| {
            copies.apply(&record);
            Ok(())
        });
        match looked {
            // The first pass has found the damage.
            Ok(()) | Err(Unread::Damage(_)) => {}
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
    given::readable_up_to(LARGEST_LOG, path).map_err(|why| Unread::Io(unreadable(path, why)))?;
    let mut sum = T::default();
    each_record(path, |record: R| apply(&mut sum, &record))?;
    Ok(sum)
}
