//! Each check on a record made by hand, healthy and with faults planted: exactly the verdict it must give.

mod taken_down;

use super::*;
use crate::record::{Entry, Environment, Event, SettleEnd};
use crate::scenario::{Scenario, StepPath};
use crate::world::{self, Kind, Object};
use proptest::prelude::*;
use serde_json::json;
use spanproof_ledger::{
    Delivery, EmitterLedger, EmitterRecord, EmitterSeal, Latency, Metrics, MetricsRecord, Range, SinkLedger,
    SinkRecord, SinkSeal,
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
    /// Of the lost, those that the backend refused.
    refused: Vec<u64>,
    foreign: u64,
    sealed: bool,
    /// What the queue of the agent on worker0 held at the end.
    queued: f64,
    /// The code that they were refused with, or what stands in its place.
    code: u8,
    /// When nothing was delivered, in seconds from the first delivery.
    pause: std::ops::Range<u64>,
    /// When the agent on worker0 refused, in seconds from the beginning of the load.
    refusals: std::ops::Range<u64>,
    /// What a default SDK would have dropped in each of these.
    sdk_dropped: u64,
    timeline: Vec<(f64, Event)>,
}

fn pod(app: &str, index: usize, ready: bool) -> Event {
    let name = format!("{app}-{index}");
    let labels = [("app.kubernetes.io/name".to_owned(), app.to_owned())].into();
    let object = Object::Pod(world::Pod {
        app: app.to_owned(),
        uid: name.clone(),
        node: format!("worker{index}"),
        ip: format!("10.0.0.{index}"),
        ready,
        terminating: !ready,
        labels,
        phase: "Running".to_owned(),
        placement: Some(Box::default()),
        ..world::Pod::default()
    });
    Event::Seen { name, object }
}

fn node(index: usize) -> Event {
    let name = format!("worker{index}");
    let labels = Some([("kubernetes.io/hostname".to_owned(), name.clone())].into());
    let node = world::Node { ready: true, labels, taints: Some(Vec::new()), ..world::Node::default() };
    Event::Seen { name, object: Object::Node(node) }
}

fn gateway(index: usize, ready: bool) -> Event {
    pod("gateway", index, ready)
}

fn gone(index: usize) -> Event {
    Event::Gone { kind: Kind::Pod, name: format!("gateway-{index}") }
}

fn budget(change: impl Fn(&mut world::Budget)) -> Event {
    let selector =
        serde_json::from_value(json!({"matchLabels": {"app.kubernetes.io/name": "gateway"}})).unwrap();
    let mut budget = world::Budget {
        min_available: Some("1".to_owned()),
        selector,
        allowed: 1,
        healthy: 2,
        desired: 1,
        expected: 2,
        ..world::Budget::default()
    };
    change(&mut budget);
    Event::Seen { name: "gateway".to_owned(), object: Object::PodDisruptionBudget(budget) }
}

fn synced(kind: Kind, synced: bool) -> Event {
    Event::Watch { kind, synced, since: None, problem: None }
}

fn eviction_of(index: usize, code: u16) -> Event {
    let (pod, uid, outcome) = (format!("gateway-{index}"), "0".to_owned(), String::new());
    Event::Eviction { fault: 0, pod, uid, attempt: 1, outcome, code, asked: None }
}

fn eviction(code: u16) -> Event {
    eviction_of(0, code)
}

