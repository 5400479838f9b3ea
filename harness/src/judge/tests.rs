//! Each check on a record made by hand, healthy and with faults planted: exactly the verdict it must give.

use super::*;
use crate::record::{Entry, Environment, Event, Gateway, SettleEnd};
use crate::scenario::Scenario;
use proptest::prelude::*;
use spanproof_ledger::{
    Delivery, EmitterLedger, EmitterRecord, EmitterSeal, Range, SinkLedger, SinkRecord, SinkSeal,
};
use std::path::Path;

const BEGAN: u64 = 1_800_000_000_000;
const RATE: u64 = 100;
const SECONDS: u64 = 60;

/// What a record is made of; the default is a healthy run with one drain.
#[derive(Clone)]
struct Plan {
    /// Spans per second and emitter that were really sent.
    rate: u64,
    /// For how long each emitter sent.
    seconds: u64,
    lost: Vec<u64>,
    foreign: u64,
    sealed: bool,
    timeline: Vec<Entry>,
}

fn gateways(ready: &[bool]) -> Event {
    let pod = |(index, ready): (usize, &bool)| Gateway {
        pod: format!("gateway-{index}"),
        node: format!("worker{index}"),
        ready: *ready,
        terminating: !ready,
    };
    Event::Gateways { pods: ready.iter().enumerate().map(pod).collect() }
}

fn eviction(code: u16) -> Event {
    let (pod, uid, outcome) = ("gateway-0".to_owned(), "0".to_owned(), String::new());
    Event::Eviction { fault: 0, pod, uid, attempt: 1, outcome, code }
}

impl Plan {
    fn healthy() -> Self {
        let timeline = [
            (0.0, Event::Began { run: "test".to_owned(), tag: 7, seed: 42, unix_ms: BEGAN }),
            (0.1, Event::Watch { synced: true, problem: None }),
            (0.1, gateways(&[true, true])),
            (1.0, Event::LoadStarted { rate: (2 * RATE) as f64, emitters: 2 }),
            (16.0, Event::Steady),
            (16.0, Event::Step { number: 1, name: "drain each worker with a gateway".to_owned() }),
            (
                16.0,
                Event::FaultStarted {
                    fault: 0,
                    name: "drain".to_owned(),
                    target: "worker0".to_owned(),
                    gateways: vec!["gateway-0".to_owned()],
                },
            ),
            (16.2, eviction(201)),
            (16.2, gateways(&[false, true])),
            (22.0, Event::PodGone { fault: 0, pod: "gateway-0".to_owned() }),
            (22.0, Event::FaultLanded { fault: 0 }),
            (23.0, gateways(&[true, true])),
            (30.0, Event::FaultHealed { fault: 0 }),
            (30.0, Event::FaultEnded { fault: 0, problem: None }),
            (30.0, Event::StepEnded { number: 1, problem: None }),
            (61.0, Event::LoadStopped),
            (70.0, Event::Settled { end: SettleEnd::Complete, worst_retry_pause: 52.5, outstanding: 0 }),
        ];
        let timeline = timeline.map(|(t, event)| Entry { t, event }).to_vec();
        Self { rate: RATE, seconds: SECONDS, lost: Vec::new(), foreign: 0, sealed: true, timeline }
    }

    fn without(mut self, unwanted: impl Fn(&Event) -> bool) -> Self {
        self.timeline.retain(|entry| !unwanted(&entry.event));
        self
    }

    fn with(mut self, t: f64, event: Event) -> Self {
        let at = self.timeline.partition_point(|entry| entry.t <= t);
        self.timeline.insert(at, Entry { t, event });
        self
    }

    fn emitter(&self, stream: u16) -> EmitterLedger {
        let spans = self.rate * self.seconds;
        let mut records = vec![
            EmitterRecord::Opened { run_tag: 7, stream, unix_ms: BEGAN },
            EmitterRecord::Reserved { range: Range::new(0, spans + 100) },
            EmitterRecord::Acknowledged { range: Range::new(0, spans) },
        ];
        records.extend((0..self.seconds).map(|second| EmitterRecord::Second {
            unix_ms: BEGAN + 1_000 + second * 1_000,
            emitted: Range::new(second * self.rate, (second + 1) * self.rate),
            offered: self.rate,
            acknowledged: self.rate,
            failed_requests: 0,
        }));
        if self.sealed {
            let seal = EmitterSeal { next: spans, acknowledged: spans, incarnations: 1, complete: false };
            records.push(EmitterRecord::Sealed(seal));
        }
        EmitterLedger::from_records(&records).unwrap()
    }

