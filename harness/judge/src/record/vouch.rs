//! The parts of a run folder vouch for one another: a contradiction between them is damage, and names its file. Pure.
//!
//! This does not check whether the observations are true, but whether these are the parts of one run, whole, with its own
//! scenario and environment.

use super::{Began, Entry, Event, Record, SettleEnd};
use crate::scenario::{FaultName, Rate, Scenario, Step, StepPath};
use std::collections::{BTreeMap, BTreeSet};

/// The files of a folder, as far as the record does not hold them.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The content of `scenario.yaml`, and so on; none if the file is missing.
    pub(super) scenario: Option<Vec<u8>>,
    pub(super) environment: Option<Vec<u8>>,
    pub(super) plan: Option<Vec<u8>>,
    /// The names of the ledgers, in the order in which the record has them.
    pub(super) emitters: Vec<String>,
    pub(super) sinks: Vec<String>,
}

/// The digest of a file of the run that began like this: its checksum and its length, of the beginning as well, so that
/// neither can be another run's.
pub(super) fn digest(began: Option<&Event>, bytes: &[u8]) -> String {
    let mut crc = crc32fast::Hasher::new();
    if let Some(Began { run, tag, seed, unix_ms }) = began.and_then(Event::as_began) {
        crc.update(run.as_bytes());
        for number in [tag, seed, unix_ms] {
            crc.update(&number.to_le_bytes());
        }
    }
    crc.update(bytes);
    format!("{:08x}-{}", crc.finalize(), bytes.len())
}

/// Returns every contradiction, with its file.
pub(super) fn contradictions(record: &Record, files: &Files) -> Vec<String> {
    let mut found: Vec<String> = digests(record, files).collect();
    // Without the run's beginning there is nothing to compare with.
    let Some(Began { tag, .. }) = record.began() else { return found };
    found.extend(environment(record));
    found.extend(emitters(record, files, tag));
    found.extend(sinks(record, files, tag));
    found.extend(metrics(record, tag));
    found.extend(timeline(record).map(|problem| format!("timeline.jsonl: {problem}")));
    found
}

fn ended(record: &Record) -> bool {
    record.timeline.last().is_some_and(|entry| entry.event == Event::Ended)
}

/// Returns the files that are not as the timeline says that they were written.
fn digests<'a>(record: &'a Record, files: &'a Files) -> impl Iterator<Item = String> + 'a {
    let began = record.timeline.first().map(|entry| &entry.event);
    let mut written: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in &record.timeline {
        if let Event::File { name, digest } = &entry.event {
            written.insert(name, digest);
        }
    }
    // A run is judged without a plan, which is for people, but not with another run's.
    let all = [
        ("scenario.yaml", &files.scenario, true),
        ("environment.json", &files.environment, true),
        ("plan.json", &files.plan, false),
    ];
    all.into_iter().filter_map(move |(name, bytes, needed)| {
        match (written.get(name), bytes) {
            (Some(said), Some(bytes)) => (digest(began, bytes) != **said).then(|| {
                format!("{name} is not as this run wrote it: its digest in timeline.jsonl is another one")
            }),
            (Some(_), None) => needed.then(|| format!("{name} is missing")),
            // A run that broke off may not have come to it.
            (None, Some(_)) if ended(record) => {
                Some(format!("{name}: timeline.jsonl does not say that it was written"))
            }
            (None, None) if ended(record) && needed => Some(format!("{name} is missing")),
            (None, _) => None,
        }
    })
}

fn environment(record: &Record) -> Option<String> {
    let namespace = &record.environment.namespace;
    let run = record.began()?.run;
    let ours = namespace.is_empty() || namespace.ends_with(run);
    (!ours).then(|| {
        format!("environment.json: of the namespace {namespace}, and timeline.jsonl is of run {run}")
    })
}

/// Returns a problem if a file's ledger is of another run.
fn alien(file: &str, found: u64, expected: u64) -> Option<String> {
    (found != expected).then(|| {
        format!("{file}: the ledger of another run ({found:014x}; timeline.jsonl is of {expected:014x})")
    })
}

fn emitters(record: &Record, files: &Files, tag: u64) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<u16, &String> = BTreeMap::new();
    // A ledger without records does not even say whose it is: it counts as missing.
    let all = files.emitters.iter().zip(&record.emitters).filter(|(_, ledger)| ledger.records() > 0);
    for (file, ledger) in all {
        let stream = ledger.stream();
        if let Some(alien) = alien(file, ledger.run_tag(), tag) {
            found.push(alien);
        } else if let Some(node) = record.environment.streams.get(&stream) {
            let expected = format!("ledgers/emit-{node}.ledger");
            if *file != expected {
                found.push(format!("{file}: the ledger of stream {stream}, which is {expected}"));
            } else if let Some(other) = seen.insert(stream, file) {
                found.push(format!("{file}: the same ledger as {other}"));
            }
        } else {
            found.push(format!("{file}: of stream {stream}, which environment.json does not know"));
        }
    }
    found
}

