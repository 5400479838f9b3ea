//! Did the `PodDisruptionBudget` guard the gateways against evictions: all of them, and nothing else, all the while? It
//! guards nothing else: not roll-outs, not scale-in, not deletions.

use super::floor::{self, scale};
use super::story::{EvictionStory, at, moments, within};
use super::{Context, Finding, Story, Verdict};
use crate::record::Record;
use crate::scenario::Measure;
use crate::world::{Budget, Kind, Pod};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long an answer may take that does not say when it was asked for, and how long the disruption controller may take
/// to hear of a gateway that others took, in seconds.
const UNHEARD: f64 = 1.0;
/// How many names a sentence has.
const NAMED: usize = 4;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    let gateways: BTreeSet<&str> = story.pods.get("gateway").into_iter().flatten().flat_map(names).collect();
    let evictions: Vec<_> =
        story.evictions.iter().filter(|eviction| gateways.contains(eviction.pod.as_str())).collect();
    if !record.scenario.tier.has(Measure::Pdb) && evictions.is_empty() {
        return None;
    }
    let Some((start, end)) = story.load else {
        return Some(Finding::inconclusive("there was no load"));
    };
    if let Some(gap) = story.gap(&[Kind::PodDisruptionBudget, Kind::Pod], start, end) {
        return Some(Finding::inconclusive(gap));
    }
    if story.pods.get("gateway").and_then(|pods| at(pods, start)).is_none_or(Vec::is_empty) {
        return Some(Finding::inconclusive("no gateway was seen when the load began"));
    }
    // At the end of the steady state its controller has counted; before, its status may lag behind.
    let looked = story.faults.first().map_or(end, |fault| fault.start);
    let there = at(&story.budgets, looked).map_or(&[][..], Vec::as_slice);
    let guards = over_the_time(story, start, end);
    let covering: BTreeSet<&str> = guards.iter().flat_map(|(_, guard)| guard.covering()).collect();
    let also: BTreeSet<&str> = guards.iter().flat_map(|(_, guard)| guard.others()).collect();
    let granted: Vec<Granted> = granted(record, story, &evictions);
    let refused = evictions.iter().filter(|eviction| eviction.code == 429).count();
    let broken = granted.iter().find(|granted| granted.broke());
    let minimum = granted.iter().map(|granted| granted.minimum).max();
    let evidence = json!({
        "budgets": there.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "covering": covering,
        "also_covers": also,
        "asks": there.iter().map(|(name, budget)| json!([name, budget.demand().said(), budget.selector])).collect::<Vec<_>>(),
        "guard": guards.iter().take(200).map(|(t, guard)| json!([t, guard.said()])).collect::<Vec<_>>(),
        "granted": granted.len(),
        "refused": refused,
        "over_time": series(story, start, end),
        "evictions": evictions.iter().map(|it| json!({"t": it.t, "pod": it.pod, "code": it.code, "outcome": it.outcome})).collect::<Vec<_>>(),
        "took": granted.iter().map(Granted::evidence).collect::<Vec<_>>(),
    });
    let unguarded = guards.iter().position(|(_, guard)| !matches!(guard, Guard::Whole { .. }));
    let uncounted =
        there.iter().find(|(name, budget)| covering.contains(name.as_str()) && budget.expected == 0);
    let toothless =
        there.iter().find(|(name, budget)| covering.contains(name.as_str()) && budget.desired == 0);
    let by_evictions = broken.map(Granted::said);
    let ruling = if there.is_empty() {
        let none = "there is no PodDisruptionBudget".to_owned();
        (Verdict::Fail, by_evictions.map_or(none.clone(), |broken| format!("{none}: {broken}")))
    } else if let Some(index) = unguarded {
        let (from, guard) = &guards[index];
        let until = guards.get(index + 1).map(|(until, _)| *until);
        let evicted = granted.iter().find(|granted| {
            granted.eviction.t >= *from && until.is_none_or(|until| granted.eviction.t < until)
        });
        (Verdict::Fail, guard.during(*from, until, start, end, evicted))
    } else if let Some((name, _)) = uncounted {
        (Verdict::Fail, format!("{name} covers no gateway by its controller's own count: it guards nothing"))
    } else if let Some((name, _)) = toothless {
        (Verdict::Fail, format!("{name} demands no healthy pod at all: it guards nothing"))
    } else if let Some(broken) = by_evictions {
        (Verdict::Fail, broken)
    } else if evictions.is_empty() {
        let nothing = "nothing was evicted (it guards evictions, not roll-outs or scale-in)";
        let said = there.iter().filter(|(name, _)| covering.contains(name.as_str())).map(|(name, budget)| {
            let (expected, allowed) = (budget.expected, budget.allowed);
            format!("{name} covers {expected} gateways and nothing else, {allowed} of which may go")
        });
        (Verdict::Pass, format!("{}; {nothing}", said.collect::<Vec<_>>().join("; ")))
    } else {
        let granted = granted.len();
        let minimum =
            minimum.map_or_else(String::new, |minimum| format!("; none left fewer than {minimum} ready"));
        (Verdict::Pass, format!("{granted} evictions granted, {refused} refused{minimum}"))
    };
    Some(Finding::new(ruling, evidence))
}

