//! The HPA, and the share of new gateways, planted in recorded runs.

use crate::planted::{altered, is_fault_start, only, recorded, seen, sink, when, with};
use spanproof_judge::Verdict;
use spanproof_judge::record::{Event, Record};
use spanproof_judge::world::{Autoscaler, Kind, Object};
use spanproof_ledger::SinkRecord;

fn autoscalers(record: &Record, change: impl Fn(f64, &mut Autoscaler)) -> Record {
    altered(record, |t, _, object| {
        if let Object::HorizontalPodAutoscaler(hpa) = object {
            change(t, hpa);
        }
    })
}

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
    only(&stuck, &["hpa"], Verdict::Fail, "it did not scale out, though its metric was at");
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
    let wish = |desired| seen(&name, Object::HorizontalPodAutoscaler(Autoscaler { desired, ..hpa.clone() }));
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

#[test]
fn new_gateways_that_get_nothing_are_red() {
    let mut record = recorded("load-spike");
    // Every delivery is attributed to the first two gateways in turn.
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
