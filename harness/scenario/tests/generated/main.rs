//! The files that are generated from the scenario's types are current: `scenarios/scenario.schema.json`, and the tables
//! of `scenarios/README.md` between `<!-- generated: NAME -->` and `<!-- end -->`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod tables;

use std::path::{Path, PathBuf};

const COMMAND: &str = "cargo test -p spanproof-scenario --test generated -- --ignored";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(name)
}

/// Each generated file: its path, its text, and the text that it should have.
fn files() -> [(PathBuf, String, String); 2] {
    let schema = spanproof_scenario::schema();
    let [json, readme] = ["scenario.schema.json", "README.md"].map(|name| {
        let path = file(name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        (path, text)
    });
    let tables = tables::renewed(&readme.1, &serde_json::from_str(&schema).unwrap());
    [(json.0, json.1, schema), (readme.0, readme.1, tables)]
}

#[test]
fn generated_files_are_current() {
    for (path, text, current) in files() {
        assert!(text == current, "{} is stale, {COMMAND} renews it", path.display());
    }
}

#[test]
#[ignore = "writes the generated files"]
fn write() {
    for (path, _, current) in files() {
        std::fs::write(path, current).unwrap();
    }
}
