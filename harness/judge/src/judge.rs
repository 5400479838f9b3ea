//! The judgement: a pure function of the run folder. One file a check.

mod availability;
mod balance;
mod clocks;
mod control;
mod duplicates;
mod faults;
mod floor;
mod gateways;
mod gateways_moved;
mod hpa;
mod intake;
mod latency;
mod load;
mod loss;
mod pdb;
mod queues;
mod remains;
mod restarts;
mod rollout;
mod spread;
mod steady_state;
mod story;
mod traces;
mod unexpected;
mod usage;

pub use crate::scenario::grouped;
pub use balance::foreseen as balance_foreseen;
pub use control::ControlJudgement;
pub use usage::Usage;

use crate::record::{FORMAT, Record};
use crate::scenario::{CheckName, FaultName, StepPath};
use clocks::Clocks;
use gateways::Gateways;
use remains::Remains;
use restarts::Restarts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spanproof_ledger::{Account, Counts, EmitterLedger, SinkLedger};
use std::collections::{BTreeMap, BTreeSet};
use story::Story;
use traces::Traces;

/// Judges one thing; none if the scenario gives no cause for it.
type Judging = fn(&Context<'_>) -> Option<Finding>;

/// Every check, in the order of a verdict.
const CHECKS: [(CheckName, Judging); 15] = [
    (CheckName::SteadyState, steady_state::check),
    (CheckName::Loss, loss::check),
    (CheckName::Unexpected, unexpected::check),
    (CheckName::Load, load::check),
    (CheckName::Intake, intake::check),
    (CheckName::Duplicates, duplicates::check),
    (CheckName::Availability, availability::check),
    (CheckName::Pdb, pdb::check),
    (CheckName::Spread, spread::check),
    (CheckName::GatewaysMoved, gateways_moved::check),
    (CheckName::Rollout, rollout::check),
    (CheckName::Hpa, hpa::check),
    (CheckName::Balance, balance::check),
    (CheckName::Queues, queues::check),
    (CheckName::Faults, faults::check),
];

/// The result of a check, or of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Seen to be as it must be.
    Pass,
    /// Its assumptions do not hold, so it says nothing.
    Inconclusive,
    /// Seen to be as it must not be.
    Fail,
}

/// A judgement with its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The name.
    pub name: CheckName,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason, in a sentence.
    pub reason: String,
    /// The evidence that the verdict rests on.
    pub evidence: Value,
}

/// A fault, as it happened. Times are seconds on the run's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The step that it belongs to: `2`, or `3.2.1` where steps hold steps.
    pub step: StepPath,
    /// The name.
    pub name: FaultName,
    /// The target.
    pub target: String,
    /// The beginning.
    pub start: f64,
    /// The end; the last moment on record if it never ended.
    pub end: f64,
    /// `true` if it was seen to have its effect.
    pub landed: bool,
    /// `true` if its effect was seen to be undone.
    pub healed: bool,
}

/// The result of a run: `verdict.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The version of this format.
    pub format: u32,
    /// The scenario's name.
    pub scenario: String,
    /// Fail beats inconclusive beats pass.
    pub verdict: Verdict,
    /// The result of the control, if the run was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlJudgement>,
    /// The counts of spans.
    pub spans: Counts,
    /// Each check.
    pub checks: Vec<Check>,
    /// Each fault.
    pub faults: Vec<Fault>,
    /// The resources used while load was offered, by application: measured, not judged.
    pub usage: BTreeMap<String, Usage>,
    /// The seed of whatever was random.
    pub seed: u64,
}

/// Judges a run by its record.
pub fn judge(record: &Record) -> Judgement {
    let context = Context::of(record);
    // A check that the scenario gives no cause for is left out, not passed.
    let checks = CHECKS.iter().filter_map(|(name, check)| Some(check(&context)?.named(*name)));
    let mut checks: Vec<Check> = checks.collect();
    let Context { story, account, clocks, .. } = &context;
    clocks.doubt(&mut checks, record.scenario.expect.refused_for.is_some());
    // A missing part might have changed any of them.
    if let Some(missing) = &story.incomplete {
        for check in &mut checks {
            check.verdict = Verdict::Inconclusive;
            check.reason.clone_from(missing);
        }
    }
    // A control is red for its own reason, or inconclusive.
    let void = control::void(record, story);
    if let Some(void) = &void {
        for check in checks.iter_mut().filter(|check| check.verdict == Verdict::Fail) {
            check.verdict = Verdict::Inconclusive;
            check.reason = format!("the control shows nothing: {void}; the check found: {}", check.reason);
        }
        checks.push(Finding::inconclusive(void.clone()).named(CheckName::Control));
    }
    let control = control::judge(record, void, &checks);
    let worst = checks.iter().map(|check| check.verdict).max();
    Judgement {
        format: FORMAT,
        scenario: record.scenario.name.clone(),
        verdict: worst.unwrap_or(Verdict::Inconclusive),
        control,
        spans: account.counts,
        checks,
        faults: story.faults.iter().map(story::FaultStory::public).collect(),
        usage: usage::usage(story),
        seed: record.seed(),
    }
}

