//! What controls must fulfil. Each is tried: what it changes is changed, and the scenario must make sense then.

use super::{named, steps};
use crate::scenario::control::NEVER_RED;
use crate::scenario::place::ensure;
use crate::scenario::{CHECKS, Control, Place, Problem, Scenario};

pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let all = Place::of("controls");
    let names: Vec<&str> = scenario.controls.iter().map(|control| control.name.as_str()).collect();
    for (number, control) in scenario.controls.iter().enumerate() {
        let at = &all.then(number);
        named(&control.name, &at.then("name"))?;
        let alone = !names[..number].contains(&control.name.as_str());
        ensure(alone, &at.then("name"), format!("another control is called `{}`", control.name))?;
        let changes = !control.set.is_empty() || !control.patches.is_empty();
        ensure(changes, at, "it changes nothing: say what, in `set` or `patches`")?;
        for (number, patch) in control.patches.iter().enumerate() {
            patch.check(&at.then("patches").then(number))?;
        }
        checks(control, at)?;
        // A record of a control is changed already.
        if scenario.control.is_none() {
            tried(scenario, control, at)?;
        }
    }
    match scenario.control.as_deref().filter(|name| !names.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let problem = Problem::new(Place::of("control"), format!("there is no control `{unknown}`"));
            Err(problem.meant(unknown, names))
        }
    }
}

/// Whether the checks that it names are checks, and can fail.
fn checks(control: &Control, at: &Place) -> Result<(), Problem> {
    ensure(!control.red.is_empty(), &at.then("red"), "it names no check that must fail")?;
    for (list, names) in [("red", &control.red), ("also", &control.also)] {
        for (number, name) in names.iter().enumerate() {
            let at = at.then(list).then(number);
            if CHECKS.iter().all(|(check, _)| check != name) {
                let problem = Problem::new(at, format!("there is no check `{name}`"));
                return Err(problem.meant(name, CHECKS.map(|(check, _)| check)));
            }
            let never = format!("`{name}` is inconclusive at worst: it never fails");
            ensure(!NEVER_RED.contains(&name.as_str()), &at, never)?;
            let twice = list == "red" || !control.red.contains(name);
            ensure(twice, &at, format!("`{name}` is in `red`: it must fail"))?;
        }
    }
    Ok(())
}

fn tried(scenario: &Scenario, control: &Control, at: &Place) -> Result<(), Problem> {
    let changed = scenario.changed_by(control, at)?;
    super::check(&changed).map_err(|problem| Problem {
        at: at.clone(),
        message: format!("under this control, {problem}"),
        help: problem.help,
    })?;
    for (number, need) in control.needs.iter().enumerate() {
        let at = at.then("needs").then(number);
        steps::condition(&changed, need.is, &at.then("is"))?;
        let there = changed.step_at(&need.before).is_some();
        ensure(there, &at.then("before"), format!("there is no step {}", need.before)).map_err(
            |problem| {
                let steps = changed.steps.len();
                problem
                    .help(format!("the scenario's steps are 1 to {steps}; what they hold is 2.1, and so on"))
            },
        )?;
    }
    Ok(())
}
