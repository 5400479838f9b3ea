//! The check `spread`: the gateways were spread over the nodes. It is judged at each decision of the scheduler, among the
//! nodes that could take a gateway then: afterwards Kubernetes moves none, whatever becomes free.

use super::story::{Series, at, within};
use super::{Context, Finding, Ruling, Story, Verdict, rounded};
use crate::world::{Kind, Node, Placement, Pod, counts};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The largest delay between the watches on nodes and pods, and of the scheduler's view of a node, in seconds: a node that was
/// not open to gateways for so long before and after a decision does not count against it.
const UNHEARD: f64 = 2.0;
/// The label that tells one node from another.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label of nodes with the control plane.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

type Pods = Vec<(String, Pod)>;
type Nodes = Vec<(String, Node)>;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let story = &context.story;
    let (start, end) = story.load?;
    let gateways = story.pods.get("gateway")?;
    let Some(seen) = within(gateways, start, end) else {
        return Some(Finding::inconclusive("the gateways were not watched from the beginning of the load"));
    };
    // One gateway cannot be spread.
    if seen.map(|(_, pods)| pods.len()).max().unwrap_or_default() < 2 {
        return None;
    }
    let Some(first) = story.first_seen(&[Kind::Pod, Kind::Node]) else {
        return Some(Finding::inconclusive("nodes and pods were never seen"));
    };
    if let Some(gap) = story.gap(&[Kind::Pod, Kind::Node], first, end) {
        return Some(Finding::inconclusive(gap));
    }
    if story.nodes.is_empty() {
        return Some(Finding::inconclusive("no node was seen"));
    }
    let decisions = match decisions(story, gateways, first, end) {
        Ok(decisions) => decisions,
        Err(unknown) => return Some(Finding::inconclusive(unknown)),
    };
    let shared = shared(gateways, end);
    let evidence = json!({
        "decisions": decisions.iter().take(200).map(Decision::evidence).collect::<Vec<_>>(),
        "sharing_at_the_end": shared,
    });
    Some(Finding::new(decide(story, &decisions, &shared), evidence))
}

fn decide(story: &Story, decisions: &[Decision], shared: &BTreeMap<String, Vec<String>>) -> Ruling {
    let broken = decisions.iter().find_map(|decision| Some((decision, decision.broken.as_ref()?)));
    if let Some((decision, why)) = broken {
        let during = if decision.initial { "before the load".to_owned() } else { story.during(decision.t) };
        return (Verdict::Fail, format!("{why} (at {:.1}s, {during})", decision.t));
    }
    if decisions.is_empty() {
        return (Verdict::Inconclusive, "no gateway was seen to be placed".to_owned());
    }
    let shares = shared.iter().map(|(node, pods)| format!("{} share {node}", pods.join(" and ")));
    let later = match shares.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        shares => format!(
            "; at the end {shares}: nothing else could take them then, or others went, and Kubernetes moves none back"
        ),
    };
    let placed = decisions.len();
    let reason = format!("{placed} gateways were placed, each on as empty a node as could take it{later}");
    (Verdict::Pass, reason)
}

/// The scheduler's decision about each gateway that stayed for long enough.
///
/// # Errors
/// Names the gateway of which it is not on record where it might have been placed.
fn decisions(story: &Story, gateways: &Series<Pods>, first: f64, end: f64) -> Result<Vec<Decision>, String> {
    // A gateway that went before the scheduler could have heard of it shared nothing.
    let stayed = |t: f64, pod: &Pod| {
        let after = at(gateways, t + UNHEARD).into_iter().flatten();
        after.into_iter().any(|(_, it)| it.uid == pod.uid && !it.terminating)
    };
    let placed = placed(gateways, first, end).into_iter().filter(|(t, _, pod)| stayed(*t, pod));
    let decisions = placed.map(|(t, name, pod)| {
        Decision::of(story, t, t <= first, name, pod).ok_or_else(|| {
            format!(
                "where {name} might have been placed is not on record: neither labels and taints of the nodes nor its own \
                 constraints"
            )
        })
    });
    decisions.collect()
}

