//! The targets of steps, as far as they are known before the steps begin.

use crate::extent::CountRange;
use crate::scenario::{NodeRole, NodeSelector, PodRole, PodSelector, Targets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The targets of a step. Which of the candidates they are, is determined when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTargets {
    /// The description of the targets.
    pub who: String,
    /// The number of targets.
    pub number: CountRange,
    /// The candidates: nodes, or the owners of pods by kind and name.
    pub among: Vec<String>,
    /// True if the step is done to all of them at the same time.
    pub at_once: bool,
}

/// The candidates for the targets of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// The names of all workers.
    pub(crate) workers: &'a [String],
    /// The names of the workers that may hold a gateway.
    pub(crate) hosts: &'a [String],
    /// The number of gateways.
    pub(crate) gateways: CountRange,
    /// The number of agents, and of emitters: one on each worker.
    pub(crate) agents: CountRange,
    /// The number of sinks.
    pub(crate) sinks: u32,
    /// True if there is an HPA.
    pub(crate) hpa: bool,
    /// The number of workers that hold a gateway.
    pub(crate) nodes_with_gateway: CountRange,
    /// The nodes, or the nodes of the pods, that the `for-each` around the step goes through.
    pub(crate) this: Option<&'a [String]>,
}

/// The namespaces whose pods drains move besides the tier.
#[derive(Debug, Clone, Default)]
pub(crate) struct BystanderNamespaces<'a> {
    /// The namespaces in which a pod is evicted or deleted.
    pub(crate) evicted: BTreeSet<&'a str>,
    /// The namespaces in which a pod that has finished is deleted.
    pub(crate) deleted: BTreeSet<&'a str>,
}

impl StepTargets {
    /// Pods of an object.
    pub(super) fn pods_of(object: &str, who: &str, number: CountRange) -> Self {
        Self { who: who.to_owned(), number, among: vec![object.to_owned()], at_once: false }
    }
}

impl Candidates<'_> {
    /// Every node that a selector selects.
    pub(crate) fn each_node(&self, each: NodeSelector) -> StepTargets {
        let (number, among) = match each {
            NodeSelector::Worker => (self.agents, self.workers),
            NodeSelector::WorkerWithGateway => (self.nodes_with_gateway, self.hosts),
        };
        StepTargets { who: each.name().to_owned(), number, among: among.to_vec(), at_once: false }
    }

    /// The nodes that a step targets.
    pub(super) fn nodes(&self, targets: Targets<NodeSelector, NodeRole>) -> StepTargets {
        match targets {
            Targets::Each(each) => self.each_node(each),
            Targets::One(role) => {
                let among = match role {
                    NodeRole::Random => self.workers,
                    NodeRole::This => self.this.unwrap_or_default(),
                    NodeRole::NotYetDrained | NodeRole::WithBusiestGateway | NodeRole::RandomWithGateway => {
                        self.hosts
                    }
                };
                let (who, among) = (role.name().to_owned(), among.to_vec());
                StepTargets { who, number: CountRange::exactly(1), among, at_once: false }
            }
        }
    }

    /// The gateways that a step targets: all of them at the same time, or one.
    pub(crate) fn pods(&self, targets: Targets<PodSelector, PodRole>) -> StepTargets {
        let (who, number, at_once) = match targets {
            Targets::Each(each @ PodSelector::Gateways) => (each.name(), self.gateways, true),
            Targets::One(role) => (role.name(), CountRange::exactly(1), false),
        };
        StepTargets { at_once, ..StepTargets::pods_of("Deployment/gateway", who, number) }
    }
}
