//! The check `pdb`: the `PodDisruptionBudget` guarded all of the gateways, and no other pods, against evictions throughout. It
//! guards against nothing else: not roll-outs, not scale-in, not deletions.

use super::floor::{self, scale};
use super::story::{EvictionStory, at, moments, within};
use super::{Context, Finding, Ruling, Story, Verdict};
use crate::record::Record;
use crate::scenario::Measure;
use crate::world::{Budget, Kind, Pod};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The time that an eviction's answer may take where the request's moment is not on record, and that the disruption controller
/// may take to hear of a gateway that went for another reason, in seconds.
const UNHEARD: f64 = 1.0;
/// The number of names in a sentence.
const NAMED: usize = 4;

pub(super) fn check(context: &Context<'_>) -> Option<Finding> {
    let Context { record, story, .. } = context;
    let gateways: BTreeSet<&str> = story.pods.get("gateway").into_iter().flatten().flat_map(names).collect();
    let evictions = story.evictions.iter().filter(|eviction| gateways.contains(eviction.pod.as_str()));
    let evictions: Vec<_> = evictions.collect();
    if !record.scenario.tier.has(Measure::Pdb) && evictions.is_empty() {
        return None;
    }
    Some(match Facts::of(record, story, evictions) {
        Ok(facts) => Finding::new(facts.decide(), facts.evidence(story)),
        Err(unknown) => Finding::inconclusive(unknown),
    })
}

/// The facts that decide whether the gateways were guarded.
struct Facts<'a> {
    /// The load's window, in seconds on the run's clock.
    start: f64,
    end: f64,
    /// The budgets at the end of the steady state: their controller has counted by then, and not before.
    budgets: &'a [(String, Budget)],
    /// The guards, each from its moment on.
    guards: Vec<(f64, Guard)>,
    /// Every eviction of a gateway that was asked for.
    evictions: Vec<&'a EvictionStory>,
    /// Those that were granted.
    granted: Vec<Granted<'a>>,
}

impl<'a> Facts<'a> {
    /// Collects the facts.
    ///
    /// # Errors
    /// Says what is not on record.
    fn of(record: &Record, story: &'a Story, evictions: Vec<&'a EvictionStory>) -> Result<Self, String> {
        let (start, end) = story.load.ok_or("there was no load")?;
        if let Some(gap) = story.gap(&[Kind::PodDisruptionBudget, Kind::Pod], start, end) {
            return Err(gap);
        }
        if story.pods.get("gateway").and_then(|pods| at(pods, start)).is_none_or(Vec::is_empty) {
            return Err("no gateway was seen when the load began".to_owned());
        }
        let looked = story.faults.first().map_or(end, |fault| fault.start);
        let budgets = at(&story.budgets, looked).map_or(&[][..], Vec::as_slice);
        let (guards, granted) = (over_the_time(story, start, end), granted(record, story, &evictions));
        Ok(Self { start, end, budgets, guards, evictions, granted })
    }

    fn decide(&self) -> Ruling {
        let broken = self.granted.iter().find(|granted| granted.broke()).map(Granted::describe);
        if self.budgets.is_empty() {
            let none = "there is no PodDisruptionBudget".to_owned();
            return (Verdict::Fail, broken.map_or(none.clone(), |broken| format!("{none}: {broken}")));
        }
        if let Some(unguarded) = self.unguarded() {
            return (Verdict::Fail, unguarded);
        }
        if let Some((name, _)) = self.covering().find(|(_, budget)| budget.expected == 0) {
            let reason = format!("{name} covers no gateway by its controller's own count: it guards nothing");
            return (Verdict::Fail, reason);
        }
        if let Some((name, _)) = self.covering().find(|(_, budget)| budget.desired == 0) {
            return (Verdict::Fail, format!("{name} demands no healthy pod at all: it guards nothing"));
        }
        if let Some(broken) = broken {
            return (Verdict::Fail, broken);
        }
        (Verdict::Pass, if self.evictions.is_empty() { self.untried() } else { self.tried() })
    }

