//! A harness can be killed at any moment, and `spanproof restore` undoes what it leaves: afterwards the cluster is as it
//! was. A new fault gets a step in `every-fault.yaml`, and a case here.

mod going;

use crate::support::lent::Lent;
use crate::support::snapshot::{Snapshot, queues};
use crate::support::{Shared, await_until};
use going::Going;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rstest::rstest;
use serde_json::json;
use spanproof::host::cache_dir;
use spanproof::labels::CORDONED_BY;
use spanproof::labels::RUN_LABEL;
use spanproof::record::Event;
use spanproof::scenario::StepPath;

/// Asserts that `spanproof restore` succeeds, reports each thing as undone, and finds nothing when called again.
#[track_caller]
fn restore(lent: &Lent, going: &Going) {
    let restored = lent.restore().arg(going.folder().unwrap()).output().unwrap();
    let said = String::from_utf8(restored.stdout).unwrap();
    let words = String::from_utf8(restored.stderr).unwrap();
    assert!(restored.status.success(), "{said}\n{words}");
    for line in said.lines() {
        assert!(line.ends_with(": undone") || line.ends_with(": was undone already"), "{said}\n{words}");
    }
    assert!(!going.is_open(), "{words}");
    let again = lent.restore().arg(going.folder().unwrap()).output().unwrap();
    let said = String::from_utf8(again.stdout).unwrap();
    assert!(again.status.success() && said.contains("nothing to undo"), "{said}");
}

/// The moment at which a run is killed.
#[derive(Debug, Clone, Copy)]
enum When {
    /// Its agents are being deployed.
    Deploying,
    /// Its load has begun, its steps have not.
    Loaded,
    /// A node was cordoned.
    Cordoned,
    /// A step has begun.
    Begun(usize),
    /// A step's fault has landed.
    Landed(usize),
    /// The load has ended.
    Settling,
    /// The nodes are being swept.
    Sweeping,
    /// Its namespace is being deleted.
    Terminating,
}

impl When {
    fn has_come(self, lent: &Lent, going: &Going) -> bool {
        let events = going.timeline();
        let behind = |number: usize| {
            let step = StepPath::top(number);
            events
                .iter()
                .skip_while(move |event| !matches!(event, Event::Step { step: it, .. } if *it == step))
        };
        let has = |wanted: fn(&Event) -> bool| events.iter().any(wanted);
        match self {
            Self::Deploying => daemon_set(lent, going, "agent"),
            Self::Loaded => has(|event| matches!(event, Event::LoadStarted { .. })),
            Self::Cordoned => has(|event| matches!(event, Event::Cordon { cordoned: true, .. })),
            Self::Begun(number) => behind(number).next().is_some(),
            Self::Landed(number) => behind(number).any(|event| matches!(event, Event::FaultLanded { .. })),
            Self::Settling => has(|event| *event == Event::LoadStopped),
            Self::Sweeping => daemon_set(lent, going, "sweep"),
            Self::Terminating => has(|event| *event == Event::Ended) && terminates(lent, going),
        }
    }
}

fn namespace(going: &Going) -> String {
    going.run().map_or_else(String::new, |run| format!("spanproof-{run}"))
}

fn daemon_set(lent: &Lent, going: &Going, name: &str) -> bool {
    let namespace = namespace(going);
    let sets: Api<DaemonSet> = Api::namespaced(lent.client.clone(), &namespace);
    !namespace.is_empty() && lent.block_on(sets.get_opt(name)).unwrap().is_some()
}

fn terminates(lent: &Lent, going: &Going) -> bool {
    let namespaces: Api<Namespace> = Api::all(lent.client.clone());
    let found = lent.block_on(namespaces.get_opt(&namespace(going))).unwrap();
    found.is_some_and(|found| found.metadata.deletion_timestamp.is_some())
}

/// No steps, so that the end comes sooner.
const NO_STEPS: [&str; 2] = ["--set", "steps=[]"];

