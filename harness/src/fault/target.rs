//! The targets of a step, resolved when it begins. [`drawn`] and [`busiest`], which do no I/O, choose one of several.

use super::{FaultError, Stage};
use crate::record::Event;
use crate::scenario::{ForEach, NodeRole, NodeSelector, PodRole, PodSelector, StepPath, Targets};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use spanproof_ledger::{SinkLedger, hash};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The time in which recent deliveries are counted, in seconds.
const WINDOW_S: u64 = 10;

/// The current item of a `for-each`: a node, or a pod with its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForEachItem {
    node: String,
    pod: Option<String>,
}

impl ForEachItem {
    /// The name of the pod, or else of the node.
    pub fn name(&self) -> &str {
        self.pod.as_deref().unwrap_or(&self.node)
    }
}

/// Resolves the nodes that a step targets.
pub(super) async fn nodes(
    stage: &Stage<'_>,
    wanted: Targets<NodeSelector, NodeRole>,
) -> Result<Vec<String>, FaultError> {
    let (what, found) = match wanted {
        Targets::Each(each) => (each.name(), each_node(stage, each).await?),
        Targets::One(role) => (role.name(), one_node(stage, role).await?.into_iter().collect()),
    };
    resolved(stage, what, found, Clone::clone)
}

async fn each_node(stage: &Stage<'_>, each: NodeSelector) -> Result<Vec<String>, FaultError> {
    match each {
        NodeSelector::WorkerWithGateway => Ok(stage.nodes_with_gateway()),
        NodeSelector::Worker => {
            let nodes: Api<Node> = Api::all(stage.shared.access.client.clone());
            let workers = ListParams::default().labels("!node-role.kubernetes.io/control-plane");
            let listed = nodes.list(&workers).await.map_err(FaultError::api("list", "nodes"))?;
            Ok(listed.iter().map(ResourceExt::name_any).collect())
        }
    }
}

async fn one_node(stage: &Stage<'_>, role: NodeRole) -> Result<Option<String>, FaultError> {
    let (seed, step) = (stage.shared.seed, &stage.step);
    // A node that another branch drains now is no candidate.
    let free = |nodes: Vec<String>| {
        let drained = stage.drained();
        nodes.into_iter().filter(|node| !drained.now.contains_key(node)).collect::<Vec<_>>()
    };
    Ok(match role {
        NodeRole::NotYetDrained => {
            let drained = stage.drained();
            stage.nodes_with_gateway().into_iter().find(|node| !drained.ever.contains(node))
        }
        NodeRole::WithBusiestGateway => {
            let mut pods = stage.gateway_pods().await?;
            let hosts = free(pods.iter().filter_map(node_of).collect());
            pods.retain(|pod| node_of(pod).is_some_and(|node| hosts.contains(&node)));
            let busiest = busiest_of(stage, &pods).await?;
            pods.iter().find(|pod| Some(pod.name_any()) == busiest).and_then(node_of)
        }
        NodeRole::RandomWithGateway => drawn(free(stage.nodes_with_gateway()), seed, step),
        NodeRole::Random => drawn(free(each_node(stage, NodeSelector::Worker).await?), seed, step),
        NodeRole::This => stage.this.as_ref().map(|this| this.node.clone()),
    })
}

/// Resolves the pods that a step targets.
pub(super) async fn pods(
    stage: &Stage<'_>,
    wanted: Targets<PodSelector, PodRole>,
) -> Result<Vec<Pod>, FaultError> {
    let all = stage.gateway_pods().await?;
    let (what, found) = match wanted {
        Targets::Each(each @ PodSelector::Gateways) => (each.name(), all),
        Targets::One(role) => {
            let name = match role {
                PodRole::BusiestGateway => busiest_of(stage, &all).await?,
                PodRole::RandomGateway => {
                    drawn(all.iter().map(ResourceExt::name_any).collect(), stage.shared.seed, &stage.step)
                }
                PodRole::This => stage.this.as_ref().and_then(|this| this.pod.clone()),
            };
            (role.name(), all.into_iter().filter(|pod| Some(pod.name_any()) == name).collect())
        }
    };
    resolved(stage, what, found, ResourceExt::name_any)
}

/// Returns the items of a `for-each`, one for each round.
pub async fn rounds(stage: &Stage<'_>, each: &ForEach) -> Result<Vec<ForEachItem>, FaultError> {
    let found = if let Some(nodes) = each.nodes {
        let nodes = each_node(stage, nodes).await?;
        nodes.into_iter().map(|node| ForEachItem { node, pod: None }).collect()
    } else {
        let pods = stage.gateway_pods().await?;
        let this =
            |pod: &Pod| ForEachItem { node: node_of(pod).unwrap_or_default(), pod: Some(pod.name_any()) };
        pods.iter().map(this).collect()
    };
    resolved(stage, &each.name(), found, |this: &ForEachItem| this.name().to_owned())
}

