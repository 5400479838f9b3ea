//! `spanproof restore` without a cluster: the runs that it finds, and its messages about the others.

use procfs_core::FromRead;
use procfs_core::process::Stat;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A cache and a run folder.
struct Trial(TempDir);

impl Trial {
    fn new() -> Self {
        let trial = Self(tempfile::tempdir().unwrap());
        for dir in ["cache/open", "run"] {
            std::fs::create_dir_all(trial.path(dir)).unwrap();
        }
        std::fs::write(trial.path("run/timeline.jsonl"), "").unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the journal of a run that has something to undo, as a run does.
    fn open(&self, header: &Value) {
        let undo =
            json!({"n": 0, "unix_ms": 1, "undo": {"kind": "cordon", "node": "worker", "run": "abc123"}});
        std::fs::write(self.path("run/journal.jsonl"), format!("{header}\n{undo}\n")).unwrap();
        std::fs::write(self.path("cache/open/abc123.json"), format!("{header}\n")).unwrap();
    }

    fn header(&self, format: u32, pid: u32, began: u64) -> Value {
        json!({
            "journal": format,
            "spanproof": "9.9.9",
            "run": "abc123",
            "folder": self.path("run"),
            "cluster": {"kind": "kind", "cluster": "trial"},
            "process": {"pid": pid, "began": began},
        })
    }

    fn restore(&self, run: &[&Path]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spanproof"));
        let output = command.arg("restore").args(run).env("SPANPROOF_CACHE", self.path("cache")).output();
        let Output { status, stdout, stderr } = output.unwrap();
        let said = [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        // Long lines are wrapped.
        let words: Vec<_> = said.split_whitespace().filter(|word| *word != "│").collect();
        (status.code().unwrap(), words.join(" "))
    }
}

/// Returns when this process began, in the kernel's clock ticks.
fn began() -> u64 {
    Stat::from_file("/proc/self/stat").unwrap().starttime
}

#[test]
fn nothing_open_is_nothing_to_undo() {
    let trial = Trial::new();
    for run in [vec![], vec![trial.path("run")]] {
        let run: Vec<&Path> = run.iter().map(PathBuf::as_path).collect();
        let (code, said) = trial.restore(&run);
        assert_eq!((code, said.contains("nothing to undo")), (0, true), "{said}");
    }
}

#[test]
fn an_unknown_run_is_refused() {
    let trial = Trial::new();
    trial.open(&trial.header(1, std::process::id(), began()));
    for run in [Path::new("f00f00"), &trial.path("cache")] {
        let (code, said) = trial.restore(&[run]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("is no run folder") && said.contains("abc123"), "{said}");
    }
}

#[test]
fn a_run_in_progress_is_left_alone() {
    let trial = Trial::new();
    trial.open(&trial.header(1, std::process::id(), began()));
    let still_going = format!("run abc123 is still running, process {}", std::process::id());
    for (run, expected) in [(vec![], 0), (vec![Path::new("abc123")], 4), (vec![&*trial.path("run")], 4)] {
        let (code, said) = trial.restore(&run);
        assert_eq!(code, expected, "{said}");
        assert!(said.contains(&still_going), "{said}");
    }
    assert!(trial.path("cache/open/abc123.json").exists());
}

#[test]
fn a_journal_of_another_format_is_reported() {
    let trial = Trial::new();
    trial.open(&trial.header(7, std::process::id(), began()));
    for run in [vec![], vec![trial.path("run")]] {
        let run: Vec<&Path> = run.iter().map(PathBuf::as_path).collect();
        let (code, said) = trial.restore(&run);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains("format 7, by spanproof 9.9.9"), "{said}");
    }
}

#[test]
fn progress_is_shown_on_standard_error_and_debugging_output_is_not() {
    let trial = Trial::new();
    // No process has this number.
    trial.open(&trial.header(1, u32::MAX, 1));
    let restore = |log: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spanproof"));
        // Without an engine it ends when it has said which run it is about.
        command.args(["restore", "abc123"]).env("PATH", trial.path("run"));
        command.env("SPANPROOF_CACHE", trial.path("cache")).env_remove("SPANPROOF_LOG");
        command.envs(log.map(|log| ("SPANPROOF_LOG", log)));
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert_eq!((status.code(), stdout), (Some(4), Vec::new()));
        String::from_utf8(stderr).unwrap()
    };
    let quiet = restore(None);
    assert!(quiet.starts_with("    0.0s  run abc123, on the kind cluster trial\n"), "{quiet}");
    let lines = |text: &str| text.lines().filter(|line| line.contains("run abc123, on")).count();
    assert_eq!((lines(&quiet), lines(&restore(Some("trace")))), (1, 1));
}
