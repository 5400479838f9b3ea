//! The command line: a mistake of the user gets one clear message and its exit code, never a panic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod input;
mod restore;

use std::path::Path;
use std::process::{Command, Output};

fn spanproof(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanproof"));
    command.args(arguments);
    change(&mut command);
    command.output().unwrap()
}

fn scenario(dir: &Path, text: &str) -> String {
    let path = dir.join("scenario.yaml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[track_caller]
fn expect(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_scenario_with_an_unknown_field_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(dir.path(), "name: x\nload:\n  rate: 10/s\n  sped: 3\n");
    let refused = spanproof(&["run", &file], |_| {});
    expect(&refused, 2, &["scenario.yaml:4:3", "sped", "spans_per_request"]);
}

#[test]
fn an_invalid_load_or_backend_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: &str, words: &[&str]| {
        let file = scenario(dir.path(), &format!("name: x\n{text}\n"));
        expect(&spanproof(&["run", &file], |_| {}), 2, words);
    };
    let sine = "load:\n  profile: [{sine: {mean: 10/s, amplitude: 20/s, period: 1m}}]";
    refused(sine, &["scenario.yaml:3:44", "`amplitude` must be less than `mean`"]);
    let endless = "load:\n  profile: [{constant: {rate: 1/s}}, {constant: {rate: 2/s}}]";
    refused(endless, &["scenario.yaml:3:13", "only the last stretch"]);
    let both = "load: {rate: 5/s, profile: [{constant: {rate: 1/s}}]}";
    refused(both, &["scenario.yaml:2:28", "`rate` and `profile` exclude each other"]);
    refused("steps:\n  - backend: {answers: sulk}", &["scenario.yaml:3:24", "sulk", "reset-streams"]);
    let slow = "steps:\n  - backend: {answers: {slow: {min: 2s, max: 1s}}}";
    refused(slow, &["scenario.yaml:3:37", "`min` is longer than `max`"]);
    let spike = "load: {profile: [{constant: {rate: 1/s}}]}\nsteps: [{spike: {rate: 9/s}}]";
    refused(spike, &["scenario.yaml:3:17", "write the spike into the profile"]);
}

#[test]
fn a_load_that_an_emitter_would_refuse_is_refused_before_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: &str, words: &[&str]| {
        let file = scenario(dir.path(), &format!("name: x\n{text}\n"));
        expect(&spanproof(&["run", &file], |_| {}), 2, words);
    };
    refused("load: {payload_bytes: 4294967295}", &["scenario.yaml", "would be larger"]);
    refused("load: {held_requests: 4294967295}", &["scenario.yaml", "1,048,576"]);
    refused("load: {tls: {ca: ca.pem}}", &["load.tls", "ca.pem"]);
    std::fs::write(dir.path().join("ca.pem"), "nonsense").unwrap();
    refused("load: {tls: {ca: ca.pem}}", &["load: ", "certificate"]);
    refused(
        "load: {tls: {ca: ca.pem, key: ca.pem}}",
        &["scenario.yaml:2", "`certificate` and `key` go together"],
    );
}

#[test]
fn a_scenario_that_is_not_there_is_named() {
    expect(&spanproof(&["run", "no-such.yaml"], |_| {}), 2, &["no-such.yaml"]);
}

#[test]
fn a_set_that_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(dir.path(), "name: x\n");
    let refused = spanproof(&["run", &file, "--set", "load.rate=fast"], |_| {});
    expect(&refused, 2, &["load.rate=fast", "2000/s"]);
    expect(&spanproof(&["run", &file, "--set", "load.rate"], |_| {}), 2, &["KEY=VALUE"]);
    expect(&spanproof(&["run", &file, "--cluster", "Not A Name"], |_| {}), 2, &["lower-case"]);
    expect(&spanproof(&["run"], |_| {}), 2, &["FILE"]);
}

#[test]
fn without_an_engine_the_message_says_what_was_tried() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(dir.path(), "name: x\n");
    let failed = spanproof(&["run", &file], |command| {
        command.env("PATH", dir.path()).env("SPANPROOF_CACHE", dir.path());
    });
    expect(&failed, 4, &["no container engine answers", "docker version", "ci/setup"]);
}

#[test]
fn a_folder_that_is_no_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display().to_string();
    expect(&spanproof(&["analyze", &folder], |_| {}), 2, &["scenario.yaml", "spanproof run"]);
}

