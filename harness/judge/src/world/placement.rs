//! The placement of a pod, by the rules of Kubernetes' scheduler: node selector and affinity, taints, and spread. No I/O.

use super::{Node, Placement, selects};
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration, TopologySpreadConstraint,
};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Returns `true` if a node meets a pod's node selector and required affinity.
pub fn selected(name: &str, labels: &Labels, selector: &Labels, affinity: Option<&NodeSelector>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && affinity.is_none_or(|it| it.node_selector_terms.iter().any(|term| meets(name, labels, term)))
}

fn meets(name: &str, labels: &Labels, term: &NodeSelectorTerm) -> bool {
    let (by_labels, fields) = (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
    let name = BTreeMap::from([("metadata.name".to_owned(), name.to_owned())]);
    let empty = term.match_expressions.is_none() && term.match_fields.is_none();
    !empty
        && by_labels.into_iter().all(|one| holds(one, labels))
        && fields.into_iter().all(|one| holds(one, &name))
}

fn holds(one: &NodeSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&one.key);
    let values = one.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let than = || Some((number(value?)?, number(values.first()?)?));
    match one.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => than().is_some_and(|(value, bound)| value > bound),
        "Lt" => than().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Returns `true` if one of these tolerations tolerates the taint.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
    let key = toleration.key.as_deref().filter(|key| !key.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    let same_value =
        toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect.is_none_or(|effect| effect == taint.effect)
        && match key {
            Some(key) => key == taint.key && (exists || same_value),
            None => exists,
        }
}

impl Placement {
    /// Returns `true` if its node selector and affinity select a node; none if the node's labels are not on record.
    pub fn selects(&self, name: &str, node: &Node) -> Option<bool> {
        let labels = node.labels.as_ref()?;
        Some(selected(name, labels, &self.node_selector, self.node_affinity.as_ref()))
    }

    /// Returns `true` if a node's taints repel it; none if they are not on record.
    pub fn is_repelled(&self, node: &Node) -> Option<bool> {
        let mut hard = node.taints.as_ref()?.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        Some(hard.any(|taint| !tolerated(&self.tolerations, taint)))
    }
}

/// Returns `true` if a constraint of a pod with the labels `own` counts a pod with the labels `other`: by its selector, and
/// by the labels that the two must have in common (`matchLabelKeys`).
pub fn counts(constraint: &TopologySpreadConstraint, own: &Labels, other: &Labels) -> bool {
    let keys = constraint.match_label_keys.iter().flatten();
    let common =
        keys.into_iter().filter(|key| own.contains_key(*key)).all(|key| own.get(key) == other.get(key));
    common && constraint.label_selector.as_ref().is_some_and(|selector| selects(selector, other))
}