impl Plan {
    fn healthy() -> Self {
        let mut timeline =
            vec![(0.0, Event::Began { run: "test".to_owned(), tag: 7, seed: 42, unix_ms: BEGAN })];
        timeline.extend([node(0), node(1), node(2)].map(|event| (0.1, event)));
        timeline.extend([pod("agent", 0, true), pod("agent", 1, true)].map(|event| (0.1, event)));
        timeline.extend([gateway(0, true), gateway(1, true), budget(|_| ())].map(|event| (0.1, event)));
        timeline.extend(story::WATCHED.map(|kind| (0.1, synced(kind, true))));
        timeline.extend([
            (1.0, Event::LoadStarted { rate: Some((2 * RATE) as f64), emitters: 2 }),
            (16.0, Event::Steady),
            (
                16.0,
                Event::Step { step: StepPath::top(1), name: "drain each worker with a gateway".to_owned() },
            ),
            (
                16.0,
                Event::FaultStarted {
                    step: StepPath::top(1),
                    fault: 0,
                    name: FaultName::Drain,
                    target: "worker0".to_owned(),
                    gateways: vec!["gateway-0".to_owned()],
                },
            ),
            (16.2, eviction(201)),
            (16.2, gateway(0, false)),
            (22.0, Event::PodGone { fault: 0, pod: "gateway-0".to_owned() }),
            (22.0, gone(0)),
            (22.0, Event::FaultLanded { fault: 0 }),
            (23.0, gateway(2, true)),
            (30.0, Event::FaultHealed { fault: 0 }),
            (30.0, Event::FaultEnded { fault: 0, problem: None, blind: false }),
            (30.0, Event::StepEnded { step: StepPath::top(1), problem: None }),
            (61.0, Event::LoadStopped),
            (
                70.0,
                Event::Settled {
                    end: SettleEnd::Complete,
                    worst_retry_pause: 52.5,
                    outstanding: 0,
                    still_s: None,
                },
            ),
            (70.1, Event::Ended),
        ]);
        Self {
            rate: RATE,
            seconds: SECONDS,
            lost: Vec::new(),
            refused: Vec::new(),
            foreign: 0,
            sealed: true,
            queued: 0.0,
            code: 14,
            pause: 0..0,
            refusals: 0..0,
            sdk_dropped: 0,
            timeline,
        }
    }

    fn without(mut self, unwanted: impl Fn(&Event) -> bool) -> Self {
        self.timeline.retain(|(_, event)| !unwanted(event));
        self
    }

    fn with(mut self, t: f64, event: Event) -> Self {
        let at = self.timeline.partition_point(|(before, _)| *before <= t);
        self.timeline.insert(at, (t, event));
        self
    }

    fn emitter(&self, stream: u16) -> EmitterLedger {
        let spans = self.rate * self.seconds;
        let mut records = vec![
            EmitterRecord::Opened { run_tag: 7, stream, unix_ms: BEGAN },
            EmitterRecord::Reserved { range: Range::new(0, spans + 100) },
            EmitterRecord::Acknowledged { range: Range::new(0, spans) },
        ];
        let mut latency = Latency::new();
        latency.record(2_000, 3);
        records.extend((0..self.seconds).map(|second| {
            let refused = u64::from(stream == 1 && self.refusals.contains(&second));
            EmitterRecord::Second {
                unix_ms: BEGAN + 1_000 + second * 1_000,
                emitted: Range::new(second * self.rate, (second + 1) * self.rate),
                offered: self.rate,
                acknowledged: self.rate,
                failed_requests: 2 * refused,
                failed_spans: 100 * refused,
                sdk_dropped: self.sdk_dropped * refused,
                slipped_ms: 0,
                latency: latency.to_bytes(),
            }
        }));
        if self.sealed {
            let before = records.len() as u64;
            let seal = EmitterSeal {
                next: spans,
                acknowledged: spans,
                incarnations: 1,
                records: before,
                complete: false,
            };
            records.push(EmitterRecord::Sealed(seal));
        }
        EmitterLedger::from_records(&records).unwrap()
    }

    fn sink(&self) -> SinkLedger {
        let mut ledger = SinkLedger::default();
        let mut add = |record: &SinkRecord| ledger.apply(record).unwrap();
        add(&SinkRecord::Opened { run_tag: 7, source: 1, unix_ms: BEGAN });
        for second in (0..self.seconds).filter(|second| !self.pause.contains(second)) {
            // What was held back by a pause comes with the first delivery behind it.
            let from = if second == self.pause.end { self.pause.start.min(second) } else { second };
            let numbers = from * self.rate..(second + 1) * self.rate;
            for stream in 1..=2 {
                let numbers = numbers.clone().filter(|seq| stream != 1 || !self.lost.contains(seq));
                let set: spanproof_ledger::RangeSet = numbers.collect();
                let unix_ms = BEGAN + 1_500 + second * 1_000;
                add(&SinkRecord::Delivered(Delivery {
                    unix_ms,
                    gateway: 0,
                    stream,
                    ranges: set.iter().collect(),
                }));
            }
        }
        if !self.refused.is_empty() {
            let ranges = self.refused.iter().map(|seq| Range::new(*seq, seq + 1)).collect();
            add(&SinkRecord::Refused { unix_ms: BEGAN, code: self.code, stream: 1, ranges });
        }
        if self.foreign > 0 {
            add(&SinkRecord::Unexpected { foreign: self.foreign, damaged: 0 });
        }
        let (delivered, records) = (ledger.delivered_count(), ledger.records());
        ledger.apply(&SinkRecord::Sealed(SinkSeal { delivered, incarnations: 1, records })).unwrap();
        ledger
    }