#[rstest]
#[case::in_a_drain(When::Cordoned, &[])]
#[ignore = "ci/nightly: a minute each"]
#[case::while_deploying(When::Deploying, &[])]
#[ignore = "ci/nightly: a minute each"]
#[case::under_load(When::Loaded, &[])]
#[ignore = "ci/nightly: a minute each"]
#[case::when_a_node_is_drained(When::Landed(1), &[])]
#[ignore = "ci/nightly: two minutes each"]
#[case::while_evicting(When::Begun(2), &[])]
#[ignore = "ci/nightly: two minutes each"]
#[case::while_the_gateways_are_rolled(When::Landed(3), &[])]
#[ignore = "ci/nightly: two minutes each"]
#[case::while_the_agents_are_rolled(When::Landed(4), &[])]
#[ignore = "ci/nightly: three minutes each"]
#[case::while_the_backend_refuses(When::Landed(5), &[])]
#[ignore = "ci/nightly: three minutes each"]
#[case::while_the_backend_is_slow(When::Landed(6), &[])]
#[ignore = "ci/nightly: three minutes each"]
#[case::in_a_spike(When::Landed(7), &[])]
#[ignore = "ci/nightly: three minutes each"]
#[case::as_the_backend_is_well_again(When::Begun(8), &[])]
#[ignore = "ci/nightly: three minutes each"]
#[case::in_a_hold(When::Begun(9), &[])]
#[ignore = "ci/nightly: a minute each"]
#[case::while_settling(When::Settling, &NO_STEPS)]
#[ignore = "ci/nightly: a minute each"]
#[case::while_sweeping(When::Sweeping, &NO_STEPS)]
#[ignore = "ci/nightly: a minute each"]
#[case::while_its_namespace_goes(When::Terminating, &NO_STEPS)]
fn a_killed_run_is_undone(#[case] when: When, #[case] arguments: &[&str]) {
    let lent = Shared::lend();
    let before = Snapshot::take(&lent);
    let mut going = Going::start(&lent, arguments);
    going.await_moment(&format!("{when:?}"), |going| when.has_come(&lent, going));
    going.kill();
    assert!(
        going.is_open() && Snapshot::take(&lent) != before,
        "it left nothing to undo, so this shows nothing"
    );
    restore(&lent, &going);
    before.expect_again(&lent);
}

/// A cordon as a person sets it, with an annotation that the harness must not touch.
fn cordon(lent: &Lent, node: &str, cordoned: bool) {
    let nodes: Api<Node> = Api::all(lent.client.clone());
    let (mark, unschedulable) =
        if cordoned { (json!("somebody"), json!(true)) } else { (json!(null), json!(null)) };
    let patch = json!({
        "metadata": {"annotations": {"example.com/cordoned-by": mark}},
        "spec": {"unschedulable": unschedulable},
    });
    lent.block_on(nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch))).unwrap();
}

fn workers(lent: &Lent) -> Vec<String> {
    let nodes: Api<Node> = Api::all(lent.client.clone());
    let workers = ListParams::default().labels("!node-role.kubernetes.io/control-plane");
    lent.block_on(nodes.list(&workers)).unwrap().iter().map(ResourceExt::name_any).collect()
}

/// A node that was cordoned before by somebody else stays cordoned, and so does one that somebody takes over.
#[test]
#[ignore = "ci/nightly: a minute"]
fn a_cordon_of_somebody_elses_stays() {
    let lent = Shared::lend();
    let (at_rest, workers) = (Snapshot::take(&lent), workers(&lent));
    let [theirs, taken_over, ours] = workers.as_slice() else { panic!("{workers:?}") };
    cordon(&lent, theirs, true);
    let all_at_once = "steps=[{drain: {each: worker, at_once: true, hold: 1m}}]";
    let mut going = Going::start(&lent, &["--set", all_at_once]);
    going.await_moment("two nodes to be cordoned, and the third to be found so", |going| {
        let events = going.timeline();
        let cordons = events.iter().filter(|event| matches!(event, Event::Cordon { .. })).count();
        let left =
            |event: &Event| matches!(event, Event::Note { message } if message.contains("somebody else"));
        cordons == 2 && events.iter().any(left)
    });
    going.kill();
    let nodes: Api<Node> = Api::all(lent.client.clone());
    let mark = json!({"metadata": {"annotations": {CORDONED_BY: null}}});
    lent.block_on(nodes.patch(taken_over, &PatchParams::default(), &Patch::Merge(mark))).unwrap();
    restore(&lent, &going);
    let now = |node: &str| {
        let found = lent.block_on(nodes.get(node)).unwrap();
        let unschedulable = found.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        (
            unschedulable,
            found.annotations().get("example.com/cordoned-by").map(String::as_str) == Some("somebody"),
        )
    };
    assert_eq!([now(theirs), now(taken_over), now(ours)], [(true, true), (true, false), (false, false)]);
    cordon(&lent, theirs, false);
    cordon(&lent, taken_over, false);
    at_rest.expect_again(&lent);
}

