//! What emitters and sinks wrote down, changed in a copy of a run that was recorded on a real cluster: a stream that took no
//! part, requests that nobody answered, gateways that do not say who they are, copies, and a clock that was set.

use spanproof_judge::record::{Event, Record};
use spanproof_judge::world::{Object, Pod};
use spanproof_judge::{Check, Judgement, Verdict, judge};
use spanproof_ledger::{EmitterLedger, EmitterRecord, Range, SinkLedger, SinkRecord, log};
use spanproof_scenario::{Allowance, Share, Span};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A copy of a recorded run's folder, to be changed.
struct Copy(tempfile::TempDir);

fn folder(run: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs").join(run)
}

fn encoded<R: log::Record>(records: &[R]) -> Vec<u8> {
    let mut bytes = log::header::<R>().to_vec();
    for record in records {
        log::encode(record, 0, &mut bytes).unwrap();
    }
    bytes
}

impl Copy {
    fn of(run: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("ledgers")).unwrap();
        for name in ["", "ledgers"] {
            for entry in std::fs::read_dir(folder(run).join(name)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    std::fs::copy(&path, copy.path().join(name).join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        Self(copy)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("ledgers").join(name)
    }

    /// The first emitter's ledger with its records changed, and a seal that agrees with them.
    fn emitter(self, change: impl Fn(&mut Vec<EmitterRecord>)) -> Self {
        let path = self.path("emit-dev-worker.ledger");
        let mut records = log::decode::<EmitterRecord>(&std::fs::read(&path).unwrap()).unwrap().records;
        let Some(EmitterRecord::Sealed(mut seal)) = records.pop() else { panic!("not sealed") };
        change(&mut records);
        seal.records = records.len() as u64;
        seal.acknowledged = EmitterLedger::from_records(&records).unwrap().acknowledged().count();
        records.push(EmitterRecord::Sealed(seal));
        std::fs::write(path, encoded(&records)).unwrap();
        self
    }

    /// The sink's.
    fn sink(self, change: impl Fn(&mut Vec<SinkRecord>)) -> Self {
        let path = self.path("sink-0.ledger");
        let mut records = log::decode::<SinkRecord>(&std::fs::read(&path).unwrap()).unwrap().records;
        let Some(SinkRecord::Sealed(mut seal)) = records.pop() else { panic!("not sealed") };
        change(&mut records);
        seal.records = records.len() as u64;
        seal.delivered = SinkLedger::from_records(&records).unwrap().delivered_count();
        records.push(SinkRecord::Sealed(seal));
        std::fs::write(path, encoded(&records)).unwrap();
        self
    }

    fn record(&self) -> Record {
        Record::read(self.0.path()).unwrap()
    }
}

fn found<'a>(judgement: &'a Judgement, name: &str) -> &'a Check {
    judgement.checks.iter().find(|check| check.name.as_str() == name).unwrap()
}

#[track_caller]
fn says(record: &Record, name: &str, verdict: Verdict, words: &str) {
    let judgement = judge(record);
    let check = found(&judgement, name);
    assert_eq!(check.verdict, verdict, "{check:#?}");
    assert!(check.reason.contains(words), "{}", check.reason);
}

/// Of every so many requests one is refused for good.
fn rejected(one_in: usize) -> impl Fn(&mut Vec<EmitterRecord>) {
    move |records| {
        let mut number = 0;
        for record in records {
            if let EmitterRecord::Acknowledged { range } = record {
                number += 1;
                if number % one_in == 0 {
                    *record = EmitterRecord::Rejected { range: *range, code: 3 };
                }
            }
        }
    }
}

#[test]
fn a_stream_that_took_no_part_says_nothing_however_strong_the_others_are() {
    let all = Copy::of("two-drains").emitter(rejected(1)).record();
    says(&all, "load", Verdict::Inconclusive, "no span of stream 1 (dev-worker) was acknowledged");
    let some = Copy::of("two-drains").emitter(rejected(5)).record();
    says(&some, "load", Verdict::Inconclusive, "of stream 1 (dev-worker) were never acknowledged");
    // Of one of three a sixth less: together that is within the floor.
    let less = Copy::of("two-drains").emitter(|records| {
        let mut number = 0;
        for record in records {
            if let EmitterRecord::Second { acknowledged, .. } = record {
                number += 1;
                *acknowledged = if number % 6 == 0 { 0 } else { *acknowledged };
            }
        }
    });
    says(&less.record(), "load", Verdict::Inconclusive, "of stream 1 (dev-worker): under the floor");
}

