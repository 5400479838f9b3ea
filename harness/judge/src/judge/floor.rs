//! How many gateways had to be ready at each moment: what the `PodDisruptionBudget` demands, as Kubernetes' disruption
//! controller works it out, whether or not it is there to be asked.

use super::Story;
use super::story::{at, moments, ready, within};
use crate::record::Record;
use crate::world::{Budget, Demand, Kind, Pod, Workload};

/// How far the watches on different kinds may be apart, in seconds: a scale-in is seen of the Deployment and of its pods.
const APART: f64 = 1.0;
/// Where nothing is demanded, a tier without a ready gateway is not available all the same.
const AT_LEAST: u32 = 1;

/// How many had to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Floor {
    /// How many.
    pub(super) minimum: u32,
    /// What asks for that, for people.
    pub(super) asked: String,
}

/// A moment, what had to be ready, and what was.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) t: f64,
    pub(super) floor: Floor,
    pub(super) ready: usize,
}

impl Held {
    /// How many were missing.
    pub(super) const fn missing(&self) -> usize {
        (self.floor.minimum as usize).saturating_sub(self.ready)
    }

    /// Of these moments, the one at which most were missing, or else fewest ready; the first of several.
    pub(super) fn worst(all: &[Self]) -> Option<&Self> {
        all.iter().rev().max_by_key(|held| (held.missing(), std::cmp::Reverse(held.ready)))
    }
}

/// What had to be ready, and what was, at each moment of a window; why that is not known, if it is not.
pub(super) fn held(record: &Record, story: &Story, from: f64, to: f64) -> Result<Vec<Held>, String> {
    let unseen = || "the gateways were not watched from the beginning of the load".to_owned();
    let gateways = story.pods.get("gateway").ok_or_else(unseen)?;
    let workload = story.workloads.get(&(Kind::Deployment, "gateway".to_owned()));
    let changes = gateways.iter().map(|(t, _)| *t);
    let changes = changes.chain(story.budgets.iter().map(|(t, _)| *t));
    let changes = changes.chain(workload.into_iter().flatten().map(|(t, _)| *t));
    let mut expected: Option<u32> = None;
    let mut all = Vec::new();
    for t in moments(changes, from, to) {
        let pods = at(gateways, t).ok_or_else(unseen)?;
        let scale = workload.and_then(|series| scale(series, t, t + APART));
        // Gateways that are only now asked for were not taken away: they count from when they are ready.
        let there = u32::try_from(ready(pods)).unwrap_or(u32::MAX);
        expected = scale.map(|scale| expected.map_or(scale, |before| scale.min(before.max(there))));
        let floor = floor(record, story, t, pods, expected)?;
        all.push(Held { t, floor, ready: ready(pods) });
    }
    Ok(all)
}

/// The smallest scale within a window.
pub(super) fn scale(workload: &super::story::Series<Workload>, from: f64, to: f64) -> Option<u32> {
    within(workload, from, to)?.map(|(_, workload)| workload.desired).min()
}

/// What is demanded of the gateways at a moment, where so many are expected.
pub(super) fn floor(
    record: &Record,
    story: &Story,
    t: f64,
    gateways: &[(String, Pod)],
    expected: Option<u32>,
) -> Result<Floor, String> {
    let budgets = at(&story.budgets, t).map_or(&[][..], Vec::as_slice);
    let selecting = budgets.iter().filter(|(_, budget)| selects_any(budget, gateways));
    let mut asked: Vec<(String, Demand)> =
        selecting.map(|(name, budget)| (name.clone(), budget.demand())).collect();
    // Where it is left out, what its manifest asks for is judged all the same.
    if asked.is_empty() {
        asked.extend(by_manifest(record, gateways).map(|demand| ("the PDB's manifest".to_owned(), demand)));
    }
    let others: Vec<&Pod> = story.others_at(t).map(|(_, pod)| pod).collect();
    let demands = asked.iter().map(|(name, demand)| {
        let beside = others.iter().filter(|pod| demand.selects(&pod.labels)).count();
        let beside = u32::try_from(beside).unwrap_or(u32::MAX);
        let scale = match expected {
            Some(scale) => scale.saturating_add(beside),
            None if demand.follows_the_scale() => {
                let says = demand.said();
                return Err(format!(
                    "{name} asks for {says}, and how many gateways there should be is not known"
                ));
            }
            None => 0,
        };
        // Whatever else it covers may be what it counts.
        Ok((demand.healthy(scale).saturating_sub(beside), format!("{name}: {}", demand.said())))
    });
    let demands = demands.collect::<Result<Vec<_>, String>>()?;
    let most = demands.into_iter().max_by_key(|(minimum, _)| *minimum);
    Ok(match most {
        Some((minimum, asked)) if minimum >= AT_LEAST => Floor { minimum, asked },
        Some((_, asked)) => Floor {
            minimum: AT_LEAST,
            asked: format!("{asked}, which demands no gateway; judged is whether one was ready"),
        },
        None => Floor {
            minimum: AT_LEAST,
            asked: "the tier has no PDB; judged is whether one gateway was ready".to_owned(),
        },
    })
}

/// What the PDB's manifest asks of the gateways, if there is one.
fn by_manifest(record: &Record, gateways: &[(String, Pod)]) -> Option<Demand> {
    let environment = &record.environment;
    if let Some(demand) = &environment.pdb {
        let selects = gateways.is_empty() || gateways.iter().any(|(_, pod)| demand.selects(&pod.labels));
        return selects.then(|| demand.clone());
    }
    // What it said as a number was once all that was recorded of it.
    let minimum = environment.pdb_minimum;
    (minimum > 0).then(|| Demand { min_available: Some(minimum.to_string()), ..Demand::default() })
}

fn selects_any(budget: &Budget, gateways: &[(String, Pod)]) -> bool {
    let demand = budget.demand();
    gateways.iter().any(|(_, pod)| demand.selects(&pod.labels))
}