/// The facts that the checks share, worked out once.
struct Context<'a> {
    record: &'a Record,
    story: Story,
    account: Account,
    /// None if the tier keeps every trace, and at once.
    traces: Option<Traces<'a>>,
    remains: Remains,
    clocks: Clocks,
    restarts: Restarts,
    gateways: Gateways<'a>,
}

impl<'a> Context<'a> {
    fn of(record: &'a Record) -> Self {
        let story = Story::of(record);
        let mut account = Account::of(&record.emitters, &record.sinks);
        let traces = traces::of(record, &story, &mut account);
        let remains = remains::of(record, &story);
        account.strand(remains.streams(record));
        let (clocks, restarts) = (Clocks::of(record), Restarts::of(record, &story));
        let gateways = Gateways::of(record);
        Self { record, story, account, traces, remains, clocks, restarts, gateways }
    }
}

/// A verdict with its reason.
type Ruling = (Verdict, String);

/// The result of a check, without its name.
struct Finding {
    verdict: Verdict,
    reason: String,
    evidence: Value,
}

impl Finding {
    fn new((verdict, reason): Ruling, evidence: Value) -> Self {
        Self { verdict, reason, evidence }
    }

    /// An inconclusive result without evidence.
    fn inconclusive(reason: impl Into<String>) -> Self {
        Self::new((Verdict::Inconclusive, reason.into()), serde_json::json!({}))
    }

    fn named(self, name: CheckName) -> Check {
        let Self { verdict, reason, evidence } = self;
        Check { name, verdict, reason, evidence }
    }
}

/// Returns why the sinks' ledgers are not the whole account of what arrived; none if they are.
fn sinks_incomplete(record: &Record) -> Option<String> {
    let wanted = record.scenario.tier.sinks;
    let files = match wanted {
        0 | 1 => "ledgers/sink-0.ledger".to_owned(),
        sinks => format!("one of ledgers/sink-0.ledger to ledgers/sink-{}.ledger", sinks - 1),
    };
    let told: Vec<&SinkLedger> = record.sinks.iter().filter(|sink| sink.records() > 0).collect();
    let sources: BTreeSet<u64> = told.iter().map(|sink| sink.source()).collect();
    if told.len() != usize::from(wanted) || sources.len() != told.len() || record.sinks.len() != told.len() {
        return Some(format!("a sink's ledger is missing or empty: {files}"));
    }
    let open = told.iter().any(|sink| sink.seal().is_none());
    open.then(|| format!("a sink's ledger is not sealed: {files}"))
}

/// Returns why the emitters' ledgers are not the whole account of what was sent; none if they are.
fn emitters_incomplete(record: &Record) -> Option<String> {
    let streams = &record.environment.streams;
    if streams.is_empty() {
        return Some("environment.json knows no emitters".to_owned());
    }
    let of = |stream| move |emitter: &&EmitterLedger| emitter.records() > 0 && emitter.stream() == stream;
    for (stream, node) in streams {
        let file = format!("ledgers/emit-{node}.ledger");
        let mut ours = record.emitters.iter().filter(of(*stream));
        match (ours.next(), ours.next()) {
            (Some(emitter), None) if emitter.seal().is_some() => {}
            (Some(_), None) => return Some(format!("the ledger of stream {stream} is not sealed: {file}")),
            (None, _) => return Some(format!("the ledger of stream {stream} is missing or empty: {file}")),
            (Some(_), Some(_)) => return Some(format!("there are two ledgers of stream {stream}")),
        }
    }
    let strangers = record.emitters.len() > streams.len();
    strangers.then(|| "there is a ledger of a stream that environment.json does not know".to_owned())
}

/// Rounds to three decimal places: seconds to the millisecond.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests;