    /// The names of the budgets that covered a gateway at any time.
    fn covering_names(&self) -> BTreeSet<&str> {
        self.guards.iter().flat_map(|(_, guard)| guard.covering()).collect()
    }

    /// Those of the budgets that covered a gateway at any time.
    fn covering(&self) -> impl Iterator<Item = &(String, Budget)> {
        let names = self.covering_names();
        self.budgets.iter().filter(move |(name, _)| names.contains(name.as_str()))
    }

    /// The first time in which the gateways were not guarded, or not all of them, or others with them.
    fn unguarded(&self) -> Option<String> {
        let index = self.guards.iter().position(|(_, guard)| !matches!(guard, Guard::Whole { .. }))?;
        let (from, guard) = &self.guards[index];
        let until = self.guards.get(index + 1).map(|(until, _)| *until);
        let evicted = self.granted.iter().find(|granted| {
            granted.eviction.t >= *from && until.is_none_or(|until| granted.eviction.t < until)
        });
        Some(guard.during(*from, until, (self.start, self.end), evicted))
    }

    /// The reason of a pass without evictions.
    fn untried(&self) -> String {
        let said = self.covering().map(|(name, budget)| {
            let (expected, allowed) = (budget.expected, budget.allowed);
            format!("{name} covers {expected} gateways and nothing else, {allowed} of which may go")
        });
        let nothing = "nothing was evicted (it guards evictions, not roll-outs or scale-in)";
        format!("{}; {nothing}", said.collect::<Vec<_>>().join("; "))
    }

    /// The reason of a pass with evictions.
    fn tried(&self) -> String {
        let minimum = self.granted.iter().map(|granted| granted.minimum).max();
        let minimum =
            minimum.map_or_else(String::new, |minimum| format!("; none left fewer than {minimum} ready"));
        format!("{} evictions granted, {} refused{minimum}", self.granted.len(), self.refused())
    }

    fn refused(&self) -> usize {
        self.evictions.iter().filter(|eviction| eviction.code == 429).count()
    }

    fn evidence(&self, story: &Story) -> Value {
        let asks = self.budgets.iter();
        let asks = asks.map(|(name, budget)| json!([name, budget.demand().said(), budget.selector]));
        let evictions = self.evictions.iter();
        let evictions =
            evictions.map(|it| json!({"t": it.t, "pod": it.pod, "code": it.code, "outcome": it.outcome}));
        let others: BTreeSet<&str> = self.guards.iter().flat_map(|(_, guard)| guard.others()).collect();
        let guards = self.guards.iter().take(200).map(|(t, guard)| json!([t, guard.describe()]));
        json!({
            "budgets": self.budgets.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "covering": self.covering_names(),
            "also_covers": others,
            "asks": asks.collect::<Vec<_>>(),
            "guard": guards.collect::<Vec<_>>(),
            "granted": self.granted.len(),
            "refused": self.refused(),
            "over_time": series(story, self.start, self.end),
            "evictions": evictions.collect::<Vec<_>>(),
            "took": self.granted.iter().map(Granted::evidence).collect::<Vec<_>>(),
        })
    }
}

fn names((_, pods): &(f64, Vec<(String, Pod)>)) -> impl Iterator<Item = &str> {
    pods.iter().map(|(name, _)| name.as_str())
}

/// The guard of the gateways at a moment.
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
    /// It also covers other pods, which count as much as gateways.
    Wide { budget: String, others: Vec<String>, gateways: u32, grants: u32 },
    /// It demands nothing, or gives no number.
    Toothless { budget: String, number: bool },
    /// One budget covers all of the gateways and nothing else.
    Whole { budget: String },
}

