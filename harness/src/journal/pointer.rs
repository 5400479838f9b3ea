//! A file a run in the cache, as long as its journal has something open: so that all of them are found.

use super::{Header, JournalError, format, io};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A folder's entries are on disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
}

/// Returns the path of a run's pointer.
pub(super) fn path(pointers: &Path, run: &str) -> PathBuf {
    pointers.join(run).with_extension("json")
}

/// Writes it, whole or not at all.
pub(super) fn write(path: &Path, header: &Header) -> Result<(), JournalError> {
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    let partial = path.with_extension("partial");
    let bytes = format::line(header).map_err(|error| JournalError::damaged(path, 1, &error))?;
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(io(&partial))?;
    std::fs::rename(&partial, path).map_err(io(path))?;
    sync_dir(dir)
}

/// Removes a pointer, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(path)(error)),
        _ => Ok(()),
    }
}

/// Reads one.
pub(super) fn read(path: &Path) -> Result<Header, JournalError> {
    let bytes = std::fs::read(path).map_err(io(path))?;
    let header: Header =
        serde_json::from_slice(&bytes).map_err(|error| JournalError::damaged(path, 1, &error))?;
    header.check().map_err(|message| JournalError::damaged(path, 1, &message))?;
    Ok(header)
}

/// Returns the paths of all pointers, by name.
pub(super) fn all(pointers: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = match std::fs::read_dir(pointers) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(pointers)(error)),
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(io(pointers))?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    Ok(paths)
}
