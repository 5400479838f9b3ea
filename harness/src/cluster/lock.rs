//! One process at a time on a cluster: a lock that the kernel lets go of when its holder dies.

use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Who holds a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// What it does.
    pub run: String,
    /// Since when, Unix time in milliseconds.
    pub since_unix_ms: u64,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("the cluster {cluster} is in use by {by}")]
    Held {
        /// The cluster.
        cluster: String,
        /// Who it is.
        by: String,
    },
    /// The lock's files cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A held lock. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Lock {
    state: PathBuf,
    previous: Option<Owner>,
    _file: File,
}

impl Lock {
    /// Takes the lock of a cluster whose state is in `state`.
    pub(super) fn take(state: &Path, cluster: &str) -> Result<Self, LockError> {
        let io = |path: &Path, source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(state).map_err(|e| io(state, e))?;
        // The lock's own file is never removed: a second process might hold the removed one's lock.
        let path = state.with_extension("lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| io(&path, e))?;
        let previous = std::fs::read(state.join("owner.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match file.try_lock() {
            Ok(()) => Ok(Self {
                state: state.to_owned(),
                previous,
                _file: file,
            }),
            Err(TryLockError::Error(source)) => Err(io(&path, source)),
            Err(TryLockError::WouldBlock) => {
                let by = previous.map_or_else(
                    || "another process".to_owned(),
                    |owner: Owner| format!("process {} ({})", owner.pid, owner.run),
                );
                Err(LockError::Held {
                    cluster: cluster.to_owned(),
                    by,
                })
            }
        }
    }

    /// Who held it before, and did not let go of it in good order.
    pub(super) const fn previous(&self) -> Option<&Owner> {
        self.previous.as_ref()
    }

    /// Says in a file that it is this process's now.
    pub(super) fn own(&self) -> Result<(), LockError> {
        let path = self.state.join("owner.json");
        let command: Vec<_> = std::env::args().collect();
        let owner = Owner {
            pid: std::process::id(),
            run: command.join(" "),
            since_unix_ms: crate::clock::unix_ms(),
        };
        let bytes = serde_json::to_vec(&owner).unwrap_or_default();
        let written = File::create(&path).and_then(|mut file| file.write_all(&bytes));
        written.map_err(|source| LockError::Io { path, source })
    }

    /// The cluster is gone: so is what was kept of it.
    pub(super) fn forget(&self) {
        // Should that fail, the next run finds it, says so, and cleans up.
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("cluster");
        let first = Lock::take(&state, "cluster").unwrap();
        assert!(first.previous().is_none());
        first.own().unwrap();
        let refused = Lock::take(&state, "cluster").unwrap_err().to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        let second = Lock::take(&state, "cluster").unwrap();
        assert_eq!(
            second.previous().unwrap().pid,
            std::process::id(),
            "it died without a word"
        );
        second.forget();
        drop(second);
        assert!(Lock::take(&state, "cluster").unwrap().previous().is_none());
    }
}