    fn metrics(&self) -> Metrics {
        let mut records = vec![
            MetricsRecord::Opened { unix_ms: BEGAN },
            MetricsRecord::Metric { id: 0, name: "otelcol_exporter_queue_size".to_owned() },
        ];
        for id in 0..2 {
            let address = format!("10.0.0.{id}");
            records.push(MetricsRecord::Target { id, role: "agent".to_owned(), address });
        }
        for second in 1..71 {
            let unix_ms = BEGAN + second * 1_000;
            let size = if second < 65 { 100.0 } else { 0.0 };
            for target in 0..2 {
                let size = if target == 0 && second >= 65 { self.queued } else { size };
                records.push(MetricsRecord::Scraped { unix_ms, target, values: vec![(0, size)] });
            }
        }
        records.push(MetricsRecord::Sealed { records: records.len() as u64 });
        Metrics::from_records(&records).unwrap()
    }

    fn record(&self) -> Record {
        let text = format!(
            "name: test\nload: {{rate: {}/s}}\nsteps:\n  - drain: {{}}\ntier: {{without: [hpa]}}\n",
            2 * RATE
        );
        let numbered = (0..).zip(&self.timeline);
        Record {
            scenario: Scenario::parse(Path::new("test.yaml"), &text).unwrap(),
            environment: Environment {
                pdb_minimum: 1,
                streams: [(1, "worker0".to_owned()), (2, "worker1".to_owned())].into(),
                ..Environment::default()
            },
            timeline: numbered.map(|(n, (t, event))| Entry { n, t: *t, event: event.clone() }).collect(),
            emitters: vec![self.emitter(1), self.emitter(2)],
            sinks: vec![self.sink()],
            copies: spanproof_ledger::DuplicateSources::default(),
            metrics: Some(self.metrics()),
            damage: Vec::new(),
        }
    }

    fn judged(&self) -> Judgement {
        judge(&self.record())
    }
}

fn check<'a>(judgement: &'a Judgement, name: &str) -> &'a Check {
    judgement.checks.iter().find(|check| check.name.as_str() == name).unwrap()
}

/// The one check that is not passed, and what it came to.
#[track_caller]
fn only(judgement: &Judgement, name: &str, verdict: Verdict) -> Check {
    let others: Vec<_> = judgement
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Pass && check.name.as_str() != name)
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
    assert!(check.reason.contains("1 sent before the first step, vanished"), "{}", check.reason);
    assert!(check.reason.contains("2 sent in step 1 (drain"), "{}", check.reason);
    let ranges = check.evidence["lost_ranges"].as_array().unwrap();
    assert_eq!((ranges.len(), &ranges[1]["first"], &ranges[1]["last"]), (2, &3_000.into(), &3_001.into()));
    assert_eq!(ranges[1]["node"], "worker0");
}

