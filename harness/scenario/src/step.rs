//! What is done, step by step.

use super::{Answers, Backend, NodeRole, NodeSelector, PodRole, PodSelector, Rate, Span, Targets};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    Backend(Backend),
    /// Wait until something has come about.
    Wait(Wait),
    /// Do nothing for a while.
    Hold(Span),
    /// Steps one after the other, as one: for a branch of a `parallel`.
    Sequence(Vec<Step>),
    /// All of these at the same time; it is over when each of them is.
    Parallel(Vec<Step>),
    /// The same steps several times.
    Repeat(Repeat),
    /// The same steps for each node, or each pod: one after the other.
    ForEach(ForEach),
}

/// The same steps several times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How often.
    #[schemars(range(min = 1))]
    pub times: u32,
    /// What is done each time.
    pub steps: Vec<Step>,
}

/// The same steps for each node, or each pod: one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// Nodes, or else `pods`. They are determined when the step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeSelector>,
    /// Pods, or else `nodes`. They are determined when the step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// What is done for each; `this` in them is the one.
    pub steps: Vec<Step>,
}

/// Which nodes are drained, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// Every one of such nodes, determined when the step begins. Without it and `node`: each worker with a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<NodeSelector>,
    /// One node, determined when the step begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRole>,
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

/// Which pods are evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evict {
    /// Every one of such pods at the same moment, determined when the step begins. Without it and `pod`: all gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// One pod, determined when the step begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRole>,
    /// How long the evictions may take, and the replacements to be ready.
    pub deadline: Span,
}

/// What is rolled, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// How much more load, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// What is awaited, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// As many gateways are ready as there must be, and none is on its way out.
    GatewaysReady,
    /// Everything that was acknowledged when the wait began has been delivered.
    Delivered,
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
            Self::GatewaysReady => "as many gateways to be ready as there must be",
            Self::Delivered => "what is acknowledged by now to be delivered",
            Self::QueuesFill => "every agent's queue to hold something",
            Self::QueuesEmpty => "every agent's queue to be empty",
            Self::ScaledIn => "the HPA to have gone in to its minimum",
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            each: None,
            node: None,
            at_once: false,
            deadline: Span::seconds(120),
            hold: Span::seconds(5),
            unmanaged: false,
            empty_dir: false,
        }
    }
}

impl Drain {
    /// Which nodes.
    pub fn nodes(&self) -> Targets<NodeSelector, NodeRole> {
        let each = self.each.unwrap_or(NodeSelector::WorkerWithGateway);
        self.node.map_or(Targets::Each(each), Targets::One)
    }
}

impl Evict {
    /// Which pods.
    pub fn targets(&self) -> Targets<PodSelector, PodRole> {
        let each = self.pods.unwrap_or(PodSelector::Gateways);
        self.pod.map_or(Targets::Each(each), Targets::One)
    }
}

impl ForEach {
    /// What it goes through.
    pub fn name(&self) -> String {
        match (self.nodes, self.pods) {
            (Some(nodes), _) => nodes.name().to_owned(),
            (None, Some(pods)) => pods.name().to_owned(),
            (None, None) => "nothing".to_owned(),
        }
    }
}

impl Default for Evict {
    fn default() -> Self {
        Self { pods: None, pod: None, deadline: Span::seconds(120) }
    }
}

pub(super) const fn default_rollout() -> Span {
    Span::seconds(180)
}
const fn default_hold() -> Span {
    Span::seconds(60)
}
pub(super) const fn default_patience() -> Span {
    Span::seconds(120)
}

impl Step {
    /// What it is called in reports.
    pub fn name(&self) -> String {
        match self {
            Self::Drain(drain) => {
                let nodes = match drain.nodes() {
                    Targets::Each(each) => each.name(),
                    Targets::One(one) => one.name(),
                };
                format!("drain {nodes}{}", if drain.at_once { ", all at once" } else { "" })
            }
            Self::Evict(evict) => match evict.targets() {
                Targets::Each(PodSelector::Gateways) => "evict all gateways at once".to_owned(),
                Targets::One(one) => format!("evict {}", one.name()),
            },
            Self::Upgrade(upgrade) => format!("roll the {} to {}", upgrade.what.name(), upgrade.to),
            Self::Spike(spike) => format!("spike of {}", spike.rate),
            Self::Backend(backend) => backend.name(),
            Self::Wait(wait) => format!("wait for {}", wait.what.name()),
            Self::Hold(span) => format!("hold {span}"),
            Self::Sequence(steps) => format!("{} steps", steps.len()),
            Self::Parallel(branches) => format!("{} branches at the same time", branches.len()),
            Self::Repeat(repeat) => match &repeat.steps[..] {
                [one] => format!("{} times: {}", repeat.times, one.name()),
                several => format!("{} times {} steps", repeat.times, several.len()),
            },
            Self::ForEach(each) => format!("for {}", each.name()),
        }
    }

    /// What it is called in scenarios.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::Drain(_) => "drain",
            Self::Evict(_) => "evict",
            Self::Upgrade(_) => "upgrade",
            Self::Spike(_) => "spike",
            Self::Backend(_) => "backend",
            Self::Wait(_) => "wait",
            Self::Hold(_) => "hold",
            Self::Sequence(_) => "sequence",
            Self::Parallel(_) => "parallel",
            Self::Repeat(_) => "repeat",
            Self::ForEach(_) => "for-each",
        }
    }

    /// The steps in it, each once.
    pub fn inner(&self) -> &[Self] {
        match self {
            Self::Sequence(steps) | Self::Parallel(steps) => steps,
            Self::Repeat(repeat) => &repeat.steps,
            Self::ForEach(each) => &each.steps,
            _ => &[],
        }
    }

    /// Whether a fault begins with it.
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Drain(_) | Self::Evict(_) | Self::Upgrade(_) | Self::Spike(_) => true,
            Self::Backend(backend) => !matches!(backend.answers, Answers::Ok),
            Self::Wait(_)
            | Self::Hold(_)
            | Self::Sequence(_)
            | Self::Parallel(_)
            | Self::Repeat(_)
            | Self::ForEach(_) => false,
        }
    }
}
