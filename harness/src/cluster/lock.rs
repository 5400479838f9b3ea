//! A lock of a cluster: one process at a time on this machine. The kernel releases it when its holder dies.

use super::owner::Owner;
use crate::progress;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An error in acquiring the lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("the cluster {cluster} is in use by {by}")]
    Held {
        /// The cluster.
        cluster: String,
        /// The holder.
        by: String,
    },
    /// The lock's files cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A held lock. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Lock {
    state: PathBuf,
    previous: Option<Owner>,
    file: File,
}

/// The longest time that a reaper may take to clean up after a run that died.
const REAPER_TIMEOUT: Duration = Duration::from_secs(90);

impl Lock {
    /// Acquires the lock of a cluster whose state is in `state`. An error if another process holds it.
    pub(super) fn try_acquire(state: &Path, cluster: &str) -> Result<Self, LockError> {
        let io = |path: &Path, source| LockError::Io { path: path.to_owned(), source };
        if let Some(dir) = state.parent() {
            std::fs::create_dir_all(dir).map_err(|e| io(dir, e))?;
        }
        // The lock's own file is never removed: a second process might hold the removed one's lock.
        let path = state.with_extension("lock");
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| io(&path, e))?;
        match file.try_lock() {
            Ok(()) => {
                // Only now: a reaper that held the lock may have removed it a moment ago.
                std::fs::create_dir_all(state).map_err(|e| io(state, e))?;
                Ok(Self { state: state.to_owned(), previous: owner(state), file })
            }
            Err(TryLockError::Error(source)) => Err(io(&path, source)),
            Err(TryLockError::WouldBlock) => {
                let by = owner(state).map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
                Err(LockError::Held { cluster: cluster.to_owned(), by })
            }
        }
    }

    /// Acquires the lock, and waits up to `timeout` until it is free; if its holder has died, until the reaper has
    /// finished.
    pub(super) async fn acquire(state: &Path, cluster: &str, timeout: Duration) -> Result<Self, LockError> {
        let began = Instant::now();
        let mut said = None;
        let mut reaping: Option<Instant> = None;
        loop {
            let taken = Self::try_acquire(state, cluster);
            let Err(LockError::Held { by, .. }) = &taken else {
                return taken;
            };
            let owner = owner(state);
            // Without an owner the reaper is at its last word, if this has waited for one.
            let dying = owner.as_ref().map_or(reaping.is_some(), Owner::is_dead);
            reaping = dying.then(|| reaping.unwrap_or_else(Instant::now));
            if began.elapsed() >= timeout && reaping.is_none_or(|since| since.elapsed() >= REAPER_TIMEOUT) {
                return taken;
            }
            if owner.is_some() && said.as_ref() != Some(by) {
                said = Some(by.clone());
                let message = match owner.filter(|_| dying) {
                    Some(dead) => {
                        format!(
                            "process {} died; waiting until what it left behind is removed",
                            dead.process.pid
                        )
                    }
                    None => super::waiting(cluster, by, timeout),
                };
                tracing::info!(target: progress::TARGET, "{message}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// A second handle on the lock: it is held until both are closed.
    pub(super) fn share(&self) -> Result<File, LockError> {
        let path = || self.state.with_extension("lock");
        self.file.try_clone().map_err(|source| LockError::Io { path: path(), source })
    }

    /// Returns the previous holder, if it died without releasing the lock.
    pub(super) const fn previous(&self) -> Option<&Owner> {
        self.previous.as_ref()
    }

    /// Records this process as the owner.
    pub(super) fn record_owner(&self) -> Result<(), LockError> {
        let path = self.state.join("owner.json");
        let bytes = serde_json::to_vec(&Owner::current()).unwrap_or_default();
        let written = File::create(&path).and_then(|mut file| file.write_all(&bytes));
        written.map_err(|source| LockError::Io { path, source })
    }

    /// The cluster is gone: so is what was kept of it.
    pub(super) fn forget(&self) {
        // Should that fail, the next run finds it, says so, and cleans up.
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// Returns the owner that a cluster's state names.
fn owner(state: &Path) -> Option<Owner> {
    serde_json::from_slice(&std::fs::read(state.join("owner.json")).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Process;
    use crate::progress::tests::Lines;

    /// A reaper shares the lock with a runner that dies: the next run waits for it.
    #[tokio::test]
    async fn the_lock_is_held_until_the_reaper_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("cluster");
        let lock = Lock::try_acquire(&state, "cluster").unwrap();
        let reaper = lock.share().unwrap();
        drop(lock);
        assert!(matches!(Lock::try_acquire(&state, "cluster"), Err(LockError::Held { .. })));
        // No process has this number.
        let dead = Owner { process: Process { pid: u32::MAX, began: Some(1) }, ..Owner::current() };
        std::fs::write(state.join("owner.json"), serde_json::to_vec(&dead).unwrap()).unwrap();
        let cleaning = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(reaper);
        });
        assert!(Lock::acquire(&state, "cluster", Duration::ZERO).await.is_ok());
        cleaning.await.unwrap();
    }

    /// A waiting process is told once for whom it waits, and gets the lock when that one releases it; without waiting
    /// it is refused at once.
    #[tokio::test]
    async fn a_second_holder_may_wait() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("cluster");
        let first = Lock::try_acquire(&state, "cluster").unwrap();
        first.record_owner().unwrap();
        let (told, _collecting) = Lines::collect();
        let refused = Lock::acquire(&state, "cluster", Duration::ZERO).await;
        assert!(matches!(refused, Err(LockError::Held { .. })));
        assert!(told.so_far().is_empty());
        let let_go = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(Lock::acquire(&state, "cluster", Duration::from_secs(60)), let_go);
        assert!(second.is_ok());
        let said = told.so_far();
        assert!(
            matches!(&said[..], [once] if once.contains("for up to 1m: the cluster cluster is in use by")),
            "{said:?}"
        );
    }

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("cluster");
        let first = Lock::try_acquire(&state, "cluster").unwrap();
        assert!(first.previous().is_none());
        first.record_owner().unwrap();
        let refused = Lock::try_acquire(&state, "cluster").unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} on ", std::process::id())), "{refused}");
        drop(first);
        let second = Lock::try_acquire(&state, "cluster").unwrap();
        assert_eq!(second.previous().unwrap().process.pid, std::process::id(), "it died without a word");
        second.forget();
        drop(second);
        assert!(Lock::try_acquire(&state, "cluster").unwrap().previous().is_none());
    }
}
