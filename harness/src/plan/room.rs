//! The room for gateways on the nodes, by free resources and by the spread constraint.

use super::snapshot::{ClusterSnapshot, admits};
use crate::deploy::{Manifest, RunManifests};
use crate::kubernetes::quantity_value;
use k8s_openapi::api::core::v1::{Node, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use std::collections::BTreeMap;

/// A node that may hold gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The number of gateways that fit; none if the size of the node is not known.
    pub(super) fits: Option<u32>,
}

/// The room for gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// The nodes.
    pub(super) hosts: Vec<Host>,
    /// The `maxSkew` of a constraint that must be met; none without such a constraint.
    pub(super) skew: Option<u32>,
    /// True if the constraint counts a node that can hold no gateway, as one without gateways.
    pub(super) empty_domain: bool,
    /// True if the constraint counts cordoned nodes.
    pub(super) cordoned_count: bool,
}

impl Host {
    pub(super) fn of(
        node: &Node,
        snapshot: &ClusterSnapshot,
        gateway: &PodSpec,
        made: &RunManifests,
    ) -> Self {
        let size = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let fits = size.and_then(|size| {
            let name = node.name_any();
            let there = snapshot.pods_on(&name).filter(|pod| {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                !matches!(phase, Some("Succeeded" | "Failed"))
            });
            let taken = there.filter_map(|pod| pod.spec.as_ref()).chain(daemons(node, made));
            let taken: Vec<_> = taken.map(asked).collect();
            let free = |resource: &str| {
                let size = quantity_value(&size.get(resource)?.0)?;
                Some(size - taken.iter().filter_map(|asked| asked.get(resource)).sum::<f64>())
            };
            let each = asked(gateway).into_iter().filter(|(_, asked)| *asked > 0.0);
            each.filter_map(|(resource, asked)| Some(times(free(&resource)?, asked))).min()
        });
        Self { fits }
    }
}

/// Returns the pods of the run's `DaemonSet`s on a node: agent and emitter.
fn daemons<'a>(node: &'a Node, made: &'a RunManifests) -> impl Iterator<Item = &'a PodSpec> {
    made.tier.iter().chain(&made.probes).filter_map(move |object| {
        let Manifest::DaemonSet(it) = object else { return None };
        it.spec.as_ref()?.template.spec.as_ref().filter(|pod| admits(node, pod))
    })
}

/// Returns the requests of a pod as the scheduler counts them, in base units: the sum of its containers, or the largest
/// init container where that is more.
fn asked(pod: &PodSpec) -> BTreeMap<String, f64> {
    let of = |requests: Option<&BTreeMap<String, Quantity>>| -> BTreeMap<String, f64> {
        let known = requests.into_iter().flatten();
        known.filter_map(|(name, value)| Some((name.clone(), quantity_value(&value.0)?))).collect()
    };
    let mut all = BTreeMap::new();
    for container in &pod.containers {
        for (name, value) in of(container.resources.as_ref().and_then(|it| it.requests.as_ref())) {
            *all.entry(name).or_insert(0.0) += value;
        }
    }
    for container in pod.init_containers.iter().flatten() {
        for (name, value) in of(container.resources.as_ref().and_then(|it| it.requests.as_ref())) {
            let so_far = all.entry(name).or_insert(0.0);
            *so_far = so_far.max(value);
        }
    }
    all
}

/// Returns how often a request fits into what is free.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it saturates, at 0 and at the largest"
)]
fn times(free: f64, asked: f64) -> u32 {
    // A sum of decimals may be a little short.
    (free / asked + 1e-9).floor() as u32
}

impl Room {
    /// Returns the same room with unlimited free resources.
    pub(super) fn unlimited(&self) -> Self {
        let hosts = self.hosts.iter().map(|_| Host { fits: None }).collect();
        Self { hosts, ..self.clone() }
    }

