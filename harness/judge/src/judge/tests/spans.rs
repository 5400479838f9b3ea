//! Spans: lost, refused, unexpected, and delivered to several sinks.

use super::*;

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
