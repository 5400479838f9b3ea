//! Faults, steps, and the steady state before them.

use super::*;

#[test]
fn a_fault_must_land_and_heal() {
    let not_landed = Plan::healthy().without(|event| matches!(event, Event::FaultLanded { .. }));
    only(&not_landed.judged(), "faults", Verdict::Inconclusive);
    let not_healed = Plan::healthy().without(|event| matches!(event, Event::FaultHealed { .. }));
    only(&not_healed.judged(), "faults", Verdict::Fail);
}

#[test]
fn a_step_that_was_not_taken_is_missed() {
    let plan = Plan::healthy().without(|event| matches!(event, Event::StepEnded { .. }));
    only(&plan.judged(), "faults", Verdict::Inconclusive);
    let mut record = Plan::healthy().record();
    record.scenario.steps.push(crate::scenario::Step::Evict(crate::scenario::Evict::default()));
    let check = only(&judge(&record), "faults", Verdict::Inconclusive);
    assert!(check.reason.contains("step 2 (evict"), "{}", check.reason);
}

#[test]
fn without_faults_nothing_is_claimed() {
    let plan = Plan::healthy().without(|event| {
        matches!(
            event,
            Event::FaultStarted { .. }
                | Event::FaultLanded { .. }
                | Event::FaultHealed { .. }
                | Event::FaultEnded { .. }
                | Event::Eviction { .. }
                | Event::PodGone { .. }
        )
    });
    let judgement = plan.judged();
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    for name in ["faults", "gateways-moved", "availability"] {
        assert_eq!(check(&judgement, name).verdict, Verdict::Inconclusive, "{name}");
    }
}

#[test]
fn an_unsteady_tier_is_inconclusive_but_a_loss_is_a_loss() {
    let unsteady = Plan::healthy()
        .without(|event| matches!(event, Event::Steady))
        .with(16.0, Event::NotSteady { reason: "slow".to_owned() });
    only(&unsteady.judged(), "steady-state", Verdict::Inconclusive);
    let lossy = Plan { lost: vec![17], ..unsteady };
    assert_eq!(lossy.judged().verdict, Verdict::Fail);
}