/// Puts the targets on record.
///
/// # Errors
/// If there are none: the step would do nothing.
fn resolved<T>(
    stage: &Stage<'_>,
    what: &str,
    found: Vec<T>,
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, FaultError> {
    let targets: Vec<String> = found.iter().map(name).collect();
    let (step, what) = (stage.step.clone(), what.to_owned());
    if targets.is_empty() {
        return Err(FaultError::NoTarget(what));
    }
    stage.shared.recorder.event(Event::Resolved { step, what, targets })?;
    Ok(found)
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

/// Returns the name of the gateway that has delivered most recently, by the sinks' ledgers.
async fn busiest_of(stage: &Stage<'_>, pods: &[Pod]) -> Result<Option<String>, FaultError> {
    let here: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    let addresses: BTreeMap<IpAddr, String> =
        pods.iter().flat_map(|pod| addresses(pod).map(|address| (address, pod.name_any()))).collect();
    let ledgers = stage.shared.probes.sink_ledgers().await?;
    let deliveries = ledgers.iter().flat_map(SinkLedger::by_second);
    // A gateway that does not send its name is known by its address.
    let deliveries: Vec<_> =
        deliveries.map(|(second, _, said, spans)| (second, named(said, &addresses), spans)).collect();
    if strangers(&here, &deliveries) {
        let what = "which gateway is the busiest is not known: the sinks receive from addresses that are no \
                    gateway's";
        return Err(FaultError::NoTarget(what.to_owned()));
    }
    Ok(busiest(&here, &deliveries))
}

fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.iter();
    let ips =
        status.flat_map(|status| status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(&status.pod_ip));
    ips.filter_map(|ip| Some(ip.parse::<IpAddr>().ok()?.to_canonical()))
}

fn named<'a>(said: &'a str, addresses: &'a BTreeMap<IpAddr, String>) -> &'a str {
    let address = said.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    address.and_then(|address| addresses.get(&address)).map_or(said, String::as_str)
}

/// Returns whether more of the recent deliveries came from unknown addresses than from these gateways.
fn strangers(here: &[String], deliveries: &[(u64, &str, u64)]) -> bool {
    let of_late = of_late(deliveries);
    let sum = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let its = deliveries.iter().filter(|(second, who, _)| *second >= of_late && wanted(who));
        its.map(|(.., spans)| spans).sum()
    };
    sum(&|who| who.parse::<IpAddr>().is_ok()) > sum(&|who| here.iter().any(|name| name == who))
}

fn of_late(deliveries: &[(u64, &str, u64)]) -> u64 {
    let last = deliveries.iter().map(|(second, ..)| *second).max().unwrap_or_default();
    (last + 1).saturating_sub(WINDOW_S)
}

/// Returns the gateway with the most spans in the last seconds of the deliveries; of several, the one with the most
/// spans in all, and of several the first by name. None if there are no gateways.
fn busiest(here: &[String], deliveries: &[(u64, &str, u64)]) -> Option<String> {
    let spans = |name: &str, since: u64| -> u64 {
        let its = deliveries.iter().filter(|(second, gateway, _)| *gateway == name && *second >= since);
        its.map(|(.., spans)| spans).sum()
    };
    let of_late = of_late(deliveries);
    here.iter().max_by_key(|name| (spans(name, of_late), spans(name, 0), Reverse(*name))).cloned()
}

/// Draws a name by the run's seed and the step: always the same of the same names.
fn drawn(mut names: Vec<String>, seed: u64, step: &StepPath) -> Option<String> {
    names.sort();
    let number = step.to_string().bytes().fold(seed, |number, byte| hash(number, byte.into()));
    let index = number.checked_rem(names.len() as u64).and_then(|index| usize::try_from(index).ok())?;
    names.get(index).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_busiest_gateway_is_here_and_delivered_most_of_late() {
        let here = ["a", "b", "c"].map(str::to_owned);
        let deliveries = [(10, "a", 900), (20, "gone", 500), (21, "b", 30), (25, "c", 20), (29, "c", 20)];
        let of = |deliveries: &[(u64, &'static str, u64)]| busiest(&here, deliveries);
        assert_eq!(of(&deliveries).as_deref(), Some("c"));
        assert_eq!(of(&deliveries[..4]).as_deref(), Some("b"), "what is long ago does not count");
        assert_eq!(of(&[(1, "b", 5), (1, "a", 5)]).as_deref(), Some("a"));
        assert_eq!(of(&[(1, "c", 5), (90, "gone", 5)]).as_deref(), Some("c"), "rather long ago than never");
        assert_eq!(of(&[]).as_deref(), Some("a"));
        assert_eq!(busiest(&[], &[(1, "a", 5)]), None);
    }

    #[test]
    fn a_gateway_that_does_not_say_who_it_is_goes_by_its_address() {
        let addresses = [("10.0.0.1".parse().unwrap(), "a".to_owned())].into();
        assert_eq!(named("10.0.0.1", &addresses), "a");
        assert_eq!(named("::ffff:10.0.0.1", &addresses), "a");
        assert_eq!((named("10.0.0.2", &addresses), named("b", &addresses)), ("10.0.0.2", "b"));
        let here = ["a".to_owned()];
        assert!(strangers(&here, &[(5, "a", 10), (5, "10.0.0.2", 11)]));
        assert!(!strangers(&here, &[(5, "a", 10), (5, "10.0.0.2", 9), (5, "gone", 50)]));
        assert!(!strangers(&here, &[(5, "10.0.0.2", 90), (50, "a", 1)]), "that was long ago");
    }

    proptest! {
        #[test]
        fn a_draw_is_by_seed_and_step_and_not_by_order(count in 1usize..9, seed: u64, number in 1usize..9) {
            let names: Vec<String> = (0..count).map(|index| format!("n{index}")).collect();
            let step = StepPath::top(number);
            let mut turned = names.clone();
            turned.reverse();
            let one = drawn(names.clone(), seed, &step).unwrap();
            prop_assert!(names.contains(&one));
            prop_assert_eq!(drawn(turned, seed, &step).unwrap(), one);
        }
    }

    #[test]
    fn every_one_is_drawn_at_some_time() {
        let names: Vec<String> = (0..4).map(|index| format!("n{index}")).collect();
        let drawn = (0..64).filter_map(|seed| drawn(names.clone(), seed, &StepPath::top(1)));
        assert_eq!(drawn.collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(super::drawn(Vec::new(), 1, &StepPath::top(1)), None);
    }
}
