//! The load, and what the agents took of it.

use super::*;

#[test]
fn what_the_agents_refuse_is_measured_and_judged_when_a_limit_is_given() {
    let reason = check(&Plan::healthy().judged(), "intake").reason.clone();
    assert!(reason.contains("no agent refused anything; requests took 2.0 ms"), "{reason}");
    let plan = Plan { refusals: 20..24, sdk_dropped: 7, ..Plan::healthy() };
    let mut record = plan.record();
    let red = |record: &Record, says: &str| {
        let reason = only(&judge(record), "intake", Verdict::Fail).reason;
        assert!(reason.contains(says), "{reason}");
    };
    red(&record, "would have lost 28 spans, and expect.sdk_dropped allows none");
    record.scenario.expect.sdk_dropped = 27;
    red(&record, "lost 28 spans, and the limit is 27");
    record.scenario.expect.sdk_dropped = 28;
    let judgement = judge(&record);
    let intake = check(&judgement, "intake");
    assert_eq!(judgement.verdict, Verdict::Pass, "a roll-out of the agents does that");
    let reason = "would have lost 28 spans; the agent on worker0 refused for 4s, from 21.0s on";
    assert!(intake.reason.contains(reason), "{}", intake.reason);
    assert_eq!(
        (&intake.evidence["failed_requests"], &intake.evidence["failed_spans"]),
        (&8.into(), &400.into())
    );

    record.scenario.expect.refused_for = Some(crate::scenario::Span::seconds(3));
    red(&record, "refused for 4s, from 21.0s on: longer than 3s");
    record.scenario.expect.refused_for = Some(crate::scenario::Span::seconds(4));
    assert_eq!(judge(&record).verdict, Verdict::Pass);
    record.emitters.pop();
    assert_eq!(check(&judge(&record), "intake").verdict, Verdict::Inconclusive);
}

#[test]
fn the_load_is_held_against_the_profile() {
    // The emitters sent 200/s all the time.
    let profile = |text: &str| {
        let mut record = Plan::healthy().record();
        let text = format!("name: test\nload: {{profile: {text}}}\nsteps: [{{drain: {{}}}}]\n");
        record.scenario.load = Scenario::parse(Path::new("test.yaml"), &text).unwrap().load;
        record
    };
    let even = judge(&profile("[{ramp: {from: 199/s, to: 201/s, for: 1m}}]"));
    assert_eq!(even.verdict, Verdict::Pass, "{:#?}", even.checks);
    let uneven = judge(&profile("[{constant: {rate: 400/s, for: 30s}}, {constant: {rate: 1/s}}]"));
    let reason = only(&uneven, "load", Verdict::Inconclusive).reason;
    assert!(reason.contains("200/s of 400/s asked for before the first fault"), "{reason}");
}

#[test]
fn too_little_load_says_nothing() {
    let check =
        only(&Plan { rate: RATE * 8 / 10, ..Plan::healthy() }.judged(), "load", Verdict::Inconclusive);
    assert!(check.reason.contains("160/s of 200/s"), "{}", check.reason);
}

#[test]
fn load_that_ended_early_says_nothing() {
    let check = only(&Plan { seconds: 40, ..Plan::healthy() }.judged(), "load", Verdict::Inconclusive);
    assert!(check.reason.contains("ended early"), "{}", check.reason);
}
