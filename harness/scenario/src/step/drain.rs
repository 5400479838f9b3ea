//! The step `drain`.

use super::{Action, Surroundings, Traits};
use crate::field_path::ensure;
use crate::limits::time;
use crate::{FaultName, FieldPath, NodeRole, NodeSelector, Problem, Span, Targets};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The nodes to drain, and the options of the drain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("examples" = [{"node": "with-busiest-gateway", "hold": "10s"}]))]
pub struct Drain {
    /// Every one of such nodes, determined when the step begins. Without it and `node`: each worker with a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<NodeSelector>,
    /// One node, determined when the step begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRole>,
    /// All of them at the same time, instead of one after the other.
    pub at_once: bool,
    /// The timeout of one drain: until its pods are gone, and again until as many gateways are ready as before.
    pub deadline: Span,
    /// The time for which a node stays drained before it is uncordoned.
    pub hold: Span,
    /// Also evict pods that nothing would replace.
    pub unmanaged: bool,
    /// Also evict pods whose emptyDir volumes are lost with them.
    pub empty_dir: bool,
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
    /// The nodes to drain.
    pub fn nodes(&self) -> Targets<NodeSelector, NodeRole> {
        let each = self.each.unwrap_or(NodeSelector::WorkerWithGateway);
        self.node.map_or(Targets::Each(each), Targets::One)
    }
}

impl Action for Drain {
    fn key(&self) -> &'static str {
        "drain"
    }

    fn name(&self) -> String {
        let nodes = match self.nodes() {
            Targets::Each(each) => each.name(),
            Targets::One(one) => one.name(),
        };
        format!("drain {nodes}{}", if self.at_once { ", all at once" } else { "" })
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            faults: vec![FaultName::Drain],
            evicts: true,
            changes: None,
            rate: None,
            collector: None,
            deadline: Some(self.deadline),
            shortest: self.hold.duration(),
        }
    }

    fn check(&self, around: Surroundings<'_>, at: &FieldPath) -> Result<(), Problem> {
        time(self.hold, &at.then("hold"))?;
        let Some(node) = self.node else { return Ok(()) };
        let one = "`each` drains several nodes and `node` one: say one of the two";
        ensure(self.each.is_none(), &at.then("node"), one)?;
        let several = "one node cannot be drained `at_once` with others";
        ensure(!self.at_once, &at.then("at_once"), several)
            .map_err(|it| it.help("say `each`, or leave `at_once` out"))?;
        let within = node != NodeRole::This || around.is_in_for_each();
        ensure(within, &at.then("node"), "there is no `for-each` around this, so nothing is `this`")
    }
}
