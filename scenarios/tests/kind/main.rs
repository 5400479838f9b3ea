//! The shipped scenarios on a real kind cluster: each passes, and each control fails by the check it names.
//!
//! They need the preparations of `ci/setup`. `ci/test` runs all but the ignored ones, `ci/nightly` all of them, on one
//! cluster, which is removed when this process ends, however that happens.
#![cfg(feature = "kind")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod place;
mod plan;
mod restore;
mod support;

use rstest::rstest;
use spanproof::judge::Verdict::{Fail, Inconclusive, Pass};
use spanproof::record::Record;
use spanproof::scenario::FaultName;
use spanproof_ledger::{Account, Identity, RangeSet, SpanIdentity, is_selected};
use support::{Shared, check, expect, run, run_control, verdict_of};

/// Every shipped scenario passes, and its folder alone gives the same verdict again, byte for byte.
#[rstest]
#[case::every_gateways_node_is_drained("node-drain")]
#[case::two_nodes_are_drained_at_once("two-drains")]
#[case::the_gateways_are_rolled_and_back("gateway-upgrade")]
#[case::the_agents_are_rolled_with_a_backlog("agent-upgrade")]
#[case::the_hpa_goes_out_and_in_again("load-spike")]
#[case::each_gateway_is_killed("gateway-kill")]
#[case::steps_hold_steps_and_targets_have_roles("tests/steps-in-steps")]
#[ignore = "ci/nightly: node-drain with pauses"]
#[case::one_node_after_the_other("rolling-drains")]
#[ignore = "ci/nightly: load-spike and a drain"]
#[case::a_drain_while_the_hpa_goes_out("drain-in-spike")]
#[ignore = "ci/nightly: a tier that samples"]
#[case::gateways_that_sample_are_evicted_and_rolled("sampling-gateway")]
#[ignore = "ci/nightly: tests/docker has the same backends"]
#[case::the_backend_is_slow_and_refuses_a_half("slow-backend")]
#[ignore = "ci/nightly: node-drain on other manifests"]
#[case::a_tier_of_somebodys_own("tests/own-tier")]
#[ignore = "ci/nightly"]
#[case::gateways_that_do_not_say_who_they_are("tests/unnamed-gateways")]
fn a_scenario_passes(#[case] name: &str) {
    let outcome = run(name);
    expect(&outcome, Pass, &[]);
    assert!(outcome.judgement.spans.acknowledged > 20_000, "{:?}", outcome.judgement.spans);
    assert!(!outcome.judgement.faults.is_empty());
    let refused = check(&outcome, "pdb").evidence["refused"].as_u64();
    let observers = &outcome.judgement.usage;
    let cores: f64 = ["emit", "sink", "harness"].iter().map(|app| observers[*app].cores).sum();
    match name {
        // The API server refused, and both drains finished all the same.
        "two-drains" => assert!(refused.unwrap() > 0, "no eviction was refused"),
        "node-drain" => assert!(cores < 0.1, "observers and probes used {cores} cores at 2,000 spans/s"),
        "load-spike" => {
            let steady = check(&outcome, "hpa").evidence["steady_share_of_target"].as_f64().unwrap();
            assert!(steady < 0.4, "the steady load is {steady} of the HPA's target");
        }
        _ => {}
    }

    let again = support::analyzed(&outcome.folder);
    assert_eq!(
        again,
        std::fs::read(outcome.folder.join("verdict.json")).unwrap(),
        "judged again, it is another verdict"
    );
}

/// Without a PDB both gateways may be evicted at once, and they are. The agents' queues keep the spans.
#[test]
fn without_a_budget_the_gateways_are_gone_at_once() {
    let outcome = run("controls/no-pdb");
    expect(&outcome, Fail, &["availability", "pdb"]);
    assert_eq!(outcome.judgement.spans.lost, 0, "{:?}", outcome.judgement.spans);
}

