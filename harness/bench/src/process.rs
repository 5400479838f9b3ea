//! A program that is measured: started with a log, asked what it used, and ended whatever happens.

use crate::BenchError;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The kernel tells processor time in these, on every architecture that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;
/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(10);
/// How long a program may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A running program. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: u32,
    name: String,
    log: PathBuf,
}

/// Processor seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    pub(crate) fn per_million(self, spans: u64) -> Self {
        let millions = spans as f64 / 1e6;
        Self { user: self.user / millions, system: self.system / millions }
    }
}

impl Process {
    /// Starts a program; what it says goes to `dir/NAME.log`.
    pub(crate) fn start(name: &str, dir: &Path, mut command: Command) -> Result<Self, BenchError> {
        let log = dir.join(format!("{name}.log"));
        let failed = |source| BenchError::Start { name: name.to_owned(), source };
        let file = std::fs::File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stderr(file.try_clone().map_err(failed)?).stdout(file);
        let child = command.kill_on_drop(true).spawn().map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        Ok(Self { child, pid, name: name.to_owned(), log })
    }

    /// Waits until something listens on this port of the loopback.
    pub(crate) async fn listens(&mut self, port: u16) -> Result<(), BenchError> {
        let until = Instant::now() + START;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
                return Err(self.problem("it does not listen"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until it has ended by itself, and says what it used in all its life.
    pub(crate) async fn ended(mut self, within: Duration) -> Result<Cpu, BenchError> {
        let until = Instant::now() + within;
        loop {
            // Until it is waited for, its entry stays, with all that it used.
            let (state, cpu) = self.stat()?;
            if state == "Z" {
                let ended = self.child.wait().await;
                return match ended {
                    Ok(status) if status.success() => Ok(cpu),
                    Ok(status) => Err(self.problem(&status.to_string())),
                    Err(error) => Err(self.problem(&error.to_string())),
                };
            }
            if Instant::now() > until {
                return Err(self.problem("it does not end"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it has used so far.
    pub(crate) fn cpu(&self) -> Result<Cpu, BenchError> {
        Ok(self.stat()?.1)
    }

    /// The most memory that it held so far, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse().ok());
        let kib: f64 = kib.ok_or_else(|| self.problem("it is gone"))?;
        Ok(kib / 1024.0)
    }

    fn stat(&self) -> Result<(String, Cpu), BenchError> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        parse_stat(&stat).ok_or_else(|| self.problem("it is gone"))
    }

    /// An error about this program, with the end of what it said.
    pub(crate) fn problem(&self, what: &str) -> BenchError {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        BenchError::Process { name: self.name.clone(), what: what.to_owned(), said }
    }
}

/// State and processor time in a line of `/proc/PID/stat`; the name in it may hold anything.
fn parse_stat(stat: &str) -> Option<(String, Cpu)> {
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let seconds = |field: &str| field.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_SECOND);
    let (user, system) = (seconds(fields.get(11)?)?, seconds(fields.get(12)?)?);
    Some(((*fields.first()?).to_owned(), Cpu { user, system }))
}

/// A port of the loopback that is free now.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|source| BenchError::Start { name: "a port".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_moves_no_field() {
        let line = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1 1 1";
        let (state, cpu) = parse_stat(line).unwrap();
        assert_eq!((state.as_str(), cpu.user, cpu.system), ("S", 2.5, 0.5));
    }

    #[tokio::test]
    async fn what_an_ended_program_used_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"]);
        let process = Process::start("loop", dir.path(), command).unwrap();
        let used = process.ended(Duration::from_secs(60)).await.unwrap();
        assert!(used.total() > 0.0, "{used:?}");
    }

    #[tokio::test]
    async fn a_program_that_fails_says_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        let process = Process::start("failing", dir.path(), command).unwrap();
        let error = process.ended(Duration::from_secs(60)).await.unwrap_err().to_string();
        assert!(error.contains("no such thing") && error.contains('3'), "{error}");
    }
}
