use crate::tests::refused;
use crate::{
    Answers, CheckName, Condition, Control, Measure, NodeSelector, Part, PodRole, PodSelector, Rate,
    Scenario, Share, Span, Step,
};
use std::path::Path;

fn steps(marked: &str, words: &[&str]) {
    refused(&format!("name: x\nsteps: [{marked}]\n"), words);
}

#[test]
fn names_and_numbers() {
    refused("name: §a b", &["letters, digits and dashes"]);
    refused(&format!("name: §{}", "a".repeat(64)), &["63 letters"]);
    refused("name: x\nsettle: {tail: §20s, deadline: 10s}", &["longer than `deadline`"]);
    refused("name: x\nsteady: §5h", &["ends after 4h"]);
    refused("name: x\ntier: {gateways: §0}", &["`gateways` must be above 0"]);
    refused("name: x\ntier: {sinks: §0}", &["`sinks` must be above 0"]);
    refused("name: x\ntier: {patches: [{of: §gateway, merge: {}}]}", &["Deployment/gateway"]);
    refused("name: x\ntier: {patches: [§{of: Deployment/gateway}]}", &["changes nothing"]);
    refused("name: x\nsabotage: {sink_forgets_one_in: §0}", &["above 0"]);
}

#[test]
fn a_version_that_changes_nothing_or_is_none() {
    refused("name: x\ntier: {§collector: ''}", &["`collector` has no value", "leave the field out"]);
    refused("name: x\ntier: {collector: §0.161.0 --x}", &["is no version", "like 0.161.0"]);
    steps("{upgrade: {what: agents, to: §../x}}", &["is no version"]);
    steps("{upgrade: {what: gateways, to: §0.161.0}}", &["of 0.161.0 by then"]);
    let there = "{upgrade: {what: gateways, to: 0.160.0}}";
    steps(&format!("{there}, {{upgrade: {{what: gateways, to: §0.160.0}}}}"), &["of 0.160.0 by then"]);
    steps("{repeat: {times: 2, steps: [{upgrade: {what: agents, to: §0.160.0}}]}}", &["of 0.160.0 by then"]);
    let rolled = Step::upgrade(Part::Agents, "0.160.0");
    let deep = (0..40).fold(rolled, |inner, _| Step::repeat(2, vec![inner]));
    let problem = Scenario::new("x").step(deep).problem().unwrap();
    assert!(problem.message.contains("by then"), "and that at once: {problem}");
    let back = format!("{there}, {{upgrade: {{what: gateways, to: 0.161.0}}}}");
    let text = format!("name: x\nsteps: [{{repeat: {{times: 3, steps: [{back}]}}}}]");
    assert_eq!(Scenario::parse(Path::new("x"), &text).unwrap().problem(), None);
}

#[test]
fn a_load_that_would_end_before_the_steps() {
    steps("{hold: 2h}, §{hold: 2h}", &["4h", "ends after 4h"]);
    steps("{repeat: {times: 60, steps: [{hold: 3m}]}}, §{drain: {each: worker, hold: 61m}}", &["4h 1m"]);
    steps(
        "§{repeat: {times: 4000000000, steps: [{repeat: {times: 4000000000, steps: [{hold: 1h}]}}]}}",
        &["4h"],
    );
    steps(
        "§{repeat: {times: 5001, steps: [{evict: {}}, {wait: {for: delivered}}]}}",
        &["10002 steps", "less often"],
    );
    let at_once =
        "name: x\nsteady: 1m\nsteps: [{parallel: [{hold: 3h}, {hold: 3h}, {hold: 3h}]}, {hold: 50m}]";
    assert_eq!(Scenario::parse(Path::new("x"), at_once).unwrap().problem(), None);
}

#[test]
fn a_load_that_cannot_be_offered() {
    refused("name: x\nload: {in_flight: §0}", &["`in_flight` must be above 0"]);
    refused("name: x\nload: {deadline: §0s}", &["`deadline` must be above 0"]);
    refused("name: x\nload: {rate: 5/s, profile: §[{constant: {rate: 1/s}}]}", &["exclude each other"]);
    refused("name: x\nload: {tls: §{ca: x, key: y}}", &["go together"]);
    let profile =
        |marked: &str, word: &str| refused(&format!("name: x\nload: {{profile: [{marked}]}}"), &[word]);
    profile("{sine: {mean: 10/s, amplitude: §20/s, period: 1m}}", "less than `mean`");
    profile("{sine: {mean: 10/s, amplitude: 2/s, period: §0s}}", "`period` must be above 0");
    profile("§{constant: {rate: 1/s}}, {constant: {rate: 2/s}}", "only the last stretch");
    profile("{step: {from: 1/s, to: 2/s, count: §1, for: 5s}}", "`count` is 2 at the least");
    profile("{spike: {base: 1/s, peak: 2/s, after: 5s, lasts: 5s, for: §6s}}", "longer than `for`");
    profile("{ramp: {from: 1/s, to: 2/s, for: §0s}}", "`for` must be above 0");
}

