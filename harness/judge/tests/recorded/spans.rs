//! Spans that were lost, and what agents refused, planted in recorded runs.

use crate::planted::{check, is_fault_start, only, recorded, records, sink, when};
use spanproof_judge::{Verdict, judge};
use spanproof_ledger::{Account, EmitterLedger, EmitterRecord, Range, SinkLedger, SinkRecord};

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
