//! What is around a step, and the rules that depend on it.

use crate::field_path::ensure;
use crate::{Condition, FieldPath, Measure, PodRole, PodSelector, Problem, Scenario};

/// The surroundings of a step: its scenario, and what `this` means in it.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The kind of `this`; none outside of a `for-each`.
    this: Option<ItemKind>,
}

/// The kind of the items of a `for-each`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Node,
    Pod,
}

impl<'a> Surroundings<'a> {
    /// The surroundings of the steps that no other step holds.
    pub(crate) const fn top(scenario: &'a Scenario) -> Self {
        Self { scenario, this: None }
    }

    /// The surroundings of the steps in a `for-each`.
    pub(crate) const fn within(self, this: ItemKind) -> Self {
        Self { scenario: self.scenario, this: Some(this) }
    }

    /// Returns whether `this` means something.
    pub(crate) const fn is_in_for_each(&self) -> bool {
        self.this.is_some()
    }
}

/// Checks `pods` and `pod` of a step: at most one of the two, and `this` only if that is a pod.
///
/// # Errors
/// With the message `both`, if both are given; or if `this` is a node, or means nothing.
pub(crate) fn one_pod(
    pods: Option<PodSelector>,
    pod: Option<PodRole>,
    both: &str,
    around: Surroundings<'_>,
    at: &FieldPath,
) -> Result<(), Problem> {
    let Some(pod) = pod else { return Ok(()) };
    let at = at.then("pod");
    ensure(pods.is_none(), &at, both)?;
    match (pod, around.this) {
        (PodRole::This, None) => {
            Err(Problem::new(at, "there is no `for-each` around this, so nothing is `this`"))
        }
        (PodRole::This, Some(ItemKind::Node)) => {
            let message = "`this` is a node: the `for-each` around this goes through nodes";
            Err(Problem::new(at, message).help("write `for-each: {pods: gateways, …}`"))
        }
        (PodRole::This, Some(ItemKind::Pod)) | (PodRole::BusiestGateway | PodRole::RandomGateway, _) => {
            Ok(())
        }
    }
}

/// Checks that a condition can come about at all.
///
/// # Errors
/// If the tier lacks the HPA that the condition needs.
pub(crate) fn condition(scenario: &Scenario, condition: Condition, at: &FieldPath) -> Result<(), Problem> {
    let there = condition != Condition::ScaledIn || scenario.tier.has(Measure::Hpa);
    ensure(there, at, "`scaled-in` needs the HPA, which the tier does not have")
}
