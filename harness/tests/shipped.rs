//! The shipped scenarios are valid.

use std::path::{Path, PathBuf};

#[test]
fn every_shipped_scenario_is_valid_and_named_like_its_file() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios");
    let files = ["", "controls", "tests"].into_iter().flat_map(|folder| {
        std::fs::read_dir(scenarios.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    });
    let files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        let checked = spanproof::check::check(&path, &[], &scenarios.with_file_name("manifests"));
        let scenario = checked.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Some(scenario.name.as_str()), path.file_stem().unwrap().to_str());
        let first = std::fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        let schema = first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_default();
        assert!(path.with_file_name(schema).ends_with("scenario.schema.json"), "{path:?}: {first}");
        assert!(path.with_file_name(schema).exists(), "{path:?}: {first}");
    }
}
