//! emitter → agent → two gateways → sink from the real images, in containers, without Kubernetes.
//!
//! What keeps every span is shown to keep it, and every known way to lose one is shown to be seen. Needs what
//! `ci/setup` prepares, and a container engine on the same (Linux) machine. The cases wait more than they
//! compute: run several at a time (`--test-threads=6`). What takes long is ignored by default; `ci/nightly`
//! runs all of it.
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
