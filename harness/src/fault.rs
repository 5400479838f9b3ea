//! What steps do to the cluster: one file each, with its targets, the rights that it needs, how long it takes, and how it
//! is injected, seen to land, healed, and seen to heal. [`of`] is the list.

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
pub use target::{This, rounds};
pub use targets::About;
pub(crate) use targets::{Candidates, Moved};
pub use wait::need;

use crate::extent::Takes;
use crate::rights::{Asking, Within};
use crate::scenario::{Backend, Step};
use futures::future::BoxFuture;

/// A step that does something by itself, as it is planned and carried out.
pub(crate) trait Perform: Send + Sync {
    /// Returns whom it is about, as far as that is known before it begins; none if it is about nobody.
    fn about(&self, among: &Candidates<'_>) -> Option<About>;

    /// Returns the shortest and the longest time that it takes.
    fn takes(&self, among: &Candidates<'_>) -> Takes;

    /// Asks for the rights that it needs. `here` is the run's namespace, `moved` whom drains move besides the tier.
    fn rights(&self, asking: &mut Asking, here: Within<'_>, moved: &Moved<'_>);

    /// Carries it out: what it does is undone when this returns, whatever happened, unless it is meant to stay.
    fn perform<'a>(&'a self, stage: &'a Stage<'_>) -> BoxFuture<'a, Result<(), FaultError>>;
}

/// Returns what a step does; none if it only holds other steps.
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

/// Makes the backend take everything again, if a step left it misbehaving.
///
/// # Errors
/// If the sinks cannot be told, or are not seen to take spans again.
pub async fn heal_backend(stage: &Stage<'_>) -> Result<(), FaultError> {
    Backend::well().perform(stage).await
}
