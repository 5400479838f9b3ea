//! Controls: red for their own reason, or nothing.

use super::*;

/// A run of a control with a precondition, which came about or did not.
fn controlled(says: &serde_json::Value, plan: &Plan) -> Judgement {
    let mut record = plan.record();
    let mut control = json!({"name": "x", "why": "y", "red": ["loss"]});
    control.as_object_mut().unwrap().extend(says.as_object().unwrap().clone());
    record.scenario.controls.push(serde_json::from_value(control).unwrap());
    record.scenario.control = Some("x".to_owned());
    judge(&record)
}

fn need(came: bool) -> Event {
    let what = crate::scenario::Condition::QueuesFill.name().to_owned();
    Event::Need { before: StepPath::top(1), what, came }
}

#[test]
fn a_control_is_red_for_its_own_reason_or_says_nothing() {
    let lossy = || Plan { lost: vec![17], ..Plan::healthy() };
    let needs = json!({"needs": [{"is": "queues-fill", "before": "1"}]});
    let red = controlled(&needs, &lossy().with(15.9, need(true)));
    let control = red.control.unwrap();
    assert_eq!((red.verdict, control.verdict), (Verdict::Fail, Verdict::Pass), "{}", control.reason);

    for plan in [lossy().with(15.9, need(false)), lossy()] {
        let judgement = controlled(&needs, &plan);
        assert_eq!(judgement.verdict, Verdict::Inconclusive);
        assert_eq!(judgement.control.as_ref().unwrap().verdict, Verdict::Inconclusive);
        let loss = check(&judgement, "loss");
        assert_eq!(loss.verdict, Verdict::Inconclusive);
        assert!(loss.reason.contains("precondition"), "{}", loss.reason);
    }
    let restarted = controlled(&json!({"spoiled_by": ["restarts"]}), &lossy());
    let control = restarted.control.unwrap();
    assert_eq!(control.verdict, Verdict::Inconclusive);
    assert!(control.reason.contains("went away"), "{}", control.reason);
    let leaves = |event: &Event| {
        matches!(event, Event::Gone { .. })
            || matches!(event, Event::Seen { object: Object::Pod(pod), .. } if pod.terminating)
    };
    for (left, verdict) in [(25.0, Verdict::Inconclusive), (40.0, Verdict::Pass)] {
        let plan = lossy().without(leaves).with(left, gateway(0, false));
        let control = controlled(&json!({"spoiled_by": ["restarts"]}), &plan).control.unwrap();
        assert_eq!(control.verdict, verdict, "the faults were over at 30s: {}", control.reason);
    }

    let green = controlled(&json!({}), &Plan::healthy());
    assert_eq!((green.verdict, green.control.unwrap().verdict), (Verdict::Pass, Verdict::Fail));
}
