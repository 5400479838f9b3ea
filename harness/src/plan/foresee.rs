//! Which checks will say nothing, whatever happens: known from the scenario and the tier's manifests alone. Said beforehand,
//! and no reason not to run it.

use crate::deploy::Made;
use crate::scenario::{Answers, Condition, Expect, Measure, Place, Scenario, Span, Step};
use std::time::Duration;

/// The shortest time that the checks `load` and `steady-state` can say something of.
const SHORTEST_LOAD: Duration = Duration::from_secs(8);
/// A window of the check `balance`.
const BALANCE_WINDOW: Duration = Duration::from_secs(20);
/// How often the Collectors' metrics are read, with some room: a queue that held something for less may not be seen to.
const FELT: Duration = Duration::from_secs(5);

/// What will come to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The check, or what waits in vain.
    pub what: String,
    /// Why.
    pub why: String,
    /// The place in the scenario that says so.
    pub at: Place,
}

impl std::fmt::Display for Foreseen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "will be inconclusive: {}: {} ({})", self.what, self.why, self.at)
    }
}

/// Everything that will come to nothing.
pub fn foresee(scenario: &Scenario, made: &Made) -> Vec<Foreseen> {
    let mut found = Vec::new();
    let mut say = |what: &str, at: Place, why: String| {
        found.push(Foreseen { what: what.to_owned(), why, at });
    };
    short_load(scenario, &mut say);
    settling(scenario, made, &mut say);
    let mut backend = Backend::Well;
    in_order(scenario, &scenario.steps, &Place::of("steps"), &mut backend, &mut say);
    found
}

type Say<'a> = dyn FnMut(&str, Place, String) + 'a;

fn short_load(scenario: &Scenario, say: &mut Say<'_>) {
    let fault = scenario.all_steps().any(Step::is_fault);
    let steady = scenario.steady.duration();
    if steady < SHORTEST_LOAD {
        let why = format!(
            "{} of load before the first step is less than the {}s that it takes to see a rate",
            scenario.steady,
            SHORTEST_LOAD.as_secs()
        );
        say("`load`", Place::of("steady"), why);
    }
    if !fault && scenario.expect.delivery_gap.is_some() {
        say(
            "`availability`",
            Place::of("expect.delivery_gap"),
            "there is no fault in the scenario".to_owned(),
        );
    }
    let spikes = scenario.all_steps().any(|step| matches!(step, Step::Spike(_)));
    let held = scenario.steps.iter().filter_map(held).fold(steady, Duration::saturating_add);
    if let (Some(share), false) = (changed(scenario.expect), spikes)
        && held < BALANCE_WINDOW
        && !fault
    {
        let why = format!("it takes {}s of load and this one lasts less", BALANCE_WINDOW.as_secs());
        say("`balance`", Place::of("expect.share_within"), format!("{why}; {share} is never looked at"));
    }
}

/// A share's time that the scenario asks for by itself.
fn changed(expect: Expect) -> Option<Span> {
    let usual = Expect::default().share_within;
    (expect.share_within != usual).then_some(expect.share_within)
}

fn held(step: &Step) -> Option<Duration> {
    if let Step::Hold(span) = step { Some(span.duration()) } else { None }
}

/// Whether the end is awaited for as long as a span may be on its way.
fn settling(scenario: &Scenario, made: &Made, say: &mut Say<'_>) {
    let (deadline, pause) = (scenario.settle.deadline.duration(), made.facts.worst_retry_pause());
    if deadline <= pause {
        let why = format!(
            "waiting ends after {}, and a Collector of this tier may pause for {:.1}s between two tries: what has not \
             arrived by then may still be on its way",
            scenario.settle.deadline,
            pause.as_secs_f64()
        );
        say("`loss`, if anything is late", Place::of("settle.deadline"), why);
    }
}

/// What the backend does when a step begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Well,
    /// It takes nothing until another step.
    Out,
    /// What it takes is not known: another branch may change it.
    Unknown,
}

fn in_order(scenario: &Scenario, steps: &[Step], at: &Place, backend: &mut Backend, say: &mut Say<'_>) {
    for (number, step) in steps.iter().enumerate() {
        one(scenario, step, &at.then(number), backend, say);
    }
}

