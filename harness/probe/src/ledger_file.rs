//! A ledger's file: a record is in the file before it has any visible effect.

use spanproof_ledger::log::{self, LogError, Record, StreamError, read_records};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// An error of a ledger's file.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// The file could not be read or written.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its content is not a ledger of this kind.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: LogError,
    },
}

/// The error of [`read_records`], or that of the function given the records.
enum ReadStopped<E> {
    Log(StreamError),
    Each(E),
}

impl<E> From<StreamError> for ReadStopped<E> {
    fn from(error: StreamError) -> Self {
        Self::Log(error)
    }
}

/// Reads a ledger and gives each of its records to `each`, one at a time. Returns the length of its whole part, in
/// bytes; the rest is a torn tail.
fn read<R: Record, E: From<LedgerFileError>>(
    path: &Path,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<u64, E> {
    let io = |action, source| LedgerFileError::Io { action, path: path.to_owned(), source };
    let mut file = File::open(path).map_err(|error| io("open", error))?;
    read_records(&mut file, |record| each(record).map_err(ReadStopped::Each)).map_err(|stopped| match stopped
    {
        ReadStopped::Each(error) => error,
        ReadStopped::Log(StreamError::Read(source)) => io("read", source).into(),
        ReadStopped::Log(StreamError::Content(source)) => {
            LedgerFileError::Content { path: path.to_owned(), source }.into()
        }
    })
}

/// An open ledger file, to which records are appended.
#[derive(Debug)]
pub struct LedgerFile<R, D = File> {
    disk: D,
    path: PathBuf,
    /// The length of the file's whole part, in bytes.
    whole: u64,
    /// `true` if more may be in the file: a write failed, and so did the attempt to cut off the part written.
    torn: bool,
    /// `true` if a sync failed: the data may be lost, though the next sync may succeed.
    unsynced: bool,
    bytes: Vec<u8>,
    kind: PhantomData<R>,
}

/// The operations of a file that a ledger needs.
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
    /// Opens or creates a ledger, and gives each of its records to `each`. A torn tail is cut off.
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
            // The file's name must be durable, as the records are.
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| io("sync the folder of", error))?;
        }
        Ok(ledger)
    }

    /// A second handle to the file, with which it can be synced while records are appended.
    pub fn handle(&self) -> io::Result<File> {
        self.disk.try_clone()
    }

    /// Opens or creates a ledger, and returns all its records; see [`Self::open_with`].
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

    /// Appends a record. It survives a kill of this process, and with `durable` a loss of power.
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

    /// Writes the encoded records.
    fn write(&mut self, durable: bool) -> Result<(), LedgerFileError> {
        if self.unsynced {
            return Err(self.io("sync", io::Error::other("it failed before, and what it lost is not known")));
        }
        if self.torn {
            self.cut("cut what a failed write left of")?;
        }
        if let Err(error) = self.disk.append(&self.bytes) {
            // Nothing may follow a partial record. If it cannot be cut off now, it is before the next one.
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