/// Returns each gateway that got a node, with the moment at which that was seen.
fn placed(gateways: &Series<Pods>, first: f64, end: f64) -> Vec<(f64, &str, &Pod)> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut placed = Vec::new();
    for (t, pods) in within(gateways, first, end).into_iter().flatten() {
        for (name, pod) in pods.iter().filter(|(_, pod)| !pod.node.is_empty()) {
            if known.insert(pod.uid.as_str()) && !pod.terminating {
                placed.push((t, name.as_str(), pod));
            }
        }
    }
    placed
}

/// A decision of the scheduler about a gateway.
struct Decision {
    t: f64,
    /// `true` if it was decided before the watches began: then it is judged by the first state that was seen.
    initial: bool,
    pod: String,
    node: String,
    /// The number of other gateways of its revision on each node that could take one.
    open: BTreeMap<String, usize>,
    /// The rules, in words.
    by: String,
    /// The problem, if there is one.
    broken: Option<String>,
}

/// A rule for decisions.
struct Rule<'a> {
    constraint: &'a TopologySpreadConstraint,
    /// `true` if the pod's specification has it; `false` for the rule that is implied without one.
    written: bool,
}

impl Decision {
    /// Returns none if the record does not tell.
    fn of(story: &Story, t: f64, initial: bool, name: &str, pod: &Pod) -> Option<Self> {
        let placement = pod.placement.as_deref()?;
        let snapshot = Snapshot::at(story, t, initial, placement)?;
        let implied = implied(pod);
        let written = placement.spread.iter().filter(|one| one.when_unsatisfiable == "DoNotSchedule");
        let mut rules: Vec<Rule<'_>> = written.map(|constraint| Rule { constraint, written: true }).collect();
        // A preference is no rule, but the purpose of any of them is that each gateway is on a node of its own.
        if placement.spread.iter().all(|one| one.topology_key != HOSTNAME) {
            rules.push(Rule { constraint: &implied, written: false });
        }
        let broken = rules.iter().find_map(|rule| snapshot.broken(rule, name, pod));
        let broken = broken.or_else(|| snapshot.packed(name, pod));
        let said = rules.iter().map(|rule| {
            let Rule { constraint, written } = rule;
            let (key, skew) = (&constraint.topology_key, constraint.max_skew);
            format!("{key}, maxSkew {skew}{}", if *written { "" } else { " (no constraint is written)" })
        });
        let by = said.collect::<Vec<_>>().join("; ");
        let open =
            snapshot.open.iter().map(|node| (node.clone(), snapshot.of_revision(node, name, pod).len()));
        let open = open.collect();
        Some(Self { t, initial, pod: name.to_owned(), node: pod.node.clone(), open, by, broken })
    }

    fn evidence(&self) -> Value {
        json!({
            "t": rounded(self.t),
            "pod": self.pod,
            "node": self.node,
            "could_take_it": self.open,
            "by": self.by,
            "before_anybody_looked": self.initial,
            "broken": self.broken,
        })
    }
}

/// Returns the rule that is implied where no constraint is written: gateways of one revision are on different nodes, as far
/// as there are.
fn implied(pod: &Pod) -> TopologySpreadConstraint {
    let app = ("app.kubernetes.io/name".to_owned(), pod.app.clone());
    TopologySpreadConstraint {
        label_selector: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: Some([app].into()),
            ..Default::default()
        }),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        max_skew: 1,
        topology_key: HOSTNAME.to_owned(),
        when_unsatisfiable: "DoNotSchedule".to_owned(),
        ..Default::default()
    }
}

