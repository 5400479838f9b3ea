//! A ledger on disk: a record is in the file before anybody is told of it.

use spanproof_ledger::log::{self, LogError, Record, StreamError, read_records};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Why a ledger cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// The file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is in it is not a ledger of this kind.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: LogError,
    },
}

/// What [`read_records`] came upon, or what was done with a record.
enum Stopped<E> {
    Log(StreamError),
    Each(E),
}

impl<E> From<StreamError> for Stopped<E> {
    fn from(error: StreamError) -> Self {
        Self::Log(error)
    }
}

/// Reads a ledger and gives each of its records to `each`, one at a time. Returns up to where the file is
/// whole, in bytes; what follows is a torn tail.
fn read<R: Record, E: From<LedgerFileError>>(
    path: &Path,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<u64, E> {
    let io = |action, source| LedgerFileError::Io { action, path: path.to_owned(), source };
    let mut file = File::open(path).map_err(|error| io("open", error))?;
    read_records(&mut file, |record| each(record).map_err(Stopped::Each)).map_err(|stopped| match stopped {
        Stopped::Each(error) => error,
        Stopped::Log(StreamError::Read(source)) => io("read", source).into(),
        Stopped::Log(StreamError::Content(source)) => {
            LedgerFileError::Content { path: path.to_owned(), source }.into()
        }
    })
}

/// An open ledger file, written at its end.
#[derive(Debug)]
pub struct LedgerFile<R, D = File> {
    disk: D,
    path: PathBuf,
    /// Up to where the file is whole, in bytes.
    whole: u64,
    /// Whether there may be more in the file: a write failed, and so did the attempt to cut off what it left.
    torn: bool,
    /// Whether a sync failed: what it should have written is lost, though the next sync may say otherwise.
    unsynced: bool,
    bytes: Vec<u8>,
    kind: PhantomData<R>,
}

/// What a ledger needs of a file.
trait Disk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl<R: Record> LedgerFile<R> {
    /// Opens a ledger, or makes it, and gives each record that is in it to `each`. A torn tail is cut off.
    pub fn open_with<E: From<LedgerFileError>>(
        path: &Path,
        each: impl FnMut(R) -> Result<(), E>,
    ) -> Result<Self, E> {
        let io = |action, source| LedgerFileError::Io { action, path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| io("open", error))?;
        let whole = read(path, each)?;
        let mut ledger = Self::on(file, path, whole);
        ledger.cut("cut the torn tail of")?;
        if whole == 0 {
            ledger.bytes.extend(log::header::<R>());
            ledger.write(false)?;
            // The name has to survive as the records do.
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| io("sync the folder of", error))?;
        }
        Ok(ledger)
    }

    /// The file, to be synced by somebody else while this one goes on writing.
    pub fn handle(&self) -> io::Result<File> {
        self.disk.try_clone()
    }

    /// As [`Self::open_with`], with all records at once.
    pub fn open(path: &Path) -> Result<(Self, Vec<R>), LedgerFileError> {
        let mut records = Vec::new();
        let ledger = Self::open_with(path, |record| {
            records.push(record);
            Ok::<_, LedgerFileError>(())
        })?;
        Ok((ledger, records))
    }
}

#[expect(private_bounds, reason = "outside of this module a ledger is on a file")]
impl<R: Record, D: Disk> LedgerFile<R, D> {
    fn on(disk: D, path: &Path, whole: u64) -> Self {
        let (path, bytes) = (path.to_owned(), Vec::new());
        Self { disk, path, whole, torn: false, unsynced: false, bytes, kind: PhantomData }
    }

    /// Appends a record. It survives the end of this process, and `durable` ones that of the machine.
    pub fn append(&mut self, record: &R, durable: bool) -> Result<(), LedgerFileError> {
        self.append_all(std::slice::from_ref(record), durable)
    }

    /// Appends records with one write. If it fails, none of them is in the file.
    pub fn append_all(&mut self, records: &[R], durable: bool) -> Result<(), LedgerFileError> {
        self.bytes.clear();
        for record in records {
            let encoded = log::encode(record, self.whole, &mut self.bytes);
            encoded.map_err(|source| LedgerFileError::Content { path: self.path.clone(), source })?;
        }
        self.write(durable)
    }

    /// Writes what was made ready.
    fn write(&mut self, durable: bool) -> Result<(), LedgerFileError> {
        if self.unsynced {
            return Err(self.io("sync", io::Error::other("it failed before, and what it lost is not known")));
        }
        if self.torn {
            self.cut("cut what a failed write left of")?;
        }
        if let Err(error) = self.disk.append(&self.bytes) {
            // Nothing may come behind half a record. If it cannot be cut off now, then before the next one.
            self.torn = self.disk.cut(self.whole).is_err();
            return Err(self.io("write", error));
        }
        self.whole += self.bytes.len() as u64;
        if durable && let Err(error) = self.disk.sync() {
            self.unsynced = true;
            return Err(self.io("sync", error));
        }
        Ok(())
    }

    fn cut(&mut self, action: &'static str) -> Result<(), LedgerFileError> {
        let cut = self.disk.cut(self.whole);
        self.torn = cut.is_err();
        cut.map_err(|error| self.io(action, error))
    }

    fn io(&self, action: &'static str, source: io::Error) -> LedgerFileError {
        LedgerFileError::Io { action, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests;
