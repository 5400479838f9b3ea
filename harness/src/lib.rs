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
//!
//! A [`scenario`] is a YAML file, or it is built: the same model, and the same rules.
//!
//! ```
//! use spanproof::scenario::{CheckName, Condition, Control, Measure, NodeSelector, Scenario, Step};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scenario = Scenario::new("two-drains")
//!     .about("Both gateways' nodes at once: the PDB must refuse the second eviction.")
//!     .without(Measure::Hpa)
//!     .rate("2000/s".parse()?)
//!     .step(Step::drain_at_once(NodeSelector::WorkerWithGateway))
//!     .step(Step::wait(Condition::Delivered))
//!     .control(
//!         Control::new("no-pdb", "nothing refuses the second eviction")
//!             .set("tier.without", serde_json::json!(["hpa", "pdb"]))
//!             .red(CheckName::Pdb)
//!             .red(CheckName::Availability),
//!     )
//!     .checked()?;
//! assert_eq!(scenario.steps.len(), 2);
//!
//! // What makes no sense is refused, with its place and what to do.
//! let alone = Scenario::new("alone").step(Step::parallel([]));
//! assert_eq!(alone.checked().unwrap_err().to_string(), "steps.0.parallel: there are no steps in it");
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod cluster;
pub mod config;
pub mod deploy;
mod extent;
pub mod fault;
pub mod guard;
pub mod host;
pub mod images;
pub mod journal;
mod kubernetes;
pub mod labels;
pub mod load;
pub mod location;
pub mod observe;
pub mod plan;
pub mod progress;
pub mod report;
pub mod restore;
mod rights;
pub mod run;
pub mod scope;
pub mod settle;
mod timeouts;
pub mod undo;

pub use spanproof_judge::{self as judge, record, sampling, world};
pub use spanproof_scenario::{self as scenario, given, yaml};