    fn sink(&self) -> SinkLedger {
        let mut ledger = SinkLedger::default();
        let mut add = |record: &SinkRecord| ledger.apply(record).unwrap();
        add(&SinkRecord::Opened { run_tag: 7, unix_ms: BEGAN });
        for stream in 1..=2 {
            let numbers = (0..self.rate * self.seconds).filter(|seq| stream != 1 || !self.lost.contains(seq));
            let set: spanproof_ledger::RangeSet = numbers.collect();
            let delivery =
                Delivery { unix_ms: BEGAN + 2_000, gateway: 0, stream, ranges: set.iter().collect() };
            add(&SinkRecord::Delivered(delivery));
        }
        if self.foreign > 0 {
            add(&SinkRecord::Unexpected { foreign: self.foreign, damaged: 0 });
        }
        let delivered = ledger.delivered_count();
        ledger.apply(&SinkRecord::Sealed(SinkSeal { delivered, incarnations: 1 })).unwrap();
        ledger
    }

    fn record(&self) -> Record {
        let text = format!("name: test\nload: {{rate: {}/s}}\nsteps:\n  - drain: {{}}\n", 2 * RATE);
        Record {
            scenario: Scenario::parse(Path::new("test.yaml"), &text).unwrap(),
            environment: Environment {
                pdb_minimum: 1,
                streams: [(1, "worker0".to_owned()), (2, "worker1".to_owned())].into(),
                ..Environment::default()
            },
            timeline: self.timeline.clone(),
            emitters: vec![self.emitter(1), self.emitter(2)],
            sinks: vec![self.sink()],
        }
    }

    fn judged(&self) -> Judgement {
        judge(&self.record())
    }
}

fn check<'a>(judgement: &'a Judgement, name: &str) -> &'a Check {
    judgement.checks.iter().find(|check| check.name == name).unwrap()
}

/// The one check that is not passed, and what it came to.
#[track_caller]
fn only(judgement: &Judgement, name: &str, verdict: Verdict) -> Check {
    let others: Vec<_> = judgement
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Pass && check.name != name)
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(judgement.verdict, verdict);
    let check = check(judgement, name);
    assert_eq!(check.verdict, verdict, "{check:#?}");
    check.clone()
}

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
fn a_lost_span_is_named_with_the_step_that_it_was_sent_in() {
    let lost = Plan { lost: vec![17, 3_000, 3_001], ..Plan::healthy() };
    let check = only(&lost.judged(), "loss", Verdict::Fail);
    assert!(check.reason.contains("3 of 12,000"), "{}", check.reason);
    assert!(check.reason.contains("1 sent before the first step"), "{}", check.reason);
    assert!(check.reason.contains("2 sent in step 1 (drain"), "{}", check.reason);
    let ranges = check.evidence["lost_ranges"].as_array().unwrap();
    assert_eq!((ranges.len(), &ranges[1]["first"], &ranges[1]["last"]), (2, &3_000.into(), &3_001.into()));
    assert_eq!(ranges[1]["node"], "worker0");
}

#[test]
fn a_ledger_that_is_not_sealed_says_nothing_about_loss() {
    let open = Plan { sealed: false, lost: vec![17], ..Plan::healthy() };
    only(&open.judged(), "loss", Verdict::Inconclusive);
}

#[test]
fn ledgers_that_are_missing_never_pass() {
    let mut record = Plan::healthy().record();
    record.emitters.pop();
    assert_eq!(judge(&record).verdict, Verdict::Inconclusive);
    let mut record = Plan::healthy().record();
    record.sinks.clear();
    let judgement = judge(&record);
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "all is lost, or nothing was seen: nobody knows");
    let mut record = Plan::healthy().record();
    record.environment.streams.clear();
    assert_ne!(judge(&record).verdict, Verdict::Pass);
}

#[test]
fn spans_that_may_still_come_are_not_lost() {
    let deadline = Event::Settled { end: SettleEnd::Deadline, worst_retry_pause: 52.5, outstanding: 1 };
    let plan =
        Plan { lost: vec![17], ..Plan::healthy() }.without(|event| matches!(event, Event::Settled { .. }));
    only(&plan.with(70.0, deadline).judged(), "loss", Verdict::Inconclusive);
}

#[test]
fn what_nobody_sent_is_unexpected() {
    let check = only(&Plan { foreign: 2, ..Plan::healthy() }.judged(), "unexpected", Verdict::Fail);
    assert_eq!(check.evidence["foreign"], 2);
}