#[test]
fn a_backend_that_cannot_be() {
    steps("{backend: {answers: {slow: {min: §2s, max: 1s}}}}", &["longer than `max`"]);
    steps("{backend: {answers: {slow: §{min: 2s}}}}", &["`max` is needed"]);
    steps("{backend: {answers: {slow: §{}}}}", &["say `min` and `max`"]);
    steps("{backend: {answers: {forget: {one_in: §0}}}}", &["above 0"]);
    steps("{backend: {answers: hang, retry_after: §1s}}", &["sent with a code"]);
    steps("{backend: {answers: refuse-connections, share: §5%}}", &["all connections or none"]);
    steps("{backend: §{answers: ok, for: 5s}}", &["`ok` alone"]);
    steps("{backend: {answers: hang, for: §0s}}", &["`for` must be above 0"]);
    let forgets = "name: x\nsabotage: {sink_forgets_one_in: 7}\nsteps: [{backend: §{answers: hang}}]";
    refused(forgets, &["sabotage", "forget"]);
}

#[test]
fn a_step_without_what_it_is_about() {
    steps("{drain: {each: worker, node: §random}}", &["say one of the two"]);
    steps("{wait: {for: delivered, deadline: §0s}}", &["`deadline` must be above 0"]);
    refused("name: x\nsteps:\n  - §drain\n  - hold: 60s\n", &["has no fields", "`drain: {}`"]);
    refused("name: x\nsteps:\n  - §drain\n", &["has no fields"]);
    refused("name: x\nload: {profile: [§constant, {rate: 5/s, for: 3s}]}", &["has no fields"]);
    steps("{sequence: [§wait: 5s]}".replace("wait: 5s", "'wait:5s'").as_str(), &["`wait` has no fields"]);
    steps("{repeat: {times: 2, steps: [{hold: 1s}, !drain §{hold: 6s}]}}", &["a tag"]);
    steps("{§upgrade: {to: 0.160.0, deadline: 3m}}", &["`what` is missing"]);
    steps("{drain: {node: random, at_once: §true}}", &["`at_once`", "say `each`"]);
    steps("{drain: {node: §this}}", &["no `for-each` around"]);
    steps("{evict: {pods: gateways, pod: §random-gateway}}", &["say one of the two"]);
    steps("{evict: {pod: §this}}", &["no `for-each` around"]);
    steps(
        "{for-each: {nodes: worker, steps: [{evict: {pod: §this}}]}}",
        &["`this` is a node", "pods: gateways"],
    );
    steps("{for-each: §{steps: [{hold: 1s}]}}", &["what it goes through"]);
    steps("{for-each: {nodes: worker, pods: §gateways, steps: [{hold: 1s}]}}", &["say one of the two"]);
    steps("{for-each: {nodes: worker, steps: §[]}}", &["no steps in it"]);
    steps("{repeat: {times: §0, steps: [{hold: 1s}]}}", &["`times` must be above 0"]);
    steps("{repeat: {times: 1, steps: §[]}}", &["no steps in it"]);
    steps("{sequence: §[]}, {hold: 1s}", &["no steps in it"]);
    steps("{parallel: §[]}", &["no steps in it"]);
    refused("name: x\ntier: {without: [hpa]}\nsteps: [{wait: {for: §scaled-in}}]", &["needs the HPA"]);
    let spike = "name: x\nload: {profile: [{constant: {rate: 1/s}}]}\nsteps: [{spike: §{rate: 9/s}}]";
    refused(spike, &["load.profile takes its place", "write the spike into the profile"]);
}

#[test]
fn branches_that_are_in_each_others_way() {
    let spike = "{spike: {rate: 9/s}}";
    let in_steps = format!("{{repeat: {{times: 2, steps: [{{hold: 1s}}, {spike}]}}}}");
    steps(
        &format!("{{parallel: [{spike}, {{hold: 1s}}, §{in_steps}]}}"),
        &["changes the load's rate", "`sequence`"],
    );
    steps(
        "{parallel: [{backend: {answers: hang}}, §{backend: {answers: ok}}]}",
        &["how the backend answers"],
    );
    let roll = |what: &str| format!("{{upgrade: {{what: {what}, to: 0.161.0}}}}");
    steps(&format!("{{parallel: [{}, §{}]}}", roll("agents"), roll("agents")), &["rolls the agents"]);
    let both = Scenario::new("x").step(Step::parallel([
        Step::upgrade(Part::Agents, "0.160.0"),
        Step::upgrade(Part::Gateways, "0.160.0"),
        Step::spike(Rate::per_second(9.0), Span::seconds(1)),
        Step::backend_for(Answers::Unavailable, Share::percent(5.0), Span::seconds(1)),
    ]));
    assert_eq!(both.problem(), None);
}