fn names((_, pods): &(f64, Vec<(String, Pod)>)) -> impl Iterator<Item = &str> {
    pods.iter().map(|(name, _)| name.as_str())
}

/// How the gateways are guarded at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Guard {
    /// There is no budget.
    NoBudget,
    /// None of the budgets covers a gateway.
    Nothing { budgets: Vec<String> },
    /// More than one covers the same gateway.
    Several { budgets: Vec<String>, gateway: String },
    /// Some gateways are not covered.
    Part { budget: String, without: Vec<String> },
    /// It covers others, too, which count as much as gateways.
    Wide { budget: String, others: Vec<String>, gateways: u32, grants: u32 },
    /// It asks for nothing, or gives no number.
    Toothless { budget: String, number: bool },
    /// One budget covers all of the gateways and nothing else.
    Whole { budget: String },
}

/// How these budgets guard these gateways, beside these other pods of the namespace, where so many gateways are expected.
fn guard(
    budgets: &[(String, Budget)],
    gateways: &[(&str, &Pod)],
    others: &[(&str, &Pod)],
    scale: Option<u32>,
) -> Guard {
    let selected = |budget: &Budget, pods: &[(&str, &Pod)]| {
        let demand = budget.demand();
        let selected = pods.iter().filter(|(_, pod)| demand.selects(&pod.labels));
        selected.map(|(name, _)| (*name).to_owned()).collect::<Vec<String>>()
    };
    let covering: Vec<(&String, &Budget, Vec<String>)> = budgets
        .iter()
        .map(|(name, budget)| (name, budget, selected(budget, gateways)))
        .filter(|(_, _, covered)| !covered.is_empty())
        .collect();
    let twice = gateways.iter().find_map(|(gateway, _)| {
        let by = covering.iter().filter(|(.., covered)| covered.iter().any(|name| name == gateway));
        let by: Vec<String> = by.map(|(name, ..)| (*name).clone()).collect();
        (by.len() > 1).then(|| Guard::Several { budgets: by, gateway: (*gateway).to_owned() })
    });
    if budgets.is_empty() {
        return Guard::NoBudget;
    }
    if let Some(twice) = twice {
        return twice;
    }
    let Some((name, budget, covered)) = covering.into_iter().max_by_key(|(.., covered)| covered.len()) else {
        return Guard::Nothing { budgets: budgets.iter().map(|(name, _)| name.clone()).collect() };
    };
    let missing = gateways.iter().map(|(name, _)| (*name).to_owned()).filter(|name| !covered.contains(name));
    let (without, beside) = (missing.collect::<Vec<_>>(), selected(budget, others));
    let (budget_name, demand) = (name.clone(), budget.demand());
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let scale = scale.unwrap_or_else(|| count(covered.len()));
    if !without.is_empty() {
        Guard::Part { budget: budget_name, without }
    } else if !beside.is_empty() {
        let grants = demand.grants(scale.saturating_add(count(beside.len())));
        Guard::Wide { budget: budget_name, others: beside, gateways: count(covered.len()), grants }
    } else if demand.healthy(scale) == 0 {
        let number = demand.min_available.is_some() || demand.max_unavailable.is_some();
        Guard::Toothless { budget: budget_name, number }
    } else {
        Guard::Whole { budget: budget_name }
    }
}

