//! spanproof: chaos and resilience tests for a highly available OpenTelemetry Collector gateway tier.
//!
//! A run goes one way: a scenario is carried out on a cluster, everything that is observed is appended to
//! a run folder, and the judge is a pure function of that folder.
//!
//! ```text
//! scenario ──> run ──drives──> load, faults        (cluster)
//!               └──appends──> record <──watches── observers
//!                               └──> judge ──> report
//! ```

pub mod check;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod deploy;
pub mod fault;
pub mod guard;
pub mod journal;
pub mod judge;
pub mod load;
pub mod observe;
pub mod plan;
pub mod record;
pub mod report;
pub mod restore;
pub mod run;
pub mod scenario;
pub mod settle;
pub mod world;
mod yaml;