/// The state of nodes and pods at a decision.
struct Snapshot<'a> {
    placement: &'a Placement,
    nodes: &'a Nodes,
    /// The nodes that could take the pod throughout.
    open: BTreeSet<String>,
    /// The nodes that could have, if its own node selector or affinity had let it.
    but_for_the_selector: BTreeSet<String>,
    /// Every pod of the namespace that had a node, was not terminating and had not finished: at the decision, and at each change
    /// for a moment after it.
    pods: Vec<Vec<(&'a str, &'a Pod)>>,
}

impl<'a> Snapshot<'a> {
    fn at(story: &'a Story, t: f64, initial: bool, placement: &'a Placement) -> Option<Self> {
        let nodes = at(&story.nodes, t)?;
        let (from, to) = if initial { (t, t) } else { (t - UNHEARD, t + UNHEARD) };
        // Before the watch began nothing is known of a node.
        let since = story.nodes.first().map_or(t, |(first, _)| first.max(from).min(t));
        let seen: Vec<&Nodes> = within(&story.nodes, since, to)?.map(|(_, nodes)| nodes).collect();
        let mut open = BTreeSet::new();
        let mut but_for_the_selector = BTreeSet::new();
        for (name, _) in nodes {
            let all: Option<Vec<&Node>> = seen
                .iter()
                .map(|nodes| nodes.iter().find(|(other, _)| other == name).map(|(_, node)| node))
                .collect();
            // A node that was not there throughout does not count.
            let Some(all) = all else { continue };
            let mut could = true;
            for node in &all {
                could &= node.ready && !node.unschedulable && !placement.is_repelled(node)?;
            }
            let mut chosen = true;
            for node in &all {
                chosen &= placement.selects(name, node)?;
            }
            if could {
                but_for_the_selector.insert(name.clone());
            }
            if could && chosen {
                open.insert(name.clone());
            }
        }
        let changes = story.pods.values().flatten().map(|(t, _)| *t);
        let moments = super::story::moments(changes, t, to);
        let there = |t: f64| {
            let all = story.pods.values().filter_map(|series| at(series, t)).flatten();
            let placed = all.filter(|(_, pod)| !pod.node.is_empty() && !pod.terminating);
            placed.map(|(name, pod)| (name.as_str(), pod)).collect::<Vec<_>>()
        };
        let pods = moments.into_iter().map(there).collect();
        Some(Self { placement, nodes, open, but_for_the_selector, pods })
    }

