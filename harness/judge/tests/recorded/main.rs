//! Recorded runs, as they are, damaged, altered, and with faults planted: each must be judged as it must be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod altered_runs;
mod damaged_runs;
mod folders;
mod gateways;
mod guard;
mod load_and_streams;
mod planted;
mod queues;
mod recorded_runs;
mod restarted_probes;
mod sampling;
mod scaling;
mod spans;