impl Guard {
    fn covering(&self) -> Vec<&str> {
        match self {
            Self::NoBudget | Self::Nothing { .. } => Vec::new(),
            Self::Several { budgets, .. } => budgets.iter().map(String::as_str).collect(),
            Self::Part { budget, .. }
            | Self::Wide { budget, .. }
            | Self::Toothless { budget, .. }
            | Self::Whole { budget } => vec![budget],
        }
    }

    fn others(&self) -> Vec<&str> {
        match self {
            Self::Wide { others, .. } => others.iter().map(String::as_str).collect(),
            Self::NoBudget
            | Self::Nothing { .. }
            | Self::Several { .. }
            | Self::Part { .. }
            | Self::Toothless { .. }
            | Self::Whole { .. } => Vec::new(),
        }
    }

    /// What it guards, for people.
    fn said(&self) -> String {
        match self {
            Self::NoBudget => "there was no PodDisruptionBudget".to_owned(),
            Self::Nothing { budgets } => {
                let name = few(budgets);
                format!("{name} covers no gateway: it guards nothing")
            }
            Self::Several { budgets, gateway } => {
                let both = budgets.join(" and ");
                format!("{both} cover the same pods ({gateway}): the Eviction API then refuses for ever")
            }
            Self::Part { budget, without } => {
                format!("{budget} does not cover {}: nothing refuses their eviction", few(without))
            }
            Self::Wide { budget, others, gateways, grants } => {
                let lets =
                    if grants >= gateways { "every gateway may go" } else { "they stand in for gateways" };
                format!(
                    "{budget} also covers {}: with all {} healthy it grants {grants} evictions, and {lets}",
                    few(others),
                    others.len() + *gateways as usize
                )
            }
            Self::Toothless { budget, number: true } => {
                format!("{budget} demands no healthy pod at all: it guards nothing")
            }
            Self::Toothless { budget, number: false } => format!(
                "{budget} gives neither minAvailable nor maxUnavailable: Kubernetes then refuses every eviction for ever"
            ),
            Self::Whole { budget } => format!("{budget} covers all gateways, and nothing else"),
        }
    }

    /// The same, with when it was so, and who was evicted in that time.
    fn during(
        &self,
        from: f64,
        until: Option<f64>,
        start: f64,
        end: f64,
        evicted: Option<&Granted<'_>>,
    ) -> String {
        let said = self.said();
        if let (Self::NoBudget, Some(evicted)) = (self, evicted) {
            let (pod, t) = (&evicted.eviction.pod, evicted.eviction.t);
            return format!("the PodDisruptionBudget was gone when {pod} was evicted at {t:.1}s");
        }
        match until {
            Some(until) => format!("{said} (from {from:.1}s to {until:.1}s)"),
            None if from > start && from < end => format!("{said} (from {from:.1}s on)"),
            None => said,
        }
    }
}

/// Some names, not all.
fn few(names: &[String]) -> String {
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

/// How the gateways were guarded, from when on: each holds until the next.
fn over_the_time(story: &Story, start: f64, end: f64) -> Vec<(f64, Guard)> {
    let Some(gateways) = story.pods.get("gateway") else { return Vec::new() };
    let workload = story.workloads.get(&(Kind::Deployment, "gateway".to_owned()));
    let changes = story.pods.values().flatten().map(|(t, _)| *t);
    let changes = changes.chain(story.budgets.iter().map(|(t, _)| *t));
    let changes = changes.chain(workload.into_iter().flatten().map(|(t, _)| *t));
    let mut guards: Vec<(f64, Guard)> = Vec::new();
    for t in moments(changes, start, end) {
        let budgets = at(&story.budgets, t).map_or(&[][..], Vec::as_slice);
        let named = |(name, pod)| (str::as_ref(name), pod);
        let there = at(gateways, t).into_iter().flatten().map(|(name, pod)| (name.as_str(), pod));
        let there: Vec<_> = there.filter(|(_, pod)| !pod.terminating).collect();
        // Where there is no gateway there is nothing to be covered; what covers none then is not told from what does.
        if there.is_empty() && !budgets.is_empty() {
            continue;
        }
        let others = story.others_at(t).filter(|(_, pod)| !pod.terminating).map(named);
        let others: Vec<_> = others.collect();
        let scale = workload.and_then(|series| scale(series, t, t));
        let now = guard(budgets, &there, &others, scale);
        if guards.last().is_none_or(|(_, before)| *before != now) {
            guards.push((t, now));
        }
    }
    guards
}

/// What a pod was when its eviction was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Ready,
    NotReady,
    Leaving,
    Gone,
}

