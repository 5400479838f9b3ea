//! Did the `PodDisruptionBudget` guard the gateways against evictions? It guards nothing else: not roll-outs,
//! not scale-in, not deletions.

use super::{Check, Story, Verdict};
use crate::judge::story::{at, ready, within};
use crate::record::Record;
use crate::scenario::Measure;
use crate::world::{Budget, Kind, Pod};
use kube::core::{Selector, SelectorExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) fn check(record: &Record, story: &Story) -> Option<Check> {
    let gateways: BTreeSet<&str> = story.pods.get("gateway").into_iter().flatten().flat_map(names).collect();
    let evictions: Vec<_> =
        story.evictions.iter().filter(|eviction| gateways.contains(eviction.pod.as_str())).collect();
    if !record.scenario.tier.has(Measure::Pdb) && evictions.is_empty() {
        return None;
    }
    let inconclusive = |reason: String| Some(Check::new("pdb", Verdict::Inconclusive, reason, json!({})));
    let Some((start, end)) = story.load else {
        return inconclusive("there was no load".to_owned());
    };
    if let Some(gap) = story.gap(&[Kind::PodDisruptionBudget, Kind::Pod], start, end) {
        return inconclusive(gap);
    }
    let Some(pods) = story.pods.get("gateway").and_then(|pods| at(pods, start)) else {
        return inconclusive("no gateway was seen when the load began".to_owned());
    };
    // At the end of the steady state its controller has counted; before, its status may lag behind.
    let looked = story.faults.first().map_or(end, |fault| fault.start);
    let there = at(&story.budgets, looked).map_or(&[][..], Vec::as_slice);
    let covering: Vec<_> = there.iter().filter(|(_, budget)| covers(budget, pods)).collect();
    let (granted, refused): (Vec<_>, Vec<_>) = evictions
        .iter()
        .copied()
        .filter(|eviction| eviction.code == 429 || eviction.code / 100 == 2)
        .partition(|eviction| eviction.code != 429);
    let minimum = covering.first().map_or(record.environment.pdb_minimum, |(_, budget)| budget.desired);
    let broken = granted.iter().find_map(|eviction| {
        let (t, left) = left_by(story, &eviction.pod)?;
        // What it demanded then: of a percentage, or with maxUnavailable, that depends on how many there are.
        let demanded = selecting(story, eviction.t, pods).map_or(minimum, |budget| budget.desired);
        (left < demanded as usize).then_some((t, &eviction.pod, left))
    });
    let evidence = json!({
        "budgets": there.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "covering": covering.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "minimum": minimum,
        "granted": granted.len(),
        "refused": refused.len(),
        "over_time": over_time(story, start, end),
        "evictions": evictions.iter().map(|it| json!({"t": it.t, "pod": it.pod, "code": it.code, "outcome": it.outcome})).collect::<Vec<_>>(),
    });
    let unguarded = granted.iter().find(|eviction| selecting(story, eviction.t, pods).is_none());
    let by_evictions = || {
        broken.map(|(t, pod, left)| {
            format!("the eviction of {pod} was granted and left {left} ready gateways at {t:.1}s; the minimum is {minimum}")
        })
    };
    let (verdict, reason) = if there.is_empty() {
        let none = "there is no PodDisruptionBudget".to_owned();
        (Verdict::Fail, by_evictions().map_or(none.clone(), |broken| format!("{none}: {broken}")))
    } else if let [first, second, ..] = covering.as_slice() {
        let both = format!("{} and {}", first.0, second.0);
        (Verdict::Fail, format!("{both} cover the same pods: the Eviction API then refuses for ever"))
    } else if let [(name, budget)] = covering.as_slice() {
        if budget.desired == 0 {
            (Verdict::Fail, format!("{name} demands no healthy pod at all: it guards nothing"))
        } else if let Some(broken) = by_evictions() {
            (Verdict::Fail, broken)
        } else if let Some(eviction) = unguarded {
            (
                Verdict::Fail,
                format!("{name} was gone when {} was evicted at {:.1}s", eviction.pod, eviction.t),
            )
        } else if evictions.is_empty() {
            let nothing = "nothing was evicted (it guards evictions, not roll-outs or scale-in)";
            (
                Verdict::Pass,
                format!(
                    "{name} covers {} gateways, {} of which may go; {nothing}",
                    budget.expected, budget.allowed
                ),
            )
        } else {
            let (granted, refused) = (granted.len(), refused.len());
            (
                Verdict::Pass,
                format!(
                    "{granted} evictions granted, {refused} refused; none left fewer than {minimum} ready"
                ),
            )
        }
    } else {
        let (name, budget) = &there[0];
        (
            Verdict::Fail,
            format!("{name} covers no gateway ({} pods in all): it guards nothing", budget.expected),
        )
    };
    Some(Check::new("pdb", verdict, reason, evidence))
}

fn names((_, pods): &(f64, Vec<(String, Pod)>)) -> impl Iterator<Item = &str> {
    pods.iter().map(|(name, _)| name.as_str())
}

/// Whether a budget selects any of these pods.
fn selects(budget: &Budget, pods: &[(String, Pod)]) -> bool {
    let selector = Selector::try_from(budget.selector.clone());
    selector.is_ok_and(|selector| pods.iter().any(|(_, pod)| selector.matches(&pod.labels)))
}

/// The budget that selected any of these pods at a moment.
fn selecting<'a>(story: &'a Story, t: f64, pods: &[(String, Pod)]) -> Option<&'a Budget> {
    let mut then = at(&story.budgets, t)?.iter().map(|(_, budget)| budget);
    then.find(|budget| selects(budget, pods))
}

/// Whether it does so by its own count, too.
fn covers(budget: &Budget, pods: &[(String, Pod)]) -> bool {
    budget.expected > 0 && selects(budget, pods)
}

/// When a ready gateway was seen to be on its way out, and how many ready ones that left; none if it was not
/// ready before.
fn left_by(story: &Story, gateway: &str) -> Option<(f64, usize)> {
    let series = story.pods.get("gateway")?;
    let mut was_ready = false;
    for (t, pods) in series {
        match pods.iter().find(|(name, _)| name == gateway) {
            Some((_, pod)) if !pod.terminating => was_ready = pod.ready,
            Some(_) => return was_ready.then(|| (*t, ready(pods))),
            None if was_ready => return Some((*t, ready(pods))),
            None => {}
        }
    }
    None
}

/// (t, name, allowed, healthy, desired, expected) at each change.
fn over_time(story: &Story, start: f64, end: f64) -> Vec<Value> {
    let all = within(&story.budgets, start, end).into_iter().flatten();
    all.flat_map(|(t, budgets)| {
        budgets
            .iter()
            .map(move |(name, it)| json!([t, name, it.allowed, it.healthy, it.desired, it.expected]))
    })
    .collect()
}
