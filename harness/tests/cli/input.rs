//! Unusable input: empty values, files without an end, sizes beyond all bounds. Each is refused with its place, within
//! seconds.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn spanproof(folder: &Path, arguments: &[&str]) -> Output {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_spanproof"))
        .args(arguments)
        .current_dir(folder)
        .env("SPANPROOF_CONFIG", "/dev/null")
        .output()
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(60), "{arguments:?} took long");
    output
}

fn refused(folder: &Path, arguments: &[&str], words: &[&str]) {
    let output = spanproof(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {words:?} are not in {said}");
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ok.yaml"), "name: x\n").unwrap();
    folder
}

#[test]
fn an_empty_value_is_an_error_wherever_it_stands() {
    let folder = folder();
    let check = |text: &str, place: &str| {
        std::fs::write(folder.path().join("x.yaml"), text).unwrap();
        refused(folder.path(), &["check", "x.yaml"], &[place]);
    };
    check("name: x\nexpect:\n  delivery_gap:\n", "x.yaml:3:3: `delivery_gap` has no value");
    check("name: x\nload: {rate: ~}\n", "x.yaml:2:8: `rate` has no value");
    check("name: x\nexpect:\nsteps: []\n", "x.yaml:2:1: `expect` has no value");
    check("name: x\nsteps:\n  - drain:\n", "x.yaml:3:5: `drain` has no value");
    check("name: x\ntier:\n  without:\n    - hpa\n    -\n", "x.yaml:5:6: this item of the list is empty");
    check("name: ''\n", "x.yaml:1:1: `name` has no value");
    check(
        "name: x\ntier: {patches: [{of: A/b, merge: &m {delivery_gap: null}}]}\nexpect: {<<: *m}\n",
        "`delivery_gap`",
    );
    check(
        "name: x\nparameters: {gap: {default: ''}}\nexpect: {delivery_gap: '${gap}'}\n",
        "parameter `gap` is empty",
    );
    for set in ["expect.delivery_gap=", "expect.delivery_gap=null", "load.rate=~", "expect={delivery_gap: }"]
    {
        refused(folder.path(), &["check", "ok.yaml", "--set", set], &["--set", "value"]);
    }
    let removed = [
        "check",
        "ok.yaml",
        "--set",
        "tier.patches=[{of: Deployment/gateway, merge: {spec: {minReadySeconds: null}}}]",
    ];
    assert!(spanproof(folder.path(), &removed).status.success(), "null removes a field in a patch");
    for option in ["--out", "--cluster", "--context", "--seed", "--wait", "--control", "--manifests", "--set"]
    {
        refused(folder.path(), &["run", "ok.yaml", option, ""], &["--"]);
    }
    refused(folder.path(), &["restore", ""], &["no value"]);
}

#[test]
fn only_regular_files_are_read() {
    let folder = folder();
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    std::fs::create_dir(folder.path().join("tier")).unwrap();
    std::fs::write(folder.path().join("tier/kustomization.yaml"), "resources: [../pipe]\n").unwrap();
    std::fs::create_dir(folder.path().join("self")).unwrap();
    std::fs::write(folder.path().join("self/kustomization.yaml"), "resources: [., .]\n").unwrap();
    std::fs::write(folder.path().join("blank.pem"), " \n").unwrap();
    std::fs::write(folder.path().join("deep.yaml"), "name: ".to_owned() + &"[".repeat(100_000)).unwrap();
    for command in ["check", "plan", "run"] {
        refused(folder.path(), &[command, "pipe"], &["pipe cannot be read: this is a pipe"]);
        refused(folder.path(), &[command, "/dev/zero"], &["this is a device"]);
        refused(folder.path(), &[command, "loop"], &["loop cannot be read"]);
        refused(folder.path(), &[command, "deep.yaml"], &["deep.yaml:1:"]);
    }
    for (set, words) in [
        ("tier.manifests=/dev/zero", "/dev/zero: this is a device"),
        ("tier.manifests=tier", "pipe: this is a pipe"),
        ("tier.manifests=self", "without an end"),
        ("load.tls.ca=/dev/null", "/dev/null: this is a device"),
        ("load.tls.ca=blank.pem", "there is no certificate in it"),
        ("load.tls.ca=ok.yaml", "there is none in it"),
    ] {
        refused(folder.path(), &["check", "ok.yaml", "--set", set], &[words]);
    }
    refused(
        folder.path(),
        &["plan", "ok.yaml", "--context", "x", "--kubeconfig", "pipe"],
        &["this is a pipe"],
    );
    refused(folder.path(), &["run", "ok.yaml", "--out", "ok.yaml/runs"], &["no run folder can be written"]);
    refused(folder.path(), &["run", "ok.yaml", "--out", "ok.yaml"], &["no run folder can be written"]);
}

#[test]
fn a_size_out_of_bounds_is_refused_with_its_place() {
    let folder = folder();
    for (set, words) in [
        (
            "load.profile=[{sine: {mean: 9/s, amplitude: 5/s, period: 1ns}}]",
            "load.profile.0.sine.period: 1ns is shorter",
        ),
        (
            "load.profile=[{spike: {base: 1/s, peak: 5/s, after: 1s, lasts: 18446744073709551615s}}]",
            "longer than a day",
        ),
        ("load.profile=[{step: {from: 1/s, to: 5/s, count: 4294967295, for: 1m}}]", "10,000 at the most"),
        ("load.rate=1e30/s", "no machine sends"),
        ("load.rate=1e-30/s", "not one span"),
        ("load.connections=4294967295", "1,024 at the most"),
        ("load.deadline=1ns", "shorter than 1ms"),
        ("expect.delivery_gap=0s", "must be above 0"),
        ("steady=0s", "1s at the least"),
        ("settle.deadline=0s", "must be above 0"),
        ("steps=[{hold: 0s}]", "it does nothing"),
        ("tier.gateways=0", "must be above 0"),
        ("tier.gateways=65535", "5,000 at the most"),
    ] {
        refused(folder.path(), &["check", "ok.yaml", "--set", set], &[words]);
    }
}
