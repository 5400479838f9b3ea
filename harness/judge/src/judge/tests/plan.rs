//! A record made by hand: a healthy run with one drain, and what can be planted in it.

use super::*;
use spanproof_ledger::{EmitterRecord, EmitterSeal, Latency};

pub(super) const BEGAN: u64 = 1_800_000_000_000;
pub(super) const RATE: u64 = 100;
pub(super) const SECONDS: u64 = 60;

/// The parts of a record.
#[derive(Clone)]
pub(super) struct Plan {
    /// Spans per second and emitter that were really sent.
    pub(super) rate: u64,
    /// For how long each emitter sent.
    pub(super) seconds: u64,
    pub(super) lost: Vec<u64>,
    /// Of the lost, those that the backend refused.
    pub(super) refused: Vec<u64>,
    pub(super) foreign: u64,
    pub(super) sealed: bool,
    /// The content of the queue of the agent on worker0 at the end.
    pub(super) queued: f64,
    /// The code with which they were refused, or what stands in its place.
    pub(super) code: u8,
    /// The pause in the deliveries, in seconds from the first delivery.
    pub(super) pause: std::ops::Range<u64>,
    /// The refusal of the agent on worker0, in seconds from the beginning of the load.
    pub(super) refusals: std::ops::Range<u64>,
    /// The spans that a default SDK would have dropped in each of these.
    pub(super) sdk_dropped: u64,
    pub(super) timeline: Vec<(f64, Event)>,
}

pub(super) fn pod(app: &str, index: usize, ready: bool) -> Event {
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

pub(super) fn node(index: usize) -> Event {
    let name = format!("worker{index}");
    let labels = Some([("kubernetes.io/hostname".to_owned(), name.clone())].into());
    let node = world::Node { ready: true, labels, taints: Some(Vec::new()), ..world::Node::default() };
    Event::Seen { name, object: Object::Node(node) }
}

pub(super) fn gateway(index: usize, ready: bool) -> Event {
    pod("gateway", index, ready)
}

pub(super) fn gone(index: usize) -> Event {
    Event::Gone { kind: Kind::Pod, name: format!("gateway-{index}") }
}

pub(super) fn budget(change: impl Fn(&mut world::Budget)) -> Event {
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

pub(super) fn synced(kind: Kind, synced: bool) -> Event {
    Event::Watch { kind, synced, since: None, problem: None }
}

pub(super) fn eviction_of(index: usize, code: u16) -> Event {
    let (pod, uid, outcome) = (format!("gateway-{index}"), "0".to_owned(), String::new());
    Event::Eviction { fault: 0, pod, uid, attempt: 1, outcome, code, asked: None }
}

pub(super) fn eviction(code: u16) -> Event {
    eviction_of(0, code)
}

impl Plan {
    pub(super) fn healthy() -> Self {
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

    pub(super) fn without(mut self, unwanted: impl Fn(&Event) -> bool) -> Self {
        self.timeline.retain(|(_, event)| !unwanted(event));
        self
    }

    pub(super) fn with(mut self, t: f64, event: Event) -> Self {
        let at = self.timeline.partition_point(|(before, _)| *before <= t);
        self.timeline.insert(at, (t, event));
        self
    }

    pub(super) fn emitter(&self, stream: u16) -> EmitterLedger {
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

    pub(super) fn sink(&self) -> SinkLedger {
        let mut ledger = SinkLedger::default();
        let mut add = |record: &SinkRecord| ledger.apply(record).unwrap();
        add(&SinkRecord::Opened { run_tag: 7, source: 1, unix_ms: BEGAN });
        for second in (0..self.seconds).filter(|second| !self.pause.contains(second)) {
            // The first delivery after a pause brings what was held back.
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

    pub(super) fn metrics(&self) -> Metrics {
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

    pub(super) fn record(&self) -> Record {
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

    pub(super) fn judged(&self) -> Judgement {
        judge(&self.record())
    }
}

pub(super) fn check<'a>(judgement: &'a Judgement, name: &str) -> &'a Check {
    judgement.checks.iter().find(|check| check.name.as_str() == name).unwrap()
}

/// The one check that is not passed, and what it came to.
#[track_caller]
pub(super) fn only(judgement: &Judgement, name: &str, verdict: Verdict) -> Check {
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
