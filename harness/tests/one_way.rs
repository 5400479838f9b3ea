//! The flow goes one way: a room (a module of the library's root, with its files) uses rooms below it, never one above.
//! Where a crate is the wall, the compiler keeps it; here its dependencies are looked at.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The rooms, from the top. An arrow goes down this list.
const ORDER: [&str; 28] = [
    "lib",
    "main",
    "cli",
    "run",
    "check",
    "plan",
    "restore",
    "fault",
    "report",
    "rights",
    "journal",
    "cluster",
    "undo",
    "load",
    "observe",
    "deploy",
    "guard",
    "config",
    "settle",
    "scope",
    "extent",
    "timeouts",
    "images",
    "location",
    "labels",
    "host",
    "kubernetes",
    "progress",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn place(room: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == room)
}

/// Every source file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a text names by a path from the root, each with its line: `crate::a::B`, `use crate::{a::B, c}`. The
/// program names them by the library's name.
fn named(text: &str) -> Vec<(usize, String)> {
    let code: String = text
        .lines()
        .map(|line| if line.trim_start().starts_with("//") { "" } else { line }.to_owned() + "\n")
        .collect();
    let mut found = Vec::new();
    for beginning in ["crate::", "spanproof::"] {
        for (at, _) in code.match_indices(beginning) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            if code[..at].ends_with(is_word) {
                continue;
            }
            let line = |at: usize| code[..at].matches('\n').count() + 1;
            let after = at + beginning.len();
            if !code[after..].starts_with('{') {
                found.push((line(at), code[after..].chars().take_while(|c| is_word(*c)).collect()));
                continue;
            }
            // A group's own items: what is nested deeper is within one of them.
            let (mut depth, mut begins) = (0_usize, false);
            for (offset, c) in code[after..].char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ if begins && depth == 1 && is_word(c) => {
                        let rest = &code[after + offset..];
                        found
                            .push((line(after + offset), rest.chars().take_while(|c| is_word(*c)).collect()));
                        begins = false;
                    }
                    _ => {}
                }
                begins |= depth == 1 && matches!(c, '{' | ',');
                if depth == 0 {
                    break;
                }
            }
        }
    }
    found
}

/// The rooms above this one that its text names, each with its line. What is not a room is a crate below all of them,
/// under the library's name for it.
fn turned_back(room: &str, text: &str) -> Vec<(usize, String)> {
    let from = place(room);
    named(text).into_iter().filter(|(_, used)| place(used).is_some_and(|to| Some(to) < from)).collect()
}

#[test]
fn paths_are_found_alone_and_in_groups() {
    let text = "use crate::a::B;\n// crate::no\nuse crate::{\n    c::{D, e},\n    f,\n};\nlet x = mycrate::g + spanproof::h(crate::i);\n";
    let mut found = named(text);
    found.sort();
    let expected = [(1, "a"), (4, "c"), (5, "f"), (7, "h"), (7, "i")];
    assert_eq!(found, expected.map(|(line, room)| (line, room.to_owned())));
}

#[test]
fn an_arrow_that_turns_back_is_found_with_its_line() {
    let text = "use crate::labels;\n\nuse crate::{host, restore::{self, DeadRun}};\n";
    assert_eq!(turned_back("cluster", text), [(3, "restore".to_owned())]);
    assert_eq!(turned_back("cli", text), []);
}

#[test]
fn no_arrow_turns_back() {
    let source = root().join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    assert!(all.len() > 50, "{all:?}");
    let mut wrong = String::new();
    let mut rooms = BTreeSet::new();
    for file in &all {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs");
        rooms.insert(room.to_owned());
        if place(room).is_none() {
            let _ =
                writeln!(wrong, "the room `{room}` is not in the order of this test: say where it belongs");
        }
        for (line, used) in turned_back(room, &std::fs::read_to_string(file).unwrap()) {
            let file = relative.display();
            let _ = writeln!(wrong, "src/{file}:{line}: `{room}` uses `{used}`, which is above it");
        }
    }
    for known in ORDER {
        if !rooms.contains(known) {
            let _ = writeln!(wrong, "the room `{known}` of the order is not there any more");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_judges_and_what_is_planned_cannot_reach_a_network() {
    for part in ["judge", "scenario"] {
        let manifest = std::fs::read_to_string(root().join(part).join("Cargo.toml")).unwrap();
        let section =
            manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).unwrap();
        let names: Vec<_> = section.lines().filter_map(|line| line.split(['.', '=', ' ']).next()).collect();
        assert!(names.contains(&"serde"), "{part}: {names:?}");
        for reaches in ["kube", "kube-client", "hyper", "hyper-util", "tonic", "reqwest", "tokio"] {
            assert!(!names.contains(&reaches), "{part} depends on {reaches}");
        }
    }
}
