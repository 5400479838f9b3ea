//! A process, known by its number and its start: the kernel uses numbers again.

use procfs_core::FromRead;
use procfs_core::process::Stat;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its PID.
    pub pid: u32,
    /// Its start, in the kernel's ticks since boot; none where that cannot be read.
    pub began: Option<u64>,
}

impl Process {
    /// The process that calls this.
    pub(crate) fn current() -> Self {
        Self::with_pid(std::process::id())
    }

    /// The process that has a number now.
    pub(crate) fn with_pid(pid: u32) -> Self {
        Self { pid, began: stat(pid).map(|stat| stat.starttime) }
    }

    /// Returns whether it still runs; none where that cannot be seen. One that has ended and that its parent does not
    /// know of yet runs no more.
    pub fn is_alive(&self) -> Option<bool> {
        let began = self.began.filter(|_| Path::new("/proc/self/stat").exists())?;
        let ended = |stat: &Stat| matches!(stat.state, 'Z' | 'X');
        Some(stat(self.pid).is_some_and(|stat| stat.starttime == began && !ended(&stat)))
    }
}

fn stat(pid: u32) -> Option<Stat> {
    Stat::from_file(format!("/proc/{pid}/stat")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let this = Process::current();
        assert_eq!(this.is_alive(), Some(true));
        let earlier = Process { began: this.began.map(|began| began - 1), ..this };
        assert_eq!(earlier.is_alive(), Some(false), "another process has its number now");
        assert_eq!(Process { pid: u32::MAX, began: Some(1) }.is_alive(), Some(false));
        assert_eq!(Process { pid: 1, began: None }.is_alive(), None);
    }
}