    fn node(&self, name: &str) -> Option<&'a Node> {
        self.nodes.iter().find(|(other, _)| other == name).map(|(_, node)| node)
    }

    fn domain(&self, node: &str, key: &str) -> Option<&'a str> {
        self.node(node)?.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Returns the nodes whose pods a constraint counts, as the scheduler does.
    fn counted(&self, constraint: &TopologySpreadConstraint) -> BTreeSet<&'a str> {
        let by_affinity = constraint.node_affinity_policy.as_deref() != Some("Ignore");
        let by_taints = constraint.node_taints_policy.as_deref() == Some("Honor");
        let counted = self.nodes.iter().filter(|(name, node)| {
            let chosen = !by_affinity || self.placement.selects(name, node) == Some(true);
            chosen && !(by_taints && self.placement.is_repelled(node) == Some(true))
        });
        counted.map(|(name, _)| name.as_str()).collect()
    }

    /// Returns how the placement of a pod breaks a rule, if it does.
    fn broken(&self, rule: &Rule<'_>, name: &str, pod: &Pod) -> Option<String> {
        let constraint = rule.constraint;
        let key = constraint.topology_key.as_str();
        let own = self.domain(&pod.node, key)?;
        let counted = self.counted(constraint);
        let of = |pods: &[(&str, &Pod)], domain: &str| {
            let here = pods.iter().filter(|(_, other)| {
                self.domain(&other.node, key) == Some(domain)
                    && (counted.contains(other.node.as_str()) || other.node == pod.node)
                    && other.uid != pod.uid
                    && counts(constraint, &pod.labels, &other.labels)
            });
            here.count()
        };
        // Its own domain as it was at the decision; each other one at the fullest that was seen around it.
        let here = of(self.pods.first()?, own);
        let others: BTreeSet<&str> = self.open.iter().filter_map(|node| self.domain(node, key)).collect();
        let fullest = |domain: &str| self.pods.iter().map(|pods| of(pods, domain)).max().unwrap_or_default();
        let others =
            others.into_iter().filter(|domain| *domain != own).map(|domain| (fullest(domain), domain));
        let (fewest, emptiest) = others.min()?;
        let counted_domains: BTreeSet<&str> =
            counted.iter().filter_map(|node| self.domain(node, key)).collect();
        let wanted = constraint.min_domains.and_then(|number| usize::try_from(number).ok()).unwrap_or(1);
        let least = if counted_domains.len() < wanted { 0 } else { fewest };
        let now = here + usize::from(counts(constraint, &pod.labels, &pod.labels));
        let most = usize::try_from(constraint.max_skew).unwrap_or(1);
        (now.saturating_sub(least) > most && fewest < here).then(|| {
            let beside = self.of_revision(&pod.node, name, pod).join(" and ");
            let beside = if beside.is_empty() { String::new() } else { format!(" beside {beside}") };
            let why = if rule.written {
                format!("maxSkew is {most} over {key}")
            } else {
                format!("no constraint spreads them over {key}")
            };
            format!(
                "{name} was put on {}{beside}, though {emptiest} could take it and held {fewest}: {why}",
                pod.node
            )
        })
    }

    /// Returns the other gateways of a pod's revision that were on a node.
    fn of_revision(&self, node: &str, name: &str, pod: &Pod) -> Vec<&'a str> {
        let there = self.pods.first().into_iter().flatten();
        let there = there.filter(|(other, it)| {
            *other != name && it.node == node && it.app == pod.app && it.revision == pod.revision
        });
        there.map(|(other, _)| *other).collect()
    }

    /// Returns a problem if all gateways of a pod's revision are on its node, though another could take one.
    fn packed(&self, name: &str, pod: &Pod) -> Option<String> {
        let beside = self.of_revision(&pod.node, name, pod);
        let all = self.pods.iter().map(|pods| {
            let of_it = pods.iter().filter(|(_, it)| it.app == pod.app && it.revision == pod.revision);
            of_it.filter(|(other, it)| *other != name && it.node != pod.node).count()
        });
        if beside.is_empty() || all.max().unwrap_or_default() > 0 {
            return None;
        }
        let (beside, node) = (beside.join(" and "), &pod.node);
        if let Some(other) = self.open.iter().find(|other| *other != node) {
            return Some(format!(
                "all gateways are on {node} ({beside} and {name}), though {other} could take one"
            ));
        }
        // If their own selector leaves them a single node, nothing can spread them.
        let chosen =
            self.nodes.iter().filter(|(name, node)| self.placement.selects(name, node) == Some(true));
        let workers = chosen.filter(|(_, node)| {
            node.labels.as_ref().is_some_and(|labels| !labels.contains_key(CONTROL_PLANE))
        });
        let other = self.but_for_the_selector.iter().find(|other| *other != node);
        other.filter(|_| workers.count() < 2).map(|other| {
            format!(
                "all gateways are on {node} ({beside} and {name}): their node selector leaves them no other node, though \
                 {other} could take one"
            )
        })
    }
}

/// Returns the nodes that hold more than one gateway of a revision at a moment.
fn shared(gateways: &Series<Pods>, t: f64) -> BTreeMap<String, Vec<String>> {
    let mut by_node: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let there = at(gateways, t).into_iter().flatten();
    for (name, pod) in there.filter(|(_, pod)| !pod.terminating && !pod.node.is_empty()) {
        by_node.entry((&pod.node, &pod.revision)).or_default().push(name.clone());
    }
    let shared = by_node.into_iter().filter(|(_, pods)| pods.len() > 1);
    shared.map(|((node, _), pods)| (node.to_owned(), pods)).collect()
}
