//! A run in another process, observed through the files that it writes.

use crate::support::lent::Lent;
use spanproof::host::cache_dir;
use spanproof::record::{Entry, Event};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The time that a run may take to the moment at which it is killed.
const PATIENCE: Duration = Duration::from_secs(300);

/// A run in another process.
pub(super) struct Going {
    process: Child,
    /// The folder in which its run folder appears.
    out: PathBuf,
}

impl Going {
    pub(super) fn start(lent: &Lent, arguments: &[&str]) -> Self {
        let name = format!("restore-{}", spanproof_probe::unix_ms());
        let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/runs").join(name);
        std::fs::create_dir_all(&out).unwrap();
        let words = File::create(out.join("stderr")).unwrap();
        let mut command = lent.run();
        command.args(arguments).arg("--out").arg(&out).stdout(Stdio::null()).stderr(words);
        Self { process: command.spawn().unwrap(), out }
    }

    pub(super) fn folder(&self) -> Option<PathBuf> {
        let mut entries = std::fs::read_dir(&self.out).unwrap().map(|entry| entry.unwrap().path());
        entries.find(|path| path.is_dir())
    }

    /// Returns its timeline so far.
    pub(super) fn timeline(&self) -> Vec<Event> {
        let path = self.folder().map(|folder| folder.join("timeline.jsonl"));
        let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        // The last line may be half there.
        let entries = text.lines().map_while(|line| serde_json::from_str::<Entry>(line).ok());
        entries.map(|entry| entry.event).collect()
    }

    /// Returns the run's name.
    pub(super) fn run(&self) -> Option<String> {
        self.timeline().into_iter().find_map(|event| match event {
            Event::Began { run, .. } => Some(run),
            _ => None,
        })
    }

    pub(super) fn words(&self) -> String {
        std::fs::read_to_string(self.out.join("stderr")).unwrap()
    }

    #[track_caller]
    pub(super) fn await_moment(&mut self, awaited: &str, mut moment: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !moment(self) {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended ({ended:?}) before {awaited}:\n{}", self.words());
            assert!(Instant::now() < until, "waited {PATIENCE:?} for {awaited}:\n{}", self.words());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub(super) fn end(&mut self) -> ExitStatus {
        self.await_end();
        self.process.wait().unwrap()
    }

    fn await_end(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "it does not end:\n{}", self.words());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns whether the run is registered as having something to undo.
    pub(super) fn is_open(&self) -> bool {
        let pointer = format!("{}.json", self.run().unwrap());
        cache_dir().join("open").join(pointer).exists()
    }
}
