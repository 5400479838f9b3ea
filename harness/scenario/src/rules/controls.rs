//! The rules for controls. The change of each is applied, and the result must be a valid scenario.

use super::named;
use crate::field_path::ensure;
use crate::step::condition;
use crate::yaml::meant;
use crate::{CheckName, Control, FieldPath, Measure, Problem, Scenario, ScenarioError, Step, folder};
use std::path::Path;

/// The largest number of controls: for each, the whole scenario is checked.
const MOST: usize = 100;

pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let all = FieldPath::of("controls");
    let names: Vec<&str> = scenario.controls.iter().map(|control| control.name.as_str()).collect();
    let few = scenario.controls.len() <= MOST;
    ensure(few, &all.then(MOST), format!("a scenario has {MOST} controls at the most"))?;
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
        // The record of a control has its changes already.
        if scenario.control.is_none() {
            tried(scenario, control, at)?;
        }
    }
    match scenario.control.as_deref().filter(|name| !names.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let problem = Problem::new(FieldPath::of("control"), format!("there is no control `{unknown}`"));
            Err(problem.meant(unknown, names))
        }
    }
}

impl Scenario {
    /// Returns the scenario as changed by one of its controls.
    ///
    /// # Errors
    /// If there is no control of that name, or the scenario is invalid under it.
    pub fn under(&self, path: &Path, name: &str) -> Result<Self, ScenarioError> {
        let Some(number) = self.controls.iter().position(|control| control.name == name) else {
            let help = meant(name, self.controls.iter().map(|control| control.name.as_str()));
            return Err(ScenarioError::NoControl {
                path: path.to_owned(),
                name: name.to_owned(),
                help: Some(help),
            });
        };
        let mut changed = self.changed_by(&self.controls[number], &FieldPath::of("controls").then(number))?;
        super::check(&changed)?;
        changed.resolve(&folder(path)?);
        Ok(changed)
    }
}

/// Checks that the checks that it names exist and can fail.
fn checks(control: &Control, at: &FieldPath) -> Result<(), Problem> {
    ensure(!control.red.is_empty(), &at.then("red"), "it names no check that must fail")?;
    for (list, names) in [("red", &control.red), ("also", &control.also)] {
        for (number, name) in names.iter().enumerate() {
            let at = at.then(list).then(number);
            let never = format!("`{name}` is inconclusive at worst: it never fails");
            ensure(name.can_fail(), &at, never)?;
            let alone = list == "red" || !control.red.contains(name);
            ensure(alone, &at, format!("`{name}` is in `red`: it must fail"))?;
            ensure(!names[..number].contains(name), &at, format!("`{name}` is named before"))?;
        }
    }
    Ok(())
}

fn tried(scenario: &Scenario, control: &Control, at: &FieldPath) -> Result<(), Problem> {
    let own = |key: &&String| NOT_CHANGED.contains(&key.split('.').next().unwrap_or_default());
    if let Some(key) = control.set.keys().find(own) {
        let message = format!("a control changes what a scenario does, and not its `{key}`");
        return Err(Problem::new(at.then("set").then(key), message));
    }
    let changed = scenario.changed_by(control, at)?;
    let same = Scenario { control: None, ..changed.clone() } == *scenario;
    let first = control.set.keys().next().map_or_else(|| at.clone(), |key| at.then("set").then(key));
    ensure(!same, &first, "it changes nothing: the scenario is like that without it")?;
    super::check(&changed).map_err(|problem| Problem {
        at: at.clone(),
        message: format!("under this control, {problem}"),
        help: problem.help,
    })?;
    for (number, name) in control.red.iter().enumerate() {
        if let Some(why) = green(*name, &changed) {
            let message = format!("`{name}` cannot fail under this control: {why}");
            return Err(Problem::new(at.then("red").then(number), message));
        }
    }
    for (number, need) in control.needs.iter().enumerate() {
        let at = at.then("needs").then(number);
        condition(&changed, need.is, &at.then("is"))?;
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

/// Fields that a control cannot change: they are not about what the scenario does.
const NOT_CHANGED: [&str; 5] = ["name", "about", "parameters", "controls", "control"];

/// Returns the reason why a check cannot fail, if there is one.
fn green(check: CheckName, scenario: &Scenario) -> Option<&'static str> {
    let any = |is: fn(&Step) -> bool| scenario.all_steps().any(is);
    let expect = scenario.expect;
    match check {
        CheckName::Rollout => {
            (!any(|step| matches!(step, Step::Upgrade(_)))).then_some("the scenario rolls nothing")
        }
        CheckName::GatewaysMoved => {
            (!any(|step| matches!(step, Step::Drain(_)))).then_some("the scenario drains nothing")
        }
        CheckName::Faults => (!any(Step::is_fault)).then_some("there is no fault in the scenario"),
        CheckName::Spread => (!scenario.tier.has(Measure::Hpa) && scenario.tier.gateways < 2)
            .then_some("one gateway is spread over nothing"),
        CheckName::Hpa => (!scenario.tier.has(Measure::Hpa)).then_some("the tier has no HPA"),
        CheckName::Duplicates => {
            expect.duplicated.is_none().then_some("expect.duplicated does not say how many are too many")
        }
        CheckName::SteadyState
        | CheckName::Loss
        | CheckName::Unexpected
        | CheckName::Load
        | CheckName::Intake
        | CheckName::Availability
        | CheckName::Pdb
        | CheckName::Balance
        | CheckName::Queues
        | CheckName::Control => None,
    }
}