impl Was {
    const fn said(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Leaving => "on its way out already",
            Self::Gone => "gone, or finished",
        }
    }
}

/// An eviction that was granted, and what it took away.
struct Granted<'a> {
    eviction: &'a EvictionStory,
    was: Was,
    /// How many other gateways were ready, as far as a budget could know: those that others took at that moment, and it
    /// had not heard of yet, are none of its doing.
    left: usize,
    minimum: u32,
    /// When it was seen to go.
    seen: f64,
}

impl Granted<'_> {
    /// Whether it took a ready gateway, and left fewer than there had to be.
    fn broke(&self) -> bool {
        self.was == Was::Ready && self.left < self.minimum as usize
    }

    fn said(&self) -> String {
        let Self { eviction, left, minimum, seen, .. } = self;
        let pod = &eviction.pod;
        format!(
            "the eviction of {pod} was granted and left {left} ready gateways at {seen:.1}s; the minimum is {minimum}"
        )
    }

    fn evidence(&self) -> Value {
        json!({
            "pod": self.eviction.pod,
            "t": self.eviction.t,
            "was": self.was.said(),
            "ready_left": self.left,
            "minimum": self.minimum,
        })
    }
}

/// Every eviction that was granted, with what it took away.
fn granted<'a>(record: &Record, story: &Story, evictions: &[&'a EvictionStory]) -> Vec<Granted<'a>> {
    let Some(gateways) = story.pods.get("gateway") else { return Vec::new() };
    let workload = story.workloads.get(&(Kind::Deployment, "gateway".to_owned()));
    let mut all: Vec<Granted> = Vec::new();
    for (index, eviction) in evictions.iter().enumerate().filter(|(_, it)| it.code / 100 == 2) {
        let tried = evictions[..index].iter().rev().find(|before| before.pod == eviction.pod).map(|it| it.t);
        let asked = eviction.asked.filter(|asked| *asked <= eviction.t);
        let asked = asked.unwrap_or_else(|| tried.unwrap_or(0.0).max(eviction.t - UNHEARD));
        let mine = |pods: &[(String, Pod)]| {
            pods.iter().find(|(name, _)| *name == eviction.pod).map(|(_, pod)| pod.clone())
        };
        let was = match at(gateways, asked).and_then(|pods| mine(pods)) {
            None => Was::Gone,
            Some(pod) if pod.terminating => Was::Leaving,
            Some(pod) if !pod.ready => Was::NotReady,
            Some(_) => Was::Ready,
        };
        let evicted =
            |name: &String| *name == eviction.pod || all.iter().any(|before| before.eviction.pod == *name);
        let heard = (asked - UNHEARD).max(0.0);
        let seen = within(gateways, heard, eviction.t).into_iter().flatten();
        let left =
            seen.map(|(_, pods)| pods.iter().filter(|(name, pod)| pod.ready && !evicted(name)).count());
        let left = left.max().unwrap_or_default();
        let expected = workload.and_then(|series| scale(series, heard, eviction.t));
        let pods = at(gateways, asked).map_or(&[][..], Vec::as_slice);
        let floor = floor::floor(record, story, asked, pods, expected);
        // Of a share whose whole is not on record, what the controller itself made of it.
        let minimum = floor.map_or_else(|_| by_its_controller(story, asked), |floor| floor.minimum);
        let gone = gateways.iter().find(|(t, pods)| *t > asked && mine(pods).is_none_or(|pod| !pod.ready));
        let seen = gone.map_or(eviction.t, |(t, _)| *t);
        all.push(Granted { eviction, was, left, minimum, seen });
    }
    all
}

fn by_its_controller(story: &Story, t: f64) -> u32 {
    let budgets = at(&story.budgets, t).into_iter().flatten();
    budgets.map(|(_, budget)| budget.desired).max().unwrap_or_default()
}

/// (t, name, allowed, healthy, desired, expected) at each change.
fn series(story: &Story, start: f64, end: f64) -> Vec<Value> {
    let all = within(&story.budgets, start, end).into_iter().flatten();
    all.flat_map(|(t, budgets)| {
        budgets
            .iter()
            .map(move |(name, it)| json!([t, name, it.allowed, it.healthy, it.desired, it.expected]))
    })
    .collect()
}
