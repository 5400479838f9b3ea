//! The shipped scenarios on a real kind cluster: each passes, and each control fails by the check it names.
//!
//! Needs what `ci/setup` prepares. One cluster for all of them; it is removed when this process ends,
//! however that happens.
#![cfg(feature = "kind")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use rstest::rstest;
use spanproof::judge::Verdict::{Fail, Inconclusive, Pass};
use spanproof::record::Record;
use spanproof_ledger::{Account, Identity, RangeSet, SpanIdentity, forgotten};
use support::{Shared, expect, run};

/// Every gateway's node is drained, and nothing is lost.
#[rstest]
#[case("node-drain")]
fn a_scenario_passes(#[case] name: &str) {
    let outcome = run(name);
    expect(&outcome, Pass, &[]);
    assert!(outcome.judgement.spans.acknowledged > 20_000, "{:?}", outcome.judgement.spans);
    assert!(outcome.judgement.faults.len() >= 2, "{:?}", outcome.judgement.faults);

    // Judged again from the folder alone, it is the same verdict.
    let record = Record::read(&outcome.folder).unwrap();
    assert_eq!(spanproof::judge::judge(&record), outcome.judgement);
}

/// Without a PDB both gateways may go at once, and they do. The agents' queues keep the spans.
#[test]
fn without_a_budget_the_gateways_are_gone_at_once() {
    let outcome = run("controls/no-pdb");
    expect(&outcome, Fail, &["ready-gateways"]);
    assert_eq!(outcome.judgement.spans.lost, 0, "{:?}", outcome.judgement.spans);
}

/// With half of the load nothing has been shown, and nothing is done to the tier.
#[test]
fn half_of_the_load_is_inconclusive() {
    let outcome = run("controls/half-load");
    assert_eq!(outcome.judgement.verdict, Inconclusive, "{:#?}", outcome.judgement.checks);
    let load = outcome.judgement.checks.iter().find(|check| check.name == "load").unwrap();
    assert_eq!(load.verdict, Inconclusive, "{load:?}");
    assert!(outcome.judgement.faults.is_empty());
}

/// What the backend forgets is lost: that set, and no other span.
#[test]
fn what_the_sink_forgets_is_lost() {
    let outcome = run("controls/forgetful-sink");
    assert_eq!(outcome.judgement.verdict, Fail, "{:#?}", outcome.judgement.checks);
    let loss = outcome.judgement.checks.iter().find(|check| check.name == "loss").unwrap();
    assert_eq!(loss.verdict, Fail, "{loss:?}");

    let record = Record::read(&outcome.folder).unwrap();
    let account = Account::of(&record.emitters, &record.sinks);
    let identity = Identity::new(record.sinks[0].run_tag(), record.scenario.load.spans_per_trace);
    let mut any = 0;
    for emitter in &record.emitters {
        let stream = emitter.stream();
        let numbers = emitter.acknowledged().iter().flat_map(|range| range.start..range.end);
        let expected: RangeSet = numbers
            .filter(|seq| {
                forgotten(record.seed(), identity.span_id(SpanIdentity { stream, seq: *seq }), 1_000)
            })
            .collect();
        any += expected.count();
        assert_eq!(account.streams[&stream].lost, expected, "stream {stream}");
    }
    assert!(any > 0, "nothing was forgotten: the control shows nothing");
    assert_eq!(outcome.judgement.spans.lost, any);
}

/// Both Collectors accept both configurations, as the manifests have them.
#[test]
fn the_configurations_are_valid_for_both_versions() {
    support::validate_configurations();
}

/// The gateways meet Pod Security `restricted`, though the namespace, for the agents' sake, does not ask it.
#[test]
fn the_gateways_are_restricted() {
    Shared::get().block_on(support::admit_restricted_gateway());
}

/// Every node refuses, by itself, whatever would leave the cluster.
#[test]
fn the_nodes_reach_nothing_but_each_other() {
    support::nodes_are_isolated();
}

/// A harness that is killed leaves no container behind, even while it makes its cluster.
#[test]
fn a_killed_harness_leaves_nothing() {
    support::kill_while_making_a_cluster();
}