/// Returns the output of `run` with further arguments, given a scenario, a kubeconfig with the contexts `staging` and
/// `kind-dev`, and a configuration with the text `config`.
fn run_with(dir: &Path, config: &str, arguments: &[&str]) -> Output {
    let file = scenario(dir, "name: x\n");
    let [kubeconfig, configuration] = ["kubeconfig", "config.yaml"].map(|name| dir.join(name));
    // Nothing listens on that port.
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: staging\n\
                clusters: [{name: there, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                users: []\n\
                contexts:\n\
                - {name: staging, context: {cluster: there, user: u}}\n\
                - {name: kind-dev, context: {cluster: missing, user: u}}\n";
    std::fs::write(&kubeconfig, text).unwrap();
    std::fs::write(&configuration, config).unwrap();
    spanproof(&[&["run", &file], arguments].concat(), |command| {
        command.env("KUBECONFIG", &kubeconfig).env("SPANPROOF_CONFIG", &configuration);
    })
}

#[test]
fn a_context_that_is_not_there_is_refused_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run_with(dir.path(), "", &["--context", "stagin"]);
    expect(&refused, 2, &["no context stagin", "did you mean staging?", "kind-dev", "kubeconfig"]);
    let refused = run_with(dir.path(), "", &["--context", "kind-dev"]);
    expect(&refused, 2, &["kind-dev", "missing"]);
    let refused = run_with(dir.path(), "", &["--context", "staging", "--kubeconfig", "/no/such"]);
    expect(&refused, 2, &["no kubeconfig", "/no/such"]);
}

#[test]
fn a_context_whose_cluster_does_not_answer_is_an_error_of_the_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let failed = run_with(dir.path(), "", &["--context", "staging"]);
    expect(&failed, 4, &["the cluster staging cannot be reached", "127.0.0.1:1"]);
}

#[test]
fn options_that_exclude_or_need_one_another_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        expect(&run_with(dir.path(), "", arguments), 2, words);
    };
    refused(
        &["--context", "staging", "--cluster", "dev"],
        &["--context", "--cluster", "cannot be used with"],
    );
    refused(&["--yes-really", "staging"], &["--context"]);
    refused(&["--kubeconfig", "x"], &["--context"]);
    refused(&["--wait", "soon"], &["--wait", "soon"]);
    refused(&["--context", "staging", "--yes-really", "stagin"], &["--yes-really stagin", "context staging"]);
}

#[test]
fn a_configuration_with_a_mistake_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run_with(dir.path(), "contexts:\n  alow: [x]\n", &["--context", "staging"]);
    expect(&refused, 2, &["config.yaml:2:3", "alow", "allow", "docs/clusters.md"]);
    let refused = run_with(dir.path(), "production: {nodes: -1}\n", &[]);
    expect(&refused, 2, &["config.yaml:1:21"]);
    let file = scenario(dir.path(), "name: x\n");
    let missing = spanproof(&["run", &file], |command| {
        command.env("SPANPROOF_CONFIG", dir.path().join("missing.yaml"));
    });
    expect(&missing, 2, &["missing.yaml", "SPANPROOF_CONFIG"]);
}

