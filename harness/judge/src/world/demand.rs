//! The demand of a `PodDisruptionBudget`, by the arithmetic of Kubernetes' disruption controller. No I/O.

use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube_core::{Selector, SelectorExt as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The demand of a budget, as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Demand {
    /// `minAvailable`, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_available: Option<String>,
    /// `maxUnavailable`, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<String>,
    /// The selector of its pods: an empty one selects every pod of the namespace.
    pub selector: LabelSelector,
}

impl From<&PodDisruptionBudgetSpec> for Demand {
    fn from(spec: &PodDisruptionBudgetSpec) -> Self {
        Self {
            min_available: written(spec.min_available.as_ref()),
            max_unavailable: written(spec.max_unavailable.as_ref()),
            selector: spec.selector.clone().unwrap_or_else(nothing),
        }
    }
}

impl Demand {
    /// Returns the number of pods that must be healthy, where their controllers' scales add up to `scale`.
    ///
    /// A share of `minAvailable` and one of `maxUnavailable` are both rounded up.
    pub fn healthy(&self, scale: u32) -> u32 {
        match (&self.max_unavailable, &self.min_available) {
            (Some(most), _) => scale.saturating_sub(scaled(most, scale)),
            (None, Some(least)) => scaled(least, scale),
            (None, None) => 0,
        }
    }

    /// Returns the number of evictions that are granted when all of so many pods are healthy. Where neither number is given
    /// the controller expects no pod, and grants none.
    pub fn grants(&self, pods: u32) -> u32 {
        let neither = self.max_unavailable.is_none() && self.min_available.is_none();
        if neither { 0 } else { pods.saturating_sub(self.healthy(pods)) }
    }

    /// Returns `true` if the demand depends on the number of pods that there should be.
    pub fn follows_the_scale(&self) -> bool {
        self.max_unavailable.is_some() || self.min_available.as_ref().is_some_and(|text| text.ends_with('%'))
    }

    /// Returns `true` if it selects a pod with these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        selects(&self.selector, labels)
    }

    /// Returns the number that it demands, in words.
    pub fn said(&self) -> String {
        match (&self.max_unavailable, &self.min_available) {
            (Some(most), _) => format!("maxUnavailable {most}"),
            (None, Some(least)) => format!("minAvailable {least}"),
            (None, None) => "no number".to_owned(),
        }
    }
}

/// Returns `true` if a selector selects these labels; an invalid selector selects nothing.
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// A number or a share, as written.
pub fn written(value: Option<&IntOrString>) -> Option<String> {
    value.map(|value| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    })
}

/// Returns a selector that selects nothing, as a budget without one does.
pub fn nothing() -> LabelSelector {
    let impossible = [("spanproof/none".to_owned(), "none".to_owned())];
    LabelSelector { match_labels: Some(impossible.into()), ..LabelSelector::default() }
}

/// Returns a number, or a share of so many, rounded up; 0 for what is neither, which no API server takes.
fn scaled(text: &str, of: u32) -> u32 {
    let Some(percent) = text.strip_suffix('%') else {
        return text.parse().unwrap_or_default();
    };
    let percent: u64 = percent.parse().unwrap_or_default();
    u32::try_from(percent.saturating_mul(of.into()).div_ceil(100)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn demand(field: &str, value: &str) -> Demand {
        let value: serde_json::Value =
            value.parse::<i32>().map_or_else(|_| json!(value), |number| json!(number));
        let spec: PodDisruptionBudgetSpec = serde_json::from_value(json!({field: value})).unwrap();
        Demand::from(&spec)
    }

    /// As the disruption controller's own tests, and its documentation, have it.
    #[test]
    fn what_is_granted_is_rounded_as_kubernetes_rounds() {
        for (field, value, pods, expected) in [
            ("minAvailable", "1", 2, 1),
            ("minAvailable", "2", 2, 0),
            ("minAvailable", "3", 2, 0),
            ("minAvailable", "0", 2, 2),
            ("minAvailable", "50%", 7, 3),
            ("minAvailable", "28%", 5, 3),
            ("minAvailable", "100%", 5, 0),
            ("minAvailable", "0%", 5, 5),
            ("maxUnavailable", "1", 2, 1),
            ("maxUnavailable", "0", 2, 0),
            ("maxUnavailable", "5", 2, 2),
            ("maxUnavailable", "30%", 7, 3),
            ("maxUnavailable", "1%", 2, 1),
            ("maxUnavailable", "0%", 2, 0),
        ] {
            assert_eq!(demand(field, value).grants(pods), expected, "{field}: {value} of {pods}");
        }
        assert_eq!(Demand::default().grants(2), 0, "a budget without a number");
    }

    #[test]
    fn an_absurd_number_is_a_large_one() {
        for value in ["4294967295", "99999999999999999999%", "18446744073709551615%", "-3", "x", ""] {
            for field in [true, false] {
                let (least, most) = if field { (Some(value), None) } else { (None, Some(value)) };
                let demand = Demand {
                    min_available: least.map(str::to_owned),
                    max_unavailable: most.map(str::to_owned),
                    ..Demand::default()
                };
                let _ = (demand.healthy(u32::MAX), demand.grants(u32::MAX), demand.grants(0));
            }
        }
    }

    proptest! {
        #[test]
        fn a_share_never_grants_more_than_it_says(percent in 0u32..=100, pods in 0u32..500) {
            let share = format!("{percent}%");
            let left = pods - demand("minAvailable", &share).grants(pods);
            prop_assert!(left * 100 >= percent * pods, "{left} are left of {pods}");
            prop_assert!(left == 0 || (left - 1) * 100 < percent * pods, "one fewer would do");
            let gone = demand("maxUnavailable", &share).grants(pods);
            prop_assert!(gone <= pods && gone * 100 >= percent * pods, "{gone} of {pods} may go");
            prop_assert!(gone == 0 || (gone - 1) * 100 < percent * pods, "one more than is said");
        }

        #[test]
        fn more_pods_never_grant_less(number in 0i32..20, pods in 0u32..100, percent in any::<bool>()) {
            let value = if percent { format!("{}%", number * 5) } else { number.to_string() };
            for field in ["minAvailable", "maxUnavailable"] {
                let demand = demand(field, &value);
                prop_assert!(demand.grants(pods) <= demand.grants(pods + 1));
                prop_assert!(demand.grants(pods) <= pods);
            }
        }
    }
}
