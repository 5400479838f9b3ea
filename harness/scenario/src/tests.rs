mod any;

use super::*;

fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new("test.yaml"), text)
}

/// Returns the message for a text, with its help. The place that it must name is marked with `§` in the text.
pub(super) fn refusal(marked: &str, sets: &[(&str, &str)]) -> String {
    let text = marked.replacen('§', "", 1);
    let sets: Vec<_> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let error = Scenario::sensible(Path::new("test.yaml"), &text, &sets).unwrap_err();
    if let Some((before, _)) = marked.split_once('§') {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
        let said = error.to_string();
        assert!(
            said.contains(&format!("test.yaml:{line}:{column}: ")),
            "{said}, not at {line}:{column}: {text}"
        );
    }
    let said = error.to_string();
    format!("{said}; {}", error.help().unwrap_or_default())
}

/// Asserts that a text is refused at the marked place, with these words.
#[track_caller]
pub(super) fn refused(marked: &str, words: &[&str]) {
    let said = refusal(marked, &[]);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[test]
fn what_is_not_said_has_a_default() {
    let scenario = parse("name: small\nsteps:\n  - drain: {}\n  - hold: 10s\n").unwrap();
    assert_eq!(scenario.load.constant(), Some(Rate::per_second(2_000.0)));
    assert_eq!(scenario.steps, [Step::Drain(Drain::default()), Step::hold(Span::seconds(10))]);
}

#[test]
fn an_unknown_field_is_named_with_its_place_and_what_was_meant() {
    refused(
        "name: small\nload:\n  rate: 100/s\n  §rat: 2\n",
        &["`rat`", "did you mean `rate`?", "spans_per_request"],
    );
    refused("name: x\nsteps:\n  - §explode: {}\n", &["`explode`", "drain, evict"]);
    refused("name: x\nsteps:\n  - §drian: {}\n", &["did you mean `drain`?"]);
    refused("name: x\nsteps:\n  - backend: {answers: §sulk}\n", &["`sulk`", "reset-streams"]);
    refused("name: x\nsteps:\n  - drain: {}\n    §hold: 5s\n", &["begin each with `-`"]);
}

#[test]
fn a_wrong_type_is_named_with_its_place() {
    refused("name: small\nsteady: §soon\n", &["\"soon\"", "30s"]);
    refused("name: small\nsteps:\n  - drain: {deadline: §5}\n", &["\"5\" is not a time"]);
    refused("name: small\nsteps: §{}\n", &["a list must stand here"]);
    refused("name: small\nload: §fast\n", &["fields must stand here"]);
    refused("name: small\nload: {gzip: §maybe}\n", &["`true` or `false`"]);
    refused("name: small\nload: {attributes: §-1}\n", &["a whole number"]);
    refused("name: §[a]\n", &["a single value must stand here"]);
    refused("§about: x\n", &["`name` is missing"]);
    refused("name: x\n§name: y\n", &["duplicate", "name"]);
    refused("name: x\n---\n§name: y\n", &["one scenario"]);
    refused("name: [x\n", &["test.yaml:"]);
    refused("", &["test.yaml:1:1"]);
}

#[test]
fn a_set_changes_one_field_and_is_checked() {
    let scenario = parse("name: small\nsteps:\n  - drain: {}\n").unwrap();
    let set = |key: &str, value: &str| scenario.clone().set(key, value);
    assert_eq!(set("load.rate", "500/s").unwrap().load.rate, Some(Rate::per_second(500.0)));
    assert_eq!(set("tier.without", "[pdb]").unwrap().tier.without, [Measure::Pdb]);
    assert_eq!(set("tier.collector", "0.160").unwrap().tier.collector, "0.160", "what looks like a number");
    let drained = set("steps.0.drain.hold", "1s").unwrap();
    assert!(matches!(&drained.steps[0], Step::Drain(drain) if drain.hold == Span::seconds(1)));
    assert_eq!(set("sabotage.sink_forgets_one_in", "7").unwrap().sabotage.sink_forgets_one_in, Some(7));
    let profile =
        scenario.clone().set("load.rate", "5/s").unwrap().set("load.profile", "[{constant: {rate: 1/s}}]");
    assert_eq!(profile.unwrap().load.rate, None, "a profile takes the rate's place");
}

#[test]
fn a_set_that_does_not_fit_is_named_as_it_was_written() {
    let text = "name: small\nsteps:\n  - drain: {}\n";
    for (key, value, words) in [
        ("load.speed", "1", ["there is no field `speed`", "spans_per_request"]),
        ("load.rat", "1/s", ["there is no field `rat`", "did you mean `rate`?"]),
        ("load.rate", "fast", ["--set load.rate=fast: \"fast\" is not a rate", "2000/s"]),
        ("load.rate", "{", ["--set load.rate={: ", ""]),
        ("steps.7.drain", "{}", ["there is no `7` here", "the list has one item: 0"]),
        ("steps.0.drian.hold", "1s", ["only one of these", "did you mean `drain`?"]),
        ("name.x", "1", ["there is no `x` here: this is \"small\"", ""]),
        ("stedy", "1s", ["there is no field `stedy`", "did you mean `steady`?"]),
        ("steps", "[drain, {hold: 60s}]", ["`drain` has no fields", "`drain: {}`"]),
        ("parameters.x.default", "1", ["cannot be set", "--set name=value"]),
        ("name", "a b", ["--set name=a b: test.yaml:1:7: \"a b\" is no name", ""]),
    ] {
        let said = refusal(text, &[("load.gzip", "true"), (key, value), ("load.checksum", "true")]);
        assert!(words.iter().all(|word| said.contains(word)), "{said:?}");
        assert!(said.starts_with(&format!("--set {key}={value}: ")), "{said:?}");
    }
    // An error of the file is not blamed on the command line.
    assert!(refusal("name: §a b\n", &[("load.rate", "5/s")]).starts_with("test.yaml:1:7: "));
}

#[test]
fn a_bare_file_name_has_a_folder_too() {
    assert_eq!(folder(Path::new("x.yaml")).unwrap(), std::env::current_dir().unwrap());
}

#[test]
fn what_was_run_reads_back_as_the_same_scenario() {
    let steps = "[{drain: {at_once: true}}, {evict: {}}, {hold: 90s}, {upgrade: {what: agents, to: 0.161.0}}, \
                 {spike: {rate: 9000/s}}, {backend: {answers: unavailable, share: 50%, for: 20s}}, \
                 {backend: {answers: {slow: {min: 1s, max: 2s}}}}, {wait: {for: queues-fill}}]";
    let patches = "[{of: Deployment/gateway, merge: {spec: {replicas: null}}}]";
    let text = format!("name: small\ntier: {{patches: {patches}}}\nsteps: {steps}\n");
    let mut scenario = parse(&text).unwrap();
    scenario.sabotage.emitters_at = Some(Share::percent(50.0));
    for profile in
        ["", "[{ramp: {from: 1/s, to: 9/s, for: 30s}}, {sine: {mean: 9/s, amplitude: 2/s, period: 5s}}]"]
    {
        if !profile.is_empty() {
            scenario = scenario.set("load.profile", profile).unwrap();
        }
        let text = serde_saphyr::to_string(&scenario).unwrap();
        assert_eq!(parse(&text).unwrap(), scenario, "{text}");
    }
}
