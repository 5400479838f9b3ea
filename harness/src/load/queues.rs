//! The content of the Collectors' queues, from their last answers and the pods that exist. No I/O.

use crate::record::Hop;
use crate::world::World;
use spanproof_probe::control::Status;
use std::collections::BTreeMap;

/// The greatest age of a Collector's answer that counts for the present.
const FRESH_MS: u64 = 3_500;

/// One Collector's answer of a moment ago.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueReading {
    /// Its role in the tier: `agent`, `gateway`.
    pub role: String,
    /// Its pod's address.
    pub address: String,
    /// The content of its queues of traces, in their own unit; none if it did not say.
    pub queue: Option<f64>,
    /// The number of requests in flight of exporters without a queue; none if it did not say.
    pub in_flight: Option<f64>,
}

impl QueueReading {
    /// The fresh answers that a sink's status holds.
    pub(super) fn fresh(status: &Status) -> Vec<Self> {
        let targets = status.sink.iter().flat_map(|sink| &sink.targets);
        let fresh =
            targets.filter(|target| status.unix_ms.saturating_sub(target.answered_unix_ms) <= FRESH_MS);
        let known = |value: f64| (value.is_finite() && value >= 0.0).then_some(value);
        fresh
            .map(|target| Self {
                role: target.role.clone(),
                address: target.address.clone(),
                queue: known(target.queue_size),
                in_flight: target.in_flight.and_then(known),
            })
            .collect()
    }

    /// Returns everything that it holds; none if it said nothing about that.
    fn holds(&self) -> Option<f64> {
        match (self.queue, self.in_flight) {
            (None, None) => None,
            (queue, in_flight) => Some(queue.unwrap_or_default() + in_flight.unwrap_or_default()),
        }
    }
}

/// Returns the content of the agents' queues by node, of the nodes that have an emitter. An agent on another node
/// stands in for none of them.
pub fn by_node<'a>(
    nodes: impl IntoIterator<Item = &'a str>,
    world: &World,
    readings: &[QueueReading],
) -> BTreeMap<String, f64> {
    let queue = |node: &str| {
        let mut pods = world.pods("agent").filter(|(_, pod)| pod.node == node && !pod.ip.is_empty());
        pods.find_map(|(_, pod)| readings.iter().find(|it| it.role == "agent" && it.address == pod.ip)?.queue)
    };
    nodes.into_iter().filter_map(|node| Some((node.to_owned(), queue(node)?))).collect()
}