#[test]
fn what_the_backend_refused_and_never_took_is_named_as_such() {
    let lost = Plan { lost: vec![17, 18], refused: vec![18], ..Plan::healthy() };
    let check = only(&lost.judged(), "loss", Verdict::Fail);
    let ranges = check.evidence["lost_ranges"].as_array().unwrap();
    assert_eq!(ranges[0]["hop"], "vanished between agent and backend");
    assert_eq!(ranges[1]["hop"], "refused by the backend (Unavailable)");
    assert_eq!(
        (&check.evidence["vanished"], &check.evidence["refused_by_the_backend"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn each_way_to_be_refused_has_its_name() {
    for (code, hop) in [
        (13, "refused by the backend (Internal)"),
        (spanproof_ledger::PARTIAL, "refused by the backend (partial success)"),
        (spanproof_ledger::UNANSWERED, "never answered by the backend"),
    ] {
        let lost = Plan { lost: vec![17], refused: vec![17], code, ..Plan::healthy() };
        let check = only(&lost.judged(), "loss", Verdict::Fail);
        assert_eq!(check.evidence["lost_ranges"][0]["hop"], hop);
        assert!(check.reason.contains(hop), "{}", check.reason);
    }
}

/// The healthy plan, delivered to two sinks: each took the half of every request, and the second one alone these seconds.
fn two_sinks(alone: &std::ops::Range<u64>) -> Record {
    let mut record = Plan::healthy().record();
    record.scenario.tier.sinks = 2;
    let sink = |source: u64| {
        let mut ledger = SinkLedger::default();
        ledger.apply(&SinkRecord::Opened { run_tag: 7, source, unix_ms: BEGAN }).unwrap();
        for second in 0..SECONDS {
            let (first, middle, last) = (second * RATE, second * RATE + RATE / 2, (second + 1) * RATE);
            let range = match (source, alone.contains(&second)) {
                (1, true) => continue,
                (1, false) => Range::new(first, middle),
                (_, true) => Range::new(first, last),
                (_, false) => Range::new(middle, last),
            };
            for stream in 1..=2 {
                let unix_ms = BEGAN + 1_500 + second * 1_000;
                let delivery = Delivery { unix_ms, gateway: 0, stream, ranges: vec![range] };
                ledger.apply(&SinkRecord::Delivered(delivery)).unwrap();
            }
        }
        let (delivered, records) = (ledger.delivered_count(), ledger.records());
        ledger.apply(&SinkRecord::Sealed(SinkSeal { delivered, incarnations: 1, records })).unwrap();
        ledger
    };
    record.sinks = vec![sink(1), sink(2)];
    record
}

#[test]
fn what_came_to_several_sinks_adds_up_and_a_pause_is_one_of_all_of_them() {
    let mut record = two_sinks(&(20..30));
    record.scenario.expect.delivery_gap = Some(crate::scenario::Span::seconds(2));
    let judgement = judge(&record);
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.checks);
    assert_eq!(judgement.spans.delivered, 2 * RATE * SECONDS);
    let gap = check(&judgement, "availability").evidence["delivery_gap_s"].as_f64().unwrap();
    assert!(gap <= 1.0, "{gap}: one of them was idle for ten seconds, the other was not");

    record.sinks.pop();
    let judgement = judge(&record);
    for name in ["loss", "unexpected", "availability"] {
        assert_eq!(check(&judgement, name).verdict, Verdict::Inconclusive, "{name}");
    }
    record.sinks.push(record.sinks[0].clone());
    assert_eq!(check(&judge(&record), "loss").verdict, Verdict::Inconclusive, "the same one twice");
}

#[test]
fn what_the_agents_refuse_is_measured_and_judged_when_a_limit_is_given() {
    let reason = check(&Plan::healthy().judged(), "intake").reason.clone();
    assert!(reason.contains("no agent refused anything; requests took 2.0 ms"), "{reason}");
    let plan = Plan { refusals: 20..24, sdk_dropped: 7, ..Plan::healthy() };
    let mut record = plan.record();
    let red = |record: &Record, says: &str| {
        let reason = only(&judge(record), "intake", Verdict::Fail).reason;
        assert!(reason.contains(says), "{reason}");
    };
    red(&record, "would have lost 28 spans, and expect.sdk_dropped allows none");
    record.scenario.expect.sdk_dropped = 27;
    red(&record, "lost 28 spans, and the limit is 27");
    record.scenario.expect.sdk_dropped = 28;
    let judgement = judge(&record);
    let intake = check(&judgement, "intake");
    assert_eq!(judgement.verdict, Verdict::Pass, "a roll-out of the agents does that");
    let reason = "would have lost 28 spans; the agent on worker0 refused for 4s, from 21.0s on";
    assert!(intake.reason.contains(reason), "{}", intake.reason);
    assert_eq!(
        (&intake.evidence["failed_requests"], &intake.evidence["failed_spans"]),
        (&8.into(), &400.into())
    );

    record.scenario.expect.refused_for = Some(crate::scenario::Span::seconds(3));
    red(&record, "refused for 4s, from 21.0s on: longer than 3s");
    record.scenario.expect.refused_for = Some(crate::scenario::Span::seconds(4));
    assert_eq!(judge(&record).verdict, Verdict::Pass);
    record.emitters.pop();
    assert_eq!(check(&judge(&record), "intake").verdict, Verdict::Inconclusive);
}

#[test]
fn the_load_is_held_against_the_profile() {
    // The emitters sent 200/s all the time.
    let profile = |text: &str| {
        let mut record = Plan::healthy().record();
        let text = format!("name: test\nload: {{profile: {text}}}\nsteps: [{{drain: {{}}}}]\n");
        record.scenario.load = Scenario::parse(Path::new("test.yaml"), &text).unwrap().load;
        record
    };
    let even = judge(&profile("[{ramp: {from: 199/s, to: 201/s, for: 1m}}]"));
    assert_eq!(even.verdict, Verdict::Pass, "{:#?}", even.checks);
    let uneven = judge(&profile("[{constant: {rate: 400/s, for: 30s}}, {constant: {rate: 1/s}}]"));
    let reason = only(&uneven, "load", Verdict::Inconclusive).reason;
    assert!(reason.contains("200/s of 400/s asked for before the first fault"), "{reason}");
}

#[test]
fn a_lost_range_that_spans_two_steps_is_cut_where_the_step_began() {
    // Sent from 1 s on, 100 a second: 1,490 to 1,509 are of the 15th and 16th second, the step began at 16.0 s.
    let lost = Plan { lost: (1_490..1_510).collect(), ..Plan::healthy() };
    let check = only(&lost.judged(), "loss", Verdict::Fail);
    let ranges = check.evidence["lost_ranges"].as_array().unwrap();
    let cut: Vec<_> = ranges.iter().map(|range| (&range["first"], &range["last"], &range["step"])).collect();
    let step = serde_json::Value::from("step 1 (drain each worker with a gateway)");
    assert_eq!(cut[0], (&1_490.into(), &1_499.into(), &"before the first step".into()));
    assert_eq!(cut[1], (&1_500.into(), &1_509.into(), &step));
}

#[test]
fn an_emitters_ledger_that_is_not_sealed_says_nothing_of_what_was_sent() {
    let judgement = Plan { sealed: false, lost: vec![17], ..Plan::healthy() }.judged();
    let says_nothing = |check: &&Check| check.verdict == Verdict::Inconclusive;
    let names: Vec<&str> =
        judgement.checks.iter().filter(says_nothing).map(|check| check.name.as_str()).collect();
    let silent = ["loss", "unexpected", "load", "intake"];
    assert_eq!((judgement.verdict, &names[..]), (Verdict::Inconclusive, &silent[..]));
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
    let deadline =
        Event::Settled { end: SettleEnd::Deadline, worst_retry_pause: 52.5, outstanding: 1, still_s: None };
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
fn a_queue_that_is_not_empty_or_not_known_is_not_empty() {
    let check = only(&Plan { queued: 7.0, ..Plan::healthy() }.judged(), "queues", Verdict::Fail);
    assert!(check.reason.contains("worker0 still held 7"), "{}", check.reason);
    let mut record = Plan::healthy().record();
    record.metrics = None;
    only(&judge(&record), "queues", Verdict::Inconclusive);
    let agent = |event: &Event| matches!(event, Event::Seen { name, .. } if name == "agent-0");
    only(&Plan::healthy().without(agent).judged(), "queues", Verdict::Inconclusive);
}

#[test]
fn only_what_takes_nothing_is_an_outage_to_the_queues() {
    // The queues held the same all the time: an outage that they did not feel has shown nothing.
    let faults = |told: &[(&str, f64, f64)]| {
        let mut plan = Plan::healthy();
        for (fault, (_, start, end)) in (1..).zip(told) {
            let (name, target) = (FaultName::from("backend-x"), "sink".to_owned());
            let step = StepPath::top(fault + 1);
            plan = plan
                .with(*start, Event::FaultStarted { fault, step, name, target, gateways: Vec::new() })
                .with(*start, Event::FaultLanded { fault })
                .with(*end, Event::FaultHealed { fault })
                .with(*end, Event::FaultEnded { fault, problem: None, blind: false });
        }
        let mut record = plan.record();
        let steps = told.iter().map(|(answers, ..)| {
            let step = json!({"backend": {"answers": answers}});
            serde_json::from_value::<crate::scenario::Step>(step).unwrap()
        });
        record.scenario.steps.extend(steps);
        let judgement = judge(&record);
        let queues = check(&judgement, "queues");
        (queues.verdict, queues.reason.clone())
    };
    assert_eq!(faults(&[("internal", 32.0, 40.0), ("reset-streams", 41.0, 45.0)]).0, Verdict::Pass);
    let (verdict, reason) = faults(&[("internal", 32.0, 40.0), ("hang", 41.0, 45.0)]);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("did not grow while the backend took nothing"), "{reason}");
}

#[test]
fn faults_of_the_backend_that_follow_at_once_are_one_outage() {
    let step = |answers: &str| {
        serde_json::from_value::<crate::scenario::Step>(json!({"backend": {"answers": answers}})).unwrap()
    };
    let mut plan = Plan::healthy();
    for (fault, start, end) in [(1, 32.0, 36.0), (2, 36.0, 40.0), (3, 40.0, 44.0), (4, 50.0, 52.0)] {
        let (name, target) = (FaultName::from("backend-x"), "sink".to_owned());
        let step = StepPath::top(fault + 1);
        plan = plan
            .with(start, Event::FaultStarted { fault, step, name, target, gateways: Vec::new() })
            .with(end, Event::FaultEnded { fault, problem: None, blind: false });
    }
    let mut record = plan.record();
    record.scenario.steps.extend(["unavailable", "hang", "internal", "unavailable"].map(step));
    let outages = queues::outages(&record, &Story::of(&record));
    let times: Vec<_> = outages.iter().map(|outage| (outage.start, outage.end, outage.well)).collect();
    assert_eq!(times, [(32.0, 40.0, 44.0), (50.0, 52.0, 52.0)]);
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
    for name in ["faults", "gateways-moved", "availability"] {
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

/// A run of a control with a precondition, which came about or did not.
fn controlled(says: &serde_json::Value, plan: &Plan) -> Judgement {
    let mut record = plan.record();
    let mut control = json!({"name": "x", "why": "y", "red": ["loss"]});
    control.as_object_mut().unwrap().extend(says.as_object().unwrap().clone());
    record.scenario.controls.push(serde_json::from_value(control).unwrap());
    record.scenario.control = Some("x".to_owned());
    judge(&record)
}

fn need(came: bool) -> Event {
    let what = crate::scenario::Condition::QueuesFill.name().to_owned();
    Event::Need { before: StepPath::top(1), what, came }
}

#[test]
fn a_control_is_red_for_its_own_reason_or_says_nothing() {
    let lossy = || Plan { lost: vec![17], ..Plan::healthy() };
    let needs = json!({"needs": [{"is": "queues-fill", "before": "1"}]});
    let red = controlled(&needs, &lossy().with(15.9, need(true)));
    let control = red.control.unwrap();
    assert_eq!((red.verdict, control.verdict), (Verdict::Fail, Verdict::Pass), "{}", control.reason);

    for plan in [lossy().with(15.9, need(false)), lossy()] {
        let judgement = controlled(&needs, &plan);
        assert_eq!(judgement.verdict, Verdict::Inconclusive);
        assert_eq!(judgement.control.as_ref().unwrap().verdict, Verdict::Inconclusive);
        let loss = check(&judgement, "loss");
        assert_eq!(loss.verdict, Verdict::Inconclusive);
        assert!(loss.reason.contains("precondition"), "{}", loss.reason);
    }
    let restarted = controlled(&json!({"spoiled_by": ["restarts"]}), &lossy());
    let control = restarted.control.unwrap();
    assert_eq!(control.verdict, Verdict::Inconclusive);
    assert!(control.reason.contains("went away"), "{}", control.reason);
    let leaves = |event: &Event| {
        matches!(event, Event::Gone { .. })
            || matches!(event, Event::Seen { object: Object::Pod(pod), .. } if pod.terminating)
    };
    for (left, verdict) in [(25.0, Verdict::Inconclusive), (40.0, Verdict::Pass)] {
        let plan = lossy().without(leaves).with(left, gateway(0, false));
        let control = controlled(&json!({"spoiled_by": ["restarts"]}), &plan).control.unwrap();
        assert_eq!(control.verdict, verdict, "the faults were over at 30s: {}", control.reason);
    }

    let green = controlled(&json!({}), &Plan::healthy());
    assert_eq!((green.verdict, green.control.unwrap().verdict), (Verdict::Pass, Verdict::Fail));
}
