//! Each check on a record made by hand, healthy and with faults planted: exactly the verdict it must give.

mod control;
mod faults;
mod gateways;
mod load;
mod plan;
mod queues;
mod spans;
mod taken_down;

use super::*;
use crate::record::{Entry, Environment, Event, SettleEnd};
use crate::scenario::{Scenario, StepPath};
use crate::world::{self, Kind, Object};
use plan::*;
use proptest::prelude::*;
use serde_json::json;
use spanproof_ledger::{
    Delivery, EmitterLedger, Metrics, MetricsRecord, Range, SinkLedger, SinkRecord, SinkSeal,
};
use std::path::Path;

#[test]
fn a_healthy_run_passes() {
    let judgement = Plan::healthy().judged();
    assert!(judgement.checks.iter().all(|check| check.verdict == Verdict::Pass), "{:#?}", judgement.checks);
    assert_eq!((judgement.verdict, judgement.seed), (Verdict::Pass, 42));
    assert_eq!(judgement.spans.acknowledged, 2 * RATE * SECONDS);
    let fault = &judgement.faults[0];
    assert_eq!((fault.start, fault.end, fault.landed, fault.healed), (16.0, 30.0, true, true));
}

#[test]
fn a_judgement_reads_back_as_it_was_written() {
    let judgement = Plan { lost: vec![17], ..Plan::healthy() }.judged();
    let text = serde_json::to_string(&judgement).unwrap();
    assert_eq!(serde_json::from_str::<Judgement>(&text).unwrap(), judgement);
}

#[test]
fn numbers_are_grouped() {
    assert_eq!([0, 999, 1_000, 1_204_000].map(grouped), ["0", "999", "1,000", "1,204,000"]);
}

#[test]
fn every_check_has_one_place_in_the_table() {
    assert_eq!(CHECKS.map(|(name, _)| name), CheckName::ALL);
}

proptest! {
    /// One more lost span never improves a verdict.
    #[test]
    fn a_loss_never_helps(lost in prop::collection::btree_set(0..RATE * SECONDS, 0..5), more in 0..RATE * SECONDS) {
        let before = Plan { lost: lost.iter().copied().collect(), ..Plan::healthy() };
        let mut after = before.clone();
        after.lost.push(more);
        prop_assert!(after.judged().verdict >= before.judged().verdict);
    }

    /// A record that is missing anywhere may make a verdict inconclusive, and does nothing else to it.
    #[test]
    fn a_missing_line_never_makes_a_verdict_better_or_worse(
        at: prop::sample::Index,
        bad in prop::bool::ANY,
    ) {
        let plan = if bad { Plan { lost: vec![17], ..Plan::healthy() } } else { Plan::healthy() };
        let mut record = plan.record();
        let before = judge(&record);
        record.timeline.remove(at.index(record.timeline.len()));
        for (before, after) in before.checks.iter().zip(judge(&record).checks) {
            prop_assert!(after.verdict == before.verdict || after.verdict == Verdict::Inconclusive);
        }
    }

    /// A timeline that lost its end is never a pass.
    #[test]
    fn a_run_that_broke_off_does_not_pass(cut in 0usize..30) {
        let mut record = Plan::healthy().record();
        record.timeline.truncate(cut);
        prop_assert_ne!(judge(&record).verdict, Verdict::Pass);
    }
}
