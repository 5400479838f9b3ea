//! The limits of what is not checked beside its type.

use crate::field_path::ensure;
use crate::limits::{SECOND, share, some, time};
use crate::{FieldPath, Problem, Scenario};

/// Checks all of them.
pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let steady = FieldPath::of("steady");
    time(scenario.steady, &steady)?;
    let seen = scenario.steady.duration() >= SECOND;
    ensure(seen, &steady, "`steady` is 1s at the least: in less the tier is not seen to be steady")?;
    expect(scenario)?;
    let settle = FieldPath::of("settle");
    time(scenario.settle.tail, &settle.then("tail"))?;
    time(scenario.settle.deadline, &settle.then("deadline"))?;
    some(scenario.settle.deadline, &settle, "deadline")
        .map_err(|problem| problem.help("the end must be awaited: what is on its way would count as lost"))?;
    if let Some(share) = scenario.sabotage.emitters_at {
        self::share(share, &FieldPath::of("sabotage.emitters_at"))?;
    }
    let controls = FieldPath::of("controls");
    scenario.controls.iter().enumerate().try_for_each(|(number, control)| {
        let needs = controls.then(number).then("needs");
        control.needs.iter().enumerate().try_for_each(|(number, need)| {
            let at = needs.then(number);
            time(need.deadline, &at.then("deadline"))?;
            some(need.deadline, &at, "deadline")
        })
    })
}

fn expect(scenario: &Scenario) -> Result<(), Problem> {
    let (expect, at) = (scenario.expect, &FieldPath::of("expect"));
    for (name, span) in [
        ("delivery_gap", expect.delivery_gap),
        ("scale_out_within", Some(expect.scale_out_within)),
        ("scale_in_within", Some(expect.scale_in_within)),
        ("share_within", Some(expect.share_within)),
        ("queues_empty_within", Some(expect.queues_empty_within)),
    ] {
        let Some(span) = span else { continue };
        time(span, &at.then(name))?;
        some(span, at, name)
            .map_err(|problem| problem.help("nothing takes no time: no run would fulfil it"))?;
    }
    // It may be 0: that no agent refuses anything.
    expect.refused_for.map_or(Ok(()), |span| time(span, &at.then("refused_for")))
}
