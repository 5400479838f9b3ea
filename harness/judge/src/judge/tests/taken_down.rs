//! The end of a tier: what is lost for certain then, what is stranded, and what decides nothing.

use super::*;
use crate::record::{Hop, Keeps, PodEnd};

fn hop(name: &str, keeps: Keeps) -> Hop {
    let queues = keeps != Keeps::Nothing;
    Hop { name: name.to_owned(), keeps, queues, readable: true, pause_s: 50.0 }
}

fn hop_gone(hop: &str, numbers: [usize; 2]) -> Event {
    let pods = numbers.map(|number| PodEnd {
        pod: format!("{hop}-{number}"),
        node: format!("worker{number}"),
        gone: true,
    });
    Event::HopGone { hop: hop.to_owned(), pods: pods.into(), arrived: 0, problem: None }
}

fn settled(end: SettleEnd, still_s: Option<f64>) -> Event {
    Event::Settled { end, worst_retry_pause: 50.0, outstanding: 3, still_s }
}

/// Three spans of the stream on worker0 did not arrive, and the tier was taken down.
fn taken_down(agents: Keeps) -> Record {
    let ends = |event: &Event| matches!(event, Event::Settled { .. } | Event::Ended);
    let gone = |name: &str| Event::Gone { kind: Kind::Pod, name: name.to_owned() };
    let plan = Plan { lost: vec![500, 501, 502], ..Plan::healthy() }
        .without(ends)
        .with(70.0, settled(SettleEnd::Unread, Some(55.0)))
        .with(70.1, Event::TakeDown { why: "a queue could not be read".to_owned() })
        .with(74.0, gone("agent-0"))
        .with(74.1, gone("agent-1"))
        .with(75.0, hop_gone("agent", [0, 1]))
        .with(80.0, gone("gateway-1"))
        .with(80.1, gone("gateway-2"))
        .with(81.0, hop_gone("gateway", [1, 2]))
        .with(86.0, settled(SettleEnd::TakenDown, None))
        .with(90.0, Event::Ended);
    let mut record = plan.record();
    record.environment.hops = vec![hop("agent", agents), hop("gateway", Keeps::Nothing)];
    record.environment.entry_of_its_node = true;
    record
}

fn change(record: &Record, change: impl Fn(&mut Event)) -> Record {
    let mut record = record.clone();
    record.timeline.iter_mut().for_each(|entry| change(&mut entry.event));
    record
}

/// The agents' queues, on worker0 and worker1, as they were read to the last.
fn read(record: &Record, sizes: [Option<f64>; 2]) -> Record {
    let mut records = vec![
        MetricsRecord::Opened { unix_ms: BEGAN },
        MetricsRecord::Metric { id: 0, name: "otelcol_exporter_queue_size".to_owned() },
    ];
    for (id, size) in (0..).zip(sizes) {
        records.push(MetricsRecord::Target { id, role: "agent".to_owned(), address: format!("10.0.0.{id}") });
        for second in 1..=73 {
            let values = size.filter(|_| second == 1).map(|size| (0, size));
            let unix_ms = BEGAN + second * 1_000;
            records.push(MetricsRecord::Scraped {
                unix_ms,
                target: id,
                values: values.into_iter().collect(),
            });
        }
    }
    records.push(MetricsRecord::Sealed { records: records.len() as u64 });
    Record { metrics: Some(Metrics::from_records(&records).unwrap()), ..record.clone() }
}

fn loss(record: &Record) -> (Judgement, Check) {
    let judgement = judge(record);
    let loss = check(&judgement, "loss").clone();
    assert_eq!(judgement.spans.lost + judgement.spans.stranded, 3);
    (judgement, loss)
}

#[test]
fn what_is_nowhere_when_the_last_collector_is_gone_is_lost() {
    for (keeps, says) in
        [(Keeps::Memory, "(kept only in its pod by: agent)"), (Keeps::Disk, "between agent and backend;")]
    {
        let (judgement, loss) = loss(&taken_down(keeps));
        assert_eq!((loss.verdict, judgement.spans.lost), (Verdict::Fail, 3), "{}", loss.reason);
        assert!(loss.reason.starts_with("3 of 12,000 acknowledged spans never arrived"), "{}", loss.reason);
        assert!(loss.reason.contains(says) && loss.reason.contains("was seen to go"), "{}", loss.reason);
    }
}