/// Returns the exit code of `check`, its standard output and its standard error.
fn checked(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = spanproof(&[&["check"], arguments].concat(), |_| {});
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_reads_every_file_and_has_the_messages_of_run() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios");
    let shipped = |name: &str| scenarios.join(name).display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let bad = scenario(dir.path(), "name: x\nstedy: 5s\n");
    let drains = shipped("two-drains.yaml");
    let (code, good, said) = checked(&[&drains, &bad, &shipped("controls/internal.yaml")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(good.starts_with(&format!("{drains}: ok (1 step, 1 control)\n")), "{good}");
    assert!(good.ends_with("controls/internal.yaml: ok (2 steps, 0 controls)\n"), "{good}");
    assert!(said.contains("scenario.yaml:2:1") && said.contains("did you mean `steady`?"), "{said}");
    let run = spanproof(&["run", &bad], |_| {});
    assert_eq!(String::from_utf8_lossy(&run.stderr), said);

    let (code, good, said) = checked(&[&drains]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{good}");
    let (code, good, said) = checked(&[&drains, "--set", "tier.sinks=0"]);
    assert_eq!((code, good.as_str()), (Some(2), ""));
    assert!(said.contains("--set tier.sinks=0"), "{said}");
    let nowhere = dir.path().display().to_string();
    let (code, _, said) = checked(&[&drains, "--manifests", &nowhere]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("kustomization.yaml") && said.contains("--manifests"), "{said}");
}

#[test]
fn a_patch_that_does_not_fit_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: &str, words: &[&str]| {
        let file = scenario(dir.path(), &format!("name: x\n{text}\n"));
        for command in ["check", "run"] {
            expect(&spanproof(&[command, &file], |_| {}), 2, words);
        }
    };
    let patch = |of: &str| format!("{{of: {of}, merge: {{spec: {{strateggy: {{}}}}}}}}");
    refused(
        &format!("tier: {{patches: [{}]}}", patch("Deployment/gatewy")),
        &["scenario.yaml:2:23", "no such object"],
    );
    refused(
        &format!("tier: {{patches: [{}]}}", patch("Deployment/gateway")),
        &["scenario.yaml:2:69", "strateggy"],
    );
    let control = "controls:\n  - name: a\n    why: b\n    red: [pdb]\n    patches: [";
    refused(&format!("{control}{}]", patch("Deployment/gateway")), &["scenario.yaml:6:66", "strateggy"]);
    refused("tier: {manifests: tier}", &["scenario.yaml:2:19", "tier"]);
}

#[test]
fn parameters_are_set_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let text = "name: x\nparameters: {rate: {default: 5/s}}\nload: {rate: '${rate}'}\n";
    let file = scenario(dir.path(), text);
    assert_eq!(checked(&[&file, "--set", "rate=500/s"]).0, Some(0));
    let refused = spanproof(&["run", &file, "--set", "rate=fast"], |_| {});
    expect(&refused, 2, &["--set rate=fast", "scenario.yaml:3:14", "2000/s", "`${rate}` stands for"]);
    let refused = spanproof(&["run", &file, "--set", "rat=5/s"], |_| {});
    expect(&refused, 2, &["--set rat=5/s", "did you mean `rate`?"]);
}

#[test]
fn a_plan_needs_no_engine_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(
        dir.path(),
        "name: x\nsteps: [{drain: {}}]\ncontrols: [{name: red, why: so, red: [pdb], set: {tier.without: [pdb]}}]\n",
    );
    let cache = dir.path().join("cache");
    let plan = |arguments: &[&str]| {
        let all: Vec<_> = ["plan", &file].iter().chain(arguments).copied().collect();
        spanproof(&all, |command| {
            command.env("PATH", dir.path()).env("SPANPROOF_CACHE", &cache);
        })
    };
    let planned = plan(&[]);
    let text = String::from_utf8_lossy(&planned.stdout);
    assert_eq!(planned.status.code(), Some(0), "{text}");
    for said in ["spanproof, which would be made", "drain each worker with a gateway", "Nothing was changed"]
    {
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
    }
    let json = plan(&["--json", "--control", "red"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["format"], &json["control"]), (&1.into(), &"red".into()));
    assert!(!cache.exists(), "it wrote to the cache");

    // No eviction is granted, so that no drain can finish.
    let pdb = "tier.patches=[{of: PodDisruptionBudget/gateway, merge: {spec: {minAvailable: 2}}}]";
    let stuck = plan(&["--set", pdb]);
    assert_eq!(stuck.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stuck.stdout).contains("CANNOT be carried out"));
}

#[test]
fn a_plan_that_cannot_be_made_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario(dir.path(), "name: x\n");
    let plan = |arguments: &[&str]| {
        let all: Vec<_> = ["plan", &file].iter().chain(arguments).copied().collect();
        spanproof(&all, |command| {
            command.env("SPANPROOF_CACHE", dir.path());
        })
    };
    expect(&plan(&["--set", "load.rate=fast"]), 2, &["load.rate=fast"]);
    expect(&plan(&["--control", "red"]), 2, &["there is no control `red`"]);
    expect(&plan(&["--cluster", "a", "--context", "b"]), 2, &["cannot be used with"]);
    // A cluster that existed and does not answer.
    let state = dir.path().join("clusters").join("gone");
    std::fs::create_dir_all(&state).unwrap();
    let kubeconfig = "{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}], \
                      clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: x, user: {}}]}";
    std::fs::write(state.join("kubeconfig"), kubeconfig).unwrap();
    expect(&plan(&["--cluster", "gone"]), 4, &["the cluster gone cannot be reached"]);
}
