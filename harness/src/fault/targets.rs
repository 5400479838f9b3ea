//! Whom steps are about, as far as that is known before they begin.

use crate::extent::Between;
use crate::scenario::{NodeRole, NodeSelector, PodRole, PodSelector, Targets};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Whom a step is about. Who of them it is, is seen when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What is looked for.
    pub who: String,
    /// How many that are.
    pub number: Between,
    /// Among whom they are: nodes, or objects by kind and name whose pods they are.
    pub among: Vec<String>,
    /// Whether it is done to all of them at the same time.
    pub at_once: bool,
}

/// Among whom the targets of a step are when it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// Every worker, by name.
    pub(crate) workers: &'a [String],
    /// The workers that may hold a gateway.
    pub(crate) hosts: &'a [String],
    /// The number of gateways.
    pub(crate) gateways: Between,
    /// The number of agents, and of emitters: one a worker.
    pub(crate) agents: Between,
    /// The number of sinks.
    pub(crate) sinks: u32,
    /// Whether there is an HPA.
    pub(crate) hpa: bool,
    /// The number of workers that hold a gateway.
    pub(crate) nodes_with_gateway: Between,
    /// What the `for-each` around the step is at: nodes, or the nodes of pods.
    pub(crate) this: Option<&'a [String]>,
}

/// The namespaces of whom drains move besides the tier.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved<'a> {
    /// Those in which a pod is evicted, or deleted.
    pub(crate) evicted: BTreeSet<&'a str>,
    /// Those in which a pod that has finished is deleted.
    pub(crate) deleted: BTreeSet<&'a str>,
}

impl About {
    /// So many pods of an object.
    pub(super) fn pods_of(object: &str, who: &str, number: Between) -> Self {
        Self { who: who.to_owned(), number, among: vec![object.to_owned()], at_once: false }
    }
}

impl Candidates<'_> {
    /// Every one of such nodes.
    pub(crate) fn each_node(&self, each: NodeSelector) -> About {
        let (number, among) = match each {
            NodeSelector::Worker => (self.agents, self.workers),
            NodeSelector::WorkerWithGateway => (self.nodes_with_gateway, self.hosts),
        };
        About { who: each.name().to_owned(), number, among: among.to_vec(), at_once: false }
    }

    /// Nodes.
    pub(super) fn nodes(&self, targets: Targets<NodeSelector, NodeRole>) -> About {
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
                About { who, number: Between::exactly(1), among, at_once: false }
            }
        }
    }

    /// Gateways, all at the same time where it is every one of them.
    pub(crate) fn pods(&self, targets: Targets<PodSelector, PodRole>) -> About {
        let (who, number, at_once) = match targets {
            Targets::Each(each @ PodSelector::Gateways) => (each.name(), self.gateways, true),
            Targets::One(role) => (role.name(), Between::exactly(1), false),
        };
        About { at_once, ..About::pods_of("Deployment/gateway", who, number) }
    }
}
