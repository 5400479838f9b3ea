//! The run folder: everything that was observed, appended as it happens.
//!
//! ```text
//! RUN/scenario.yaml       the scenario as it was run
//! RUN/environment.json    where it was run: versions, images, nodes, settings
//! RUN/timeline.jsonl      what happened, one [`Entry`] a line, numbered
//! RUN/ledgers/*.ledger    the probes' ledgers, as they were on their disks
//! RUN/metrics.log         what the sink's probe read of the Collectors' metrics
//! RUN/verdict.json        the judgement
//! RUN/logs/               unless it passed: pods' logs
//! ```
//!
//! `docs/run-folder.md` describes it for people.

mod hop;
mod read;
mod vouch;

pub use hop::{Hop, Keeps, worst_pause_s};
pub use read::Record;

use crate::clock::Clock;
use crate::sampling::Sampling;
use crate::scenario::{FaultName, StepPath};
use crate::world::{Demand, Kind, Object};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Version of the run folder's format.
pub const FORMAT: u32 = 5;

/// Why a run folder cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which line, from 0: one that is missing is noticed.
    pub n: u64,
    /// Seconds since the run began.
    pub t: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run began.
    Began {
        /// The run's name.
        run: String,
        /// Its tag, in every trace ID.
        tag: u64,
        /// The seed of whatever was random.
        seed: u64,
        /// The beginning, Unix time in milliseconds.
        unix_ms: u64,
    },
    /// A file of the folder that the judge goes by was written: it must stay as it was.
    File {
        /// Its name.
        name: String,
        /// Of what is in it and of whose run it is: see [`Recorder::write_vouched`].
        digest: String,
    },
    /// The emitters were told to begin.
    LoadStarted {
        /// Spans per second that the scenario asks for; none if its load has a profile.
        rate: Option<f64>,
        /// How many emitters there are.
        emitters: usize,
    },
    /// The emitters were told to offer another rate, all of them together.
    Rate {
        /// Spans per second.
        rate: f64,
    },
    /// The emitters stopped, or were told to.
    LoadStopped,
    /// The tier was seen to be well under load; faults may begin.
    Steady,
    /// The tier was not well, before anything was done to it: no fault is carried out.
    NotSteady {
        /// Why not.
        reason: String,
    },
    /// A step of the scenario begins.
    Step {
        /// Which.
        step: StepPath,
        /// What it does.
        name: String,
    },
    /// A step of the scenario is over.
    StepEnded {
        /// Which.
        step: StepPath,
        /// What went wrong, if anything did.
        problem: Option<String>,
    },
    /// Whom a step is about was resolved: what `each`, `node`, `pods`, `pod` or a `for-each` stands for.
    Resolved {
        /// The step.
        step: StepPath,
        /// What was looked for.
        what: String,
        /// Who that is; for a `for-each`, one a round.
        targets: Vec<String>,
    },
    /// A control's precondition was awaited.
    Need {
        /// The step before which it must have come about.
        before: StepPath,
        /// What.
        what: String,
        /// Did it come about?
        came: bool,
    },
    /// A fault begins.
    FaultStarted {
        /// Its number in this run.
        fault: usize,
        /// The step that it is of.
        step: StepPath,
        /// What is done.
        name: FaultName,
        /// To what.
        target: String,
        /// The gateways that it is to move.
        gateways: Vec<String>,
    },
    /// A fault was seen to have its effect.
    FaultLanded {
        /// Its number.
        fault: usize,
    },
    /// A fault's effect was seen to be undone.
    FaultHealed {
        /// Its number.
        fault: usize,
    },
    /// A fault is over, whatever became of it.
    FaultEnded {
        /// Its number.
        fault: usize,
        /// What went wrong, if anything did.
        problem: Option<String>,
        /// Whether the harness could not see or do what it should: that is no doing of the tier's.
        #[serde(default)]
        blind: bool,
    },
    /// A node was marked unschedulable, or schedulable again, by this run.
    Cordon {
        /// The node.
        node: String,
        /// Unschedulable from now on?
        cordoned: bool,
    },
    /// A pod was asked to be evicted: one try.
    Eviction {
        /// The fault that it belongs to.
        fault: usize,
        /// The pod.
        pod: String,
        /// Its UID.
        uid: String,
        /// Which try, from 1.
        attempt: u32,
        /// What the API server answered.
        outcome: String,
        /// The HTTP status.
        code: u16,
        /// When it was asked, in seconds since the run began; none if that is not on record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<f64>,
    },
    /// A pod that was evicted is gone.
    PodGone {
        /// The fault that it belongs to.
        fault: usize,
        /// The pod.
        pod: String,
    },
    /// An object is, from now on, like this.
    Seen {
        /// Its name.
        name: String,
        /// What is recorded of it.
        object: Object,
    },
    /// An object is gone.
    Gone {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The watch on a kind lost its connection, or got it back.
    Watch {
        /// The kind.
        kind: Kind,
        /// Is it up to date from now on?
        synced: bool,
        /// Since when it may not have been, in seconds since the run began: the last sign of life.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<f64>,
        /// Why not.
        problem: Option<String>,
    },
    /// What Kubernetes itself says happened.
    Kubernetes {
        /// Kind and name.
        object: String,
        /// A word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// What a container has used since it began.
    Usage {
        /// Its pod.
        pod: String,
        /// The container.
        container: String,
        /// Processor seconds.
        cpu_s: f64,
        /// Memory that could not be taken from it, in bytes.
        memory_bytes: f64,
        /// Periods in which it ran.
        periods: f64,
        /// Periods in which it ran into its limit.
        throttled: f64,
    },
    /// What this process has used since it began.
    HarnessUsage {
        /// Processor seconds.
        cpu_s: f64,
    },
    /// How the load stood.
    Load {
        /// Spans that the schedules asked for.
        offered: u64,
        /// Spans sent.
        emitted: u64,
        /// Spans taken by the agents.
        acknowledged: u64,
        /// Spans that arrived.
        delivered: u64,
        /// What the agents' queues held; none if one was not known.
        queued: Option<f64>,
    },
    /// Waiting for the rest ended.
    Settled {
        /// How.
        end: SettleEnd,
        /// The longest that a span may be on its way without a sign of life, in seconds.
        worst_retry_pause: f64,
        /// Acknowledged spans that had not arrived.
        outstanding: u64,
        /// For how long nothing had arrived by then, in seconds; none if nobody knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        still_s: Option<f64>,
    },
    /// What waiting left in doubt is decided: the tier is taken down, hop by hop from its entry.
    TakeDown {
        /// The doubt.
        why: String,
    },
    /// A hop was taken down.
    HopGone {
        /// Which: `agent`, `gateway`.
        hop: String,
        /// Its Collectors.
        pods: Vec<PodEnd>,
        /// Spans that arrived meanwhile.
        arrived: u64,
        /// What went wrong, if anything did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// Something was awaited, and came about or did not.
    Awaited {
        /// What.
        what: String,
        /// Did it come about?
        came: bool,
    },
    /// By how many milliseconds each node's clock is ahead of this machine's, once more.
    Clocks {
        /// By node.
        ahead_ms: std::collections::BTreeMap<String, f64>,
    },
    /// The run was interrupted.
    Interrupted,
    /// The record is whole: nothing follows.
    Ended,
    /// Something that a person may want to know.
    Note {
        /// What.
        message: String,
    },
}

/// The beginning of a run: what [`Event::Began`] says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began<'a> {
    pub(crate) run: &'a str,
    pub(crate) tag: u64,
    pub(crate) seed: u64,
    pub(crate) unix_ms: u64,
}

impl Event {
    /// The beginning of the run, if it is that.
    pub(crate) fn as_began(&self) -> Option<Began<'_>> {
        let Self::Began { run, tag, seed, unix_ms } = self else { return None };
        Some(Began { run, tag: *tag, seed: *seed, unix_ms: *unix_ms })
    }

    /// The number of the fault that it belongs to, of those that are on record already.
    pub(crate) const fn of_fault(&self) -> Option<usize> {
        if let Self::FaultLanded { fault }
        | Self::FaultHealed { fault }
        | Self::FaultEnded { fault, .. }
        | Self::Eviction { fault, .. }
        | Self::PodGone { fault, .. } = self
        {
            Some(*fault)
        } else {
            None
        }
    }
}

