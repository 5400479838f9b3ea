//! The journal of a run: everything that must be undone is on disk before it is done. `spanproof restore` reads it after
//! the run has died.
//!
//! ```text
//! RUN/journal.jsonl        a header, then a line for each entry that is opened or closed
//! CACHE/open/NAME.json     a copy of the header, while an entry is open
//! ```

mod format;
mod pointer;
#[cfg(test)]
mod tests;

pub use format::{Header, OpenEntry};

use crate::given::{self, Unreadable};
use crate::location::Location;
use crate::undo::Undo;
use format::{Change, Entry};
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self as std_io, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in a run folder.
const FILE: &str = "journal.jsonl";

/// An error in writing or reading a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std_io::Error,
    },
    /// A file is not what it should be.
    #[error("{}, line {line}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The problem.
        message: String,
    },
}

impl JournalError {
    fn damaged(path: &Path, line: usize, message: &dyn fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), line, message: message.to_string() }
    }
}

fn io(path: &Path) -> impl FnOnce(std_io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { path, source }
}

/// A run's journal. Each change is on disk when its call returns.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    header: Header,
    path: PathBuf,
    pointer: PathBuf,
    lines: Mutex<Writer>,
}

/// The journal's file, open for writing. After a write that failed nothing more may be written.
#[derive(Debug)]
struct Writer {
    file: File,
    next: u64,
    open: Vec<OpenEntry>,
    broken: bool,
}

/// Returns the folder of the pointers.
fn pointers() -> PathBuf {
    crate::host::cache_dir().join("open")
}

/// A run that a pointer names.
pub(crate) struct PointedRun {
    /// The header of its journal.
    pub(crate) header: Header,
    /// The journal; none if its folder is gone.
    pub(crate) journal: Result<Option<Journal>, JournalError>,
}

/// Returns every run that has an open entry, by its pointer.
pub(crate) fn open_runs() -> Result<Vec<Result<PointedRun, JournalError>>, JournalError> {
    let paths = pointer::all(&pointers())?;
    let pointed = |path: &PathBuf| {
        let header = pointer::read(path)?;
        let journal = Journal::reopen(&header.folder);
        Ok(PointedRun { header, journal })
    };
    Ok(paths.iter().map(pointed).collect())
}

/// A run whose folder is gone has nothing open any more.
pub(crate) fn forget(run: &str) -> Result<(), JournalError> {
    pointer::remove(&pointer::path(&pointers(), run))
}

impl Journal {
    /// A journal in a folder that has none yet, for what is named `run` in labels and annotations.
    pub fn create(folder: &Path, run: &str, cluster: Location) -> Result<Self, JournalError> {
        Self::create_beside(&pointers(), folder, run, cluster)
    }

    fn create_beside(
        pointers: &Path,
        folder: &Path,
        run: &str,
        cluster: Location,
    ) -> Result<Self, JournalError> {
        // It is found from elsewhere, too.
        let folder = folder.canonicalize().map_err(io(folder))?;
        let path = folder.join(FILE);
        let header = Header::new(run, folder.clone(), cluster);
        let first = format::line(&header).map_err(|error| JournalError::damaged(&path, 1, &error))?;
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        let written = file.and_then(|mut file| {
            file.write_all(&first)?;
            file.sync_all()?;
            Ok(file)
        });
        let file = written.map_err(io(&path))?;
        pointer::sync_dir(&folder)?;
        let lines = Writer { file, next: 0, open: Vec::new(), broken: false };
        let pointer = pointer::path(pointers, run);
        Ok(Self(Arc::new(Shared { header, path, pointer, lines: Mutex::new(lines) })))
    }

    /// The journal in a run folder, to go on with; none if there is none.
    pub(crate) fn reopen(folder: &Path) -> Result<Option<Self>, JournalError> {
        Self::reopen_beside(&pointers(), folder)
    }

    fn reopen_beside(pointers: &Path, folder: &Path) -> Result<Option<Self>, JournalError> {
        let path = folder.join(FILE);
        let bytes = match given::bytes(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(None),
            Err(Unreadable::Io(error)) => return Err(io(&path)(error)),
            Err(other) => return Err(JournalError::damaged(&path, 1, &other)),
        };
        let content = format::read(&bytes)
            .map_err(|damage| JournalError::damaged(&path, damage.line, &damage.message))?;
        let Some(header) = content.header else {
            return Ok(None); // its writer died before there was anything to undo
        };
        // What is torn goes: the next line must not be one with it.
        let file = OpenOptions::new().append(true).open(&path);
        let cut = file.and_then(|file| {
            file.set_len(content.whole)?;
            Ok(file)
        });
        let file = cut.map_err(io(&path))?;
        let lines = Writer { file, next: content.next, open: content.open, broken: false };
        let pointer = pointer::path(pointers, &header.run);
        Ok(Some(Self(Arc::new(Shared { header, path, pointer, lines: Mutex::new(lines) }))))
    }

