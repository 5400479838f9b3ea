//! The container engine: what the tests ask of it, and that nothing of them is left in it.
//!
//! Everything that a test makes carries this process's label. A tier removes its own when it is dropped; a
//! small process that outlives this one removes what is left, however this one ended.

use std::io::PipeWriter;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The label's key. Its value is the run's: one for each process of these tests.
const LABEL: &str = "spanproof.docker-test";
/// Gives the run its name, so that a test that starts another process of these tests can find what that one made.
pub(crate) const RUN: &str = "SPANPROOF_DOCKER_TEST";

// The program that was killed may have asked the engine for something that is still to come: look until there
// has been nothing for some seconds.
const REAPER: &str = r#"
trap '' INT TERM HUP
read -r _
label=label=$1 still=0
while [ $still -lt 5 ]; do
  containers=$(docker ps -aq --filter "$label") networks=$(docker network ls -q --filter "$label")
  volumes=$(docker volume ls -q --filter "$label")
  still=$((still + 1))
  [ -z "$containers$networks$volumes" ] || still=0
  [ -z "$containers" ] || docker rm -fv $containers
  [ -z "$networks" ] || docker network rm $networks
  [ -z "$volumes" ] || docker volume rm $volumes
  sleep 1
done
"#;

/// The label of everything that this process makes: `key=value`. The first call arms the reaper.
pub(crate) fn run_label() -> (&'static str, &'static str) {
    static RUN_NAME: OnceLock<(String, PipeWriter)> = OnceLock::new();
    let (name, _) = RUN_NAME.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let name =
            std::env::var(RUN).unwrap_or_else(|_| format!("{:x}-{}", since.as_nanos(), std::process::id()));
        let (reader, writer) = std::io::pipe().unwrap();
        // A group of its own, and nothing of this process's but the pipe: it sees that end, and only then.
        let mut reaper = Command::new("/bin/sh");
        reaper.args(["-c", REAPER, "spanproof-docker-reaper"]).arg(format!("{LABEL}={name}"));
        reaper.process_group(0).stdin(reader).stdout(Stdio::null()).stderr(Stdio::null());
        reaper.spawn().unwrap();
        (name, writer)
    });
    (LABEL, name)
}

/// Runs `docker`, and gives what it says.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|error| panic!("docker {}: {error}", arguments.join(" ")))
}

/// Runs `docker`, and gives what it says, or what it complains of.
pub(crate) fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("docker").args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// A network with addresses that are given by hand, so that a container that is started again has the one
/// that it had.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) name: String,
    /// The first three bytes of its addresses.
    prefix: String,
}

impl Network {
    pub(crate) fn create(name: &str, labels: &[String]) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        let mut refused = String::new();
        // 198.18.0.0/15 is set aside for measurements between networks: nothing real has such an address.
        for attempt in 0..512 {
            let number = (started / 1_000 + attempt * 37) % 512;
            let prefix = format!("198.{}.{}", 18 + number / 256, number % 256);
            let (subnet, range) = (format!("{prefix}.0/24"), format!("{prefix}.128/25"));
            let mut create = vec!["network", "create", "--subnet", &subnet, "--ip-range", &range];
            create.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
            create.push(name);
            match try_docker(&create) {
                Ok(_) => return Self { name: name.to_owned(), prefix },
                // Another test's has it.
                Err(error) if error.contains("overlap") => refused = error,
                Err(error) => panic!("a network: {error}"),
            }
        }
        panic!("no subnet is free: {refused}");
    }

    pub(crate) fn address(&self, host: u8) -> String {
        format!("{}.{host}", self.prefix)
    }

    /// Gives a container that runs in this network this address, for good.
    pub(crate) fn pin(&self, container: &str, address: &str) {
        docker(&["network", "disconnect", &self.name, container]);
        docker(&["network", "connect", "--ip", address, &self.name, container]);
    }
}

/// Removes everything with a label.
pub(crate) fn remove(label: &str) -> Result<(), String> {
    let filter = format!("label={label}");
    let list = |what: &[&str]| {
        let listed = try_docker(&[what, &["-q", "--filter", &filter]].concat())?;
        Ok::<_, String>(listed.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    for (list_what, remove_what) in [
        (&["ps", "-a"][..], &["rm", "--force", "--volumes"][..]),
        (&["network", "ls"], &["network", "rm"]),
        (&["volume", "ls"], &["volume", "rm"]),
    ] {
        let found = list(list_what)?;
        if !found.is_empty() {
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            try_docker(&[remove_what, &found].concat())?;
        }
    }
    Ok(())
}
