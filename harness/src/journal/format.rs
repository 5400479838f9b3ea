//! The format of a journal: its lines, and the entries that they leave open. No I/O.

use crate::host::Process;
use crate::location::Location;
use crate::undo::Undo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Version of the journal's format.
const FORMAT: u32 = 1;

/// A journal's first line: whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub journal: u32,
    /// The version of the program that wrote it.
    pub spanproof: String,
    /// The run's name.
    pub run: String,
    /// The run folder.
    pub folder: PathBuf,
    /// The cluster's location.
    pub cluster: Location,
    /// The process that writes it.
    pub process: Process,
}

impl Header {
    /// Returns the header of this process, for a run.
    pub(super) fn new(run: &str, folder: PathBuf, cluster: Location) -> Self {
        let spanproof = env!("CARGO_PKG_VERSION").to_owned();
        Self { journal: FORMAT, spanproof, run: run.to_owned(), folder, cluster, process: Process::current() }
    }

    /// Checks that this program can read what follows the header.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.journal == FORMAT {
            return Ok(());
        }
        let (found, by) = (self.journal, &self.spanproof);
        Err(format!("it is of format {found}, by spanproof {by}; this program reads format {FORMAT}"))
    }
}

/// A line after the header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its number, from 0 without a gap.
    pub(super) n: u64,
    pub(super) unix_ms: u64,
    #[serde(flatten)]
    pub(super) what: Change,
}

/// The change that a line records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Change {
    /// An entry is opened. It is not typed yet: a later version knows more kinds.
    Opens { undo: Value },
    /// The entry of that number has been seen to be undone.
    Closes { closes: u64, how: String },
}

/// An open entry: something that is still to be undone.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenEntry {
    /// The number of its line.
    pub n: u64,
    /// The undo; or why this program does not know it.
    pub undo: Result<Undo, String>,
}

impl OpenEntry {
    /// Describes it, for people.
    pub fn describe(&self) -> String {
        match &self.undo {
            Ok(undo) => undo.describe(),
            Err(why) => format!("entry {}: {why}", self.n),
        }
    }
}

/// The content of a journal's bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    /// The header; none if not even the first line was written.
    pub(super) header: Option<Header>,
    /// The open entries, the oldest first.
    pub(super) open: Vec<OpenEntry>,
    /// The number that the next line has.
    pub(super) next: u64,
    /// The number of bytes in whole lines.
    pub(super) whole: u64,
}

/// Damage in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads a journal. A torn last line is ignored: either its action had not begun when the writer died, or it had been
/// undone and will be found so.
pub(super) fn read(bytes: &[u8]) -> Result<Content, Damage> {
    let mut content = Content { header: None, open: Vec::new(), next: 0, whole: 0 };
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    for (line, text) in (1..).zip(lines) {
        let damage = |message: String| Damage { line, message };
        if content.header.is_none() {
            let header: Header = serde_json::from_slice(text).map_err(|error| damage(error.to_string()))?;
            header.check().map_err(damage)?;
            content.header = Some(header);
        } else {
            let read: Entry = serde_json::from_slice(text).map_err(|error| damage(error.to_string()))?;
            if read.n != content.next {
                return Err(damage(format!("it is numbered {}, not {}", read.n, content.next)));
            }
            content.next += 1;
            match read.what {
                Change::Opens { undo } => content.open.push(OpenEntry { n: read.n, undo: typed(undo) }),
                Change::Closes { closes, .. } => content.open.retain(|open| open.n != closes),
            }
        }
        content.whole += text.len() as u64;
    }
    Ok(content)
}

fn typed(undo: Value) -> Result<Undo, String> {
    let kind = undo["kind"].as_str().unwrap_or_default().to_owned();
    serde_json::from_value(undo).map_err(|error| {
        format!(
            "this version does not know how to undo {kind:?} ({error}): use the version that made the run"
        )
    })
}

/// A value as a line.
pub(super) fn line(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
