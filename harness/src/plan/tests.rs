use super::*;
use crate::deploy::manifests_dir;
use crate::scenario::Scenario;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

fn parse(text: &str) -> Scenario {
    Scenario::parse(Path::new("x"), &format!("name: x\n{text}")).unwrap()
}

fn shipped(name: &str) -> Scenario {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios").join(name).with_extension("yaml");
    Scenario::load(&file, &[]).unwrap()
}

fn plan_on(scenario: &Scenario, snapshot: Option<&ClusterSnapshot>) -> Plan {
    let made = RunManifests::of_run(&manifests_dir(None).unwrap(), &scenario.tier, SOME_RUN).unwrap();
    Plan::of(scenario, &made, "demo", snapshot)
}

fn pod(node: &str, namespace: &str, name: &str, owner: Option<&str>) -> Value {
    let owners = owner.map(|kind| json!([{"apiVersion": "v1", "kind": kind, "name": format!("{name}-set"), "uid": "1", "controller": true}]));
    json!({
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}, "ownerReferences": owners},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn budget(
    namespace: &str,
    app: &str,
    [allowed, healthy, desired, expected]: [i32; 4],
) -> PodDisruptionBudget {
    serde_json::from_value(json!({
        "metadata": {"name": app, "namespace": namespace},
        "spec": {"minAvailable": desired, "selector": {"matchLabels": {"app": app}}},
        "status": {
            "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
        },
    }))
    .unwrap()
}

/// A cluster as the harness makes it, with others' pods on it.
fn shared(pods: &[Value], budgets: Vec<PodDisruptionBudget>) -> ClusterSnapshot {
    let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
    ClusterSnapshot {
        kubernetes: "v1.34.4".to_owned(),
        pods: Listing::All(pods),
        budgets: Listing::All(budgets),
        ..ClusterSnapshot::of_new("demo")
    }
}

fn change(snapshot: &mut ClusterSnapshot, node: &str, change: impl Fn(&mut Node)) {
    let Listing::All(nodes) = &mut snapshot.nodes else { panic!("the nodes are seen") };
    nodes.iter_mut().filter(|it| it.metadata.name.as_deref() == Some(node)).for_each(change);
}

#[test]
fn bystanders_are_named_with_what_guards_them() {
    let daemon = pod("demo-worker", "shop", "log", Some("DaemonSet"));
    let pods = [
        pod("demo-worker", "shop", "cart", Some("ReplicaSet")),
        pod("demo-worker2", "bank", "till", Some("ReplicaSet")),
        pod("demo-worker2", "bank", "idle", Some("ReplicaSet")),
        pod("demo-control-plane", "kube-system", "dns", Some("ReplicaSet")),
        daemon,
    ];
    let budgets = vec![budget("shop", "cart", [1, 3, 2, 3]), budget("bank", "till", [0, 1, 1, 2])];
    let plan = plan_on(&shipped("node-drain"), Some(&shared(&pods, budgets)));
    let moves = |node: usize| -> Vec<String> {
        let moved = plan.nodes[node].moves.iter();
        moved.map(|pod| format!("{}/{}: {}", pod.namespace, pod.pod, pod.budget)).collect()
    };
    assert_eq!(moves(0), ["shop/cart: PDB cart grants 1 now"]);
    assert_eq!(
        moves(1),
        [
            "bank/idle: no PDB",
            "bank/till: PDB till refuses now (1 healthy, 1 demanded): the drain waits up to its deadline"
        ]
    );
    assert!(moves(2).is_empty());
    assert!(plan.can_be_carried_out(), "{:?}", plan.obstacles);
    assert!(plan.warnings.iter().any(|said| said.contains("PDB bank/till refuses")), "{:?}", plan.warnings);
    let named: Vec<_> = plan.scope.bystanders.iter().map(String::as_str).collect();
    assert_eq!(named, ["bank", "shop"], "kube-system has no pod that a drain would move");
    let evicts = |namespace: &str| {
        plan.rights.iter().any(|it| {
            it.right.namespace.as_deref() == Some(namespace) && it.right.resource == "pods/eviction"
        })
    };
    assert!(evicts("shop") && evicts("bank") && evicts("spanproof-<run>") && !evicts("kube-system"));
}

#[test]
fn what_stops_a_drain_or_never_lets_it_finish_is_an_obstacle() {
    let alone = pod("demo-worker", "shop", "alone", None);
    let web = pod("demo-worker2", "shop", "web", Some("ReplicaSet"));
    let scenario = shipped("node-drain");
    let obstacle = |scenario: &Scenario, snapshot: &ClusterSnapshot| {
        let plan = plan_on(scenario, Some(snapshot));
        assert_eq!(plan.obstacles.len(), 1, "{:?}", plan.obstacles);
        plan.obstacles.into_iter().next().unwrap()
    };
    let said = obstacle(&scenario, &shared(std::slice::from_ref(&alone), Vec::new()));
    assert!(said.starts_with("step 1 would stop at demo-worker: pod shop/alone has no controller"), "{said}");
    assert!(said.contains("unmanaged: true"), "{said}");
    let lenient = parse("steps: [{drain: {unmanaged: true}}]");
    assert!(plan_on(&lenient, Some(&shared(&[alone], Vec::new()))).can_be_carried_out());

    let never = vec![budget("shop", "web", [0, 2, 2, 2])];
    let said = obstacle(&scenario, &shared(std::slice::from_ref(&web), never));
    assert!(said.contains("demo-worker2 cannot finish: pod shop/web: PDB web never grants"), "{said}");
    let mut second = budget("shop", "web", [1, 2, 1, 2]);
    second.metadata.name = Some("more".to_owned());
    let said = obstacle(&scenario, &shared(&[web], vec![budget("shop", "web", [1, 2, 1, 2]), second]));
    assert!(said.contains("its eviction is always refused"), "{said}");
}

#[test]
fn the_tiers_own_budget_and_the_spread_must_let_a_drain_finish() {
    let obstacles = |tier: &str, steps: &str| plan_on(&parse(&format!("{tier}\n{steps}")), None).obstacles;
    let demands = |value: &str| {
        format!(
            "tier: {{without: [hpa], patches: [{{of: PodDisruptionBudget/gateway, merge: {{spec: {{minAvailable: {value}}}}}}}]}}"
        )
    };
    let drain = "steps: [{drain: {}}]";
    assert_eq!(obstacles(&demands("1"), drain), Vec::<String>::new());
    let fresh = |times: u8| {
        format!("steps: [{{repeat: {{times: {times}, steps: [{{drain: {{node: not-yet-drained}}}}]}}}}]")
    };
    assert_eq!(obstacles(&demands("1"), &fresh(3)), Vec::<String>::new());
    let said = obstacles(&demands("1"), &fresh(5));
    assert!(said[0].contains("5 drains") && said[0].contains("3 workers"), "{said:?}");
    for never in ["2", "60%", "100%"] {
        let said = obstacles(&demands(never), drain);
        assert!(said.len() == 1 && said[0].contains("demands 2 of 2 gateways"), "{said:?}");
        assert!(obstacles(&demands(never), "steps: [{hold: 1s}]").is_empty(), "nothing is evicted");
    }
    // All three workers at once: nobody is left to take a gateway.
    let all = "steps: [{drain: {each: worker, at_once: true}}]";
    let said = obstacles(&demands("1"), all);
    assert!(said[0].contains("3 workers are drained only 0 gateways can be placed"), "{said:?}");
    // By Kubernetes' default the two that are cordoned count as empty, so the third takes one.
    let unhonoured = "tier: {gateways: 3, without: [hpa], patches: [{of: Deployment/gateway, merge: {spec: {template: {spec: \
        {topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}]}}}}}]}";
    let warnings = plan_on(&parse(&format!("{unhonoured}\n{drain}")), None).warnings;
    // The control plane's taint counts as well, so no worker takes a second gateway.
    assert!(warnings.iter().any(|said| said.contains("1 worker is drained")), "{warnings:?}");
}

#[test]
fn a_node_that_is_cordoned_is_said_to_be() {
    let mut snapshot = shared(&[], Vec::new());
    change(&mut snapshot, "demo-worker", |node| {
        node.spec.get_or_insert_default().unschedulable = Some(true);
    });
    change(&mut snapshot, "demo-worker2", |node| {
        node.spec.get_or_insert_default().unschedulable = Some(true);
        let mark = (crate::labels::CORDONED_BY.to_owned(), "abc".to_owned());
        node.metadata.annotations.get_or_insert_default().extend([mark]);
    });
    let plan = plan_on(&shipped("node-drain"), Some(&snapshot));
    let named: Vec<_> = plan.nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(named, ["demo-worker2", "demo-worker3"], "somebody's cordon keeps gateways away");
    assert!(plan.nodes[0].cordoned.as_ref().unwrap().contains("left cordoned by run abc"));
    assert!(plan.warnings.iter().any(|said| said.starts_with("demo-worker takes no gateway")));
    let every = plan_on(&parse("steps: [{drain: {each: worker}}]"), Some(&snapshot));
    assert_eq!(every.nodes[0].cordoned.as_deref(), Some("cordoned by somebody else: it stays cordoned"));
}

#[test]
fn the_control_plane_is_never_in_scope() {
    let mut snapshot = shared(&[], Vec::new());
    change(&mut snapshot, "demo-control-plane", |node| node.spec.get_or_insert_default().taints = None);
    let plan = plan_on(&parse("steps: [{drain: {}}, {drain: {each: worker}}]"), Some(&snapshot));
    assert!(plan.scope.node("demo-control-plane").is_err());
    assert!(plan.warnings.iter().any(|said| said.starts_with("demo-control-plane is of the control plane")));
}

#[test]
fn a_right_that_is_missing_is_an_obstacle_if_a_run_is_worth_nothing_without_it() {
    let scenario = shipped("node-drain");
    let made = RunManifests::of_run(&manifests_dir(None).unwrap(), &scenario.tier, SOME_RUN).unwrap();
    let mut snapshot = shared(&[], Vec::new());
    let decisions = required_rights(&scenario, &made, &snapshot).0.into_keys().map(|right| {
        let allowed = !matches!(right.resource.as_str(), "pods/eviction" | "nodes/proxy");
        (right, AccessDecision { allowed, reason: "by a test".to_owned() })
    });
    snapshot.access = Some(decisions.collect());
    let plan = Plan::of(&scenario, &made, "demo", Some(&snapshot));
    let missing = ["create pods/eviction in namespace spanproof-<run>, to drain (by a test)"];
    assert_eq!(plan.missing_rights(), missing);
    assert_eq!(plan.obstacles, missing.map(|right| format!("may not {right}")));
    assert!(plan.warnings.iter().any(|said| said.contains("nodes/proxy")), "{:?}", plan.warnings);
    // What was never asked is not taken to be there.
    snapshot.access = Some(std::collections::BTreeMap::new());
    assert!(Plan::of(&scenario, &made, "demo", Some(&snapshot)).missing_rights().len() > 40);
}

#[test]
fn what_is_lent_to_a_cluster_without_metrics_is_asked_for() {
    let (with, without) =
        (shared(&[], Vec::new()), ClusterSnapshot { metrics: false, ..shared(&[], Vec::new()) });
    let lent = |scenario: &str, snapshot: &ClusterSnapshot| {
        let plan = plan_on(&shipped(scenario), Some(snapshot));
        let asked = plan.rights.iter().any(|it| it.right.resource == "clusterroles");
        let said = plan.warnings.iter().any(|said| said.contains("metrics-server is added to kube-system"));
        assert_eq!(asked, said, "{:?}", plan.warnings);
        asked
    };
    assert!(lent("load-spike", &without));
    assert!(!lent("load-spike", &with), "it has metrics of its own");
    assert!(!lent("node-drain", &without), "there is no HPA that would read them");
}

#[test]
fn steps_have_places_candidates_and_times() {
    let scenario = parse(
        "tier: {without: [hpa]}
steps:
  - drain: {deadline: 1m, hold: 10s}
  - repeat:
      times: 3
      steps: [{hold: 5s}, {drain: {node: not-yet-drained, deadline: 1m, hold: 1s}}]
  - for-each: {nodes: worker, steps: [{drain: {node: this, deadline: 1m, hold: 1s}}]}
  - parallel:
      - sequence: [{hold: 1m}, {hold: 1m}]
      - evict: {deadline: 30s}
",
    );
    let plan = plan_on(&scenario, None);
    let mut lines = Vec::new();
    let mut left: Vec<&StepPlan> = plan.steps.iter().rev().collect();
    while let Some(step) = left.pop() {
        let number = step.about.as_ref().map_or_else(String::new, |about| format!(" [{}]", about.number));
        lines.push(format!("{}{number} {}", step.place, step.takes));
        left.extend(step.steps.iter().rev());
    }
    let expected = [
        "1 [2] 20s to 4m 20s",
        "2 18s to 6m 18s",
        "2.n.1 5s",
        "2.n.2 [1] 1s to 2m 1s",
        "3 [3] 3s to 6m 3s",
        "3.n.1 [1] 1s to 2m 1s",
        "4 2m",
        "4.1 2m",
        "4.1.1 1m",
        "4.1.2 1m",
        "4.2 [2] up to 1m",
    ];
    assert_eq!(lines, expected);
    assert_eq!(plan.nodes[0].steps, ["1", "2.n.2", "3.n.1"]);
}

/// Steps of every kind, nested.
fn steps() -> impl Strategy<Value = String> {
    let drains = ["each: worker", "each: worker-with-gateway", "node: random", "node: not-yet-drained"];
    let drain = (proptest::sample::select(drains.to_vec()), 0u32..90, 0u32..90, any::<bool>()).prop_map(
        |(who, deadline, hold, at_once)| {
            format!("{{drain: {{{who}, deadline: {deadline}s, hold: {hold}s, at_once: {at_once}}}}}")
        },
    );
    let leaf = prop_oneof![
        drain,
        (0u32..90).prop_map(|s| format!("{{hold: {s}s}}")),
        (0u32..90).prop_map(|s| format!("{{wait: {{for: queues-empty, deadline: {s}s}}}}")),
        (1u32..90, 0u32..90)
            .prop_map(|(s, d)| format!("{{spike: {{rate: 9/s, hold: {s}s, deadline: {d}s}}}}")),
        (1u32..90).prop_map(|s| format!("{{backend: {{answers: unavailable, for: {s}s}}}}")),
        (0u32..90).prop_map(|s| format!("{{evict: {{deadline: {s}s}}}}")),
        (0u32..90).prop_map(|s| format!("{{upgrade: {{what: agents, to: 0.1.0, deadline: {s}s}}}}")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let some = proptest::collection::vec(inner, 1..4).prop_map(|steps| steps.join(", "));
        (some, 1u32..4, 0u8..4).prop_map(|(steps, times, kind)| match kind {
            0 => format!("{{sequence: [{steps}]}}"),
            1 => format!("{{parallel: [{steps}]}}"),
            2 => format!("{{repeat: {{times: {times}, steps: [{steps}]}}}}"),
            _ => format!("{{for-each: {{nodes: worker, steps: [{steps}, {{drain: {{node: this}}}}]}}}}"),
        })
    })
}

fn every<'a>(steps: &'a [StepPlan], found: &mut Vec<&'a StepPlan>) {
    for step in steps {
        found.push(step);
        every(&step.steps, found);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn least_is_never_more_than_most_and_every_candidate_is_in_scope(
        steps in proptest::collection::vec(steps(), 0..4),
        gateways in 1u16..6,
        hpa: bool,
        cordoned in proptest::option::of(0usize..3),
    ) {
        let without = if hpa { "[]" } else { "[hpa]" };
        let text = format!("tier: {{gateways: {gateways}, without: {without}}}\nsteps: [{}]", steps.join(", "));
        let mut snapshot = shared(&[], Vec::new());
        if let Some(index) = cordoned {
            let name = ["demo-worker", "demo-worker2", "demo-worker3"][index];
            change(&mut snapshot, name, |node| node.spec.get_or_insert_default().unschedulable = Some(true));
        }
        let plan = plan_on(&parse(&text), Some(&snapshot));
        let mut all = Vec::new();
        every(&plan.steps, &mut all);
        for step in all {
            prop_assert!(step.takes.least <= step.takes.most, "{step:?}");
            let Some(about) = &step.about else { continue };
            prop_assert!(about.number.least <= about.number.most, "{step:?}");
            for name in about.among.iter().filter(|_| step.what.starts_with("drain")) {
                prop_assert!(plan.scope.node(name).is_ok(), "{name} of {step:?}");
            }
            for name in about.among.iter().filter(|name| name.contains('/')) {
                prop_assert!(plan.scope.object(name).is_ok(), "{name} of {step:?}");
            }
        }
        prop_assert!(plan.takes.least <= plan.takes.most);
        prop_assert!(plan.takes.least >= Duration::from_secs(20), "steady state and tail");
        let written = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(read, plan, "written and read, it is the same");
    }
}

/// The text that users read. A deliberate change of it also changes this test.
#[test]
fn the_text_of_a_shipped_scenario() {
    let pods =
        [pod("demo-worker", "shop", "cart", Some("ReplicaSet")), pod("demo-worker2", "shop", "alone", None)];
    let snapshot = shared(&pods, vec![budget("shop", "cart", [0, 1, 1, 2])]);
    let text = text(&plan_on(&shipped("node-drain"), Some(&snapshot)));
    assert_eq!(text, include_str!("tests/node-drain.txt"), "\n{text}");
}
