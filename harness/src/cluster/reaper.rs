//! A small process that outlives this one, however it ends, and then removes the cluster.
//!
//! It reads a pipe that only this process writes to. While the pipe is open it is told of programs that
//! must not outlive the run; when it closes without the word `done`, the runner has died. It holds the
//! cluster's lock with the runner, so no other run begins before it has cleaned up.

use super::ClusterError;
use super::lock::Lock;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

// A program that is killed may have asked the engine for a container that is still to come: look again
// until there is none.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
kind=$1 cluster=$2 state=$3 child=
while read -r word argument; do
  case $word in
    child) child=$argument ;;
    done) exit 0 ;;
  esac
done
[ -z "$child" ] || kill -9 -- "-$child" 2>/dev/null
try=0
while [ $try -lt 30 ]; do
  "$kind" delete cluster --name "$cluster" --kubeconfig "$state/kubeconfig" >/dev/null
  sleep 1
  left=$(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$cluster") && [ -z "$left" ] && { rm -rf "$state"; exit 0; }
  try=$((try + 1))
done
exit 1
"#;

/// An armed reaper.
#[derive(Debug)]
pub(super) struct Reaper {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Reaper {
    pub(super) fn arm(kind: &OsStr, cluster: &str, state: &Path, lock: &Lock) -> Result<Self, ClusterError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "spanproof-reaper"]).arg(kind).arg(cluster).arg(state);
        // A group of its own, and nothing of this process's but the pipe and the lock: the kernel keeps that as
        // long as a process has its file open, here as standard output, to which nothing is written.
        command.process_group(0).stdin(Stdio::piped()).stdout(lock.share()?).stderr(Stdio::null());
        let state = |source| ClusterError::State { path: "/bin/sh".into(), source };
        let mut process = command.spawn().map_err(state)?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// A program (the leader of its group) that must not outlive this one.
    pub(super) fn watch(&mut self, pid: u32) {
        self.tell(&format!("child {pid}"));
    }

    /// Forgets that program: it has ended, and its PID may be another's by now.
    pub(super) fn watch_none(&mut self) {
        self.tell("child");
    }

    /// Ends the reaper: nothing is left to delete.
    pub(super) fn disarm(mut self) {
        self.tell("done");
        self.pipe = None;
        // It ends at once; waiting for it leaves no zombie.
        let _ = self.process.wait();
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // A reaper that is gone cannot be told; the next run cleans up then.
            let _ = writeln!(pipe, "{line}");
        }
    }
}
