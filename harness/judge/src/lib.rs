//! The run folder's format, and the judgement: a pure function of the run folder, which reaches neither Kubernetes nor
//! the network.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod clock;
mod judge;
pub mod record;
pub mod sampling;
pub mod world;

pub use judge::*;
use spanproof_scenario as scenario;
