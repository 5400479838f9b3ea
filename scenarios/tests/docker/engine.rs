//! The container engine, and the removal of everything that the tests create in it.
//!
//! Everything that a test creates has the label of this process. A tier removes its own things when it is dropped; a
//! small process that outlives this one removes the rest, however this one ends.

use std::io::PipeWriter;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The key of the label. Its value is different for each process of these tests.
pub(crate) const LABEL: &str = "spanproof.docker-test";
/// The variable with the label's value, by which a test that starts another such process finds what that one creates.
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

/// Returns key and value of the label of everything that this process creates. The first call starts the reaper.
#[expect(clippy::zombie_processes, reason = "it outlives this process")]
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

/// Runs `docker` and returns its output.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|error| panic!("docker {}: {error}", arguments.join(" ")))
}

/// Runs `docker` and returns its output or its error.
pub(crate) fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let done = Command::new("docker").args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

/// The kinds of things that can have a label: the commands that list and remove them.
const KINDS: [(&[&str], &[&str]); 3] = [
    (&["ps", "--all"], &["rm", "--force", "--volumes"]),
    (&["network", "ls"], &["network", "rm"]),
    (&["volume", "ls"], &["volume", "rm"]),
];

fn listed(list: &[&str], label: &str) -> Result<Vec<String>, String> {
    let filter = format!("label={label}");
    let listed = try_docker(&[list, &["--quiet", "--filter", &filter]].concat())?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Returns everything with a label (`key=value`): containers, networks, volumes.
pub(crate) fn with_label(label: &str) -> Vec<String> {
    KINDS.iter().flat_map(|(list, _)| listed(list, label).unwrap()).collect()
}

/// Removes everything with a label.
pub(crate) fn remove(label: &str) -> Result<(), String> {
    for (list, remove) in KINDS {
        let found = listed(list, label)?;
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        if !found.is_empty() {
            try_docker(&[remove, &found].concat())?;
        }
    }
    Ok(())
}
