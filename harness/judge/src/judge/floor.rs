//! The number of gateways that had to be ready at each moment: the demand of the `PodDisruptionBudget`, as Kubernetes'
//! disruption controller works it out, whether or not the budget is there.

use super::Story;
use super::story::{at, moments, ready, within};
use crate::record::Record;
use crate::world::{Budget, Demand, Kind, Pod, Workload};

/// The largest delay between the watches on different kinds, in seconds: a scale-in is seen in the Deployment and in its pods.
const APART: f64 = 1.0;
/// The minimum where nothing is demanded: a tier without a ready gateway is not available.
const AT_LEAST: u32 = 1;

/// The number of gateways that had to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Floor {
    /// The number.
    pub(super) minimum: u32,
    /// The budget and its demand, in words.
    pub(super) asked: String,
}

/// The gateways that had to be ready at a moment, and that were.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Readiness {
    pub(super) t: f64,
    pub(super) floor: Floor,
    pub(super) ready: usize,
}

impl Readiness {
    /// Returns the number of gateways that were missing.
    pub(super) const fn missing(&self) -> usize {
        (self.floor.minimum as usize).saturating_sub(self.ready)
    }

    /// Returns the moment at which most were missing, or else fewest ready; the first of several.
    pub(super) fn worst(all: &[Self]) -> Option<&Self> {
        all.iter().rev().max_by_key(|readiness| (readiness.missing(), std::cmp::Reverse(readiness.ready)))
    }
}

/// Returns the readiness at each change in a window.
///
/// # Errors
/// Says what is not on record.
pub(super) fn readiness(
    record: &Record,
    story: &Story,
    from: f64,
    to: f64,
) -> Result<Vec<Readiness>, String> {
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
        // New gateways were not taken away: they count once they are ready.
        let there = u32::try_from(ready(pods)).unwrap_or(u32::MAX);
        expected = scale.map(|scale| expected.map_or(scale, |before| scale.min(before.max(there))));
        let floor = floor(record, story, t, pods, expected)?;
        all.push(Readiness { t, floor, ready: ready(pods) });
    }
    Ok(all)
}

/// Returns the smallest scale within a window.
pub(super) fn scale(workload: &super::story::Series<Workload>, from: f64, to: f64) -> Option<u32> {
    within(workload, from, to)?.map(|(_, workload)| workload.desired).min()
}

/// Returns the demand on the gateways at a moment; `expected` is the number of gateways that there should be.
///
/// # Errors
/// If the demand depends on that number, and it is not known.
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
    // Where the budget is left out, its manifest's demand is judged all the same.
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
        // Other pods that it covers may be the healthy ones that it counts.
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

/// Returns the demand of the PDB's manifest on the gateways, if there is one.
fn by_manifest(record: &Record, gateways: &[(String, Pod)]) -> Option<Demand> {
    let environment = &record.environment;
    if let Some(demand) = &environment.pdb {
        let selects = gateways.is_empty() || gateways.iter().any(|(_, pod)| demand.selects(&pod.labels));
        return selects.then(|| demand.clone());
    }
    // Older records hold nothing of it but the number.
    let minimum = environment.pdb_minimum;
    (minimum > 0).then(|| Demand { min_available: Some(minimum.to_string()), ..Demand::default() })
}

fn selects_any(budget: &Budget, gateways: &[(String, Pod)]) -> bool {
    let demand = budget.demand();
    gateways.iter().any(|(_, pod)| demand.selects(&pod.labels))
}
