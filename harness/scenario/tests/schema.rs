//! The JSON Schema of scenario files says the same as the types.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use jsonschema::Validator;
use serde_json::{Value, json};
use spanproof_scenario::Scenario;
use std::path::{Path, PathBuf};

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn schema() -> Value {
    serde_json::from_str(&spanproof_scenario::schema()).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn it_is_a_schema_of_its_draft() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
}

/// Every property and every value has a description, and nothing else is admitted.
#[test]
fn everything_in_it_is_described_and_closed() {
    fn walk(schema: &Value, path: &str) {
        let described =
            schema["description"].as_str().is_some_and(|text| text.ends_with(['.', '%', ')', '`', '}']));
        if let Some(properties) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], json!(false), "{path}");
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{path}.{name} is not described");
                walk(property, &format!("{path}.{name}"));
            }
        } else if schema["type"] == "object" {
            // Fields of a Kubernetes object or a Collector's configuration, or named by the user.
            assert!(schema.get("additionalProperties").is_some(), "{path}");
        }
        for (key, what) in [("oneOf", "a value"), ("anyOf", "")] {
            for (number, variant) in schema[key].as_array().into_iter().flatten().enumerate() {
                let reference = variant.get("$ref").is_some();
                assert!(
                    what.is_empty() || reference || variant["description"].is_string(),
                    "{path}: {variant}"
                );
                walk(variant, &format!("{path}[{number}]"));
            }
        }
        assert!(schema.get("enum").is_none(), "{path}: values without a description");
        assert!(schema.get("const").is_none() || described, "{path}: {schema}");
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                walk(&schema[key], &format!("{path}[]"));
            }
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            assert!(definition["description"].is_string(), "{name} is not described");
            walk(definition, name);
        }
        if let Some(text) = schema["description"].as_str() {
            assert!(!text.contains('\n') && !text.contains("[`") && !text.contains("See "), "{path}: {text}");
        }
    }
    walk(&schema(), "scenario");
}

#[test]
fn defaults_and_ways_of_writing_are_in_it() {
    let schema = schema();
    let load = &schema["$defs"]["Load"]["properties"];
    assert_eq!(load["spans_per_request"]["default"], 50);
    assert_eq!(load["deadline"]["default"], "10s");
    assert_eq!(schema["$defs"]["Spike"]["properties"]["hold"]["default"], "1m");
    assert_eq!(schema["properties"]["steady"]["default"], "15s");
    for quantity in ["Span", "Rate", "Share", "Bytes"] {
        let quantity = &schema["$defs"][quantity];
        assert!(quantity["pattern"].is_string() && quantity["examples"].is_array(), "{quantity}");
    }
}

#[test]
fn it_admits_every_shipped_scenario_as_written_and_as_recorded() {
    let validator = validator();
    let folders =
        ["", "controls", "tests"].map(|folder| std::fs::read_dir(scenarios().join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    assert!(files.len() > 10, "{files:?}");
    let admit = |path: &Path, text: &str| {
        if let Err(error) = validator.validate(&yaml(text)) {
            panic!("{}: {error} at {}", path.display(), error.instance_path());
        }
    };
    for path in files {
        admit(&path, &std::fs::read_to_string(&path).unwrap());
        let scenario = Scenario::load(&path, &[]).unwrap();
        admit(&path, &serde_saphyr::to_string(&scenario).unwrap());
    }
}

#[test]
fn it_refuses_what_the_types_refuse_and_admits_parameters_in_their_place() {
    let validator = validator();
    for wrong in [
        "about: no name",
        "{name: x, lod: {}}",
        "{name: x, load: {rate: 5}}",
        "{name: x, load: {rate: fast}}",
        "{name: x, load: {attributes: -1}}",
        "{name: x, steady: soon}",
        "{name: x, tier: {without: [psp]}}",
        "{name: x, steps: [{explode: {}}]}",
        "{name: x, steps: [{drain: {hold: 5}}]}",
        "{name: x, steps: [{drain: {}, evict: {}}]}",
        "{name: x, steps: [{backend: {answers: sulk}}]}",
        "{name: x, controls: [{name: a, why: b, red: [pbd]}]}",
        "{name: x, load: {gzip: '${Gzip}'}}",
    ] {
        assert!(!validator.is_valid(&yaml(wrong)), "{wrong}");
    }
    for good in [
        "{name: x, load: {rate: '${rate}', attributes: '${n}', gzip: '${gzip}', floor: '${n}%'}}",
        "{name: '${name}', tier: {without: '${without}', gateways: '${n}'}, steps: '${steps}'}",
        "{name: x, steps: [{drain: {each: '${which}', hold: '${hold}s'}}, {backend: {answers: '${answers}'}}]}",
        "{name: x, parameters: {n: {default: [1, {a: b}]}}}",
    ] {
        assert!(validator.is_valid(&yaml(good)), "{good}");
    }
}