#[test]
fn what_is_refused_for_good_is_said_and_lost_to_applications() {
    let few = Copy::of("two-drains").emitter(rejected(11)).record();
    says(&few, "load", Verdict::Pass, "spans were never acknowledged, ");
    says(&few, "intake", Verdict::Fail, "were refused for good), and expect.sdk_dropped allows none");
    let mut allowed = few;
    allowed.scenario.expect.sdk_dropped = 10_000;
    says(&allowed, "intake", Verdict::Pass, "were refused for good)");
}

#[test]
fn each_worker_has_an_emitter_or_it_is_said_why_not() {
    let mut record = Copy::of("two-drains").record();
    record.environment.nodes.push("dev-worker9 (worker)".to_owned());
    says(&record, "load", Verdict::Inconclusive, "there was no emitter on dev-worker9");
    let why = "its taint gpu:NoSchedule".to_owned();
    record.environment.nodes_without.insert("dev-worker9".to_owned(), why);
    says(&record, "load", Verdict::Pass, "dev-worker9 has no emitter: its taint gpu:NoSchedule");
    record.environment.streams.remove(&3);
    record.emitters.pop();
    says(&record, "load", Verdict::Inconclusive, "3 emitters were started, and 2 streams are on record");
}

#[test]
fn what_an_agent_left_unanswered_counts_from_when_it_was_due() {
    let hung = Copy::of("two-drains").emitter(|records| {
        let mut number = 0;
        for record in records {
            if let EmitterRecord::Second { acknowledged, failed_requests, failed_spans, latency, .. } = record
            {
                number += 1;
                if (10..22).contains(&number) {
                    (*acknowledged, *latency) = (0, Vec::new());
                    // The deadline is after 10 s.
                    (*failed_requests, *failed_spans) = if number >= 20 { (10, 500) } else { (0, 0) };
                }
            }
        }
    });
    let mut record = hung.record();
    says(&record, "intake", Verdict::Pass, "refused, or did not answer, for 12s");
    record.scenario.expect.refused_for = Some(Span::seconds(10));
    says(&record, "intake", Verdict::Fail, "longer than 10s");
}

/// The gateways by their names, with the addresses that they had.
fn addresses(record: &Record) -> BTreeMap<String, String> {
    let seen = record.timeline.iter().filter_map(|entry| match &entry.event {
        Event::Seen { name, object: Object::Pod(Pod { app, ip, .. }) }
            if app == "gateway" && !ip.is_empty() =>
        {
            Some((name.clone(), ip.clone()))
        }
        _ => None,
    });
    seen.collect()
}

/// The sink was not told the gateways' names, but saw these addresses.
fn addressed(run: &str, address: impl Fn(&str) -> String) -> Record {
    let renamed = |records: &mut Vec<SinkRecord>| {
        for record in records {
            if let SinkRecord::Gateway { name, .. } = record {
                *name = address(name);
            }
        }
    };
    Copy::of(run).sink(renamed).record()
}

#[test]
fn a_gateway_that_does_not_say_who_it_is_is_known_by_its_address() {
    let plain = Copy::of("load-spike").record();
    let known = addresses(&plain);
    let by_address = addressed("load-spike", |name| known[name].clone());
    let said = |record: &Record, check: &str| found(&judge(record), check).clone();
    assert_eq!(said(&by_address, "balance"), said(&plain, "balance"));
    assert_eq!(said(&by_address, "loss"), said(&plain, "loss"), "traces, too");
    let mapped = addressed("load-spike", |name| format!("::ffff:{}", known[name]));
    assert_eq!(said(&mapped, "balance"), said(&plain, "balance"));
}

#[test]
fn an_address_that_is_no_gateways_says_nothing_of_shares() {
    let masked = addressed("load-spike", |_| "192.0.2.7".to_owned());
    says(&masked, "balance", Verdict::Inconclusive, "they came from 192.0.2.7, which is no gateway's");
    let reached = found(&judge(&masked), "loss").evidence["traces"].clone();
    assert_eq!((&reached["over_several_gateways"], &reached["not_known"]), (&0.into(), &reached["followed"]));
}

#[test]
fn balance_is_left_out_where_nothing_asks_for_it_and_nothing_is_to_be_said() {
    for run in ["two-drains", "gateway-upgrade", "agent-upgrade"] {
        let judgement = judge(&Copy::of(run).record());
        assert!(judgement.checks.iter().all(|check| check.name.as_str() != "balance"), "{run}");
    }
    // With a spike it must be heard: that a sink's ledger is missing it says.
    let mut record = Copy::of("load-spike").record();
    record.sinks = vec![SinkLedger::default()];
    says(&record, "balance", Verdict::Inconclusive, "a sink's ledger is missing");
}

