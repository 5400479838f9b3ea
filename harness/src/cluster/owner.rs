//! Who holds a cluster: a process, as processes on this and on other machines may know it.

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// How much of a command line is kept.
const LONGEST_RUN: usize = 300;

/// A process that holds a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Its machine's name.
    #[serde(default)]
    pub host: String,
    /// What it does: its command line.
    pub run: String,
    /// Since when, Unix time in milliseconds.
    pub since_unix_ms: u64,
    /// What its number counts in: the kernel's boot, and the PID namespace. Empty where that cannot be seen.
    #[serde(default)]
    pub pids_of: String,
    /// When it was started, in the kernel's ticks: its number may be another process's later.
    #[serde(default)]
    pub started: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, host, run, since_unix_ms, .. } = self;
        let since = i64::try_from(*since_unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        write!(out, "process {pid} on {host} since {:.0}: {run}", since.unwrap_or_default())
    }
}

impl Owner {
    /// This process, from now on.
    pub(super) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let host = read("/proc/sys/kernel/hostname").trim().to_owned();
        let stat = read("/proc/self/stat");
        let mut command = std::env::args();
        let program = command.next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let run = command.fold(program, |line, argument| format!("{line} {argument}"));
        Self {
            pid: std::process::id(),
            host: if host.is_empty() { "this machine".to_owned() } else { host },
            run: run.chars().filter(|c| !c.is_control()).take(LONGEST_RUN).collect(),
            since_unix_ms: crate::clock::unix_ms(),
            pids_of: pids_of_this(),
            started: life(&stat).map_or(0, |(_, started)| started),
        }
    }

    /// Whether the process is seen to be dead. From another machine, or out of another container, that cannot be
    /// seen.
    pub(super) fn is_dead(&self) -> bool {
        // Where /proc hides the processes of others, the first one is not there either.
        let seen =
            !self.pids_of.is_empty() && self.pids_of == pids_of_this() && Path::new("/proc/1").exists();
        seen && match std::fs::read_to_string(format!("/proc/{}/stat", self.pid)) {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(stat) => {
                life(&stat).is_some_and(|(state, started)| "ZX".contains(state) || started != self.started)
            }
        }
    }
}

/// What the numbers of processes count in here.
fn pids_of_this() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{}/{}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// A process's state and the tick at which it was started, of its `/proc/PID/stat`.
fn life(stat: &str) -> Option<(char, u64)> {
    // The program's name is in brackets, and may hold spaces and brackets itself.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_when_its_number_is_nobodys_or_anothers() {
        let this = Owner::this();
        assert!(!this.is_dead());
        assert!(Owner { pid: u32::MAX, ..this.clone() }.is_dead());
        assert!(Owner { started: this.started + 1, ..this.clone() }.is_dead(), "the number was used again");
        assert!(!Owner { pid: u32::MAX, pids_of: "elsewhere".to_owned(), ..this.clone() }.is_dead());
        assert!(!Owner { pid: u32::MAX, pids_of: String::new(), ..this }.is_dead());
    }

    #[test]
    fn a_killed_process_is_dead_before_its_parent_has_looked() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let owner = Owner { pid: child.id(), started: life(&stat).unwrap().1, ..Owner::this() };
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
    fn a_programs_name_may_hold_brackets() {
        let rest = (0..17).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(life(&format!("7 (a) b (c)) S 1 {rest} 4711 0 0")), Some(('S', 4711)));
        assert_eq!(life("7 (a"), None);
        assert_eq!(life(""), None);
    }

    #[test]
    fn it_says_who_it_is_since_when_and_what_it_does() {
        let owner = Owner {
            pid: 7,
            host: "box".to_owned(),
            run: "spanproof run x.yaml".to_owned(),
            since_unix_ms: 1_700_000_000_123,
            pids_of: String::new(),
            started: 0,
        };
        let said = owner.to_string();
        assert_eq!(said, "process 7 on box since 2023-11-14T22:13:20Z: spanproof run x.yaml");
        // Whatever somebody may have written there.
        let _ = Owner { since_unix_ms: u64::MAX, ..owner }.to_string();
    }
}
