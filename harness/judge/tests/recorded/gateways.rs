//! Gateways that are missing, evicted or rolled in another way, planted in recorded runs.

use crate::planted::{budgets, check, is_fault_start, only, recorded, renumber, seen, when, with};
use spanproof_judge::record::{Event, Record};
use spanproof_judge::world::{Kind, Object, Pod};
use spanproof_judge::{Verdict, judge};

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

fn without(record: &Record, unwanted: impl Fn(&Event) -> bool) -> Record {
    let mut record = record.clone();
    record.timeline.retain(|entry| !unwanted(&entry.event));
    renumber(&mut record);
    record
}

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
    let none =
        without(&record, |event| matches!(event, Event::Seen { object: Object::PodDisruptionBudget(_), .. }));
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
    let later = |event: &Event| matches!(event, Event::Seen { object: Object::PodDisruptionBudget(_), .. });
    let mut gone_for_good = gone.clone();
    gone_for_good.timeline.retain(|entry| !(entry.t > drained && later(&entry.event)));
    renumber(&mut gone_for_good);
    only(&gone_for_good, &["pdb"], Verdict::Fail, "was gone when");
}

#[test]
fn what_nobody_saw_is_not_judged() {
    let record = recorded("two-drains");
    let drained = when(&record, is_fault_start);
    let blind = |synced| Event::Watch { kind: Kind::PodDisruptionBudget, synced, since: None, problem: None };
    let gap = with(&with(&record, drained, [blind(false)]), drained + 1.0, [blind(true)]);
    only(&gap, &["pdb"], Verdict::Inconclusive, "the watch on PodDisruptionBudget was down");
}

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
    only(&with(&record, rolled, blink), &["rollout"], Verdict::Fail, "maxUnavailable allows no fewer than 2");
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