fn control(marked: &str, words: &[&str]) {
    let steps = "steps: [{drain: {}}, {repeat: {times: 2, steps: [{hold: 1s}]}}]";
    let parameters = "parameters: {long: {default: 1s}}\nsteady: ${long}";
    refused(&format!("name: x\n{parameters}\n{steps}\ncontrols: [{marked}]\n"), words);
}

#[test]
fn a_control_that_shows_nothing() {
    control("{§name: '', why: w, red: [pdb], set: {steady: 1s}}", &["`name` has no value"]);
    control("{name: §_, why: w, red: [pdb], set: {steady: 1s}}", &["letters, digits"]);
    let good = "{name: a, why: w, red: [pdb], set: {tier.without: [pdb]}}";
    control(&format!("{good}, {{name: §a, why: w, red: [pdb], set: {{steady: 1s}}}}"), &["another control"]);
    control("§{name: a, why: w, red: [pdb]}", &["changes nothing"]);
    control("{name: a, why: w, red: [pdb], set: {steady: §1s}}", &["changes nothing"]);
    control("{name: a, why: w, red: [pdb], set: {name: §b}}", &["not its `name`"]);
    control(
        "{name: a, why: w, red: [§rollout], set: {steady: 2s}}",
        &["`rollout` cannot fail", "rolls nothing"],
    );
    control(
        "{name: a, why: w, red: [§duplicates], set: {steady: 2s}}",
        &["`duplicates` cannot fail", "expect.duplicated"],
    );
    control("{name: a, why: w, red: [§hpa], set: {tier.without: [hpa]}}", &["`hpa` cannot fail"]);
    control("{name: a, why: w, red: [§gateways-moved], set: {steps: []}}", &["drains nothing"]);
    control("{name: a, why: w, red: [loss, §loss], set: {steady: 2s}}", &["named before"]);
    control("{name: a, why: w, red: §[], set: {steady: 1s}}", &["names no check"]);
    control("{name: a, why: w, red: [§pbd], set: {steady: 1s}}", &["no check `pbd`", "did you mean `pdb`?"]);
    control("{name: a, why: w, red: [§load], set: {steady: 1s}}", &["never fails"]);
    control("{name: a, why: w, red: [pdb], also: [§pdb], set: {steady: 1s}}", &["is in `red`"]);
    control(
        "{name: a, why: w, red: [pdb], set: {load.rat: §1/s}}",
        &["no field `rat`", "did you mean `rate`?"],
    );
    control("{name: a, why: w, red: [pdb], set: {steps.5.drain: §{}}}", &["no `5` here", "2 items: 0 to 1"]);
    control("{name: a, why: w, red: [pdb], set: {long: §2s}}", &["is a parameter", "by their paths"]);
    control("§{name: a, why: w, red: [pdb], set: {tier.sinks: 0}}", &["under this control, tier.sinks"]);
    let needs = |marked: &str, words: &[&str]| {
        control(
            &format!("{{name: a, why: w, red: [pdb], set: {{tier.without: [hpa]}}, needs: [{marked}]}}"),
            words,
        );
    };
    needs("{is: queues-fill, before: §3}", &["no step 3", "are 1 to 2"]);
    needs("{is: queues-fill, before: §2.3.1}", &["no step 2.3.1"]);
    needs("{is: queues-fill, before: §0}", &["not the place of a step"]);
    needs("{is: §scaled-in, before: 1}", &["needs the HPA"]);
    refused("name: x\ncontrol: §b\n", &["no control `b`", "there are none"]);
}

#[test]
fn a_control_is_the_scenario_with_one_thing_changed() {
    let control = Control::new("no-pdb", "nothing refuses the second eviction")
        .set("tier.without", serde_json::json!(["pdb"]))
        .red(CheckName::Pdb)
        .also(CheckName::Availability)
        .needs(Condition::GatewaysReady, "1.2.1".parse().unwrap());
    let scenario = Scenario::new("x")
        .step(Step::for_each_pod(PodSelector::Gateways, [Step::evict(PodRole::This)]))
        .step(Step::drain_at_once(NodeSelector::Worker))
        .control(control)
        .checked()
        .unwrap();
    let path = std::path::Path::new("x.yaml");
    let changed = scenario.under(path, "no-pdb").unwrap();
    assert_eq!(
        (&changed.tier.without[..], changed.control.as_deref()),
        (&[Measure::Pdb][..], Some("no-pdb"))
    );
    assert_eq!(changed.problem(), None, "a record of it is good as well");
    let unknown = scenario.under(path, "no-bdp").unwrap_err();
    assert_eq!(unknown.to_string(), "x.yaml: there is no control `no-bdp`");
    assert_eq!(unknown.help().as_deref(), Some("did you mean `no-pdb`? there are: no-pdb"));
}

#[test]
fn what_is_built_in_rust_is_held_to_the_same_rules() {
    let error =
        Scenario::new("x").step(Step::repeat(0, [Step::hold(Span::seconds(1))])).checked().unwrap_err();
    assert_eq!(error.to_string(), "steps.0.repeat.times: `times` must be above 0");
}