#[test]
fn too_little_load_says_nothing() {
    let check =
        only(&Plan { rate: RATE * 8 / 10, ..Plan::healthy() }.judged(), "load", Verdict::Inconclusive);
    assert!(check.reason.contains("160/s of 200/s"), "{}", check.reason);
}

#[test]
fn too_few_ready_gateways_fail_unless_nobody_looked() {
    let none = Plan::healthy().with(17.0, gateways(&[false, false]));
    let check = only(&none.judged(), "ready-gateways", Verdict::Fail);
    assert!(check.reason.contains("0 ready gateways at 17.0s, in step 1"), "{}", check.reason);

    let blind = none.with(18.0, Event::Watch { synced: false, problem: None });
    let blind = blind.with(19.0, Event::Watch { synced: true, problem: None });
    only(&blind.judged(), "ready-gateways", Verdict::Inconclusive);

    let late = Plan::healthy().without(|event| matches!(event, Event::Watch { .. }));
    only(&late.judged(), "ready-gateways", Verdict::Inconclusive);
}

#[test]
fn a_drain_that_the_budget_blocks_fails() {
    let plan = Plan::healthy()
        .without(|event| {
            matches!(event, Event::PodGone { .. } | Event::Eviction { .. } | Event::FaultEnded { .. })
        })
        .with(16.2, eviction(429))
        .with(30.0, Event::FaultEnded { fault: 0, problem: Some("waited 120s".to_owned()) });
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

#[test]
fn a_fault_must_land_and_heal() {
    let not_landed = Plan::healthy().without(|event| matches!(event, Event::FaultLanded { .. }));
    only(&not_landed.judged(), "faults", Verdict::Inconclusive);
    let not_healed = Plan::healthy().without(|event| matches!(event, Event::FaultHealed { .. }));
    only(&not_healed.judged(), "faults", Verdict::Fail);
}

#[test]
fn a_step_that_was_not_taken_is_missed() {
    let plan = Plan::healthy().without(|event| matches!(event, Event::StepEnded { .. }));
    only(&plan.judged(), "faults", Verdict::Inconclusive);
    let mut record = Plan::healthy().record();
    record.scenario.steps.push(crate::scenario::Step::Evict(crate::scenario::Evict::default()));
    let check = only(&judge(&record), "faults", Verdict::Inconclusive);
    assert!(check.reason.contains("step 2 (evict"), "{}", check.reason);
}

#[test]
fn load_that_ended_early_says_nothing() {
    let check = only(&Plan { seconds: 40, ..Plan::healthy() }.judged(), "load", Verdict::Inconclusive);
    assert!(check.reason.contains("ended early"), "{}", check.reason);
}

#[test]
fn without_faults_nothing_is_claimed() {
    let plan = Plan::healthy().without(|event| {
        matches!(
            event,
            Event::FaultStarted { .. }
                | Event::FaultLanded { .. }
                | Event::FaultHealed { .. }
                | Event::FaultEnded { .. }
                | Event::Eviction { .. }
                | Event::PodGone { .. }
        )
    });
    let judgement = plan.judged();
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    for name in ["faults", "gateways-moved", "ready-gateways"] {
        assert_eq!(check(&judgement, name).verdict, Verdict::Inconclusive, "{name}");
    }
}

#[test]
fn an_unsteady_tier_is_inconclusive_but_a_loss_is_a_loss() {
    let unsteady = Plan::healthy()
        .without(|event| matches!(event, Event::Steady))
        .with(16.0, Event::NotSteady { reason: "slow".to_owned() });
    only(&unsteady.judged(), "steady-state", Verdict::Inconclusive);
    let lossy = Plan { lost: vec![17], ..unsteady };
    assert_eq!(lossy.judged().verdict, Verdict::Fail);
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

proptest! {
    /// One more lost span never improves a verdict.
    #[test]
    fn a_loss_never_helps(lost in prop::collection::btree_set(0..RATE * SECONDS, 0..5), more in 0..RATE * SECONDS) {
        let before = Plan { lost: lost.iter().copied().collect(), ..Plan::healthy() };
        let mut after = before.clone();
        after.lost.push(more);
        prop_assert!(after.judged().verdict >= before.judged().verdict);
    }

    /// A timeline that lost its end is never a pass that it was not, and never a new failure but that of a
    /// tier that was not seen to recover.
    #[test]
    fn a_run_that_broke_off_does_not_pass(cut in 0usize..17) {
        let mut plan = Plan::healthy();
        plan.timeline.truncate(cut);
        prop_assert_ne!(plan.judged().verdict, Verdict::Pass);
    }
}