/// Returns the guard that budgets give gateways, beside the other pods of the namespace; `scale` is the expected number of
/// gateways.
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

    /// Describes it in words.
    fn describe(&self) -> String {
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

    /// Describes it with its time, and with a pod that was evicted in that time.
    fn during(
        &self,
        from: f64,
        until: Option<f64>,
        (start, end): (f64, f64),
        evicted: Option<&Granted<'_>>,
    ) -> String {
        let said = self.describe();
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

/// Lists some names, not all.
fn few(names: &[String]) -> String {
    match names.len().checked_sub(NAMED) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

/// Returns the guard of the gateways over the load: each holds from its moment until the next.
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
        // Without a gateway nothing can be covered, so a budget that covers none is not told from one that does.
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

/// The state of a pod when its eviction was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PodState {
    Ready,
    NotReady,
    Leaving,
    Gone,
}

impl PodState {
    const fn describe(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Leaving => "terminating already",
            Self::Gone => "gone, or finished",
        }
    }
}

/// A granted eviction, and its effect.
struct Granted<'a> {
    eviction: &'a EvictionStory,
    was: PodState,
    /// The number of other gateways that were ready, as far as a budget could know: it is not to blame for those that went at
    /// that moment for another reason, before it could hear of it.
    left: usize,
    minimum: u32,
    /// The moment at which the pod was seen to go.
    seen: f64,
}

impl Granted<'_> {
    /// Returns `true` if it took a ready gateway, and left fewer than the minimum.
    fn broke(&self) -> bool {
        self.was == PodState::Ready && self.left < self.minimum as usize
    }

    fn describe(&self) -> String {
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
            "was": self.was.describe(),
            "ready_left": self.left,
            "minimum": self.minimum,
        })
    }
}

/// Returns every granted eviction, with its effect.
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
            None => PodState::Gone,
            Some(pod) if pod.terminating => PodState::Leaving,
            Some(pod) if !pod.ready => PodState::NotReady,
            Some(_) => PodState::Ready,
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
        // Where the whole of a share is not on record, the controller's own number counts.
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

/// Returns (t, name, allowed, healthy, desired, expected) at each change.
fn series(story: &Story, start: f64, end: f64) -> Vec<Value> {
    let all = within(&story.budgets, start, end).into_iter().flatten();
    all.flat_map(|(t, budgets)| {
        budgets
            .iter()
            .map(move |(name, it)| json!([t, name, it.allowed, it.healthy, it.desired, it.expected]))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_wrong_decides() {
        let budget = |expected, desired| Budget { expected, desired, allowed: 1, ..Budget::default() };
        let whole = || Guard::Whole { budget: "b".to_owned() };
        let part = || Guard::Part { budget: "b".to_owned(), without: vec!["g".to_owned()] };
        let eviction =
            |code| EvictionStory { t: 5.0, asked: None, pod: "g".to_owned(), code, outcome: String::new() };
        let (granted, refused) = (eviction(201), eviction(429));
        let took = |left| Granted { eviction: &granted, was: PodState::Ready, left, minimum: 1, seen: 5.0 };
        let says = |budgets: &[(String, Budget)], guard: Guard, granted: Vec<Granted<'_>>| {
            let evictions = granted.iter().map(|it| it.eviction).chain([&refused]).collect();
            let facts =
                Facts { start: 0.0, end: 9.0, budgets, guards: vec![(0.0, guard)], evictions, granted };
            facts.decide()
        };
        let one = |expected, desired| [("b".to_owned(), budget(expected, desired))];
        for ((verdict, reason), expected, words) in [
            (says(&[], Guard::NoBudget, Vec::new()), Verdict::Fail, "there is no PodDisruptionBudget"),
            (says(&one(2, 1), part(), vec![took(0)]), Verdict::Fail, "does not cover g"),
            (
                says(&one(0, 1), whole(), vec![took(0)]),
                Verdict::Fail,
                "covers no gateway by its controller's",
            ),
            (says(&one(2, 0), whole(), vec![took(0)]), Verdict::Fail, "demands no healthy pod at all"),
            (says(&one(2, 1), whole(), vec![took(0)]), Verdict::Fail, "left 0 ready gateways at 5.0s"),
            (
                says(&one(2, 1), whole(), vec![took(1)]),
                Verdict::Pass,
                "1 evictions granted, 1 refused; none left",
            ),
        ] {
            assert!(verdict == expected && reason.contains(words), "{words}: {verdict:?}: {reason}");
        }
    }
}