/// A Collector that was taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEnd {
    /// Its pod.
    pub pod: String,
    /// The node that it was on.
    pub node: String,
    /// Whether it was seen to be gone.
    pub gone: bool,
}

/// How waiting for the rest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SettleEnd {
    /// Everything acknowledged had arrived.
    Complete,
    /// Not all had, but every queue was empty and nothing had moved for longer than any pause.
    Quiet,
    /// Not all had, and nothing had moved for longer than any pause, but a queue could not be read.
    Unread,
    /// The deadline passed, and more may have been on its way.
    Deadline,
    /// It was not left at that: the tier was taken down, and this is what had arrived then.
    TakenDown,
    /// It was not waited for.
    Interrupted,
}

/// Where a run happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Version of the run folder's format.
    pub format: u32,
    /// This program's version.
    pub spanproof: String,
    /// The probe's sources.
    pub probe_sources: String,
    /// The cluster's name.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The API server's version.
    pub kubernetes: String,
    /// The nodes' container runtime, system and kernel.
    pub node_runtime: String,
    /// Cores and memory of a node; in kind, those of the machine.
    pub machine: String,
    /// Images by what they are for: name, ID, how they came to be.
    pub images: serde_json::Value,
    /// How the cluster was set up, where it was made here.
    pub cluster_settings: Vec<String>,
    /// The nodes, with their roles.
    pub nodes: Vec<String>,
    /// Each stream's node.
    pub streams: std::collections::BTreeMap<u16, String>,
    /// The workers that have no emitter since none can be scheduled there, each with why.
    pub nodes_without: std::collections::BTreeMap<String, String>,
    /// The sink's node.
    pub sink_node: String,
    /// How many gateways must be ready by the PDB's manifest, of as many as there are when all is well, whether or not the
    /// PDB is there.
    pub pdb_minimum: u32,
    /// What that manifest asks for, as written; none if there is none, or if it is not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<Demand>,
    /// The longest that a span may be on its way through the tier without a sign of life, in seconds.
    pub worst_retry_pause: f64,
    /// The tier's hops, the entry first.
    pub hops: Vec<Hop>,
    /// Whether an agent has the spans of its own node's emitter and no others.
    pub entry_of_its_node: bool,
    /// How the tier samples; none if it keeps everything, and at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// By how many milliseconds each node's clock is ahead of this machine's.
    pub clock_offsets_ms: std::collections::BTreeMap<String, f64>,
}