/// Returns the content of all Collectors that keep what they have acknowledged, of every hop; or whose part is
/// unknown. Each pod counts by its own answer, and so does each Collector that answers. Each node with an emitter has
/// one of the entry's.
pub fn held<'a>(
    hops: &[Hop],
    nodes: impl IntoIterator<Item = &'a str>,
    world: &World,
    readings: &[QueueReading],
) -> Result<f64, String> {
    let mut sum = 0.0;
    let nodes: Vec<&str> = nodes.into_iter().collect();
    if nodes.is_empty() || hops.is_empty() {
        return Err("it is not known which Collectors there are".to_owned());
    }
    for (number, hop) in hops.iter().enumerate().filter(|(_, hop)| hop.keeps_something()) {
        let role = &hop.name;
        if !hop.readable {
            return Err(format!("no metric tells what is in the queues of each {role}"));
        }
        // One that has no address has not begun, so what it keeps is what a disk has kept for it.
        let begun = || world.pods(role).filter(|(_, pod)| !pod.ip.is_empty());
        if number == 0
            && let Some(node) = nodes.iter().find(|node| !begun().any(|(_, pod)| pod.node == **node))
        {
            return Err(format!("there is no {role} on {node}"));
        }
        let ours = || readings.iter().filter(|reading| reading.role == *role);
        for (name, pod) in begun() {
            let holds = ours().find(|reading| reading.address == pod.ip).and_then(QueueReading::holds);
            sum += holds.ok_or_else(|| format!("the queue of {name} on {} cannot be read", pod.node))?;
        }
        for reading in ours().filter(|reading| !begun().any(|(_, pod)| pod.ip == reading.address)) {
            let unknown = || format!("the queue of the {role} at {} cannot be read", reading.address);
            sum += reading.holds().ok_or_else(unknown)?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Keeps;
    use crate::world::{Object, Pod};
    use proptest::prelude::*;

    const NODES: [&str; 2] = ["worker", "worker2"];

    fn hops(gateway: Keeps) -> Vec<Hop> {
        let hop = |name: &str, keeps| Hop {
            name: name.to_owned(),
            keeps,
            queues: true,
            readable: true,
            pause_s: 1.0,
        };
        vec![hop("agent", Keeps::Disk), hop("gateway", gateway)]
    }

    fn world(pods: &[(&str, &str, &str)]) -> World {
        let mut world = World::default();
        for (app, node, ip) in pods {
            let (app, node, ip) = ((*app).to_owned(), (*node).to_owned(), (*ip).to_owned());
            let name = format!("{app}-{node}");
            world.see(&name, Object::Pod(Pod { app, node, ip, ..Pod::default() }));
        }
        world
    }

    fn reading(role: &str, address: &str, queue: f64) -> QueueReading {
        QueueReading {
            role: role.to_owned(),
            address: address.to_owned(),
            queue: Some(queue),
            in_flight: None,
        }
    }

    fn tier() -> (World, Vec<QueueReading>) {
        let world = world(&[
            ("agent", "worker", "1"),
            ("agent", "worker2", "2"),
            ("agent", "control-plane", "3"),
            ("gateway", "worker", "4"),
        ]);
        let agents = ["1", "2", "3"].map(|address| reading("agent", address, 0.0));
        (world, agents.into_iter().chain([reading("gateway", "4", 7.0)]).collect())
    }

    #[test]
    fn every_collector_that_keeps_something_counts() {
        let (world, mut readings) = tier();
        assert_eq!(held(&hops(Keeps::Nothing), NODES, &world, &readings), Ok(0.0));
        assert_eq!(held(&hops(Keeps::Memory), NODES, &world, &readings), Ok(7.0));
        // A process that answers, though no pod is known to be it.
        readings.push(reading("gateway", "9", 2.0));
        assert_eq!(held(&hops(Keeps::Memory), NODES, &world, &readings), Ok(9.0));
        readings[0] = QueueReading { queue: None, in_flight: Some(3.0), ..readings[0].clone() };
        assert_eq!(
            held(&hops(Keeps::Nothing), NODES, &world, &readings),
            Ok(3.0),
            "without a queue, in flight"
        );
    }

    #[test]
    fn whose_queue_is_not_known_is_named() {
        let (there, readings) = tier();
        let without = |address: &str| -> Vec<QueueReading> {
            readings.iter().filter(|reading| reading.address != address).cloned().collect()
        };
        let unknown =
            |readings: &[QueueReading]| held(&hops(Keeps::Memory), NODES, &there, readings).unwrap_err();
        assert!(
            unknown(&without("2")).contains("agent-worker2 on worker2"),
            "the control plane's is no stand-in"
        );
        assert!(unknown(&without("3")).contains("agent-control-plane"));
        assert!(unknown(&without("4")).contains("gateway-worker"));
        let (_, mut silent) = tier();
        silent[3].queue = None;
        assert!(unknown(&silent).contains("gateway-worker"));
        let fewer =
            world(&[("agent", "worker", "1"), ("agent", "control-plane", "3"), ("agent", "worker2", "")]);
        let missing = held(&hops(Keeps::Nothing), NODES, &fewer, &readings).unwrap_err();
        assert!(missing.contains("no agent on worker2"), "{missing}");
        let mut unreadable = hops(Keeps::Nothing);
        unreadable[0].readable = false;
        assert!(held(&unreadable, NODES, &there, &readings).unwrap_err().contains("no metric"));
        assert!(held(&[], NODES, &there, &readings).is_err());
    }

    #[test]
    fn an_agents_queue_is_its_nodes() {
        let (world, readings) = tier();
        let found = by_node(NODES, &world, &readings[1..]);
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["worker2"], "another node's does not stand in");
    }

    proptest! {
        /// Queues count as empty only if each existing Collector said so itself.
        #[test]
        fn empty_is_never_said_of_what_was_not_heard(said in prop::collection::vec(
            prop::option::of(prop_oneof![Just(0.0), Just(1.0)]), 4)) {
            let (world, mut readings) = tier();
            for (reading, said) in readings.iter_mut().zip(&said) {
                reading.queue = *said;
            }
            let held = held(&hops(Keeps::Memory), NODES, &world, &readings);
            prop_assert_eq!(held.is_ok(), said.iter().all(Option::is_some));
            prop_assert_eq!(held == Ok(0.0), said.iter().all(|it| *it == Some(0.0)));
        }
    }
}
