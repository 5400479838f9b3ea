//! Rules for the Collector's versions: each is the tag of an image, and each roll-out changes the version.

use crate::field_path::ensure;
use crate::{FieldPath, Part, Problem, Scenario, Shape, Step, Upgrade};

/// The longest tag of an image
/// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>).
const LONGEST: usize = 128;

pub(super) fn check(scenario: &Scenario) -> Result<(), Problem> {
    let collector = scenario.tier.collector.as_str();
    tag(collector, &FieldPath::of("tier.collector"))?;
    let mut now = Versions { gateways: collector, agents: collector, again: false };
    now.each(&scenario.steps, &FieldPath::of("steps"))
}

fn tag(version: &str, at: &FieldPath) -> Result<(), Problem> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = version.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_');
    let good = first && version.len() <= LONGEST && version.bytes().all(inner);
    ensure(good, at, format!("{version:?} is no version")).map_err(|it| it.help("write it like 0.161.0"))
}

/// The versions that run when a step begins.
struct Versions<'a> {
    gateways: &'a str,
    agents: &'a str,
    /// True in a later round of a `repeat`: inner repeats were checked in the first one.
    again: bool,
}

impl<'a> Versions<'a> {
    fn each(&mut self, steps: &'a [Step], at: &FieldPath) -> Result<(), Problem> {
        steps.iter().enumerate().try_for_each(|(number, step)| self.step(step, &at.then(number)))
    }

    fn step(&mut self, step: &'a Step, at: &FieldPath) -> Result<(), Problem> {
        let at = &at.then(step.key());
        if let Step::Upgrade(upgrade) = step {
            return self.upgrade(upgrade, at);
        }
        match step.shape() {
            Shape::Action(_) => Ok(()),
            Shape::Sequence(steps) | Shape::Parallel(steps) => self.each(steps, at),
            Shape::Repeat(repeat) => {
                let at = &at.then("steps");
                self.each(&repeat.steps, at)?;
                if repeat.times == 1 || self.again {
                    return Ok(());
                }
                // A later round begins with the versions that the first one leaves.
                self.again = true;
                let tried = self.each(&repeat.steps, at);
                self.again = false;
                tried
            }
            Shape::ForEach(each) => self.each(&each.steps, &at.then("steps")),
        }
    }

    fn upgrade(&mut self, upgrade: &'a Upgrade, at: &FieldPath) -> Result<(), Problem> {
        let at = at.then("to");
        tag(&upgrade.to, &at)?;
        let (name, now) = match upgrade.what {
            Part::Gateways => ("gateways", &mut self.gateways),
            Part::Agents => ("agents", &mut self.agents),
        };
        let message = format!("the {name} are of {} by then: nothing would be replaced", upgrade.to);
        ensure(*now != upgrade.to, &at, message)?;
        *now = &upgrade.to;
        Ok(())
    }
}