/// Of every stream the first deliveries once more, through another gateway and through the same.
fn copies(records: &mut Vec<SinkRecord>) {
    let first: Vec<SinkRecord> = records
        .iter()
        .filter(|record| matches!(record, SinkRecord::Delivered(_)))
        .take(20)
        .cloned()
        .collect();
    let gateways: Vec<u16> = records
        .iter()
        .filter_map(|record| match record {
            SinkRecord::Gateway { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    for (number, record) in first.into_iter().enumerate() {
        let SinkRecord::Delivered(mut delivery) = record else { panic!("no delivery") };
        if number < 8 {
            delivery.gateway = *gateways.iter().find(|gateway| **gateway != delivery.gateway).unwrap();
        }
        let last = records.iter().rev().find_map(|record| match record {
            SinkRecord::Delivered(last) => Some(last.unix_ms),
            _ => None,
        });
        delivery.unix_ms = last.unwrap();
        records.push(SinkRecord::Delivered(delivery));
    }
}

#[test]
fn duplicates_are_judged_where_the_scenario_says_how_many_are_too_many() {
    let mut record = Copy::of("two-drains").sink(copies).record();
    assert!(
        judge(&record).checks.iter().all(|check| check.name.as_str() != "duplicates"),
        "nothing asks for it"
    );
    record.scenario.expect.duplicated = Some(Allowance::Count(0));
    says(&record, "duplicates", Verdict::Fail, "through several gateways, so sent again by an agent");
    says(&record, "duplicates", Verdict::Fail, "through one gateway more than once");
    let evidence = found(&judge(&record), "duplicates").evidence.clone();
    let count = |name: &str| evidence[name].as_u64().unwrap();
    let parts =
        ["resent_by_the_emitters", "through_several_gateways", "through_one_gateway", "origin_not_known"];
    assert_eq!(parts.map(count).iter().sum::<u64>(), count("duplicated"));
    assert_eq!(count("origin_not_known"), 0);
    record.scenario.expect.duplicated = Some(Allowance::Share(Share::percent(99.0)));
    says(&record, "duplicates", Verdict::Pass, "(allowed: 99%)");
    record.emitters.pop();
    says(&record, "duplicates", Verdict::Inconclusive, "the ledger of stream 3 is missing");
    let mut clean = Copy::of("two-drains").record();
    clean.scenario.expect.duplicated = Some(Allowance::Count(0));
    says(&clean, "duplicates", Verdict::Pass, "0 of 65,100 spans");
}

#[test]
fn duplicates_of_the_emitters_own_are_told_apart() {
    let resent = |records: &mut Vec<EmitterRecord>| {
        records.push(EmitterRecord::Resent { range: Range::new(0, 50) });
    };
    let mut record = Copy::of("two-drains").emitter(resent).sink(copies).record();
    record.scenario.expect.duplicated = Some(Allowance::Count(0));
    says(&record, "duplicates", Verdict::Fail, "50 resent by the emitter");
}

#[test]
fn a_clock_that_was_set_makes_no_pause_and_hides_none() {
    let set = |by: u64| {
        Copy::of("two-drains").sink(move |records| {
            let deliveries =
                records.iter().filter(|record| matches!(record, SinkRecord::Delivered(_))).count();
            let mut number = 0;
            for record in records {
                if let SinkRecord::Delivered(delivery) = record {
                    number += 1;
                    delivery.unix_ms += if number > deliveries / 2 { by } else { 0 };
                }
            }
        })
    };
    let mut record = set(20_000).record();
    record.scenario.expect.delivery_gap = Some(Span::seconds(10));
    says(&record, "availability", Verdict::Inconclusive, "the sink's clock and the run's disagree");
    let mut right = set(0).record();
    right.scenario.expect.delivery_gap = Some(Span::seconds(10));
    says(&right, "availability", Verdict::Pass, "the longest pause");

    let emitter = Copy::of("two-drains").emitter(|records| {
        let mut number = 0;
        for record in records {
            if let EmitterRecord::Second { unix_ms, .. } = record {
                number += 1;
                *unix_ms += if number > 30 { 20_000 } else { 0 };
            }
        }
    });
    says(&emitter.record(), "load", Verdict::Inconclusive, "");
}

#[test]
fn a_clock_that_is_another_at_the_end_is_told_by_nobody() {
    let mut record = Copy::of("load-spike").record();
    let mut ahead_ms = record.environment.clock_offsets_ms.clone();
    let at = record.timeline.len() - 1;
    let mut clocks = record.timeline[at].clone();
    clocks.event = Event::Clocks { ahead_ms: ahead_ms.clone() };
    record.timeline.insert(at, clocks);
    record.timeline[at + 1].n += 1;
    assert_eq!(judge(&record).verdict, Verdict::Pass);
    for ahead in ahead_ms.values_mut() {
        *ahead -= 20_000.0;
    }
    record.timeline[at].event = Event::Clocks { ahead_ms };
    for check in ["load", "balance", "queues"] {
        says(&record, check, Verdict::Inconclusive, "went off by -20.0s between");
    }
}