    /// Returns how many of `wanted` gateways can be placed while `drained` nodes are drained: those with the most room.
    pub(super) fn placed(&self, wanted: u32, drained: u32) -> u32 {
        let mut free: Vec<u32> = self.hosts.iter().map(|host| host.fits.unwrap_or(u32::MAX)).collect();
        free.sort_unstable();
        let left = free.len().saturating_sub(usize::try_from(drained).unwrap_or(usize::MAX));
        let empty = self.empty_domain || (self.cordoned_count && left < free.len());
        free.truncate(left);
        // The scheduler picks the node with the fewest gateways, so the node with the least room is full before any
        // other holds more than that plus the skew.
        let fewest = if empty { 0 } else { free.iter().copied().min().unwrap_or_default() };
        let most = self.skew.map(|skew| fewest.saturating_add(skew));
        let holds = free.into_iter().map(|free| most.map_or(free, |most| free.min(most)));
        wanted.min(holds.fold(0, u32::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn room(fits: &[u32], skew: Option<u32>, honoured: bool) -> Room {
        let hosts = fits.iter().map(|fits| Host { fits: Some(*fits) }).collect();
        Room { hosts, skew, empty_domain: false, cordoned_count: !honoured }
    }

    #[test]
    fn a_cordoned_node_that_counts_as_empty_leaves_room_for_one_on_each_other() {
        // Two gateways on three nodes, as the manifests have them: taints are honoured.
        let honoured = room(&[9, 9, 9], Some(1), true);
        assert_eq!((0..4).map(|drained| honoured.placed(2, drained)).collect::<Vec<_>>(), [2, 2, 2, 0]);
        // Kubernetes' default: the cordoned node holds none, so every other may hold one.
        let ignored = room(&[9, 9, 9], Some(1), false);
        assert_eq!((0..4).map(|drained| ignored.placed(3, drained)).collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert_eq!(room(&[9, 9, 9], Some(2), false).placed(3, 2), 2);
        assert_eq!(room(&[9, 9, 9], None, false).placed(5, 2), 5);
        // A full node stops the others by the skew.
        assert_eq!(room(&[0, 9], Some(1), true).placed(4, 0), 1);
        assert_eq!(room(&[0, 9], None, true).placed(4, 0), 4);
    }

    #[test]
    fn what_is_free_is_counted_as_the_scheduler_counts() {
        let pod = |requests: serde_json::Value, init: serde_json::Value| -> PodSpec {
            let container = |requests| json!([{"name": "x", "resources": {"requests": requests}}]);
            let spec = json!({"containers": container(requests), "initContainers": container(init)});
            serde_json::from_value(spec).unwrap()
        };
        let larger = asked(&pod(json!({"cpu": "250m", "memory": "1Gi"}), json!({"cpu": "1"})));
        assert_eq!(larger, BTreeMap::from([("cpu".to_owned(), 1.0), ("memory".to_owned(), 1_073_741_824.0)]));
        assert_eq!((times(0.3, 0.1), times(-1.0, 0.1), times(0.29, 0.1)), (3, 0, 2));
    }

    /// Places gateways one after the other, as the scheduler does.
    fn in_turn(room: &Room, wanted: u32) -> u32 {
        let free: Vec<u32> = room.hosts.iter().filter_map(|host| host.fits).collect();
        let mut held = vec![0_u32; free.len()];
        for placed in 0..wanted {
            let fewest = if room.empty_domain { 0 } else { held.iter().copied().min().unwrap_or_default() };
            let fits = |(index, held): &(usize, u32)| {
                let skewed = room.skew.is_some_and(|skew| *held + 1 > fewest.saturating_add(skew));
                *held < free[*index] && !skewed
            };
            let next = held.iter().copied().enumerate().filter(fits).min_by_key(|(_, held)| *held);
            let Some((index, _)) = next else {
                return placed;
            };
            held[index] += 1;
        }
        wanted
    }

    #[test]
    fn an_absurd_number_of_gateways_is_placed_at_once() {
        assert_eq!(room(&[u32::MAX, u32::MAX], None, true).placed(u32::MAX, 0), u32::MAX);
        assert_eq!(room(&[u32::MAX, 3], Some(u32::MAX), true).placed(u32::MAX, 0), u32::MAX);
    }

    proptest! {
        #[test]
        fn what_is_placed_at_once_is_what_is_placed_in_turn(
            fits in proptest::collection::vec(0u32..5, 0..6),
            skew in proptest::option::of(1u32..4),
            empty_domain: bool,
            wanted in 0u32..30,
        ) {
            let room = Room { empty_domain, ..room(&fits, skew, true) };
            prop_assert_eq!(room.placed(wanted, 0), in_turn(&room, wanted));
        }

        #[test]
        fn more_drained_is_never_more_placed(
            fits in proptest::collection::vec(0u32..5, 0..6),
            skew in proptest::option::of(1u32..4),
            honoured: bool,
            wanted in 0u32..10,
            drained in 0u32..6,
        ) {
            let room = room(&fits, skew, honoured);
            let placed = room.placed(wanted, drained);
            prop_assert!(placed <= wanted);
            prop_assert!(room.placed(wanted + 1, drained) >= placed, "one more wanted");
            prop_assert!(room.unlimited().placed(wanted, drained) >= placed, "with all the room there is");
            prop_assert!(room.placed(wanted, drained + 1) <= placed, "one more drained");
            prop_assert!(placed <= fits.iter().sum::<u32>());
        }
    }
}
