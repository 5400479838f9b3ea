//! The gateways: ready, guarded, and moved by drains.

use super::*;

#[test]
fn too_few_ready_gateways_fail_unless_nobody_looked() {
    let none = Plan::healthy().with(17.0, gateway(1, false));
    let check = only(&none.judged(), "availability", Verdict::Fail);
    assert!(check.reason.contains("0 ready gateways at 17.0s, in step 1"), "{}", check.reason);

    let blind = none.with(18.0, synced(Kind::Pod, false)).with(19.0, synced(Kind::Pod, true));
    let judgement = blind.judged();
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    for name in ["availability", "pdb"] {
        assert_eq!(
            judgement.checks.iter().find(|check| check.name.as_str() == name).unwrap().verdict,
            Verdict::Inconclusive,
            "{name}"
        );
    }
    let elsewhere = Plan::healthy().with(18.0, synced(Kind::ReplicaSet, false));
    assert_eq!(elsewhere.judged().verdict, Verdict::Pass, "no check asks for what was not seen");

    let late = Plan::healthy().without(|event| matches!(event, Event::Watch { .. }));
    assert_eq!(late.judged().verdict, Verdict::Inconclusive);
}

#[test]
fn a_pause_in_the_deliveries_is_measured_and_judged_when_a_limit_is_given() {
    let mut record = Plan { pause: 20..27, ..Plan::healthy() }.record();
    let judgement = judge(&record);
    let gap = check(&judgement, "availability").evidence["delivery_gap_s"].as_f64().unwrap();
    assert!((gap - 8.0).abs() < 0.01, "{gap}");
    assert_eq!(judgement.verdict, Verdict::Pass);
    record.scenario.expect.delivery_gap = Some(crate::scenario::Span::seconds(5));
    let check = only(&judge(&record), "availability", Verdict::Fail);
    assert!(check.reason.contains("no delivery from 20.5s to 28.5s, in step 1"), "{}", check.reason);
}

#[test]
fn an_eviction_that_leaves_too_few_is_the_budgets_failure() {
    let plan = Plan::healthy().with(16.3, eviction_of(1, 201)).with(16.3, gateway(1, false));
    let judgement = plan.judged();
    let pdb = check(&judgement, "pdb");
    assert_eq!(pdb.verdict, Verdict::Fail);
    assert!(
        pdb.reason.contains("gateway-1 was granted and left 0 ready gateways at 16.3s"),
        "{}",
        pdb.reason
    );
    assert_eq!(check(&judgement, "availability").verdict, Verdict::Fail);

    // The same gateway lost by a deletion is no eviction.
    let deleted = Plan::healthy().with(16.3, gateway(1, false)).judged();
    assert_eq!(check(&deleted, "pdb").verdict, Verdict::Pass);
    assert_eq!(check(&deleted, "availability").verdict, Verdict::Fail);
}

#[test]
fn a_budget_must_be_there_and_cover_the_gateways() {
    let is_budget =
        |event: &Event| matches!(event, Event::Seen { object: Object::PodDisruptionBudget(_), .. });
    let with =
        |change: &dyn Fn(&mut world::Budget)| Plan::healthy().without(is_budget).with(0.1, budget(change));
    only(&Plan::healthy().without(is_budget).judged(), "pdb", Verdict::Fail);
    let elsewhere =
        serde_json::from_value(json!({"matchLabels": {"app.kubernetes.io/name": "other"}})).unwrap();
    let other =
        with(&|budget| (budget.selector, budget.expected) = (std::clone::Clone::clone(&elsewhere), 3));
    let reason = only(&other.judged(), "pdb", Verdict::Fail).reason;
    assert!(reason.contains("covers no gateway"), "{reason}");
    only(&with(&|budget| budget.expected = 0).judged(), "pdb", Verdict::Fail);
    only(&with(&|budget| budget.desired = 0).judged(), "pdb", Verdict::Fail);
    let Event::Seen { object, .. } = budget(|_| ()) else { unreachable!() };
    let second = Plan::healthy().with(0.1, Event::Seen { name: "second".to_owned(), object });
    only(&second.judged(), "pdb", Verdict::Fail);
}

#[test]
fn a_drain_that_the_budget_blocks_fails() {
    let plan = Plan::healthy()
        .without(|event| {
            matches!(event, Event::PodGone { .. } | Event::Eviction { .. } | Event::FaultEnded { .. })
        })
        .with(16.2, eviction(429))
        .with(30.0, Event::FaultEnded { fault: 0, problem: Some("waited 120s".to_owned()), blind: false });
    let check = only(&plan.judged(), "gateways-moved", Verdict::Fail);
    assert_eq!(check.evidence[0]["refused_by_the_budget"], 1);
    assert!(check.reason.contains("waited 120s"), "{}", check.reason);
}

#[test]
fn a_drain_that_never_asked_has_shown_nothing() {
    let plan =
        Plan::healthy().without(|event| matches!(event, Event::PodGone { .. } | Event::Eviction { .. }));
    only(&plan.judged(), "gateways-moved", Verdict::Inconclusive);
}
