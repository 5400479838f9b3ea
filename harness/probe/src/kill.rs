//! Kills the first process of a container on this node with SIGKILL. A process in a container cannot do that to its own
//! first process: the kernel drops the signal.

use procfs::process::{Process, all_processes};
use rustix::process::{Pid, Signal, kill_process};

/// An error of a kill.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The processes of the node cannot be listed.
    #[error("the node's processes cannot be listed: {0}")]
    Unlisted(#[from] procfs::ProcError),
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
    let first = all_processes()?.flatten().find(|process| is_first_of(process, container));
    let pid = first.ok_or_else(|| KillError::NoProcess(container.to_owned()))?.pid;
    let process = Pid::from_raw(pid).ok_or_else(|| KillError::NoProcess(container.to_owned()))?;
    kill_process(process, Signal::KILL).map_err(|source| KillError::Refused { pid, source })?;
    Ok(pid)
}

/// Returns `true` if a process is in the control group of `container` and the first in its PID namespace.
fn is_first_of(process: &Process, container: &str) -> bool {
    let within =
        process.cgroups().is_ok_and(|groups| groups.into_iter().any(|it| it.pathname.contains(container)));
    let first = || process.status().is_ok_and(|it| it.nspid.is_some_and(|pids| pids.last() == Some(&1)));
    !container.is_empty() && within && first()
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
