//! Every check on runs that were recorded on a real cluster: as they were, and with a fault planted by hand. Each
//! must come to exactly the verdict that it must.

use crate::planted::{altered, budgets, check, renumber, seen, with};
use proptest::prelude::*;
use spanproof_judge::record::{Event, Record};
use spanproof_judge::world::{Autoscaler, Kind, Object, Pod};
use spanproof_judge::{Judgement, Verdict, judge};
use spanproof_ledger::{
    Account, EmitterLedger, EmitterRecord, Metrics, MetricsRecord, Range, SinkLedger, SinkRecord, log,
};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const RUNS: [&str; 4] = ["two-drains", "gateway-upgrade", "agent-upgrade", "load-spike"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs").join(name)
}

fn recorded(name: &str) -> Record {
    static READ: OnceLock<Vec<(&'static str, Record)>> = OnceLock::new();
    let all = READ.get_or_init(|| RUNS.map(|name| (name, Record::read(&folder(name)).unwrap())).into());
    all.iter().find(|(other, _)| *other == name).unwrap().1.clone()
}

/// The checks that are not passed are these, and the first of them says this.
#[track_caller]
fn only(record: &Record, names: &[&str], verdict: Verdict, says: &str) {
    let judgement = judge(record);
    let others: Vec<_> = judgement.checks.iter().filter(|check| check.verdict != Verdict::Pass).collect();
    let found: Vec<&str> = others.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(found, names, "{others:#?}");
    assert_eq!(judgement.verdict, verdict, "{others:#?}");
    let first = check(&judgement, names[0]);
    assert_eq!(first.verdict, verdict, "{first:#?}");
    assert!(first.reason.contains(says), "{}", first.reason);
}

fn without(record: &Record, unwanted: impl Fn(&Event) -> bool) -> Record {
    let mut record = record.clone();
    record.timeline.retain(|entry| !unwanted(&entry.event));
    renumber(&mut record);
    record
}

fn autoscalers(record: &Record, change: impl Fn(f64, &mut Autoscaler)) -> Record {
    altered(record, |t, _, object| {
        if let Object::HorizontalPodAutoscaler(hpa) = object {
            change(t, hpa);
        }
    })
}

/// A gateway as it was last seen before a moment.
fn gateway_at(record: &Record, t: f64, wanted: impl Fn(&Pod) -> bool) -> (String, Pod) {
    let seen =
        record.timeline.iter().take_while(|entry| entry.t < t).filter_map(|entry| match &entry.event {
            Event::Seen { name, object: Object::Pod(pod) } if pod.app == "gateway" => Some((name, pod)),
            _ => None,
        });
    let mut last = std::collections::BTreeMap::new();
    last.extend(seen);
    let found = last.into_iter().find(|(_, pod)| wanted(pod));
    found.map(|(name, pod)| (name.clone(), pod.clone())).unwrap()
}

/// The moment of the first event like this.
fn when(record: &Record, wanted: impl Fn(&Event) -> bool) -> f64 {
    record.timeline.iter().find(|entry| wanted(&entry.event)).unwrap().t
}

fn is_fault_start(event: &Event) -> bool {
    matches!(event, Event::FaultStarted { .. })
}

fn records<R: log::Record>(run: &str, file: &str) -> Vec<R> {
    log::decode(&std::fs::read(folder(run).join(file)).unwrap()).unwrap().records
}

/// The sink's ledger with its records changed, and a seal that agrees with them.
fn sink(run: &str, change: impl Fn(&mut Vec<SinkRecord>)) -> SinkLedger {
    let mut records = records::<SinkRecord>(run, "ledgers/sink-0.ledger");
    let Some(SinkRecord::Sealed(mut seal)) = records.pop() else { panic!("not sealed") };
    change(&mut records);
    seal.records = records.len() as u64;
    seal.delivered = SinkLedger::from_records(&records).unwrap().delivered_count();
    records.push(SinkRecord::Sealed(seal));
    SinkLedger::from_records(&records).unwrap()
}

/// The metrics with their records changed, and a seal that agrees with them.
fn metrics(run: &str, change: impl Fn(&mut Vec<MetricsRecord>)) -> Metrics {
    let mut records = records::<MetricsRecord>(run, "metrics.log");
    let Some(MetricsRecord::Sealed { .. }) = records.pop() else { panic!("not sealed") };
    change(&mut records);
    records.push(MetricsRecord::Sealed { records: records.len() as u64 });
    Metrics::from_records(&records).unwrap()
}

#[test]
fn what_was_recorded_is_judged_as_it_was_then_byte_for_byte() {
    for run in RUNS {
        let mut text = serde_json::to_vec_pretty(&judge(&recorded(run))).unwrap();
        text.push(b'\n');
        assert_eq!(
            String::from_utf8(text),
            String::from_utf8(std::fs::read(folder(run).join("verdict.json")).unwrap()),
            "{run}"
        );
    }
}

#[test]
fn a_run_that_passed_passes() {
    for run in RUNS {
        let judgement = judge(&recorded(run));
        assert!(
            judgement.checks.iter().all(|check| check.verdict == Verdict::Pass),
            "{run}: {:#?}",
            judgement.checks
        );
    }
}

mod loss {
    use super::*;

    /// One span that the sink never saw: the numbers of one request, as the emitter of the first stream sent it.
    fn forget(records: &mut Vec<SinkRecord>, span: u64) {
        for record in records {
            if let SinkRecord::Delivered(delivery) = record
                && delivery.stream == 1
            {
                let kept = delivery.ranges.iter().flat_map(|range| {
                    [
                        Range::new(range.start, range.end.min(span)),
                        Range::new(range.start.max(span + 1), range.end),
                    ]
                });
                delivery.ranges = kept.filter(|range| !range.is_empty()).collect();
            }
        }
    }

    #[test]
    fn a_span_that_never_arrived_is_named_with_its_step_and_hop() {
        let mut record = recorded("two-drains");
        let drained = when(&record, is_fault_start);
        let emitter = record.emitters.iter().find(|emitter| emitter.stream() == 1).unwrap();
        let node = record.node_of(1).to_owned();
        let second =
            emitter.seconds().iter().find(|second| record.moment(&node, second.unix_ms) > drained).unwrap();
        let span = second.emitted.start;
        record.sinks = vec![sink("two-drains", |records| forget(records, span))];
        only(
            &record,
            &["loss"],
            Verdict::Fail,
            "1 sent in step 1 (drain each worker with a gateway, all at once), vanished",
        );
        let judgement = judge(&record);
        let named = &check(&judgement, "loss").evidence["lost_ranges"][0];
        assert_eq!((&named["first"], &named["last"]), (&span.into(), &span.into()));
    }

    #[test]
    fn what_was_refused_in_an_outage_and_never_came_was_refused() {
        let mut record = recorded("agent-upgrade");
        let account = Account::of(&record.emitters, &record.sinks);
        let span = account.streams[&1].refused[&14].iter().next().unwrap().start;
        record.sinks = vec![sink("agent-upgrade", |records| forget(records, span))];
        only(&record, &["loss"], Verdict::Fail, "refused by the backend (Unavailable)");
    }

    #[test]
    fn an_open_ledger_says_nothing() {
        let mut record = recorded("two-drains");
        let mut records = records::<SinkRecord>("two-drains", "ledgers/sink-0.ledger");
        records.pop();
        record.sinks = vec![SinkLedger::from_records(&records).unwrap()];
        let judgement = judge(&record);
        assert_eq!(check(&judgement, "loss").verdict, Verdict::Inconclusive);
        assert_eq!(judgement.verdict, Verdict::Inconclusive);
    }
}

mod pdb {
    use super::*;

    #[test]
    fn an_eviction_that_was_granted_too_early_is_red() {
        // The second gateway goes at the moment in which it was refused.
        let record = recorded("two-drains");
        let refused = record.timeline.iter().find_map(|entry| match &entry.event {
            Event::Eviction { code: 429, pod, .. } => Some((entry.t, pod.clone())),
            _ => None,
        });
        let (t, name) = refused.unwrap();
        let mut early = record.clone();
        for entry in &mut early.timeline {
            if let Event::Eviction { code, pod, .. } = &mut entry.event
                && *pod == name
            {
                *code = 201;
            }
        }
        let (_, pod) = gateway_at(&record, t, |pod| pod.ready);
        let leaving = Pod { ready: false, terminating: true, ..pod };
        let early = with(&early, t, [seen(&name, Object::Pod(leaving))]);
        only(&early, &["availability", "pdb"], Verdict::Fail, "0 ready gateways");
        let judgement = judge(&early);
        assert!(check(&judgement, "pdb").reason.contains("was granted and left 0 ready gateways"));
    }

    #[test]
    fn a_budget_that_is_not_there_or_covers_nothing_is_red() {
        let record = recorded("two-drains");
        let none = without(&record, |event| {
            matches!(event, Event::Seen { object: Object::PodDisruptionBudget(_), .. })
        });
        only(&none, &["pdb"], Verdict::Fail, "there is no PodDisruptionBudget");
        let empty = budgets(&record, |_, budget| budget.expected = 0);
        only(&empty, &["pdb"], Verdict::Fail, "covers no gateway");
        let elsewhere = budgets(&record, |_, budget| {
            budget
                .selector
                .match_labels
                .as_mut()
                .unwrap()
                .insert("app.kubernetes.io/name".to_owned(), "x".to_owned());
        });
        only(&elsewhere, &["pdb"], Verdict::Fail, "covers no gateway");
        let toothless = budgets(&record, |_, budget| budget.desired = 0);
        only(&toothless, &["pdb"], Verdict::Fail, "guards nothing");
    }

    #[test]
    fn a_budget_that_goes_away_guards_nothing_from_then_on() {
        let record = recorded("two-drains");
        let name = "gateway".to_owned();
        let drained = when(&record, is_fault_start) + 0.005;
        let gone = with(&record, drained, [Event::Gone { kind: Kind::PodDisruptionBudget, name }]);
        let later =
            |event: &Event| matches!(event, Event::Seen { object: Object::PodDisruptionBudget(_), .. });
        let mut gone_for_good = gone.clone();
        gone_for_good.timeline.retain(|entry| !(entry.t > drained && later(&entry.event)));
        renumber(&mut gone_for_good);
        only(&gone_for_good, &["pdb"], Verdict::Fail, "was gone when");
    }

    #[test]
    fn what_nobody_saw_is_not_judged() {
        let record = recorded("two-drains");
        let drained = when(&record, is_fault_start);
        let blind =
            |synced| Event::Watch { kind: Kind::PodDisruptionBudget, synced, since: None, problem: None };
        let gap = with(&with(&record, drained, [blind(false)]), drained + 1.0, [blind(true)]);
        only(&gap, &["pdb"], Verdict::Inconclusive, "nobody saw the objects of kind PodDisruptionBudget");
    }
}

mod availability {
    use super::*;

    #[test]
    fn gateways_that_are_not_ready_are_red() {
        let record = recorded("gateway-upgrade");
        let before = when(&record, |event| *event == Event::Steady) - 1.0;
        let unready = |event: &Event| match event {
            Event::Seen { name, object: Object::Pod(pod) } if pod.app == "gateway" && pod.ready => {
                Some(seen(name, Object::Pod(Pod { ready: false, ..pod.clone() })))
            }
            _ => None,
        };
        let all: Vec<_> = record
            .timeline
            .iter()
            .take_while(|entry| entry.t < before)
            .filter_map(|entry| unready(&entry.event))
            .collect();
        let mut flicker = with(&record, before, all);
        flicker = with(
            &flicker,
            before + 0.5,
            record
                .timeline
                .iter()
                .take_while(|entry| entry.t < before)
                .filter_map(|entry| match &entry.event {
                    Event::Seen { object: Object::Pod(pod), .. } if pod.app == "gateway" && pod.ready => {
                        Some(entry.event.clone())
                    }
                    _ => None,
                })
                .collect::<Vec<_>>(),
        );
        only(&flicker, &["availability"], Verdict::Fail, "0 ready gateways");
    }

    #[test]
    fn a_pause_that_is_longer_than_allowed_is_red() {
        let mut record = recorded("agent-upgrade");
        record.scenario.expect.delivery_gap = Some("5s".parse().unwrap());
        only(&record, &["availability"], Verdict::Fail, "no delivery from");
        record.scenario.expect.delivery_gap = Some("10m".parse().unwrap());
        assert_eq!(judge(&record).verdict, Verdict::Pass);
    }
}

mod intake {
    use super::*;

    #[test]
    fn agents_that_refuse_for_longer_than_allowed_are_red() {
        let mut record = recorded("agent-upgrade");
        record.scenario.expect.refused_for = Some("4s".parse().unwrap());
        only(&record, &["intake"], Verdict::Fail, "refused for 5s, from 35.8s on: longer than 4s");
        record.scenario.expect.refused_for = Some("5s".parse().unwrap());
        assert_eq!(judge(&record).verdict, Verdict::Pass);
    }

    #[test]
    fn what_a_default_sdk_would_have_lost_is_red_where_it_is_limited() {
        let run = "gateway-upgrade";
        let mut emitted = records::<EmitterRecord>(run, "ledgers/emit-dev-worker.ledger");
        for record in &mut emitted {
            if let EmitterRecord::Second { sdk_dropped, .. } = record {
                *sdk_dropped = 3;
            }
        }
        let mut record = recorded(run);
        let planted = EmitterLedger::from_records(&emitted).unwrap();
        let stream = planted.stream();
        let place = record.emitters.iter_mut().find(|emitter| emitter.stream() == stream);
        *place.unwrap() = planted;
        only(&record, &["intake"], Verdict::Fail, "spans, and expect.sdk_dropped allows none");
        record.scenario.expect.sdk_dropped = 100_000;
        assert_eq!(judge(&record).verdict, Verdict::Pass, "somebody said that it may be");
    }
}

mod rollout {
    use super::*;

    #[test]
    fn a_rollout_that_did_not_finish_is_red() {
        let record = recorded("gateway-upgrade");
        let stuck = without(&record, |event| matches!(event, Event::FaultHealed { fault: 1 }));
        only(&stuck, &["rollout", "faults"], Verdict::Fail, "did not finish");
    }

    #[test]
    fn too_few_ready_or_too_many_pods_are_red() {
        let record = recorded("gateway-upgrade");
        let rolled = when(&record, is_fault_start) + 0.5;
        let (name, pod) = gateway_at(&record, rolled, |pod| pod.ready);
        let blink = [
            seen(&name, Object::Pod(Pod { ready: false, ..pod.clone() })),
            seen(&name, Object::Pod(pod.clone())),
        ];
        only(
            &with(&record, rolled, blink),
            &["rollout"],
            Verdict::Fail,
            "maxUnavailable allows no fewer than 2",
        );
        let more = (0..2).map(|index| {
            seen(
                &format!("gateway-more-{index}"),
                Object::Pod(Pod { ready: false, uid: index.to_string(), ..pod.clone() }),
            )
        });
        let gone = (0..2).map(|index| Event::Gone { kind: Kind::Pod, name: format!("gateway-more-{index}") });
        let crowd = with(&with(&record, rolled, more), rolled + 0.1, gone);
        only(&crowd, &["rollout"], Verdict::Fail, "maxSurge allows no more than 3");
    }

    #[test]
    fn a_rollout_that_replaced_nothing_has_shown_nothing() {
        let record = recorded("agent-upgrade");
        let (start, end) = (
            when(&record, |event| matches!(event, Event::FaultStarted { fault: 1, .. })),
            when(&record, |event| matches!(event, Event::FaultEnded { fault: 1, .. })),
        );
        let mut idle = record.clone();
        idle.timeline.retain(|entry| {
            let pod = matches!(&entry.event, Event::Seen { object: Object::Pod(pod), .. } if pod.app == "agent")
                || matches!(&entry.event, Event::Gone { kind: Kind::Pod, .. });
            !(pod && (start..=end).contains(&entry.t))
        });
        renumber(&mut idle);
        let judgement = judge(&idle);
        assert_eq!(check(&judgement, "rollout").verdict, Verdict::Inconclusive, "{judgement:#?}");
        assert!(check(&judgement, "rollout").reason.contains("replaced nothing"));
    }
}

mod hpa {
    use super::*;

    fn spike(record: &Record) -> (f64, f64) {
        (when(record, is_fault_start), when(record, |event| matches!(event, Event::FaultEnded { .. })))
    }

    #[test]
    fn without_its_metric_it_has_shown_nothing() {
        let record = recorded("load-spike");
        let (start, _) = spike(&record);
        let blind = autoscalers(&record, |t, hpa| {
            if t > start {
                hpa.metrics.iter_mut().for_each(|metric| metric.current = None);
            }
        });
        only(&blind, &["hpa"], Verdict::Inconclusive, "could not read its metric");
    }

    #[test]
    fn one_that_never_went_out_is_red_if_it_had_a_reason_to() {
        let record = recorded("load-spike");
        let stuck = autoscalers(&record, |_, hpa| hpa.desired = 2);
        only(&stuck, &["hpa"], Verdict::Fail, "it did not go out, though its metric was at");
        let (start, _) = spike(&record);
        let idle = autoscalers(&stuck, |t, hpa| {
            if t > start {
                hpa.metrics.iter_mut().for_each(|metric| metric.current = Some(20.0));
            }
        });
        only(&idle, &["hpa"], Verdict::Inconclusive, "did not bring the metric over its target");
    }

    #[test]
    fn out_too_late_or_in_too_late_is_red() {
        let mut record = recorded("load-spike");
        record.scenario.expect.scale_out_within = "5s".parse().unwrap();
        only(&record, &["hpa"], Verdict::Fail, "the limit is 5s");
        let mut record = recorded("load-spike");
        record.scenario.expect.scale_in_within = "61s".parse().unwrap();
        only(&record, &["hpa"], Verdict::Fail, "the limit is 61s");
    }

    #[test]
    fn in_before_its_stabilisation_is_red() {
        let record = recorded("load-spike");
        let hasty = autoscalers(&record, |_, hpa| hpa.stabilisation_s = 600);
        only(&hasty, &["hpa"], Verdict::Fail, "its stabilisation window is 600s");
    }

    #[test]
    fn out_of_its_bounds_or_flapping_is_red() {
        let record = recorded("load-spike");
        let (start, _) = spike(&record);
        let narrow = autoscalers(&record, |_, hpa| hpa.max = 2);
        only(&narrow, &["hpa"], Verdict::Fail, "the bounds are 2 to 2");
        let hpa_at = |t: f64| {
            let before = record.timeline.iter().rev().skip_while(|entry| entry.t > t);
            before.into_iter().find_map(|entry| match &entry.event {
                Event::Seen { name, object: Object::HorizontalPodAutoscaler(hpa) } => {
                    Some((name.clone(), hpa.clone()))
                }
                _ => None,
            })
        };
        let (name, hpa) = hpa_at(start).unwrap();
        let wish =
            |desired| seen(&name, Object::HorizontalPodAutoscaler(Autoscaler { desired, ..hpa.clone() }));
        let flapping = with(&record, start + 1.0, [wish(3), wish(2), wish(3), wish(2)]);
        only(&flapping, &["hpa"], Verdict::Fail, "it flapped");
    }

    #[test]
    fn one_that_is_not_there_is_red() {
        let record = recorded("load-spike");
        let (start, _) = spike(&record);
        let gone = with(
            &record,
            start,
            [Event::Gone { kind: Kind::HorizontalPodAutoscaler, name: "gateway".to_owned() }],
        );
        only(&gone, &["hpa"], Verdict::Fail, "there was no HPA");
    }
}

mod balance {
    use super::*;

    #[test]
    fn new_gateways_that_get_nothing_are_red() {
        let mut record = recorded("load-spike");
        // What came through any gateway is said to have come through the first two in turn.
        record.sinks = vec![sink("load-spike", |records| {
            for (index, record) in (0..).zip(records) {
                if let SinkRecord::Delivered(delivery) = record {
                    delivery.gateway = index % 2;
                }
            }
        })];
        only(&record, &["balance"], Verdict::Fail, "0 % of its fair share");
    }

    #[test]
    fn gateways_that_were_not_there_for_long_enough_say_nothing() {
        let mut record = recorded("load-spike");
        record.scenario.expect.share_within = "1h".parse().unwrap();
        only(
            &record,
            &["balance"],
            Verdict::Inconclusive,
            "no gateway that was added was ready, under enough load",
        );
    }
}

mod queues {
    use super::*;

    const SIZE: &str = "otelcol_exporter_queue_size";

    /// Changes each value of the queues' sizes, with its moment.
    fn sizes(run: &str, change: impl Fn(u64, &mut f64)) -> Metrics {
        metrics(run, |records| {
            let number = records.iter().find_map(|record| match record {
                MetricsRecord::Metric { id, name } if name == SIZE => Some(*id),
                _ => None,
            });
            let number = number.unwrap();
            for record in records {
                if let MetricsRecord::Scraped { unix_ms, values, .. } = record {
                    values
                        .iter_mut()
                        .filter(|(id, _)| *id == number)
                        .for_each(|(_, value)| change(*unix_ms, value));
                }
            }
        })
    }

    #[test]
    fn an_outage_that_no_queue_felt_has_shown_nothing() {
        let mut record = recorded("agent-upgrade");
        record.metrics = Some(sizes("agent-upgrade", |_, value| *value = value.min(10.0)));
        only(&record, &["queues"], Verdict::Inconclusive, "did not grow while the backend took nothing");
    }

    #[test]
    fn a_queue_that_came_down_too_late_is_red() {
        let mut record = recorded("agent-upgrade");
        record.scenario.expect.queues_empty_within = "0s".parse().unwrap();
        only(&record, &["queues"], Verdict::Fail, "to come down; the limit is 0s");
    }

    #[test]
    fn a_queue_that_is_not_empty_at_the_end_is_red() {
        let mut record = recorded("two-drains");
        let end = when(&record, |event| *event == Event::LoadStopped);
        let end = record.unix_ms(&record.environment.sink_node, end);
        record.metrics = Some(sizes("two-drains", |t, value| {
            if t > end {
                *value = 5.0;
            }
        }));
        only(&record, &["queues"], Verdict::Fail, "still held 5 at the end");
    }

    #[test]
    fn metrics_that_are_missing_or_break_off_say_nothing() {
        let mut record = recorded("two-drains");
        record.metrics = None;
        only(&record, &["queues"], Verdict::Inconclusive, "missing, or not sealed");
        let end = when(&record, |event| *event == Event::LoadStopped);
        let end = record.unix_ms(&record.environment.sink_node, end - 10.0);
        record.metrics = Some(metrics("two-drains", |records| {
            records
                .retain(|record| !matches!(record, MetricsRecord::Scraped { unix_ms, .. } if *unix_ms > end));
        }));
        only(&record, &["queues"], Verdict::Inconclusive, "nobody knows what the queue on");
    }
}

#[test]
fn whatever_is_damaged_makes_every_check_inconclusive() {
    let mut record = recorded("two-drains");
    record.damage.push("ledgers/sink-0.ledger: damaged at offset 7".to_owned());
    let judgement = judge(&record);
    assert!(
        judgement.checks.iter().all(|check| check.verdict == Verdict::Inconclusive),
        "{:#?}",
        judgement.checks
    );
}

/// A copy of a folder, to be broken.
fn copied(run: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("ledgers")).unwrap();
    for dir in ["", "ledgers"] {
        for entry in std::fs::read_dir(folder(run).join(dir)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, copy.path().join(dir).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

#[test]
fn a_run_that_broke_off_can_be_read_and_is_inconclusive() {
    let whole = std::fs::read(folder("two-drains").join("timeline.jsonl")).unwrap();
    for part in [0, 1, 2, 3] {
        let copy = copied("two-drains");
        std::fs::write(copy.path().join("timeline.jsonl"), &whole[..whole.len() * part / 4]).unwrap();
        std::fs::remove_file(copy.path().join("metrics.log")).unwrap();
        if part == 0 {
            std::fs::remove_file(copy.path().join("environment.json")).unwrap();
            std::fs::remove_file(copy.path().join("ledgers/sink-0.ledger")).unwrap();
        }
        let record = Record::read(copy.path()).unwrap();
        assert_eq!(judge(&record).verdict, Verdict::Inconclusive, "cut at {part}/4");
    }
}

#[test]
fn a_damaged_ledger_is_named_and_decides_nothing() {
    let copy = copied("two-drains");
    let path = copy.path().join("ledgers/sink-0.ledger");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let judgement = judge(&Record::read(copy.path()).unwrap());
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(judgement.checks[0].reason.contains("ledgers/sink-0.ledger"), "{}", judgement.checks[0].reason);
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let copy = copied("two-drains");
    let path = copy.path().join("environment.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"format\": 5", "\"format\": 3");
    std::fs::write(&path, text).unwrap();
    let refused = Record::read(copy.path()).unwrap_err().to_string();
    assert!(refused.contains("format 3; this program reads format 5"), "{refused}");
}

/// A check may become inconclusive; it never changes sides, and never becomes conclusive.
fn no_better_and_no_worse(before: &Judgement, after: &Judgement) -> Result<(), TestCaseError> {
    let sides = before
        .checks
        .iter()
        .map(|check| (&check.name, check.verdict))
        .collect::<std::collections::BTreeMap<_, _>>();
    for check in &after.checks {
        let same = sides.get(&check.name) == Some(&check.verdict);
        prop_assert!(same || check.verdict == Verdict::Inconclusive, "{}: {check:#?}", check.name);
    }
    prop_assert!(after.verdict == before.verdict || after.verdict == Verdict::Inconclusive);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any line of a timeline that is missing, in a run that passed and in one that failed.
    #[test]
    fn a_missing_line_decides_nothing(run in prop::sample::select(&RUNS[..]), at: prop::sample::Index, failed: bool) {
        let mut record = recorded(run);
        if failed {
            record.scenario.expect.delivery_gap = Some("1ms".parse().unwrap());
        }
        let before = judge(&record);
        record.timeline.remove(at.index(record.timeline.len()));
        no_better_and_no_worse(&before, &judge(&record))?;
    }

    /// Any record of a ledger or of the metrics that is missing: what is left contradicts itself, or is open.
    #[test]
    fn a_missing_record_is_noticed(run in prop::sample::select(&RUNS[..3]), at: prop::sample::Index) {
        let mut emitted = records::<EmitterRecord>(run, "ledgers/emit-dev-worker.ledger");
        emitted.remove(at.index(emitted.len()));
        prop_assert!(EmitterLedger::from_records(&emitted).map_or(true, |ledger| ledger.seal().is_none()));
        let mut arrived = records::<SinkRecord>(run, "ledgers/sink-0.ledger");
        arrived.remove(at.index(arrived.len()));
        prop_assert!(SinkLedger::from_records(&arrived).map_or(true, |ledger| ledger.seal().is_none()));
        let mut read = records::<MetricsRecord>(run, "metrics.log");
        read.remove(at.index(read.len()));
        prop_assert!(Metrics::from_records(&read).map_or(true, |metrics| !metrics.sealed()));
    }

    /// One more lost span never improves a verdict.
    #[test]
    fn a_lost_span_never_helps(run in prop::sample::select(&RUNS[..3]), at: prop::sample::Index) {
        let mut record = recorded(run);
        let before = judge(&record);
        record.sinks = vec![sink(run, |records| {
            let delivered: Vec<usize> = (0..records.len()).filter(|index| matches!(records[*index], SinkRecord::Delivered(_))).collect();
            records.remove(delivered[at.index(delivered.len())]);
        })];
        prop_assert!(judge(&record).verdict >= before.verdict);
    }
}
