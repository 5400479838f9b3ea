//! A ledger on disk: a record is in the file before anybody is told of it.

use spanproof_ledger::log::{self, LogError, Record};
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

/// An open ledger file, written at its end.
#[derive(Debug)]
pub struct LedgerFile<R> {
    file: File,
    path: PathBuf,
    kind: PhantomData<R>,
}

impl<R: Record> LedgerFile<R> {
    /// Opens a ledger, or makes it; returns the records that are in it. A torn tail is cut off.
    pub fn open(path: &Path) -> Result<(Self, Vec<R>), LedgerFileError> {
        let io = |action, source| LedgerFileError::Io { action, path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io("read", error)),
        };
        let decoded = log::decode::<R>(&bytes)
            .map_err(|source| LedgerFileError::Content { path: path.to_owned(), source })?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| io("open", e))?;
        file.set_len(decoded.whole as u64).map_err(|e| io("cut the torn tail of", e))?;
        let mut ledger = Self { file, path: path.to_owned(), kind: PhantomData };
        if decoded.whole == 0 {
            ledger.write(&log::header::<R>())?;
        }
        Ok((ledger, decoded.records))
    }

    /// Appends a record. It survives the end of this process, and `durable` ones that of the machine.
    pub fn append(&mut self, record: &R, durable: bool) -> Result<(), LedgerFileError> {
        let bytes = log::encode(record)
            .map_err(|source| LedgerFileError::Content { path: self.path.clone(), source })?;
        self.write(&bytes)?;
        if durable {
            let synced = self.file.sync_data();
            synced.map_err(|source| LedgerFileError::Io {
                action: "sync",
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LedgerFileError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| LedgerFileError::Io { action: "write", path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spanproof_ledger::{EmitterRecord, Range};

    #[test]
    fn what_was_appended_is_there_and_a_torn_tail_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("emit.ledger");
        let record = EmitterRecord::Reserved { range: Range::new(0, 100) };
        let (mut ledger, records) = LedgerFile::<EmitterRecord>::open(&path).unwrap();
        assert!(records.is_empty());
        ledger.append(&record, true).unwrap();
        ledger.append(&record, false).unwrap();
        drop(ledger);

        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (mut ledger, records) = LedgerFile::<EmitterRecord>::open(&path).unwrap();
        assert_eq!(records, std::slice::from_ref(&record));
        ledger.append(&record, false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "the torn tail gave way to the new record");
    }

    #[test]
    fn another_kind_of_ledger_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink.ledger");
        drop(LedgerFile::<spanproof_ledger::SinkRecord>::open(&path).unwrap());
        let refused = LedgerFile::<EmitterRecord>::open(&path).unwrap_err().to_string();
        assert!(refused.contains("sink.ledger") && refused.contains("not a ledger of kind"), "{refused}");
    }
}