/// The control of a scenario fails by the checks that it names, and by no others.
#[rstest]
#[ignore = "ci/nightly: the same as no-pdb by another way"]
#[case::two_drains_without_a_budget("two-drains", "no-pdb")]
#[case::a_rollout_of_all_at_once("gateway-upgrade", "all-at-once")]
#[case::both_gateways_on_one_node("node-drain", "packed")]
#[case::a_queue_in_the_pod("agent-upgrade", "queue-in-pod")]
#[ignore = "ci/nightly: a tier that samples"]
#[case::a_sampler_that_drops_what_waits("sampling-gateway", "pending-dropped")]
#[ignore = "ci/nightly: a tier that samples"]
#[case::a_sampler_that_keeps_all_and_drops_what_waits("sampling-gateway", "all-kept-and-dropped")]
#[ignore = "ci/nightly: three minutes"]
#[case::a_queue_in_the_memory_of_what_is_killed("gateway-kill", "queue-in-memory")]
#[ignore = "ci/nightly: five minutes"]
#[case::connections_that_live_for_ever("load-spike", "no-connection-age")]
fn a_control_is_red(#[case] scenario: &str, #[case] control: &str) {
    let outcome = run_control(scenario, control);
    let judged = outcome.judgement.control.as_ref().unwrap();
    assert_eq!(judged.verdict, Pass, "{}\n{:#?}", judged.reason, outcome.judgement.checks);
    assert_eq!(outcome.judgement.verdict, Fail);
    match control {
        // What is missing waited in one of the samplers that went, and is named with it.
        "pending-dropped" | "all-kept-and-dropped" => {
            let reason = &check(&outcome, "loss").reason;
            assert!(reason.contains("waiting in the sampler of gateway-"), "{reason}");
            assert!(!reason.contains("vanished between"), "{reason}");
        }
        // A PDB guards evictions, not roll-outs: it is there, and both gateways go all the same.
        "all-at-once" => assert_eq!(verdict_of(&outcome, "pdb"), Pass),
        // Nothing is lost, and each drain goes on: that both are on one node is all that is wrong.
        "packed" => assert_eq!(outcome.judgement.spans.lost, 0, "{:?}", outcome.judgement.spans),
        // What was on its way when the outage began is lost, too; nothing that was sent before that, or behind it.
        "queue-in-pod" => {
            let outage = &outcome.judgement.faults[0];
            let ranges = check(&outcome, "loss").evidence["lost_ranges"].as_array().unwrap().clone();
            let sent = ranges.iter().map(|range| range["sent"].as_f64().unwrap());
            let during = outage.start - 1.0..outage.end;
            assert!(sent.into_iter().all(|sent| during.contains(&sent)), "{ranges:#?}");
        }
        _ => {}
    }
}

/// A control whose condition is not met is inconclusive, and no step is taken.
#[test]
fn a_control_without_its_precondition_is_inconclusive() {
    let outcome = run_control("tests/steps-in-steps", "unmet");
    assert_eq!(outcome.judgement.verdict, Inconclusive, "{:#?}", outcome.judgement.checks);
    assert_eq!(outcome.judgement.control.as_ref().unwrap().verdict, Inconclusive);
    assert!(check(&outcome, "control").reason.contains("precondition did not hold"));
    assert!(outcome.judgement.faults.is_empty());
}

/// After INTERNAL no Collector tries again: what the backend refused is lost, and reported with that code.
#[test]
#[ignore = "ci/nightly: tests/docker has the same backends"]
fn what_a_reset_stream_held_is_lost() {
    let outcome = run("controls/internal");
    expect(&outcome, Fail, &["loss"]);
    let loss = check(&outcome, "loss");
    assert!(loss.reason.contains("refused by the backend (Internal)"), "{}", loss.reason);
    // What was sent before the resets, or behind them, arrived: an agent holds a batch for a moment only.
    let resets = &outcome.judgement.faults[0];
    let ranges = loss.evidence["lost_ranges"].as_array().unwrap();
    let sent = ranges.iter().map(|range| range["sent"].as_f64().unwrap());
    assert!(sent.into_iter().all(|sent| (resets.start - 2.0..resets.end).contains(&sent)), "{ranges:#?}");
}