fn one(scenario: &Scenario, step: &Step, at: &Place, backend: &mut Backend, say: &mut Say<'_>) {
    match step {
        Step::Spike(spike) => {
            let at = at.then("spike");
            let usual = scenario.load.constant();
            if scenario.tier.has(Measure::Hpa) && usual.is_some_and(|usual| spike.rate <= usual) {
                let why = format!(
                    "a spike of {} is no more than the load has already: the HPA has no cause to go out",
                    spike.rate
                );
                say("`hpa`", at.then("rate"), why);
            }
            let within = scenario.expect.scale_out_within;
            if scenario.tier.has(Measure::Hpa) && spike.deadline.duration() < within.duration() {
                let why = format!(
                    "the spike ends after {} without the HPA, which may take {within}",
                    spike.deadline
                );
                say("`hpa`, if it does not go out", at.then("deadline"), why);
            }
        }
        Step::Backend(it) => {
            let at = at.then("backend");
            if let (true, Some(lasts)) = (it.is_outage(), it.lasts)
                && lasts.duration() < FELT
            {
                let why =
                    format!("an outage of {lasts} may be over before a queue was read that had grown by it");
                say("`queues`", at.then("for"), why);
            }
            *backend = match it.lasts {
                Some(_) => Backend::Well,
                None if it.is_outage() => Backend::Out,
                None => Backend::Well,
            };
            if matches!(it.answers, Answers::Forget(_)) && it.lasts.is_none() {
                // It answers as one that is well.
                *backend = Backend::Well;
            }
        }
        Step::Wait(wait) if *backend == Backend::Out => match wait.what {
            Condition::Delivered | Condition::QueuesEmpty => {
                let why = format!("the backend takes nothing, so nobody will see {}", wait.what.name());
                say("`faults`", at.then("wait").then("for"), why);
            }
            Condition::GatewaysReady | Condition::QueuesFill | Condition::ScaledIn => {}
        },
        Step::Wait(wait) => {
            let well = *backend == Backend::Well && scenario.steps.len() == 1;
            if wait.what == Condition::QueuesFill && well {
                let why = "nothing in the scenario makes the queues fill".to_owned();
                say("`faults`", at.then("wait").then("for"), why);
            }
        }
        Step::Sequence(inner) => in_order(scenario, inner, &at.then("sequence"), backend, say),
        Step::Parallel(branches) => {
            let at = at.then("parallel");
            for (number, branch) in branches.iter().enumerate() {
                let mut unknown = Backend::Unknown;
                one(scenario, branch, &at.then(number), &mut unknown, say);
            }
            *backend = Backend::Unknown;
        }
        Step::Repeat(repeat) => {
            in_order(scenario, &repeat.steps, &at.then("repeat").then("steps"), backend, say);
        }
        Step::ForEach(each) => {
            in_order(scenario, &each.steps, &at.then("for-each").then("steps"), backend, say);
        }
        Step::Drain(_) | Step::Evict(_) | Step::Upgrade(_) | Step::Hold(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SOME_RUN;
    use crate::run::manifests_dir;
    use std::path::Path;

    fn foreseen(text: &str) -> Vec<String> {
        let scenario = Scenario::parse(Path::new("x"), &format!("name: x\n{text}")).unwrap();
        let made = Made::by_run(&manifests_dir(None), &scenario.tier, SOME_RUN).unwrap();
        foresee(&scenario, &made).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_will_say_nothing_is_said_beforehand() {
        for (text, what, at) in [
            ("steady: 3s", "`load`", "steady"),
            ("settle: {deadline: 20s}", "`loss`", "settle.deadline"),
            ("steps: [{spike: {rate: 1000/s}}]", "`hpa`", "steps.0.spike.rate"),
            ("steps: [{spike: {rate: 9000/s, deadline: 30s}}]", "`hpa`", "steps.0.spike.deadline"),
            ("steps: [{backend: {answers: unavailable, for: 1s}}]", "`queues`", "steps.0.backend.for"),
            (
                "steps: [{backend: {answers: hang}}, {sequence: [{wait: {for: delivered}}]}]",
                "`faults`",
                "steps.1.sequence.0.wait.for",
            ),
            ("steps: [{wait: {for: queues-fill}}]", "`faults`", "steps.0.wait.for"),
            ("expect: {delivery_gap: 20s}", "`availability`", "expect.delivery_gap"),
        ] {
            let said = foreseen(text);
            let good = matches!(&said[..], [one] if one.starts_with(&format!("will be inconclusive: {what}")) && one.ends_with(&format!("({at})")));
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
