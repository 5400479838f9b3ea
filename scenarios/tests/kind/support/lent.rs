//! The cluster, lent to other processes like one that was kept, for which the command line acquires the lock by itself.
//!
//! It is not a second cluster: eight nodes on one machine need more inotify instances than a kernel allows by default
//! (128), and the kube-proxies of the last nodes do not start.

use super::{CLUSTER, Held, Shared, program};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use parking_lot::MutexGuard;
use spanproof::host::cache_dir;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Removes the cluster when the pipe closes, as it does when this process ends.
pub(super) struct Keeper {
    _process: Child,
}

const SCRIPT: &str = r#"
trap '' INT TERM HUP
PATH=$1:$PATH
cat >/dev/null
kind delete cluster --name "$2" --kubeconfig "$3/kubeconfig"
rm -rf "$3"
"#;

impl Keeper {
    fn arm() -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "keeper"]).arg(cache_dir().join("bin")).arg(CLUSTER).arg(state());
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { _process: command.spawn().unwrap() }
    }
}

fn state() -> PathBuf {
    cache_dir().join("clusters").join(CLUSTER)
}

/// Exclusive use of the cluster, which no process holds.
pub(crate) struct Lent {
    _held: MutexGuard<'static, Held>,
    pub(crate) client: Client,
}

impl Shared {
    /// Waits until no other test uses the cluster, and releases its lock.
    pub(crate) fn lend() -> Lent {
        let shared = Self::get();
        let mut held = shared.lock();
        if held.keeper.is_none() {
            held.cluster.get_or_insert_with(|| shared.acquire());
            held.keeper = Some(Keeper::arm());
        }
        if let Some(cluster) = held.cluster.take() {
            shared.runtime.block_on(cluster.release()).unwrap();
        }
        let client = shared.runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(state().join("kubeconfig")).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            Client::try_from(config.unwrap()).unwrap()
        });
        Lent { _held: held, client }
    }
}

impl Lent {
    #[allow(clippy::unused_self, reason = "only for whoever has it")]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        Shared::get().runtime.block_on(future)
    }

    /// Returns the command `spanproof run` on it, with a scenario that has every fault.
    #[allow(clippy::unused_self, reason = "only for whoever has it")]
    pub(crate) fn run(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["run", "--cluster", CLUSTER, "--keep", "--seed", "1"]);
        command.arg(super::scenario_file("tests/every-fault"));
        command
    }

    /// Returns the command `spanproof restore`.
    #[allow(clippy::unused_self, reason = "only for whoever has it")]
    pub(crate) fn restore(&self) -> Command {
        let mut command = Command::new(program());
        command.arg("restore");
        command
    }
}
