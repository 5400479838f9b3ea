//! A measured program: started with a log, its processor time and memory read, killed in the end.

use crate::BenchError;
use procfs::{ProcResult, process::Stat};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The interval of polling.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The timeout until a program listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running program, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: i32,
    name: String,
    log: PathBuf,
}

/// Processor time, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    fn of(stat: &Stat) -> Self {
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        Self { user: seconds(stat.utime), system: seconds(stat.stime) }
    }

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
    /// Starts a program with its output in `dir/NAME.log`.
    pub(crate) fn start(name: &str, dir: &Path, mut command: Command) -> Result<Self, BenchError> {
        let log = dir.join(format!("{name}.log"));
        let failed = |source| BenchError::Start { name: name.to_owned(), source };
        let file = std::fs::File::create(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stderr(file.try_clone().map_err(failed)?).stdout(file);
        let child = command.kill_on_drop(true).spawn().map_err(failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        Ok(Self { child, pid, name: name.to_owned(), log })
    }

    /// Waits until a connection to this port of the loopback succeeds.
    pub(crate) async fn wait_until_listening(&mut self, port: u16) -> Result<(), BenchError> {
        let until = Instant::now() + START_TIMEOUT;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
                return Err(self.error("it does not listen"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until it has ended by itself, and returns its total processor time.
    pub(crate) async fn wait(mut self, within: Duration) -> Result<Cpu, BenchError> {
        let until = Instant::now() + within;
        loop {
            // Until it is reaped, its entry in /proc stays, with its total processor time.
            let stat = self.stat()?;
            if stat.state == 'Z' {
                let cpu = Cpu::of(&stat);
                let ended = self.child.wait().await;
                return match ended {
                    Ok(status) if status.success() => Ok(cpu),
                    Ok(status) => Err(self.error(&status.to_string())),
                    Err(error) => Err(self.error(&error.to_string())),
                };
            }
            if Instant::now() > until {
                return Err(self.error("it does not end"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Its processor time so far.
    pub(crate) fn cpu(&self) -> Result<Cpu, BenchError> {
        Ok(Cpu::of(&self.stat()?))
    }

    /// The peak memory so far, in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64, BenchError> {
        let status = self.proc().and_then(|process| process.status());
        let kib = status.map_err(|error| self.error(&error.to_string()))?.vmhwm;
        Ok(kib.ok_or_else(|| self.error("it has ended"))? as f64 / 1024.0)
    }

    fn stat(&self) -> Result<Stat, BenchError> {
        self.proc().and_then(|process| process.stat()).map_err(|error| self.error(&error.to_string()))
    }

    fn proc(&self) -> ProcResult<procfs::process::Process> {
        procfs::process::Process::new(self.pid)
    }

    /// An error of this program, with the end of its log.
    pub(crate) fn error(&self, what: &str) -> BenchError {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        BenchError::Process { name: self.name.clone(), what: what.to_owned(), said }
    }
}

/// A free port of the loopback.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|source| BenchError::Start { name: "a port".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_processor_time_of_an_ended_program_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done"]);
        let process = Process::start("loop", dir.path(), command).unwrap();
        let used = process.wait(Duration::from_secs(60)).await.unwrap();
        assert!(used.total() > 0.0, "{used:?}");
    }

    #[tokio::test]
    async fn the_error_of_a_failed_program_has_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 3"]);
        let process = Process::start("failing", dir.path(), command).unwrap();
        let error = process.wait(Duration::from_secs(60)).await.unwrap_err().to_string();
        assert!(error.contains("no such thing") && error.contains('3'), "{error}");
    }
}
