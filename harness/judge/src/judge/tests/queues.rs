//! Queues, and outages of the backend.

use super::super::queues;
use super::*;

#[test]
fn a_queue_that_is_not_empty_or_not_known_is_not_empty() {
    let check = only(&Plan { queued: 7.0, ..Plan::healthy() }.judged(), "queues", Verdict::Fail);
    assert!(check.reason.contains("worker0 still held 7"), "{}", check.reason);
    let mut record = Plan::healthy().record();
    record.metrics = None;
    only(&judge(&record), "queues", Verdict::Inconclusive);
    let agent = |event: &Event| matches!(event, Event::Seen { name, .. } if name == "agent-0");
    only(&Plan::healthy().without(agent).judged(), "queues", Verdict::Inconclusive);
}

#[test]
fn only_what_takes_nothing_is_an_outage_to_the_queues() {
    // The queues held the same all the time: an outage that they did not feel has shown nothing.
    let faults = |told: &[(&str, f64, f64)]| {
        let mut plan = Plan::healthy();
        for (fault, (_, start, end)) in (1..).zip(told) {
            let (name, target) = (FaultName::from("backend-x"), "sink".to_owned());
            let step = StepPath::top(fault + 1);
            plan = plan
                .with(*start, Event::FaultStarted { fault, step, name, target, gateways: Vec::new() })
                .with(*start, Event::FaultLanded { fault })
                .with(*end, Event::FaultHealed { fault })
                .with(*end, Event::FaultEnded { fault, problem: None, blind: false });
        }
        let mut record = plan.record();
        let steps = told.iter().map(|(answers, ..)| {
            let step = json!({"backend": {"answers": answers}});
            serde_json::from_value::<crate::scenario::Step>(step).unwrap()
        });
        record.scenario.steps.extend(steps);
        let judgement = judge(&record);
        let queues = check(&judgement, "queues");
        (queues.verdict, queues.reason.clone())
    };
    assert_eq!(faults(&[("internal", 32.0, 40.0), ("reset-streams", 41.0, 45.0)]).0, Verdict::Pass);
    let (verdict, reason) = faults(&[("internal", 32.0, 40.0), ("hang", 41.0, 45.0)]);
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("did not grow while the backend took nothing"), "{reason}");
}

#[test]
fn faults_of_the_backend_that_follow_at_once_are_one_outage() {
    let step = |answers: &str| {
        serde_json::from_value::<crate::scenario::Step>(json!({"backend": {"answers": answers}})).unwrap()
    };
    let mut plan = Plan::healthy();
    for (fault, start, end) in [(1, 32.0, 36.0), (2, 36.0, 40.0), (3, 40.0, 44.0), (4, 50.0, 52.0)] {
        let (name, target) = (FaultName::from("backend-x"), "sink".to_owned());
        let step = StepPath::top(fault + 1);
        plan = plan
            .with(start, Event::FaultStarted { fault, step, name, target, gateways: Vec::new() })
            .with(end, Event::FaultEnded { fault, problem: None, blind: false });
    }
    let mut record = plan.record();
    record.scenario.steps.extend(["unavailable", "hang", "internal", "unavailable"].map(step));
    let outages = queues::outages(&record, &Story::of(&record));
    let times: Vec<_> = outages.iter().map(|outage| (outage.start, outage.end, outage.well)).collect();
    assert_eq!(times, [(32.0, 40.0, 44.0), (50.0, 52.0, 52.0)]);
}
