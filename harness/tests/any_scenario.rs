//! Shipped scenarios with absurd changes: `check` accepts or refuses each within seconds, and never panics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use proptest::sample::{Index, select};
use spanproof::check::{check, foreseen};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time that one check may take next to other tests. Most take milliseconds.
const LONGEST: Duration = Duration::from_secs(20);

/// Values that replace sensible ones.
const ABSURD: [&str; 22] = [
    "",
    "~",
    "''",
    "[]",
    "{}",
    "-1",
    "0",
    "1e308",
    "-.inf",
    ".nan",
    "18446744073709551616",
    "4294967295",
    "99999999999999999999h",
    "1ns",
    "0s",
    "1e30/s",
    "0/s",
    "1000000000%",
    "\"\\u0000\"",
    "${x}",
    "&a [*a, *a]",
    "{a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}",
];

/// One change of a text.
#[derive(Debug, Clone)]
enum Change {
    /// Replaces the value after the colon of a line.
    Value(Index, &'static str),
    /// Removes a line, or doubles it.
    Line(Index, bool),
    /// Indents a line by one level.
    Deeper(Index),
    /// Inserts a piece of text.
    Piece(Index, String),
    /// Cuts the text off.
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let line = || any::<Index>();
    prop_oneof![
        4 => (line(), select(&ABSURD[..])).prop_map(|(line, value)| Change::Value(line, value)),
        1 => (line(), any::<bool>()).prop_map(|(line, twice)| Change::Line(line, twice)),
        1 => line().prop_map(Change::Deeper),
        1 => (line(), "[ -~\\n]{1,3}").prop_map(|(at, piece)| Change::Piece(at, piece)),
        1 => line().prop_map(Change::Cut),
    ]
}

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    all.sort();
    all
}

fn changed(text: &str, change: &Change) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let number = lines.len();
    match change {
        Change::Value(line, value) => {
            let with: Vec<usize> = (0..number).filter(|at| lines[*at].contains(": ")).collect();
            if !with.is_empty() {
                let line = &mut lines[with[line.index(with.len())]];
                let key = line.find(": ").map_or(0, |at| at + 2);
                line.replace_range(key.., value);
            }
        }
        Change::Line(line, true) => {
            let at = line.index(number);
            lines.insert(at, lines[at].clone());
        }
        Change::Line(line, false) => drop(lines.remove(line.index(number))),
        Change::Deeper(line) => lines[line.index(number)].insert_str(0, "  "),
        Change::Piece(at, piece) => {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let at = places[at.index(places.len())];
            return format!("{}{piece}{}", &text[..at], &text[at..]);
        }
        Change::Cut(at) => {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            return text[..places[at.index(places.len())]].to_owned();
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn check_answers_whatever_a_scenario_contains(
        which: Index,
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let all = scenarios();
        let mut text = std::fs::read_to_string(&all[which.index(all.len())]).unwrap();
        for change in &changes {
            text = changed(&text, change);
            prop_assume!(!text.trim().is_empty());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yaml");
        std::fs::write(&path, &text).unwrap();
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("manifests");
        let began = Instant::now();
        if let Ok(scenario) = check(&path, &[], &manifests) {
            foreseen(&scenario, &manifests);
        }
        prop_assert!(began.elapsed() < LONGEST, "{:?} for\n{text}", began.elapsed());
    }
}
