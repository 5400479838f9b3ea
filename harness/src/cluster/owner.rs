//! The owner of a cluster: a process, as processes on this and on other machines may know it.

use crate::host::Process;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The longest command line that is kept, in characters.
const LONGEST_RUN: usize = 300;

/// A process that holds a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// Its machine's name.
    #[serde(default)]
    pub host: String,
    /// Its command line.
    pub run: String,
    /// The start of its ownership, as Unix time in milliseconds.
    pub since_unix_ms: u64,
    /// The scope of its number: the kernel's boot ID and the PID namespace. Empty where that cannot be read.
    #[serde(default)]
    pub pids_of: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process: Process { pid, .. }, host, run, since_unix_ms, .. } = self;
        let since = i64::try_from(*since_unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        write!(out, "process {pid} on {host} since {:.0}: {run}", since.unwrap_or_default())
    }
}

impl Owner {
    /// This process, as an owner from now on.
    pub(super) fn current() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().to_owned();
        let mut command = std::env::args();
        let program = command.next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let run = command.fold(program, |line, argument| format!("{line} {argument}"));
        Self {
            process: Process::current(),
            host: if host.is_empty() { "this machine".to_owned() } else { host },
            run: run.chars().filter(|c| !c.is_control()).take(LONGEST_RUN).collect(),
            since_unix_ms: spanproof_probe::unix_ms(),
            pids_of: pids_of_this(),
        }
    }

    /// Returns true if the process is known to be dead. From another machine or another container that cannot be
    /// seen.
    pub(super) fn is_dead(&self) -> bool {
        // Where /proc hides the processes of others, the first one is not there either.
        let seen =
            !self.pids_of.is_empty() && self.pids_of == pids_of_this() && Path::new("/proc/1").exists();
        seen && self.process.is_alive() == Some(false)
    }
}

/// Returns the scope of this process's PIDs; empty where it cannot be read.
fn pids_of_this() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{}/{}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_elsewhere_is_never_seen_to_be_dead() {
        let this = Owner::current();
        assert!(!this.is_dead());
        let dead = Process { pid: u32::MAX, ..this.process.clone() };
        assert!(Owner { process: dead.clone(), ..this.clone() }.is_dead());
        for elsewhere in ["elsewhere", ""] {
            let owner = Owner { process: dead.clone(), pids_of: elsewhere.to_owned(), ..this.clone() };
            assert!(!owner.is_dead(), "{elsewhere:?}");
        }
    }

    #[test]
    fn a_killed_process_is_dead_before_its_parent_has_looked() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner { process: Process::with_pid(child.id()), ..Owner::current() };
        assert!(!owner.is_dead());
        child.kill().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !owner.is_dead() {
            assert!(std::time::Instant::now() < until, "waited 10 s for the process to be a zombie");
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn it_reads_as_it_is_written() {
        let owner = Owner::current();
        let text = serde_json::to_string(&owner).unwrap();
        assert_eq!(serde_json::from_str::<Owner>(&text).unwrap(), owner, "{text}");
    }

    #[test]
    fn it_says_who_it_is_since_when_and_what_it_does() {
        let owner = Owner {
            process: Process { pid: 7, began: None },
            host: "box".to_owned(),
            run: "spanproof run x.yaml".to_owned(),
            since_unix_ms: 1_700_000_000_123,
            pids_of: String::new(),
        };
        let said = owner.to_string();
        assert_eq!(said, "process 7 on box since 2023-11-14T22:13:20Z: spanproof run x.yaml");
        // Whatever somebody may have written there.
        let _ = Owner { since_unix_ms: u64::MAX, ..owner }.to_string();
    }
}