    /// Returns the header.
    pub fn header(&self) -> &Header {
        &self.0.header
    }

    /// Opens an entry, before something is done that `undo` reverts. Returns its number.
    pub fn open(&self, undo: Undo) -> Result<u64, JournalError> {
        let mut lines = self.lines();
        if lines.open.is_empty() {
            pointer::write(&self.0.pointer, &self.0.header)?;
        }
        let value = serde_json::to_value(&undo);
        let value = value.map_err(|error| JournalError::damaged(&self.0.path, 0, &error))?;
        let n = self.append(&mut lines, Change::Opens { undo: value })?;
        lines.open.push(OpenEntry { n, undo: Ok(undo) });
        Ok(n)
    }

    /// Closes an entry: what it stands for was seen to be undone. Closing it again does nothing.
    pub fn close(&self, n: u64, how: &str) -> Result<(), JournalError> {
        self.close_each(how, |open| open.n == n)
    }

    /// Closes all entries of a kind: what they stand for was seen to be undone.
    pub fn close_all(&self, how: &str, of: impl Fn(&Undo) -> bool) -> Result<(), JournalError> {
        self.close_each(how, |open| open.undo.as_ref().is_ok_and(&of))
    }

    /// Closes all entries: everything has gone with its cluster.
    pub fn close_with_cluster(&self) -> Result<(), JournalError> {
        self.close_each("its cluster is gone", |_| true)
    }

    fn close_each(&self, how: &str, which: impl Fn(&OpenEntry) -> bool) -> Result<(), JournalError> {
        let mut lines = self.lines();
        let closed: Vec<_> = lines.open.iter().filter(|open| which(open)).map(|open| open.n).collect();
        for n in closed {
            self.append(&mut lines, Change::Closes { closes: n, how: how.to_owned() })?;
            lines.open.retain(|open| open.n != n);
        }
        if lines.open.is_empty() { pointer::remove(&self.0.pointer) } else { Ok(()) }
    }

    /// Returns the open entries, the latest first.
    pub fn to_undo(&self) -> Vec<OpenEntry> {
        self.lines().open.iter().rev().cloned().collect()
    }

    /// Describes the open entries, and the command that undoes them; none if there are none.
    pub fn reminder(&self) -> Option<String> {
        let open = self.to_undo();
        if open.is_empty() {
            return None;
        }
        let mut lines = vec!["still to be undone:".to_owned()];
        lines.extend(open.iter().map(|open| format!("  {}", open.describe())));
        lines.push(format!("`spanproof restore {}` undoes it", self.0.header.folder.display()));
        Some(lines.join("\n"))
    }

    fn append(&self, lines: &mut Writer, what: Change) -> Result<u64, JournalError> {
        let n = lines.next;
        let line = format::line(&Entry { n, unix_ms: spanproof_probe::unix_ms(), what });
        let line = line.map_err(|error| JournalError::damaged(&self.0.path, 0, &error))?;
        if lines.broken {
            let error = std_io::Error::other("an earlier line could not be written");
            return Err(io(&self.0.path)(error));
        }
        let written = lines.file.write_all(&line).and_then(|()| lines.file.sync_data());
        lines.broken = written.is_err();
        written.map_err(io(&self.0.path))?;
        lines.next += 1;
        Ok(n)
    }

    fn lines(&self) -> MutexGuard<'_, Writer> {
        self.0.lines.lock()
    }
}

/// The journal of the present run, for a signal handler that ends it at once.
#[derive(Debug, Clone, Default)]
pub struct CurrentJournal(Arc<Mutex<Option<Journal>>>);

impl CurrentJournal {
    /// Sets the journal.
    pub(crate) fn set(&self, journal: &Journal) {
        *self.0.lock() = Some(journal.clone());
    }

    /// The run's that is going on, or was last.
    pub fn get(&self) -> Option<Journal> {
        self.0.lock().clone()
    }
}