fn sinks(record: &Record, files: &Files, tag: u64) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<u64, &String> = BTreeMap::new();
    let names: Vec<String> =
        (0..record.scenario.tier.sinks).map(|number| format!("ledgers/sink-{number}.ledger")).collect();
    let all = files.sinks.iter().zip(&record.sinks).filter(|(_, ledger)| ledger.records() > 0);
    for (file, ledger) in all {
        if let Some(alien) = alien(file, ledger.run_tag(), tag) {
            found.push(alien);
        } else if !names.contains(file) {
            found.push(format!("{file}: scenario.yaml asks for {} sinks", names.len()));
        } else if let Some(other) = seen.insert(ledger.source(), file) {
            found.push(format!("{file}: the same sink's ledger as {other}"));
        }
    }
    found
}

fn metrics(record: &Record, tag: u64) -> Option<String> {
    let metrics = record.metrics.as_ref().filter(|metrics| metrics.records() > 0)?;
    match metrics.run_tag() {
        Some(found) => (found != tag)
            .then(|| format!("metrics.log: of another run ({found:014x}; timeline.jsonl is of {tag:014x})")),
        // A log that breaks off may not have come to it.
        None => metrics.sealed().then(|| "metrics.log does not say of which run it is".to_owned()),
    }
}

/// Returns the first event that cannot have happened, by the order of events or by the scenario.
fn timeline(record: &Record) -> Option<String> {
    let mut progress = Progress {
        record,
        begun: false,
        load: LoadState::Before,
        steady: false,
        down: false,
        steps: BTreeMap::new(),
        faults: Vec::new(),
    };
    let mut lines = (1..).zip(&record.timeline);
    let wrong = lines.find_map(|(line, entry)| Some((line, progress.next(entry).err()?)));
    if let Some((line, problem)) = wrong {
        return Some(format!("line {line}: {problem}"));
    }
    let early = record.timeline.iter().rev().skip(1).any(|entry| entry.event == Event::Ended);
    early.then(|| "it goes on after its end".to_owned())
}

/// The state of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadState {
    Before,
    On,
    Over,
}

/// The timeline as far as it was read.
struct Progress<'a> {
    record: &'a Record,
    begun: bool,
    load: LoadState,
    /// `true` if the steady state was decided.
    steady: bool,
    /// `true` if the tier was taken down.
    down: bool,
    /// The steps that have begun; `true` if ended.
    steps: BTreeMap<StepPath, bool>,
    faults: Vec<OpenFault<'a>>,
}

struct OpenFault<'a> {
    step: &'a Step,
    landed: bool,
    healed: bool,
    ended: bool,
    /// The pods that were asked to go.
    asked: BTreeSet<&'a str>,
}

type Possible = Result<(), String>;

