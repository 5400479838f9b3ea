//! The steps as they are planned and carried out. One file each: its targets, the rights that it needs, its duration,
//! and how it is injected, seen to land, healed, and seen to heal. `of` is the list.

#![deny(clippy::wildcard_enum_match_arm)]

mod backend;
pub(crate) mod drain;
mod error;
mod evict;
mod eviction;
mod hold;
mod kill;
mod spike;
mod stage;
mod target;
mod targets;
mod upgrade;
mod wait;
mod window;

pub use error::FaultError;
pub use stage::{Access, Shared, Stage, State, Usual, Watched};
pub use target::{ForEachItem, rounds};
pub use targets::StepTargets;
pub(crate) use targets::{BystanderNamespaces, Candidates};
pub use wait::need;

use crate::extent::DurationRange;
use crate::rights::{RequiredRights, Within};
use crate::scenario::{Backend, Step};
use futures::future::BoxFuture;

/// A step that is no container of other steps, as it is planned and carried out.
pub(crate) trait Perform: Send + Sync {
    /// Returns its targets, as far as they are known before it begins; none if it has none.
    fn planned_targets(&self, among: &Candidates<'_>) -> Option<StepTargets>;

    /// Returns its shortest and its longest duration.
    fn planned_duration(&self, among: &Candidates<'_>) -> DurationRange;

    /// Adds the rights that it needs. `here` is the run's namespace; drains also move the pods of `bystanders`.
    fn add_rights(&self, rights: &mut RequiredRights, here: Within<'_>, bystanders: &BystanderNamespaces<'_>);

    /// Carries it out. Its effect is undone when this returns, even with an error, unless it is meant to last.
    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>>;
}

/// Returns the implementation of a step; none if it only holds other steps.
pub(crate) fn of(step: &Step) -> Option<&dyn Perform> {
    match step {
        Step::Drain(drain) => Some(drain),
        Step::Evict(evict) => Some(evict),
        Step::Kill(kill) => Some(kill),
        Step::Upgrade(upgrade) => Some(upgrade),
        Step::Spike(spike) => Some(spike),
        Step::Backend(backend) => Some(backend),
        Step::Wait(wait) => Some(wait),
        Step::Hold(hold) => Some(hold),
        Step::Sequence(_) | Step::Parallel(_) | Step::Repeat(_) | Step::ForEach(_) => None,
    }
}

/// Makes the backend accept all spans again, if a step left it misbehaving.
///
/// # Errors
/// If the sinks cannot be told, or are not seen to take spans again.
pub async fn heal_backend(stage: &Stage<'_>) -> Result<(), FaultError> {
    Backend::well().perform(stage).await
}
