//! The evictions that `PodDisruptionBudget`s grant, by the rules of Kubernetes' disruption controller and Eviction API.

use super::Listing;
use crate::world::{Demand, nothing};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer of the budgets to the eviction of a pod, as of now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "kebab-case")]
pub enum HeadRoom {
    /// No budget selects the pod.
    Unguarded,
    /// No budget is asked: the pod has finished, has not started, is terminating, or is not healthy anyway.
    NotAsked,
    /// The budget grants evictions.
    Grants {
        /// The budget.
        budget: String,
        /// The number of evictions.
        now: u32,
    },
    /// The budget refuses now: a drain asks again until its deadline.
    Refuses {
        /// The budget.
        budget: String,
        /// The number of its pods that are healthy.
        healthy: u32,
        /// The number of healthy pods that it demands.
        demanded: u32,
        /// True if it refuses even when all of its pods are healthy.
        always: bool,
    },
    /// Several budgets select the pod: the Eviction API always refuses that.
    Several {
        /// The budgets.
        budgets: Vec<String>,
    },
    /// This user may not list budgets.
    Unknown,
}

impl fmt::Display for HeadRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unguarded => write!(f, "no PDB"),
            Self::NotAsked => write!(f, "no PDB applies"),
            Self::Grants { budget, now } => write!(f, "PDB {budget} grants {now} now"),
            Self::Refuses { budget, healthy, demanded, always: true } => {
                write!(f, "PDB {budget} never grants: it demands {demanded}, and {healthy} are healthy")
            }
            Self::Refuses { budget, healthy, demanded, always: false } => write!(
                f,
                "PDB {budget} refuses now ({healthy} healthy, {demanded} demanded): the drain waits up to its deadline"
            ),
            Self::Several { budgets } => {
                write!(
                    f,
                    "PDBs {}: more than one selects it, so its eviction is always refused",
                    budgets.join(" and ")
                )
            }
            Self::Unknown => write!(f, "its PDB may not be read"),
        }
    }
}

/// Returns the demand of a budget.
pub(super) fn demand(budget: &PodDisruptionBudget) -> Demand {
    budget.spec.as_ref().map_or_else(|| Demand { selector: nothing(), ..Demand::default() }, Demand::from)
}

/// Returns whether a budget selects a pod with these labels. Without a selector it selects none, with an empty one
/// every pod of its namespace.
pub(super) fn selects(
    budget: &PodDisruptionBudget,
    labels: &std::collections::BTreeMap<String, String>,
) -> bool {
    demand(budget).selects(labels)
}

/// Returns the answer of the budgets to the eviction of a pod.
pub(super) fn head_room(pod: &Pod, budgets: &Listing<PodDisruptionBudget>) -> HeadRoom {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || !matches!(phase, None | Some("Running" | "Unknown")) {
        return HeadRoom::NotAsked;
    }
    let Listing::All(budgets) = budgets else {
        return HeadRoom::Unknown;
    };
    let here = budgets.iter().filter(|budget| budget.namespace() == pod.namespace());
    let selecting: Vec<_> = here.filter(|budget| selects(budget, pod.labels())).collect();
    let budget = match selecting[..] {
        [] => return HeadRoom::Unguarded,
        [budget] => budget,
        [_, _, ..] => {
            return HeadRoom::Several { budgets: selecting.iter().map(|it| it.name_any()).collect() };
        }
    };
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    let counted = budget.status.clone().unwrap_or_default();
    let (healthy, demanded) = (count(counted.current_healthy), count(counted.desired_healthy));
    let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    if !ready && (policy == Some("AlwaysAllow") || (demanded > 0 && healthy >= demanded)) {
        return HeadRoom::NotAsked;
    }
    let budget = budget.name_any();
    match count(counted.disruptions_allowed) {
        0 => {
            // Until its controller has counted the pods, later answers are not known.
            let always = counted.expected_pods > 0 && demanded >= count(counted.expected_pods);
            HeadRoom::Refuses { budget, healthy, demanded, always }
        }
        now => HeadRoom::Grants { budget, now },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(labels: &serde_json::Value, phase: &str, ready: bool) -> Pod {
        let conditions = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "labels": labels},
            "status": {"phase": phase, "conditions": conditions},
        }))
        .unwrap()
    }

    fn budget(name: &str, spec: &serde_json::Value, status: [i32; 4]) -> PodDisruptionBudget {
        let [allowed, healthy, desired, expected] = status;
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": spec,
            "status": {
                "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired,
                "expectedPods": expected,
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_head_room_is_what_the_eviction_api_would_answer() {
        let web = json!({"selector": {"matchLabels": {"app": "web"}}});
        let ready = pod(&json!({"app": "web"}), "Running", true);
        let of = |pod: &Pod, budgets: &[PodDisruptionBudget]| head_room(pod, &Listing::All(budgets.to_vec()));
        let one = budget("web", &web, [1, 3, 2, 3]);
        assert_eq!(
            of(&ready, std::slice::from_ref(&one)),
            HeadRoom::Grants { budget: "web".to_owned(), now: 1 }
        );
        assert_eq!(of(&ready, &[]), HeadRoom::Unguarded);
        let refuses = |healthy, demanded, always| HeadRoom::Refuses {
            budget: "web".to_owned(),
            healthy,
            demanded,
            always,
        };
        assert_eq!(of(&ready, &[budget("web", &web, [0, 2, 2, 3])]), refuses(2, 2, false));
        assert_eq!(of(&ready, &[budget("web", &web, [0, 3, 3, 3])]), refuses(3, 3, true));
        assert_eq!(of(&ready, &[budget("web", &web, [0; 4])]), refuses(0, 0, false), "not counted yet");
        let all = budget("all", &json!({"selector": {}}), [1, 3, 2, 3]);
        let both = HeadRoom::Several { budgets: vec!["web".to_owned(), "all".to_owned()] };
        assert_eq!(of(&ready, &[one.clone(), all.clone()]), both);
        // Without a selector it selects nothing; one of another namespace is none of this pod's.
        let none = budget("none", &json!({"minAvailable": 1}), [0, 0, 1, 0]);
        let mut elsewhere = all;
        elsewhere.metadata.namespace = Some("bank".to_owned());
        assert_eq!(of(&ready, &[none, elsewhere]), HeadRoom::Unguarded);
        assert_eq!(head_room(&ready, &Listing::Forbidden), HeadRoom::Unknown);
    }

    #[test]
    fn a_pod_that_is_not_healthy_may_go_though_its_budget_grants_nothing() {
        let labels = json!({"app": "web"});
        let spec = |policy: &str| json!({"selector": {"matchLabels": {"app": "web"}}, "unhealthyPodEvictionPolicy": policy});
        let of = |pod: &Pod, spec: &serde_json::Value, status| {
            head_room(pod, &Listing::All(vec![budget("web", spec, status)]))
        };
        let broken = pod(&labels, "Running", false);
        assert_eq!(of(&broken, &spec("AlwaysAllow"), [0, 1, 2, 3]), HeadRoom::NotAsked);
        assert_eq!(of(&broken, &spec("IfHealthyBudget"), [0, 2, 2, 3]), HeadRoom::NotAsked);
        assert!(matches!(of(&broken, &spec("IfHealthyBudget"), [0, 1, 2, 3]), HeadRoom::Refuses { .. }));
        for phase in ["Pending", "Succeeded", "Failed"] {
            let pod = pod(&labels, phase, false);
            assert_eq!(of(&pod, &spec("IfHealthyBudget"), [0, 1, 2, 3]), HeadRoom::NotAsked, "{phase}");
        }
    }
}
