//! Whom a step is about: by what nodes and pods are to the tier. Who that is, is resolved when the step begins, and
//! recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nodes, each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeSelector {
    /// Workers on which a gateway runs.
    WorkerWithGateway,
    /// All workers.
    Worker,
}

/// One node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeRole {
    /// A worker on which a gateway runs, and which no step of this run has drained; the first by name.
    NotYetDrained,
    /// The one on which the gateway runs that delivered most in the last ten seconds.
    WithBusiestGateway,
    /// A worker on which a gateway runs, drawn by the run's seed.
    RandomWithGateway,
    /// A worker, drawn by the run's seed.
    Random,
    /// The one that the `for-each` around this step is at; of a pod, the one on which it ran.
    This,
}

/// Pods, each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodSelector {
    /// All gateways.
    Gateways,
}

/// One pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodRole {
    /// The gateway that delivered most in the last ten seconds.
    BusiestGateway,
    /// A gateway, drawn by the run's seed.
    RandomGateway,
    /// The one that the `for-each` around this step is at.
    This,
}

/// All of several, or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets<Each, One> {
    /// Every one that is such.
    Each(Each),
    /// One that is such.
    One(One),
}

impl NodeSelector {
    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkerWithGateway => "each worker with a gateway",
            Self::Worker => "each worker",
        }
    }
}

impl NodeRole {
    /// What it is called in reports.
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
    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateways => "each gateway",
        }
    }
}

impl PodRole {
    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BusiestGateway => "the busiest gateway",
            Self::RandomGateway => "a gateway, at random",
            Self::This => "this gateway",
        }
    }
}