/// Writes a run folder.
#[derive(Debug, Clone)]
pub struct Recorder {
    dir: PathBuf,
    clock: Clock,
    timeline: Arc<Mutex<Timeline>>,
}

/// The timeline's file. What could not be written once is missing: nothing may be written after it.
#[derive(Debug)]
struct Timeline {
    file: File,
    next: u64,
    broken: bool,
    ended: bool,
    /// How it began.
    began: Option<Event>,
}

impl Recorder {
    /// Makes the folder, which must not be there.
    pub fn create(dir: &Path, clock: Clock) -> Result<Self, RecordError> {
        let error = |source| RecordError::Io { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir.join("ledgers")).map_err(error)?;
        let timeline = OpenOptions::new().create_new(true).append(true).open(dir.join("timeline.jsonl"));
        let timeline =
            Timeline { file: timeline.map_err(error)?, next: 0, broken: false, ended: false, began: None };
        Ok(Self { dir: dir.to_owned(), clock, timeline: Arc::new(Mutex::new(timeline)) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The run's clock.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Appends an event, at this moment. Lines are whole: a crash leaves a readable timeline.
    pub fn event(&self, event: Event) -> Result<(), RecordError> {
        let path = || self.dir.join("timeline.jsonl");
        let content =
            |error: serde_json::Error| RecordError::Content { path: path(), message: error.to_string() };
        let mut timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        if timeline.ended {
            return Ok(()); // a task that had not heard yet that the run is over
        }
        timeline.ended = event == Event::Ended;
        if matches!(event, Event::Began { .. }) {
            timeline.began = Some(event.clone());
        }
        let entry = Entry { n: timeline.next, t: (self.clock.now() * 1e3).round() / 1e3, event };
        timeline.next += 1;
        let mut line = serde_json::to_vec(&entry).map_err(content)?;
        line.push(b'\n');
        let written = if timeline.broken {
            Err(io::Error::other("an earlier line could not be written"))
        } else {
            timeline.file.write_all(&line)
        };
        timeline.broken |= written.is_err();
        written.map_err(|source| RecordError::Io { path: path(), source })
    }

    /// Writes a file of the folder, whole.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let path = self.dir.join(name);
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|source| RecordError::Io { path, source })
    }

    /// Writes a file of the folder, whole, and its digest into the timeline: one that is altered, or another run's, is
    /// noticed. To be called behind [`Event::Began`].
    pub fn write_vouched(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        self.write(name, bytes)?;
        let began = self.timeline.lock().unwrap_or_else(PoisonError::into_inner).began.clone();
        self.event(Event::File { name: name.to_owned(), digest: vouch::digest(began.as_ref(), bytes) })
    }

    /// Writes a file of the folder as JSON, and its digest into the timeline.
    pub fn write_json_vouched(&self, name: &str, value: &impl Serialize) -> Result<(), RecordError> {
        self.write_vouched(name, &self.json(name, value)?)
    }

    /// Writes a file of the folder as JSON.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), RecordError> {
        self.write(name, &self.json(name, value)?)
    }

    fn json(&self, name: &str, value: &impl Serialize) -> Result<Vec<u8>, RecordError> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| RecordError::Content {
            path: self.dir.join(name),
            message: error.to_string(),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
