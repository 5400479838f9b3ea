//! The ledgers of emitters and sinks, changed in a copy of a run that was recorded on a real cluster: a stream that took no
//! part, requests that nobody answered, gateways that do not say who they are, copies, and a clock that was set.

use crate::folders::Folder;
use crate::planted::{check, recorded, says};
use spanproof_judge::record::{Event, Record};
use spanproof_judge::world::{Object, Pod};
use spanproof_judge::{Verdict, judge};
use spanproof_ledger::{EmitterRecord, Range, SinkLedger, SinkRecord};
use spanproof_scenario::{Allowance, Share, Span};
use std::collections::BTreeMap;

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
    let all = Folder::recorded("two-drains").emitter(rejected(1)).read().unwrap();
    says(&all, "load", Verdict::Inconclusive, "no span of stream 1 (dev-worker) was acknowledged");
    let some = Folder::recorded("two-drains").emitter(rejected(5)).read().unwrap();
    says(&some, "load", Verdict::Inconclusive, "of stream 1 (dev-worker) were never acknowledged");
    // Of one of three a sixth less: together that is within the floor.
    let less = Folder::recorded("two-drains").emitter(|records| {
        let mut number = 0;
        for record in records {
            if let EmitterRecord::Second { acknowledged, .. } = record {
                number += 1;
                *acknowledged = if number % 6 == 0 { 0 } else { *acknowledged };
            }
        }
    });
    says(&less.read().unwrap(), "load", Verdict::Inconclusive, "of stream 1 (dev-worker): under the floor");
}

#[test]
fn what_is_refused_for_good_is_said_and_lost_to_applications() {
    let few = Folder::recorded("two-drains").emitter(rejected(11)).read().unwrap();
    says(&few, "load", Verdict::Pass, "spans were never acknowledged, ");
    says(&few, "intake", Verdict::Fail, "were refused for good), and expect.sdk_dropped allows none");
    let mut allowed = few;
    allowed.scenario.expect.sdk_dropped = 10_000;
    says(&allowed, "intake", Verdict::Pass, "were refused for good)");
}

#[test]
fn each_worker_has_an_emitter_or_it_is_said_why_not() {
    let mut record = recorded("two-drains");
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
    let hung = Folder::recorded("two-drains").emitter(|records| {
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
    let mut record = hung.read().unwrap();
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
    Folder::recorded(run).sink(renamed).read().unwrap()
}

#[test]
fn a_gateway_that_does_not_say_who_it_is_is_known_by_its_address() {
    let plain = recorded("load-spike");
    let known = addresses(&plain);
    let by_address = addressed("load-spike", |name| known[name].clone());
    let said = |record: &Record, name: &str| check(&judge(record), name).clone();
    assert_eq!(said(&by_address, "balance"), said(&plain, "balance"));
    assert_eq!(said(&by_address, "loss"), said(&plain, "loss"), "traces, too");
    let mapped = addressed("load-spike", |name| format!("::ffff:{}", known[name]));
    assert_eq!(said(&mapped, "balance"), said(&plain, "balance"));
}

#[test]
fn an_address_that_is_no_gateways_says_nothing_of_shares() {
    let masked = addressed("load-spike", |_| "192.0.2.7".to_owned());
    says(&masked, "balance", Verdict::Inconclusive, "they came from 192.0.2.7, which is no gateway's");
    let reached = check(&judge(&masked), "loss").evidence["traces"].clone();
    assert_eq!((&reached["over_several_gateways"], &reached["not_known"]), (&0.into(), &reached["followed"]));
}

#[test]
fn balance_is_left_out_where_nothing_asks_for_it_and_nothing_is_to_be_said() {
    for run in ["two-drains", "gateway-upgrade", "agent-upgrade"] {
        let judgement = judge(&recorded(run));
        assert!(judgement.checks.iter().all(|check| check.name.as_str() != "balance"), "{run}");
    }
    // With a spike it must be heard: that a sink's ledger is missing it says.
    let mut record = recorded("load-spike");
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
    let mut record = Folder::recorded("two-drains").sink(copies).read().unwrap();
    assert!(
        judge(&record).checks.iter().all(|check| check.name.as_str() != "duplicates"),
        "nothing asks for it"
    );
    record.scenario.expect.duplicated = Some(Allowance::Count(0));
    says(&record, "duplicates", Verdict::Fail, "through several gateways, so sent again by an agent");
    says(&record, "duplicates", Verdict::Fail, "through one gateway more than once");
    let evidence = check(&judge(&record), "duplicates").evidence.clone();
    let count = |name: &str| evidence[name].as_u64().unwrap();
    let parts =
        ["resent_by_the_emitters", "through_several_gateways", "through_one_gateway", "origin_not_known"];
    assert_eq!(parts.map(count).iter().sum::<u64>(), count("duplicated"));
    assert_eq!(count("origin_not_known"), 0);
    record.scenario.expect.duplicated = Some(Allowance::Share(Share::percent(99.0)));
    says(&record, "duplicates", Verdict::Pass, "(allowed: 99%)");
    record.emitters.pop();
    says(&record, "duplicates", Verdict::Inconclusive, "the ledger of stream 3 is missing");
    let mut clean = recorded("two-drains");
    clean.scenario.expect.duplicated = Some(Allowance::Count(0));
    says(&clean, "duplicates", Verdict::Pass, "0 of 65,100 spans");
}

#[test]
fn duplicates_of_the_emitters_own_are_told_apart() {
    let resent = |records: &mut Vec<EmitterRecord>| {
        records.push(EmitterRecord::Resent { range: Range::new(0, 50) });
    };
    let mut record = Folder::recorded("two-drains").emitter(resent).sink(copies).read().unwrap();
    record.scenario.expect.duplicated = Some(Allowance::Count(0));
    says(&record, "duplicates", Verdict::Fail, "50 resent by the emitter");
}

#[test]
fn a_clock_that_was_set_makes_no_pause_and_hides_none() {
    let set = |by: u64| {
        Folder::recorded("two-drains").sink(move |records| {
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
    let mut record = set(20_000).read().unwrap();
    record.scenario.expect.delivery_gap = Some(Span::seconds(10));
    says(&record, "availability", Verdict::Inconclusive, "the sink's clock and the run's disagree");
    let mut right = set(0).read().unwrap();
    right.scenario.expect.delivery_gap = Some(Span::seconds(10));
    says(&right, "availability", Verdict::Pass, "the longest pause");

    let emitter = Folder::recorded("two-drains").emitter(|records| {
        let mut number = 0;
        for record in records {
            if let EmitterRecord::Second { unix_ms, .. } = record {
                number += 1;
                *unix_ms += if number > 30 { 20_000 } else { 0 };
            }
        }
    });
    says(&emitter.read().unwrap(), "load", Verdict::Inconclusive, "");
}

#[test]
fn a_clock_that_is_another_at_the_end_is_told_by_nobody() {
    let mut record = recorded("load-spike");
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
    for name in ["load", "balance", "queues"] {
        says(&record, name, Verdict::Inconclusive, "changed by -20.0s between");
    }
}
