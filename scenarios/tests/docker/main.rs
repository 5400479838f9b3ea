//! emitter → agent → two gateways → sink from the real images, in containers, without Kubernetes.
//!
//! The tests show that the shipped tier keeps every span, and that every known way to lose one is seen. They need the
//! preparations of `ci/setup`, and a container engine on the same (Linux) machine. The cases wait more than they
//! compute: run several at a time (`--test-threads=6`). Long cases are ignored by default; `ci/nightly` runs them all.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod config;
mod engine;
mod keeps;
mod leaves_nothing;
mod loses;
mod misbehaves;
mod outcome;
mod probe;
mod tier;
mod wire;
