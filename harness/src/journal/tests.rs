//! Tests of a journal's content, wherever its bytes end.

use super::format::{self, Change, Entry};
use super::*;
use proptest::prelude::*;
use tempfile::TempDir;

/// A journal of a run `abc` in a folder of its own.
struct Trial {
    dir: TempDir,
    journal: Journal,
}

impl Trial {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let place = Location::Kind { cluster: "trial".to_owned() };
        let journal = Journal::create_beside(&dir.path().join("open"), &dir.path().join("run"), "abc", place);
        Self { journal: journal.unwrap(), dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("run").join(FILE)
    }

    fn pointer(&self) -> bool {
        self.dir.path().join("open/abc.json").exists()
    }

    fn again(&self) -> Journal {
        Journal::reopen_beside(&self.dir.path().join("open"), &self.dir.path().join("run")).unwrap().unwrap()
    }
}

fn cordon(number: u64) -> Undo {
    Undo::cordon(&format!("node-{number}"), "abc")
}

fn numbers(open: &[OpenEntry]) -> Vec<u64> {
    open.iter().map(|open| open.n).collect()
}

#[test]
fn what_was_done_last_is_undone_first() {
    let trial = Trial::new();
    assert!(!trial.pointer(), "nothing is open");
    let opened: Vec<u64> = (0..3).map(|number| trial.journal.open(cordon(number)).unwrap()).collect();
    assert!(trial.pointer());
    trial.journal.close(opened[1], "undone").unwrap();
    let (length, again) = (std::fs::metadata(trial.file()).unwrap().len(), trial.again());
    trial.journal.close(opened[1], "undone").unwrap();
    assert_eq!(std::fs::metadata(trial.file()).unwrap().len(), length, "closed twice is closed once");
    assert_eq!(again.to_undo(), trial.journal.to_undo());
    let undos: Vec<_> = again.to_undo().into_iter().map(|open| open.undo.unwrap()).collect();
    assert_eq!(undos, [cordon(2), cordon(0)]);

    again.close_all("undone", |undo| *undo == cordon(0)).unwrap();
    assert!(trial.pointer());
    assert_eq!(numbers(&again.to_undo()), [opened[2]]);
    assert!(again.reminder().unwrap().contains("the cordon of node node-2"), "{:?}", again.reminder());
    again.close(opened[2], "undone").unwrap();
    assert!(!trial.pointer() && again.reminder().is_none());
    again.open(cordon(4)).unwrap();
    assert!(trial.pointer(), "open again");
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    let rate = "2000/s".parse().unwrap();
    let lease = r#"{"kind": "Lease", "namespace": "kube-system", "name": "spanproof"}"#;
    let image = r#"{"kind": "image", "namespace": "spanproof-abc", "workload": "Deployment", "name": "gateway",
        "container": "collector", "image": "collector:1", "set": "collector:2"}"#;
    let undos = [
        cordon(1),
        serde_json::from_str(image).unwrap(),
        Undo::rate("spanproof-abc", rate),
        Undo::backend("spanproof-abc", 2),
        Undo::namespace("abc"),
        Undo::objects("abc", vec![serde_json::from_str(lease).unwrap()]),
    ];
    let trial = Trial::new();
    for undo in &undos {
        trial.journal.open(undo.clone()).unwrap();
        assert!(!undo.describe().is_empty());
    }
    let read: Vec<_> = trial.again().to_undo().into_iter().map(|open| open.undo.unwrap()).collect();
    assert!(read.iter().eq(undos.iter().rev()), "{read:#?}");
}

/// An entry of a later version is reported, stays open, and does not keep the rest from being undone.
#[test]
fn an_unknown_kind_is_named() {
    let trial = Trial::new();
    trial.journal.open(cordon(0)).unwrap();
    let undo = serde_json::json!({"kind": "firewall", "node": "node-1"});
    let line = format::line(&Entry { n: 1, unix_ms: 0, what: Change::Opens { undo } }).unwrap();
    let mut file = OpenOptions::new().append(true).open(trial.file()).unwrap();
    file.write_all(&line).unwrap();
    let open = trial.again().to_undo();
    assert_eq!(numbers(&open), [1, 0]);
    assert!(open[0].describe().contains("\"firewall\""), "{}", open[0].describe());
    assert_eq!(open[1].undo, Ok(cordon(0)));
}

#[test]
fn damage_is_named_with_its_line() {
    let trial = Trial::new();
    for number in 0..3 {
        trial.journal.open(cordon(number)).unwrap();
    }
    let text = std::fs::read_to_string(trial.file()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let error = |text: &str| {
        std::fs::write(trial.file(), text).unwrap();
        let folder = trial.dir.path().join("run");
        Journal::reopen_beside(trial.dir.path(), &folder).unwrap_err().to_string()
    };
    let missing = error(&format!("{}\n{}\n{}\n", lines[0], lines[1], lines[3]));
    assert!(missing.contains("line 3: it is numbered 2, not 1"), "{missing}");
    let torn_inside = error(&format!("{}\n{}\n{}\n", lines[0], &lines[1][..9], lines[2]));
    assert!(torn_inside.contains("line 2"), "{torn_inside}");
    let later = error(&text.replace("\"journal\":1", "\"journal\":2"));
    assert!(later.contains("format 2"), "{later}");
}

/// A run's doings: something is opened, or one of what was opened is closed, whether or not it still is open.
fn doings() -> impl Strategy<Value = Vec<Option<prop::sample::Index>>> {
    prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 0..24)
}

proptest! {
    /// A journal torn at any byte has the entries of its whole lines, and can be continued.
    #[test]
    fn a_torn_tail_is_left_out(doings in doings(), cut in any::<prop::sample::Index>()) {
        let trial = Trial::new();
        let mut opened = Vec::new();
        // How long the file was, and what was open then.
        let mut expected = vec![(std::fs::metadata(trial.file()).unwrap().len(), Vec::new())];
        for doing in doings {
            match doing {
                Some(index) if !opened.is_empty() => trial.journal.close(*index.get(&opened), "undone").unwrap(),
                _ => opened.push(trial.journal.open(cordon(0)).unwrap()),
            }
            let length = std::fs::metadata(trial.file()).unwrap().len();
            expected.push((length, numbers(&trial.journal.to_undo())));
        }
        let bytes = std::fs::read(trial.file()).unwrap();
        for cut in 0..=bytes.len() {
            let content = format::read(&bytes[..cut]).unwrap();
            let whole = expected.iter().rev().find(|(length, _)| *length <= cut as u64);
            let (length, open) = whole.cloned().unwrap_or_default();
            prop_assert_eq!(content.whole, length);
            prop_assert_eq!(content.header.is_some(), whole.is_some());
            let reversed: Vec<u64> = numbers(&content.open).into_iter().rev().collect();
            prop_assert_eq!(reversed, open);
        }
        // Gone on with where it was torn, the next line is a line.
        let first = usize::try_from(expected[0].0).unwrap();
        let cut = first + cut.index(bytes.len() - first + 1);
        std::fs::write(trial.file(), &bytes[..cut]).unwrap();
        let again = trial.again();
        let n = again.open(cordon(9)).unwrap();
        let open = trial.again().to_undo();
        prop_assert_eq!(open.first().map(|open| open.n), Some(n));
        prop_assert_eq!(&open, &again.to_undo());
    }
}