/// A loss that is well known upstream: the content of the queues for a gateway is lost with it, and no metric tells how
/// much that was. The shutdown of the tier leaves no doubt.
#[test]
#[ignore = "ci/nightly: three minutes"]
fn what_a_load_balancing_exporter_throws_away_is_lost() {
    let outcome = run("tests/load-balancing");
    assert_eq!(outcome.judgement.verdict, Fail, "{:#?}", outcome.judgement.checks);
    let (loss, spans) = (check(&outcome, "loss"), &outcome.judgement.spans);
    assert_eq!(loss.verdict, Fail, "{}", loss.reason);
    assert!(spans.lost > 0 && spans.stranded == 0, "{spans:?}");
    assert!(loss.reason.contains("(kept only in its pod by: agent)"), "{}", loss.reason);
    assert!(loss.reason.contains("each Collector that had them was seen to go"), "{}", loss.reason);
    assert_eq!(loss.evidence["settled"], "taken-down");
}

/// Gateways that queue by themselves: the content of their queues is awaited; what was lost with them is reported so.
#[test]
#[ignore = "ci/nightly: four minutes"]
fn what_a_rolled_gateway_had_queued_is_lost() {
    let outcome = run("tests/gateway-queue");
    let (loss, spans) = (check(&outcome, "loss"), &outcome.judgement.spans);
    assert_eq!(loss.verdict, Fail, "{}", loss.reason);
    assert!(spans.lost > 0 && spans.stranded == 0, "{spans:?}");
    assert!(loss.reason.contains("(kept only in its pod by: gateway)"), "{}", loss.reason);
    // Only what the old gateways could have had: not what was sent when they were gone.
    let rollout = outcome.judgement.faults.iter().find(|fault| fault.name == FaultName::Upgrade).unwrap();
    let ranges = loss.evidence["lost_ranges"].as_array().unwrap();
    let sent = ranges.iter().map(|range| range["sent"].as_f64().unwrap());
    assert!(sent.into_iter().all(|sent| sent < rollout.end), "{ranges:#?}");
}

/// With half of the load nothing can be shown, and no step is taken.
#[test]
fn half_of_the_load_is_inconclusive() {
    let outcome = run("controls/half-load");
    assert_eq!(outcome.judgement.verdict, Inconclusive, "{:#?}", outcome.judgement.checks);
    assert_eq!(verdict_of(&outcome, "load"), Inconclusive);
    assert!(outcome.judgement.faults.is_empty());
}

/// The spans that the backend forgets are lost, and no others.
#[test]
fn what_the_sink_forgets_is_lost() {
    let outcome = run("controls/forgetful-sink");
    assert_eq!(outcome.judgement.verdict, Fail, "{:#?}", outcome.judgement.checks);
    assert_eq!(verdict_of(&outcome, "loss"), Fail);

    let record = Record::read(&outcome.folder).unwrap();
    let account = Account::of(&record.emitters, &record.sinks);
    let load = &record.scenario.load;
    let identity = Identity::new(record.sinks[0].run_tag(), load.spans_per_trace, load.streams_per_trace);
    let mut any = 0;
    for emitter in &record.emitters {
        let stream = emitter.stream();
        let numbers = emitter.acknowledged().iter().flat_map(|range| range.start..range.end);
        let expected: RangeSet = numbers
            .filter(|seq| {
                is_selected(record.seed(), identity.span_id(SpanIdentity { stream, seq: *seq }), 1_000)
            })
            .collect();
        any += expected.count();
        assert_eq!(account.streams[&stream].lost, expected, "stream {stream}");
    }
    assert!(any > 0, "nothing was forgotten: the control shows nothing");
    assert_eq!(outcome.judgement.spans.lost, any);
}

/// Both versions of the Collector accept both configurations of the manifests.
#[test]
fn the_configurations_are_valid_for_both_versions() {
    support::validate_configurations();
}

/// The gateways comply with Pod Security `restricted`, although the namespace, because of the agents, does not enforce it.
#[test]
fn the_gateways_are_restricted() {
    let alone = Shared::alone();
    alone.block_on(support::admit_restricted_gateway(alone.cluster().client().clone()));
}

/// Every node refuses, by itself, all traffic that would leave the cluster.
#[test]
fn the_nodes_reach_nothing_but_each_other() {
    support::nodes_are_isolated();
}

/// A harness that is killed leaves no container, even while it creates its cluster.
#[test]
fn a_killed_harness_leaves_nothing() {
    support::kill_while_making_a_cluster();
}
