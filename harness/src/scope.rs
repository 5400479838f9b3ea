//! The scope of a run: the objects, nodes and namespaces that its plan named. Every fault checks it before it touches
//! anything.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The scope of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The run's own namespace: every pod in it may be touched.
    pub namespace: String,
    /// The objects that the run makes, by kind and name: `Deployment/gateway`.
    pub objects: BTreeSet<String>,
    /// The nodes that may be drained.
    pub nodes: BTreeSet<String>,
    /// The other namespaces whose pods a drain may move.
    pub bystanders: BTreeSet<String>,
}

/// An error of touching something that the plan did not name. It was not touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not in the plan, so it is not touched: {why}")]
pub struct OutOfScope {
    what: String,
    why: &'static str,
}

impl Scope {
    /// Checks that a node may be drained.
    ///
    /// # Errors
    /// If the plan did not name it.
    pub fn node(&self, name: &str) -> Result<(), OutOfScope> {
        let why = "it joined, or became fit for a gateway, after the run had begun";
        Self::within(self.nodes.contains(name), || format!("node {name}"), why)
    }

    /// Checks that a pod may be moved.
    ///
    /// # Errors
    /// If the plan did not name its namespace.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<(), OutOfScope> {
        let ours = namespace == self.namespace || self.bystanders.contains(namespace);
        let why = "when the run began no pod of its namespace was on a node that may be drained";
        Self::within(ours, || format!("pod {namespace}/{name}"), why)
    }

    /// Checks that an object of the run's namespace may be changed.
    ///
    /// # Errors
    /// If the run did not make it.
    pub fn object(&self, called: &str) -> Result<(), OutOfScope> {
        let why = "the run did not make it";
        Self::within(self.objects.contains(called), || called.to_owned(), why)
    }

    fn within(is: bool, what: impl FnOnce() -> String, why: &'static str) -> Result<(), OutOfScope> {
        if is { Ok(()) } else { Err(OutOfScope { what: what(), why }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plan_did_not_name_is_refused_by_name() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let scope = Scope {
            namespace: "spanproof-1".to_owned(),
            objects: set(&["Deployment/gateway"]),
            nodes: set(&["worker"]),
            bystanders: set(&["shop"]),
        };
        assert!(scope.node("worker").is_ok() && scope.object("Deployment/gateway").is_ok());
        assert!(scope.pod("spanproof-1", "gateway-1").is_ok() && scope.pod("shop", "cart-1").is_ok());
        let said = |refused: Result<(), OutOfScope>| refused.unwrap_err().to_string();
        assert!(said(scope.node("worker2")).starts_with("node worker2 is not in the plan"));
        assert!(said(scope.pod("bank", "till-1")).starts_with("pod bank/till-1 is not in the plan"));
        assert!(said(scope.object("Deployment/other")).contains("the run did not make it"));
    }
}
