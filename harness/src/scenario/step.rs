//! What is done, step by step.

use super::backend::{self, Answers, Backend};
use super::{Rate, Span};
use serde::{Deserialize, Serialize};

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Drain nodes as `kubectl drain` does it, and uncordon each.
    Drain(Drain),
    /// Evict pods through the Eviction API, all at the same moment.
    Evict(Evict),
    /// Roll a part of the tier to another version of the Collector.
    Upgrade(Upgrade),
    /// Offer more load for a while.
    Spike(Spike),
    /// From now on the backend answers like this.
    Backend(#[serde(deserialize_with = "backend::sensible")] Backend),
    /// Wait until something has come about.
    Wait(Wait),
    /// Do nothing for a while.
    Hold(Span),
}

/// See [`Step::Drain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// Which nodes. They are determined when the step begins.
    pub each: NodeSelector,
    /// All of them at the same time, instead of one after the other.
    pub at_once: bool,
    /// How long one drain may take.
    pub deadline: Span,
    /// How long a node stays drained before it is uncordoned.
    pub hold: Span,
    /// Also pods that nothing would replace.
    pub unmanaged: bool,
    /// Also pods whose emptyDir volumes are lost with them.
    pub empty_dir: bool,
}

/// Nodes, by what they are to the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeSelector {
    /// Workers on which a gateway runs.
    WorkerWithGateway,
    /// All workers.
    Worker,
}

/// See [`Step::Evict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evict {
    /// Which pods. They are determined when the step begins.
    pub pods: PodSelector,
    /// How long the evictions may take, and the replacements to be ready.
    pub deadline: Span,
}

/// Pods, by what they are to the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodSelector {
    /// All gateways.
    Gateways,
}

/// See [`Step::Upgrade`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// What is rolled.
    pub what: Part,
    /// The version to roll to.
    pub to: String,
    /// How long it may take.
    #[serde(default = "default_rollout")]
    pub deadline: Span,
}

/// A part of the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The gateways' Deployment.
    Gateways,
    /// The agents' `DaemonSet`.
    Agents,
}

impl Part {
    /// What it is called in the manifests.
    pub const fn app(self) -> &'static str {
        match self {
            Self::Gateways => "gateway",
            Self::Agents => "agent",
        }
    }

    /// What it is called in reports, as in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateways => "gateways",
            Self::Agents => "agents",
        }
    }
}

/// See [`Step::Spike`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// Spans per second, over all emitters, instead of the load's own.
    pub rate: Rate,
    /// How long it lasts; where there is an HPA, behind the moment in which it has gone out.
    #[serde(default = "default_hold")]
    pub hold: Span,
    /// How long the HPA may take to go out before the spike ends without it.
    #[serde(default = "default_patience")]
    pub deadline: Span,
}

/// See [`Step::Wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// What is awaited.
    #[serde(rename = "for")]
    pub what: Condition,
    /// How long it may take.
    #[serde(default = "default_patience")]
    pub deadline: Span,
}

/// What can be awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Every agent's queue has held something for a while.
    QueuesFill,
    /// Every agent's queue is empty.
    QueuesEmpty,
    /// The HPA wants as few gateways as it may have, and that many are there.
    ScaledIn,
}

impl Condition {
    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueuesFill => "every agent's queue to hold something",
            Self::QueuesEmpty => "every agent's queue to be empty",
            Self::ScaledIn => "the HPA to have gone in to its minimum",
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            each: NodeSelector::WorkerWithGateway,
            at_once: false,
            deadline: Span::seconds(120),
            hold: Span::seconds(5),
            unmanaged: false,
            empty_dir: false,
        }
    }
}

impl Default for Evict {
    fn default() -> Self {
        Self { pods: PodSelector::Gateways, deadline: Span::seconds(120) }
    }
}

const fn default_rollout() -> Span {
    Span::seconds(180)
}
const fn default_hold() -> Span {
    Span::seconds(60)
}
const fn default_patience() -> Span {
    Span::seconds(120)
}

impl Step {
    /// What it is called in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Drain(drain) => {
                let each = match drain.each {
                    NodeSelector::WorkerWithGateway => "drain each worker with a gateway",
                    NodeSelector::Worker => "drain each worker",
                };
                format!("{each}{}", if drain.at_once { ", all at once" } else { "" })
            }
            Self::Evict(Evict { pods: PodSelector::Gateways, .. }) => "evict all gateways at once".to_owned(),
            Self::Upgrade(upgrade) => format!("roll the {} to {}", upgrade.what.name(), upgrade.to),
            Self::Spike(spike) => format!("spike of {}", spike.rate),
            Self::Backend(backend) => backend.name(),
            Self::Wait(wait) => format!("wait for {}", wait.what.name()),
            Self::Hold(span) => format!("hold {span}"),
        }
    }

    /// Whether a fault begins with it.
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Drain(_) | Self::Evict(_) | Self::Upgrade(_) | Self::Spike(_) => true,
            Self::Backend(backend) => !matches!(backend.answers, Answers::Ok),
            Self::Wait(_) | Self::Hold(_) => false,
        }
    }
}
