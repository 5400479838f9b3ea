//! The place of a step in a scenario: `2`, or `3.2.1` for a step in other steps.

use super::{Scenario, Shape, Step};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The place of a step. The first number is the step of the scenario; each further one the step of a `sequence`, the
/// branch of a `parallel`, or first the round and then the step of a `repeat` or `for-each`. All from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepPath(Vec<usize>);

impl StepPath {
    /// A step of the scenario itself, from 1.
    pub fn top(number: usize) -> Self {
        Self(vec![number])
    }

    /// A step, branch or round in it, from 1.
    #[must_use]
    pub fn child(&self, number: usize) -> Self {
        Self(self.0.iter().copied().chain([number]).collect())
    }

    /// Returns whether this is the other one, or contains it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The number of the step of the scenario itself that it is, or is in.
    pub fn top_number(&self) -> usize {
        self.0.first().copied().unwrap_or_default()
    }

    /// The depth: 1 for a step of the scenario itself.
    pub const fn depth(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

impl FromStr for StepPath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split('.').map(str::parse).collect();
        match numbers {
            Ok(numbers) if numbers.iter().all(|number| *number > 0) => Ok(Self(numbers)),
            _ => Err(format!("{text:?} is not the place of a step: write it like 2 or 3.2.1")),
        }
    }
}

impl Serialize for StepPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `3` and `3.2` are numbers in YAML: as text they are as they were written.
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for StepPath {
    fn schema_name() -> Cow<'static, str> {
        "StepPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The place of a step, from 1: `2`, or `3.2.1` for a step in other steps.",
            "type": ["string", "number"],
            "pattern": r"^[1-9][0-9]*(\.[1-9][0-9]*)*$",
            "minimum": 1,
            "examples": [2, "3.2.1"],
        })
    }
}

impl Scenario {
    /// Returns the step at a place; none if there is none.
    pub fn step_at(&self, path: &StepPath) -> Option<&Step> {
        let mut numbers = path.0.iter().map(|number| number - 1);
        let mut step = self.steps.get(numbers.next()?)?;
        while let Some(number) = numbers.next() {
            step = match step.shape() {
                Shape::Sequence(steps) | Shape::Parallel(steps) => steps.get(number)?,
                Shape::Repeat(repeat) if number < repeat.times as usize => {
                    repeat.steps.get(numbers.next()?)?
                }
                Shape::ForEach(each) => each.steps.get(numbers.next()?)?,
                Shape::Action(_) | Shape::Repeat(_) => return None,
            };
        }
        Some(step)
    }

    /// Returns every step once, containers before the steps in them.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        let mut found = Vec::new();
        let mut left: Vec<&Step> = self.steps.iter().rev().collect();
        while let Some(step) = left.pop() {
            found.push(step);
            left.extend(step.inner().iter().rev());
        }
        found.into_iter()
    }

    /// Returns every action with its place, once for each round. `rounds`: the number of rounds of the `for-each` at a
    /// place.
    pub fn places(&self, rounds: impl Fn(&StepPath) -> usize) -> Vec<(StepPath, &Step)> {
        let mut found = Vec::new();
        for (number, step) in (1..).zip(&self.steps) {
            places(step, StepPath::top(number), &rounds, &mut found);
        }
        found
    }
}

fn places<'a>(
    step: &'a Step,
    path: StepPath,
    rounds: &impl Fn(&StepPath) -> usize,
    found: &mut Vec<(StepPath, &'a Step)>,
) {
    let rounds_here = match step.shape() {
        Shape::Sequence(steps) | Shape::Parallel(steps) => {
            for (number, step) in (1..).zip(steps) {
                places(step, path.child(number), rounds, found);
            }
            return;
        }
        Shape::Repeat(repeat) => repeat.times as usize,
        Shape::ForEach(_) => rounds(&path),
        Shape::Action(_) => return found.push((path, step)),
    };
    for round in 1..=rounds_here {
        for (number, step) in (1..).zip(step.inner()) {
            places(step, path.child(round).child(number), rounds, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const NESTED: &str = "
name: nested
steps:
  - hold: 1s
  - repeat:
      times: 2
      steps:
        - hold: 2s
        - parallel:
            - hold: 3s
            - sequence: [hold: 4s, hold: 5s]
  - for-each:
      nodes: worker
      steps:
        - drain: {node: this}
";

    #[test]
    fn every_step_has_a_place_and_is_found_there() {
        let scenario = Scenario::parse(Path::new("x"), NESTED).unwrap();
        let places = scenario.places(|path| if path.to_string() == "3" { 3 } else { 0 });
        let named: Vec<_> = places.iter().map(|(path, step)| format!("{path} {}", step.name())).collect();
        let expected = [
            "1 hold 1s",
            "2.1.1 hold 2s",
            "2.1.2.1 hold 3s",
            "2.1.2.2.1 hold 4s",
            "2.1.2.2.2 hold 5s",
            "2.2.1 hold 2s",
            "2.2.2.1 hold 3s",
            "2.2.2.2.1 hold 4s",
            "2.2.2.2.2 hold 5s",
            "3.1.1 drain this node",
            "3.2.1 drain this node",
            "3.3.1 drain this node",
        ];
        assert_eq!(named, expected);
        for (path, step) in &places {
            assert_eq!(scenario.step_at(path), Some(*step), "{path}");
            assert_eq!(path.to_string().parse::<StepPath>().unwrap(), *path);
        }
        for nowhere in ["4", "1.1", "2.3.1", "2.1.3", "2.1.2.2.3"] {
            assert_eq!(scenario.step_at(&nowhere.parse().unwrap()), None, "{nowhere}");
        }
        assert_eq!(scenario.all_steps().count(), 10);
    }

    #[test]
    fn a_place_is_written_with_dots() {
        for wrong in ["", "0", "1.", "a", "1.0", "-1"] {
            assert!(wrong.parse::<StepPath>().is_err(), "{wrong}");
        }
    }
}
