//! Checks that will be inconclusive and waits that will time out, as far as the scenario alone tells. None of these is
//! a reason not to run it.

use crate::scenario::{Condition, FieldPath, Measure, Scenario, Shape, Spike, Step};
use std::time::Duration;

/// The interval at which the Collectors' metrics are read, with a margin: a queue that fills for less may not be seen
/// to.
const FELT: Duration = Duration::from_secs(5);

/// A check or a wait that will come to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreseen {
    /// The check or wait.
    what: Subject,
    /// The reason.
    why: String,
    /// The field of the scenario that causes it.
    at: FieldPath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// A check that will be inconclusive, and under which condition.
    Check(&'static str),
    Wait,
}

impl std::fmt::Display for Foreseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, why, at } = self;
        match what {
            Subject::Check(name) => write!(f, "will be inconclusive: {name}: {why} ({at})"),
            Subject::Wait => write!(f, "will not come about: {why} ({at})"),
        }
    }
}

/// Returns all of them.
pub(super) fn foresee(scenario: &Scenario) -> Vec<Foreseen> {
    let mut found = Vec::new();
    let mut say = |what, at, why| found.push(Foreseen { what, why, at });
    let mut backend = BackendState::Well;
    in_order(scenario, &scenario.steps, &FieldPath::of("steps"), &mut backend, &mut say);
    found
}

type Say<'a> = dyn FnMut(Subject, FieldPath, String) + 'a;

/// The state of the backend when a step begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BackendState {
    Well,
    /// It takes nothing until another step changes that.
    Out,
    /// Not known: another branch may change it.
    Unknown,
}

fn in_order(
    scenario: &Scenario,
    steps: &[Step],
    at: &FieldPath,
    backend: &mut BackendState,
    say: &mut Say<'_>,
) {
    for (number, step) in steps.iter().enumerate() {
        one(scenario, step, &at.then(number), backend, say);
    }
}

fn one(scenario: &Scenario, step: &Step, at: &FieldPath, backend: &mut BackendState, say: &mut Say<'_>) {
    match step.shape() {
        Shape::Action(_) => action(scenario, step, at, backend, say),
        Shape::Sequence(inner) => in_order(scenario, inner, &at.then("sequence"), backend, say),
        Shape::Parallel(branches) => {
            let at = at.then("parallel");
            for (number, branch) in branches.iter().enumerate() {
                let mut unknown = BackendState::Unknown;
                one(scenario, branch, &at.then(number), &mut unknown, say);
            }
            *backend = BackendState::Unknown;
        }
        Shape::Repeat(repeat) => {
            in_order(scenario, &repeat.steps, &at.then("repeat").then("steps"), backend, say);
        }
        Shape::ForEach(each) => {
            in_order(scenario, &each.steps, &at.then("for-each").then("steps"), backend, say);
        }
    }
}

fn action(scenario: &Scenario, step: &Step, at: &FieldPath, backend: &mut BackendState, say: &mut Say<'_>) {
    if let Step::Spike(it) = step {
        spike(scenario, it, &at.then("spike"), say);
    } else if let Step::Backend(it) = step {
        if let (true, Some(lasts)) = (it.is_outage(), it.lasts)
            && lasts.duration() < FELT
        {
            let why = format!("an outage of {lasts} may be over before a queue that it has filled is read");
            say(Subject::Check("`queues`"), at.then("backend").then("for"), why);
        }
        *backend = if it.lasts.is_none() && it.is_outage() { BackendState::Out } else { BackendState::Well };
    } else if let Step::Wait(it) = step
        && let Some(why) = in_vain(scenario, it.what, *backend)
    {
        say(Subject::Wait, at.then("wait").then("for"), why);
    }
}

fn spike(scenario: &Scenario, spike: &Spike, at: &FieldPath, say: &mut Say<'_>) {
    if !scenario.tier.has(Measure::Hpa) {
        return;
    }
    let Spike { rate, deadline, .. } = *spike;
    if scenario.load.constant().is_some_and(|usual| rate <= usual) {
        let why = format!(
            "a spike of {rate} is not above the rate of the load: the HPA has no reason to scale out"
        );
        say(Subject::Check("`hpa`"), at.then("rate"), why);
    }
    let within = scenario.expect.scale_out_within;
    if deadline.duration() < within.duration() {
        let why = format!(
            "the spike ends after {deadline} even if the HPA has not scaled out, which may take {within}"
        );
        say(Subject::Check("`hpa`, if it does not scale out"), at.then("deadline"), why);
    }
}

/// Returns why a condition cannot come about, if so.
fn in_vain(scenario: &Scenario, what: Condition, backend: BackendState) -> Option<String> {
    let alone = scenario.steps.len() == 1;
    match (what, backend) {
        (Condition::Delivered | Condition::QueuesEmpty, BackendState::Out) => {
            Some(format!("the backend accepts nothing, so it is in vain to wait for {}", what.name()))
        }
        (Condition::QueuesFill, BackendState::Well) if alone => {
            Some("nothing in the scenario makes the queues fill".to_owned())
        }
        (
            Condition::GatewaysReady
            | Condition::Delivered
            | Condition::QueuesFill
            | Condition::QueuesEmpty
            | Condition::ScaledIn,
            BackendState::Well | BackendState::Out | BackendState::Unknown,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn foreseen(text: &str) -> Vec<String> {
        let scenario = Scenario::parse(Path::new("x"), &format!("name: x\n{text}")).unwrap();
        foresee(&scenario).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_will_say_nothing_is_said_beforehand() {
        for (text, what, at) in [
            ("steps: [{spike: {rate: 1000/s}}]", "inconclusive: `hpa`", "steps.0.spike.rate"),
            (
                "steps: [{spike: {rate: 9000/s, deadline: 30s}}]",
                "inconclusive: `hpa`",
                "steps.0.spike.deadline",
            ),
            (
                "steps: [{backend: {answers: unavailable, for: 1s}}]",
                "inconclusive: `queues`",
                "steps.0.backend.for",
            ),
            (
                "steps: [{backend: {answers: hang}}, {sequence: [{wait: {for: delivered}}]}]",
                "not come about",
                "steps.1.sequence.0.wait.for",
            ),
            ("steps: [{wait: {for: queues-fill}}]", "not come about", "steps.0.wait.for"),
        ] {
            let said = foreseen(text);
            let good = matches!(&said[..], [one] if one.contains(what) && one.ends_with(&format!("({at})")));
            assert!(good, "{text}: {said:?}");
        }
    }

    #[test]
    fn what_can_say_something_is_left_alone() {
        for text in [
            "steps: [{drain: {}}]\nexpect: {delivery_gap: 20s}",
            "steps: [{spike: {rate: 9000/s}}]",
            "steps: [{backend: {answers: hang}}, {wait: {for: queues-fill}}, {backend: {answers: ok}}, {wait: {for: delivered}}]",
            "steps: [{backend: {answers: unavailable, for: 20s}}, {wait: {for: delivered}}]",
            "steps: [{parallel: [{backend: {answers: hang}}, {wait: {for: delivered}}]}]",
        ] {
            assert_eq!(foreseen(text), [""; 0], "{text}");
        }
    }
}