#[test]
fn what_a_disk_may_hold_is_stranded_and_not_lost() {
    for (held, says) in [
        (Some(7.0), "had 7 in its queue"),
        (Some(f64::NAN), "without having said"),
        (None, "without having said"),
    ] {
        let record = read(&taken_down(Keeps::Disk), [held, Some(0.0)]);
        let (judgement, loss) = loss(&record);
        assert_eq!((judgement.spans.lost, judgement.spans.stranded), (0, 3), "{}", loss.reason);
        assert_eq!(loss.verdict, Verdict::Inconclusive, "{}", loss.reason);
        assert!(
            loss.reason.contains("agent-0 on node worker0") && loss.reason.contains(says),
            "{}",
            loss.reason
        );
        assert_ne!(judgement.verdict, Verdict::Pass);
        // Memory goes with its process, however much was in it.
        let record = read(&taken_down(Keeps::Memory), [held, Some(0.0)]);
        assert_eq!(judge(&record).spans.lost, 3);
    }
}

#[test]
fn a_disk_on_another_node_has_not_what_is_lost_here() {
    let record = read(&taken_down(Keeps::Disk), [Some(0.0), Some(7.0)]);
    assert_eq!(loss(&record).0.spans.lost, 3);
    // Unless agents take from whichever node.
    let mut anybodys = record;
    anybodys.environment.entry_of_its_node = false;
    let (judgement, loss) = loss(&anybodys);
    assert_eq!((judgement.spans.stranded, loss.verdict), (3, Verdict::Inconclusive));
}

#[test]
fn a_collector_that_was_not_seen_to_go_may_have_them() {
    for keeps in [Keeps::Memory, Keeps::Disk, Keeps::Nothing] {
        for (hop, verdict) in [("agent", Verdict::Inconclusive), ("gateway", Verdict::Inconclusive)] {
            let stays = |event: &mut Event| {
                if let Event::HopGone { hop: other, pods, .. } = event
                    && other == hop
                {
                    pods[0].gone = false;
                }
            };
            let (judgement, loss) = loss(&change(&taken_down(keeps), stays));
            assert_eq!(
                (loss.verdict, judgement.spans.stranded),
                (verdict, 3),
                "{keeps:?} {hop}: {}",
                loss.reason
            );
            assert!(loss.reason.contains("was not seen to go"), "{}", loss.reason);
        }
    }
    // Whatever is said of it: a watch saw it to the end.
    let mut record = taken_down(Keeps::Memory);
    let gone = |event: &Event| matches!(event, Event::Gone { name, .. } if name == "agent-0");
    record.timeline.retain(|entry| !gone(&entry.event));
    for (n, entry) in (0..).zip(&mut record.timeline) {
        entry.n = n;
    }
    assert!(loss(&record).1.reason.contains("agent-0 on node worker0 was not seen to go"));
}

#[test]
fn an_end_that_is_not_on_record_decides_nothing() {
    let inconclusive = |record: &Record, says: &str| {
        let check = check(&judge(record), "loss").clone();
        assert_eq!(check.verdict, Verdict::Inconclusive, "{}", check.reason);
        assert!(check.reason.contains(says), "{}", check.reason);
    };
    let whole = taken_down(Keeps::Memory);
    let rename = |event: &mut Event| {
        if let Event::HopGone { hop, .. } = event {
            "other".clone_into(hop);
        }
    };
    inconclusive(&change(&whole, rename), "not on record that each");
    let failed = |event: &mut Event| {
        if let Event::HopGone { problem, .. } = event {
            *problem = Some("the API server was away".to_owned());
        }
    };
    inconclusive(&change(&whole, failed), "the API server was away");
    let interrupted = |event: &mut Event| {
        if let Event::Settled { end: end @ SettleEnd::TakenDown, .. } = event {
            *end = SettleEnd::Interrupted;
        }
    };
    inconclusive(&change(&whole, interrupted), "not waited for");
    let unread = |event: &mut Event| {
        if let Event::Settled { end: end @ SettleEnd::TakenDown, .. } = event {
            *end = SettleEnd::Unread;
        }
    };
    inconclusive(&change(&whole, unread), "a queue could not be read");
    let mut nameless = whole;
    nameless.environment.hops.clear();
    inconclusive(&nameless, "which hops");
}

