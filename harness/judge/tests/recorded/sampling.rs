//! A tier that samples by design, on a run that was recorded on a real cluster: what the sampler would have left out is taken out
//! of the sink's ledger, and faults are planted.

use crate::planted::{check, recorded, sink};
use spanproof_judge::record::{Event, Record};
use spanproof_judge::sampling::{Draw, Policy, Sampling};
use spanproof_judge::world::Object;
use spanproof_judge::{Judgement, Verdict, judge};
use spanproof_ledger::{Identity, Range, SinkRecord, SpanIdentity};
use spanproof_scenario::Samples;

const RUN: &str = "gateway-upgrade";

fn draw(share: f64) -> Draw {
    Draw { salt: Draw::DEFAULT_SALT.to_owned(), share }
}

/// The run as one of a tier that samples so, of which only what fits arrived.
fn sampled(keeps: Policy, arrives: impl Fn(&Identity, SpanIdentity) -> bool) -> Record {
    let mut record = recorded(RUN);
    let load = &record.scenario.load;
    let identity = Identity::new(record.emitters[0].run_tag(), load.spans_per_trace, load.streams_per_trace);
    record.sinks = vec![sink(RUN, |records| {
        for record in records {
            if let SinkRecord::Delivered(delivery) = record {
                let stream = delivery.stream;
                let numbers = delivery.ranges.iter().flat_map(|range| range.start..range.end);
                let kept = numbers.filter(|seq| arrives(&identity, SpanIdentity { stream, seq: *seq }));
                delivery.ranges = kept.map(|seq| Range::new(seq, seq + 1)).collect();
            }
        }
    })];
    let by = "tail_sampling in ConfigMap/gateway".to_owned();
    record.environment.sampling = Some(Sampling { by, keeps, decision_wait_s: 5.0 });
    record.scenario.tier.samples = Some(Samples::default());
    record
}

fn quarter(identity: &Identity, span: SpanIdentity) -> bool {
    draw(0.25).draws(identity.trace_id(span))
}

#[track_caller]
fn loss(record: &Record, verdict: Verdict, says: &str) -> Judgement {
    let judgement = judge(record);
    let loss = check(&judgement, "loss");
    assert!(loss.verdict == verdict && loss.reason.contains(says), "{:?}: {}", loss.verdict, loss.reason);
    judgement
}

/// The moment at which the first gateway was seen to go.
fn first_end(record: &Record) -> (String, f64) {
    let mut gateways = std::collections::BTreeSet::new();
    let end = record.timeline.iter().find_map(|entry| match &entry.event {
        Event::Seen { name, object: Object::Pod(pod) } if pod.app == "gateway" => {
            gateways.insert(name.clone());
            None
        }
        Event::Gone { name, .. } if gateways.contains(name) => Some((name.clone(), entry.t)),
        _ => None,
    });
    end.unwrap()
}

#[test]
fn what_the_policy_leaves_out_is_no_loss() {
    let record = sampled(Policy::Drawn(vec![draw(0.25)]), quarter);
    let judgement = loss(&record, Verdict::Pass, "traces came whole");
    let spans = judgement.spans;
    assert_eq!((spans.lost, spans.acknowledged), (0, spans.delivered - spans.recovered + spans.not_sampled));
    assert_eq!(judgement.verdict, Verdict::Pass, "{:#?}", judgement.checks);
    // Of another policy nothing but the share is known.
    let record = sampled(Policy::Share(0.25), quarter);
    loss(&record, Verdict::Pass, "would not be seen");
    // One that is not in force says nothing by name, and the share is what is left.
    let record = sampled(Policy::Drawn(vec![Draw { salt: "other".to_owned(), share: 0.25 }]), quarter);
    loss(&record, Verdict::Pass, "not those that came");
    loss(&sampled(Policy::Share(0.5), quarter), Verdict::Fail, "too few: ");
    loss(&sampled(Policy::Share(0.1), quarter), Verdict::Inconclusive, "not the policy in force");
}

#[test]
fn a_trace_that_came_in_part_is_a_loss() {
    for keeps in [Policy::Drawn(vec![draw(0.25)]), Policy::Share(0.25), Policy::All] {
        let lost = |identity: &Identity, span: SpanIdentity| {
            (keeps == Policy::All || quarter(identity, span)) && !(span.stream == 2 && span.seq % 10 == 7)
        };
        let record = sampled(keeps.clone(), lost);
        let judgement = loss(&record, Verdict::Fail, "split, or lost in the sampler");
        let first = &check(&judgement, "loss").evidence;
        assert_eq!(first["lost_ranges"][0]["stream"], 2);
        assert_eq!(first["lost_ranges"][0]["first"].as_u64().unwrap() % 10, 7);
        assert!(first["sampling"]["traces"]["in_part"].as_u64().unwrap() > 100);
    }
}

#[test]
fn what_waited_in_a_sampler_that_went_is_named_with_it() {
    for keeps in [Policy::Drawn(vec![draw(0.25)]), Policy::All] {
        let record = recorded(RUN);
        let (gateway, t) = first_end(&record);
        let seconds = |span: SpanIdentity| {
            let emitter = record.emitters.iter().find(|emitter| emitter.stream() == span.stream).unwrap();
            let second = emitter.seconds().iter().find(|second| {
                let emitted = second.emitted;
                (emitted.start..emitted.end).contains(&(span.seq - span.seq % 10))
            });
            second.map(|second| record.moment(record.node_of(span.stream), second.unix_ms))
        };
        // Every trace of which the first span was sent in the second before it went.
        let waited = |span| seconds(span).is_some_and(|sent| sent > t - 2.0 && sent <= t - 1.0);
        let arrives = |identity: &Identity, span: SpanIdentity| {
            (keeps == Policy::All || quarter(identity, span)) && !waited(span)
        };
        let planted = sampled(keeps.clone(), arrives);
        let named = format!("waiting in the sampler of {gateway}, which went away at {t:.1}s");
        let judgement = loss(&planted, Verdict::Fail, &named);
        assert!(judgement.spans.lost > 200, "{:?}", judgement.spans);
    }
}

#[test]
fn a_policy_that_is_not_on_record_decides_nothing() {
    let mut record = sampled(Policy::Drawn(vec![draw(0.25)]), quarter);
    record.scenario.tier.samples = None;
    loss(&record, Verdict::Inconclusive, "the scenario does not say so");
    let mut record = sampled(Policy::All, quarter);
    record.environment.sampling = None;
    loss(&record, Verdict::Inconclusive, "is not on record");
    loss(&sampled(Policy::All, quarter), Verdict::Fail, "never arrived");
    loss(&sampled(Policy::Share(f64::NAN), quarter), Verdict::Inconclusive, "makes no sense");
    loss(&sampled(Policy::Drawn(vec![draw(0.0)]), |_, _| false), Verdict::Inconclusive, "nothing was seen");
}