/// A namespace that is being deleted admits no pods that could sweep: the nodes are swept from another one. `restore` may
/// be killed, too.
#[rstest]
#[ignore = "ci/nightly: a minute each"]
#[case::at_once(false)]
#[ignore = "ci/nightly: a minute each"]
#[case::at_the_second_try(true)]
fn queues_are_swept_though_the_namespace_is_gone(#[case] killed: bool) {
    let lent = Shared::lend();
    let before = Snapshot::take(&lent);
    let mut going = Going::start(&lent, &[]);
    going.await_moment("the load", |going| When::Loaded.has_come(&lent, going));
    going.kill();
    let namespaces: Api<Namespace> = Api::all(lent.client.clone());
    lent.block_on(namespaces.delete(&namespace(&going), &DeleteParams::default())).unwrap();
    assert!(queues().contains(&namespace(&going)), "there is no queue, so this shows nothing");
    if killed {
        let sweep = format!("{}-sweep", namespace(&going));
        let mut restoring = lent.restore().arg(going.folder().unwrap()).spawn().unwrap();
        await_until("the namespace that is swept from", || {
            lent.block_on(namespaces.get_opt(&sweep)).unwrap().is_some()
        });
        restoring.kill().unwrap();
        restoring.wait().unwrap();
    }
    restore(&lent, &going);
    before.expect_again(&lent);
}

/// An object in a namespace that is not the run's, with the label of a run.
fn label_object(lent: &Lent, name: &str, run: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(lent.client.clone(), "default");
    let map = json!({"metadata": {"name": name, "labels": {RUN_LABEL: run}}});
    lent.block_on(maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap())).unwrap();
}

/// If the folder of a run is lost, the run is found by its pointer, and its objects by their label. Objects with another
/// run's label stay.
#[test]
#[ignore = "ci/nightly: a minute"]
fn a_run_without_a_folder_is_undone() {
    let lent = Shared::lend();
    let at_rest = Snapshot::take(&lent);
    let mut going = Going::start(&lent, &[]);
    going.await_moment("a cordon", |going| When::Cordoned.has_come(&lent, going));
    going.kill();
    let (folder, run) = (going.folder().unwrap(), going.run().unwrap());
    label_object(&lent, "ours", &run);
    label_object(&lent, "theirs", "another");
    std::fs::remove_dir_all(folder).unwrap();
    let restored = lent.restore().arg(&run).output().unwrap();
    let said = String::from_utf8(restored.stdout).unwrap();
    assert!(restored.status.success(), "{said}\n{}", String::from_utf8_lossy(&restored.stderr));
    for undone in ["the cordon of node ", "ConfigMap ours in default: undone", &run] {
        assert!(said.contains(undone), "{said}");
    }
    assert!(!cache_dir().join("open").join(format!("{run}.json")).exists());
    let maps: Api<ConfigMap> = Api::namespaced(lent.client.clone(), "default");
    lent.block_on(maps.delete("theirs", &DeleteParams::default())).unwrap();
    at_rest.expect_again(&lent);
}

/// Interrupted once, a run undoes everything by itself; interrupted twice, it reports what is left to undo.
#[rstest]
#[ignore = "ci/nightly: two minutes each"]
#[case::once(1)]
#[ignore = "ci/nightly: a minute each"]
#[case::twice(2)]
fn an_interrupted_run_is_undone(#[case] times: usize) {
    let lent = Shared::lend();
    let before = Snapshot::take(&lent);
    let mut going = Going::start(&lent, &[]);
    going.await_moment("a cordon", |going| When::Cordoned.has_come(&lent, going));
    going.interrupt();
    if times > 1 {
        going.await_moment("the first interrupt to be heard", |going| going.words().contains("interrupted"));
        going.interrupt();
    }
    let ended = going.end();
    assert_eq!(ended.code(), Some(130), "{}", going.words());
    let reminded = going.words().contains("spanproof restore");
    assert_eq!((reminded, going.is_open()), (times > 1, times > 1), "{}", going.words());
    if times > 1 {
        restore(&lent, &going);
    }
    before.expect_again(&lent);
}
