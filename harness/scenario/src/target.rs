//! The targets of steps, by the role of nodes and pods in the tier. They are resolved when the step begins, and put on
//! record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A selector of nodes: all of them are targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeSelector {
    /// Workers on which a gateway runs.
    WorkerWithGateway,
    /// All workers.
    Worker,
}

/// The role of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// A worker on which a gateway runs, and which no step of this run has drained; the first by name.
    NotYetDrained,
    /// The worker with the gateway that delivered most in the last ten seconds.
    WithBusiestGateway,
    /// A worker on which a gateway runs, drawn by the run's seed.
    RandomWithGateway,
    /// A worker, drawn by the run's seed.
    Random,
    /// The current node of the `for-each` around this step; of a pod, the node on which it ran.
    This,
}

/// A selector of pods: all of them are targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodSelector {
    /// All gateways.
    Gateways,
}

/// The role of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodRole {
    /// The gateway that delivered most in the last ten seconds.
    BusiestGateway,
    /// A gateway, drawn by the run's seed.
    RandomGateway,
    /// The current pod of the `for-each` around this step.
    This,
}

/// All of several, or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets<Each, One> {
    /// All that a selector selects.
    Each(Each),
    /// One, by its role.
    One(One),
}

impl NodeSelector {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkerWithGateway => "each worker with a gateway",
            Self::Worker => "each worker",
        }
    }
}

impl NodeRole {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotYetDrained => "a worker with a gateway that was not drained yet",
            Self::WithBusiestGateway => "the worker with the busiest gateway",
            Self::RandomWithGateway => "a worker with a gateway, at random",
            Self::Random => "a worker, at random",
            Self::This => "this node",
        }
    }
}

impl PodSelector {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateways => "each gateway",
        }
    }
}

impl PodRole {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BusiestGateway => "the busiest gateway",
            Self::RandomGateway => "a gateway, at random",
            Self::This => "this gateway",
        }
    }
}