impl<'a> Progress<'a> {
    fn next(&mut self, entry: &'a Entry) -> Possible {
        let scenario = &self.record.scenario;
        match &entry.event {
            Event::Began { run, tag, .. } => {
                ensure(!self.begun, || "the run begins a second time".to_owned())?;
                ensure(entry.n == 0, || "the run begins after another event".to_owned())?;
                self.begun = true;
                ensure(*run == format!("{:06x}", tag & 0xff_ffff), || format!("run {run} has another tag"))
            }
            Event::LoadStarted { rate, emitters } => self.load_started(*rate, *emitters),
            Event::Rate { rate } => {
                self.under_load("another rate is offered")?;
                ensure(rates(scenario).any(|known| same(Some(*rate), Some(known))), || {
                    format!("a rate of {rate}/s, which scenario.yaml does not ask for")
                })
            }
            Event::LoadStopped => {
                ensure(self.load == LoadState::On, || "the load ends and was not on".to_owned())?;
                self.load = LoadState::Over;
                Ok(())
            }
            Event::Steady | Event::NotSteady { .. } => {
                self.under_load("the steady state is checked")?;
                ensure(!self.steady, || "the tier is steady a second time".to_owned())?;
                self.steady = true;
                Ok(())
            }
            Event::Step { step, .. } => {
                self.under_load("a step begins")?;
                ensure(scenario.step_at(step).is_some(), || format!("step {step} is not in scenario.yaml"))?;
                let again = self.steps.insert(step.clone(), false).is_some();
                ensure(!again, || format!("step {step} begins a second time"))
            }
            Event::StepEnded { step, .. } => {
                let before = self.steps.insert(step.clone(), true);
                ensure(before == Some(false), || format!("step {step} ends and was not going on"))
            }
            Event::FaultStarted { fault, step, name, .. } => self.fault(*fault, step, name),
            Event::FaultLanded { fault } => {
                let once = self.going_on(*fault)?;
                ensure(!std::mem::replace(&mut once.landed, true), || format!("fault {fault} lands twice"))
            }
            Event::FaultHealed { fault } => {
                let once = self.going_on(*fault)?;
                ensure(!std::mem::replace(&mut once.healed, true), || {
                    format!("fault {fault} is healed twice")
                })
            }
            Event::FaultEnded { fault, .. } => {
                self.going_on(*fault)?.ended = true;
                Ok(())
            }
            Event::Eviction { fault, pod, .. } => {
                let evicting = self.going_on(*fault)?;
                evicting.asked.insert(pod);
                let evicts = evicting.step.evicts();
                ensure(evicts, || format!("an eviction of fault {fault}, which evicts nothing"))
            }
            Event::PodGone { fault, pod } => {
                let asked = self.going_on(*fault)?.asked.contains(pod.as_str());
                ensure(asked, || format!("{pod} is gone by fault {fault}, which never asked for it"))
            }
            Event::Resolved { step, .. } => {
                ensure(scenario.step_at(step).is_some(), || format!("step {step} is not in scenario.yaml"))
            }
            Event::Settled { end, outstanding, .. } => {
                ensure(self.load == LoadState::Over, || {
                    "the rest is waited for before the load ends".to_owned()
                })?;
                let whole = *end != SettleEnd::Complete || *outstanding == 0;
                ensure(whole, || format!("everything had arrived, but for {outstanding} spans"))
            }
            Event::TakeDown { .. } => {
                ensure(self.load == LoadState::Over, || {
                    "the tier is taken down before the load ends".to_owned()
                })?;
                ensure(!self.down, || "the tier is taken down a second time".to_owned())?;
                self.down = true;
                Ok(())
            }
            Event::HopGone { hop, .. } => {
                ensure(self.down, || format!("the hop {hop} goes, and the tier is not taken down"))
            }
            Event::Clocks { .. } => {
                ensure(self.load == LoadState::Over, || "the clocks are read before the load ends".to_owned())
            }
            Event::File { .. }
            | Event::Need { .. }
            | Event::Cordon { .. }
            | Event::Seen { .. }
            | Event::Gone { .. }
            | Event::Watch { .. }
            | Event::Kubernetes { .. }
            | Event::Usage { .. }
            | Event::HarnessUsage { .. }
            | Event::Load { .. }
            | Event::Awaited { .. }
            | Event::Interrupted
            | Event::Ended
            | Event::Note { .. } => Ok(()),
        }
    }

    fn load_started(&mut self, rate: Option<f64>, emitters: usize) -> Possible {
        ensure(self.load == LoadState::Before, || "the load begins a second time".to_owned())?;
        self.load = LoadState::On;
        let asked = self.record.scenario.load.constant().map(Rate::in_a_second);
        ensure(same(rate, asked), || "the load has another rate than in scenario.yaml".to_owned())?;
        let streams = self.record.environment.streams.len();
        ensure(emitters == streams, || format!("{emitters} emitters, and environment.json knows {streams}"))
    }

    fn under_load(&self, what: &str) -> Possible {
        ensure(self.load == LoadState::On, || format!("{what} while no load is on"))
    }

    /// A fault begins: the next one, of a step that does such a thing and is going on.
    fn fault(&mut self, number: usize, path: &StepPath, name: &FaultName) -> Possible {
        self.under_load("a fault begins")?;
        ensure(number == self.faults.len(), || format!("fault {number} is not the next one"))?;
        let step = self.record.scenario.step_at(path);
        let step = step.ok_or_else(|| format!("step {path} is not in scenario.yaml"))?;
        ensure(self.steps.get(path) == Some(&false), || {
            format!("a fault of step {path}, which is not going on")
        })?;
        ensure(does(step, name), || format!("step {path} of scenario.yaml does no {name}"))?;
        self.faults.push(OpenFault {
            step,
            landed: false,
            healed: false,
            ended: false,
            asked: BTreeSet::new(),
        });
        Ok(())
    }

    fn going_on(&mut self, number: usize) -> Result<&mut OpenFault<'a>, String> {
        let fault = self.faults.get_mut(number).ok_or_else(|| format!("fault {number} never began"))?;
        if fault.ended {
            return Err(format!("fault {number} is over"));
        }
        Ok(fault)
    }
}

fn ensure(so: bool, problem: impl FnOnce() -> String) -> Possible {
    if so { Ok(()) } else { Err(problem()) }
}

/// Returns `true` if two rates are the same number, or both none.
fn same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-6 * other.abs(),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Returns every rate that a scenario may have offered.
fn rates(scenario: &Scenario) -> impl Iterator<Item = f64> + '_ {
    let spikes = scenario.all_steps().filter_map(|step| Some(step.action()?.traits().rate?.in_a_second()));
    scenario.load.constant().map(Rate::in_a_second).into_iter().chain(spikes)
}

/// Returns `true` if a step may begin a fault of that name.
fn does(step: &Step, name: &FaultName) -> bool {
    step.action().is_some_and(|action| action.traits().faults.contains(name))
}