#[test]
fn what_still_moved_in_memory_was_not_lost_by_the_tier() {
    for still_s in [None, Some(4.0)] {
        let moving = |event: &mut Event| {
            if let Event::Settled { end: end @ SettleEnd::Unread, still_s: still, .. } = event {
                (*end, *still) = (SettleEnd::Deadline, still_s);
            }
        };
        let (_, check) = loss(&change(&taken_down(Keeps::Memory), moving));
        assert_eq!(check.verdict, Verdict::Inconclusive, "{}", check.reason);
        assert!(check.reason.contains("settle.deadline"), "{}", check.reason);
        let (_, check) = loss(&change(&taken_down(Keeps::Disk), moving));
        assert_eq!(check.verdict, Verdict::Fail, "a disk keeps what it has: {}", check.reason);
    }
}

#[test]
fn what_arrives_with_the_end_is_delivered_and_said() {
    let mut record = change(&taken_down(Keeps::Memory), |event| {
        if let Event::HopGone { arrived, .. } = event {
            *arrived = 40;
        }
    });
    record.sinks = Plan::healthy().record().sinks;
    let check = check(&judge(&record), "loss").clone();
    assert_eq!(check.verdict, Verdict::Pass, "{}", check.reason);
    assert!(check.reason.contains("80 of them only when the tier was taken down"), "{}", check.reason);
}

#[test]
fn every_hop_with_a_queue_is_held_to_have_it_empty() {
    let with = |gateway: Option<f64>| {
        let mut record = Plan::healthy().record();
        record.environment.hops = vec![hop("agent", Keeps::Disk), hop("gateway", Keeps::Memory)];
        let mut records = vec![
            MetricsRecord::Opened { unix_ms: BEGAN },
            MetricsRecord::Metric { id: 0, name: "otelcol_exporter_queue_size".to_owned() },
        ];
        // The gateways that are there at the end are 1 and 2.
        let all = [("agent", 0), ("agent", 1), ("gateway", 1), ("gateway", 2)];
        for (id, (role, number)) in (0..).zip(all) {
            let (role, address) = (role.to_owned(), format!("10.0.0.{number}"));
            let size = if id == 3 { gateway } else { Some(0.0) };
            records.push(MetricsRecord::Target { id, role, address });
            let scraped = |second: u64| MetricsRecord::Scraped {
                unix_ms: BEGAN + second * 1_000,
                target: id,
                values: size.map(|size| (0, size)).into_iter().collect(),
            };
            records.extend((1..71).map(scraped));
        }
        records.push(MetricsRecord::Sealed { records: records.len() as u64 });
        record.metrics = Some(Metrics::from_records(&records).unwrap());
        judge(&record)
    };
    assert_eq!(check(&with(Some(0.0)), "queues").verdict, Verdict::Pass);
    let full = only(&with(Some(3.0)), "queues", Verdict::Fail);
    assert!(full.reason.contains("the gateway gateway-2 on worker2 still held 3"), "{}", full.reason);
    for none in [None, Some(-3.0), Some(f64::NAN), Some(f64::INFINITY)] {
        let unknown = only(&with(none), "queues", Verdict::Inconclusive);
        assert!(unknown.reason.contains("gateway-2"), "{}", unknown.reason);
    }
}

#[test]
fn queues_of_which_no_metric_tells_are_not_said_to_be_empty() {
    let with = |keeps, readable, end| {
        let mut record = change(&Plan::healthy().record(), |event| {
            if let Event::Settled { end: told, .. } = event {
                *told = end;
            }
        });
        record.environment.hops =
            vec![Hop { readable, ..hop("agent", keeps) }, hop("gateway", Keeps::Nothing)];
        judge(&record)
            .checks
            .into_iter()
            .find(|check| check.name == CheckName::Queues)
            .map(|check| check.verdict)
    };
    assert_eq!(with(Keeps::Memory, true, SettleEnd::Complete), Some(Verdict::Pass));
    assert_eq!(with(Keeps::Memory, false, SettleEnd::Complete), None, "all has arrived");
    assert_eq!(with(Keeps::Memory, false, SettleEnd::Deadline), Some(Verdict::Inconclusive));
    assert_eq!(with(Keeps::Nothing, true, SettleEnd::Complete), None, "there is no queue");
}
