//! Kills the first process of a container on this node with SIGKILL. A process in a container cannot do that to its own
//! first process: the kernel drops the signal.

use procfs_core::process::Status;
use procfs_core::{FromBufRead, FromRead, ProcessCGroups};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{self, BufReader};

/// An error of a kill.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The processes of the node cannot be listed.
    #[error("the node's processes cannot be listed: {0}")]
    Unlisted(#[from] io::Error),
    /// No process of the node belongs to the container.
    #[error("no process of this node is the first one of container {0}")]
    NoProcess(String),
    /// The kernel refused the signal.
    #[error("process {pid} cannot be killed: {source}")]
    Refused {
        /// The process ID.
        pid: i32,
        /// The cause.
        source: rustix::io::Errno,
    },
}

/// Kills the first process of a container, by the container's ID. Needs the node's process IDs (`hostPID`) and the
/// capability `KILL`. Returns the process ID.
///
/// # Errors
/// If there is no such process, or the kernel refuses.
pub fn kill(container: &str) -> Result<i32, KillError> {
    // Processes that end meanwhile are skipped.
    let mut processes =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let first = processes.find(|pid| is_first_of(*pid, container).unwrap_or_default());
    let pid = first.ok_or_else(|| KillError::NoProcess(container.to_owned()))?;
    let process = Pid::from_raw(pid).ok_or_else(|| KillError::NoProcess(container.to_owned()))?;
    kill_process(process, Signal::KILL).map_err(|source| KillError::Refused { pid, source })?;
    Ok(pid)
}

/// Returns `true` if a process is in the control group of `container` and the first in its PID namespace; none if that
/// cannot be read.
fn is_first_of(pid: i32, container: &str) -> Option<bool> {
    let groups = BufReader::new(File::open(format!("/proc/{pid}/cgroup")).ok()?);
    let groups = ProcessCGroups::from_buf_read(groups).ok()?;
    if container.is_empty() || !groups.into_iter().any(|group| group.pathname.contains(container)) {
        return Some(false);
    }
    let status = Status::from_file(format!("/proc/{pid}/status")).ok()?;
    Some(status.nspid.is_some_and(|pids| pids.last() == Some(&1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_is_not_there_is_an_error() {
        let missing = "0".repeat(64);
        assert!(matches!(kill(&missing), Err(KillError::NoProcess(id)) if id == missing));
        assert!(matches!(kill(""), Err(KillError::NoProcess(_))));
    }
}
