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
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of the run folder's format.
pub const FORMAT: u32 = 5;

/// An error of writing or reading a run folder.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The problem.
        message: String,
    },
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The line's number, from 0: a missing one is noticed.
    pub n: u64,
    /// Seconds since the run began.
    pub t: f64,
    /// An event of a run.
    #[serde(flatten)]
    pub event: Event,
}

/// An event of a run.
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
    /// A file of the folder that the judge relies on was written: it must stay as it was.
    File {
        /// Its name.
        name: String,
        /// The digest of its content and of its run: see [`Recorder::write_vouched`].
        digest: String,
    },
    /// The emitters were told to begin.
    LoadStarted {
        /// Spans per second that the scenario asks for; none if its load has a profile.
        rate: Option<f64>,
        /// The number of emitters.
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
        /// The reason.
        reason: String,
    },
    /// A step of the scenario begins.
    Step {
        /// The place of the step.
        step: StepPath,
        /// The step in words.
        name: String,
    },
    /// A step of the scenario is over.
    StepEnded {
        /// The place of the step.
        step: StepPath,
        /// The problem, if there was one.
        problem: Option<String>,
    },
    /// The targets of a step were resolved: what `each`, `node`, `pods`, `pod` or a `for-each` stands for.
    Resolved {
        /// The step.
        step: StepPath,
        /// The selector in words.
        what: String,
        /// The nodes or pods; for a `for-each`, one a round.
        targets: Vec<String>,
    },
    /// A control's precondition was awaited.
    Need {
        /// The step before which the precondition must hold.
        before: StepPath,
        /// What.
        what: String,
        /// `true` if it was seen to hold.
        came: bool,
    },
    /// A fault begins.
    FaultStarted {
        /// Its number in this run.
        fault: usize,
        /// The step that it is of.
        step: StepPath,
        /// The name.
        name: FaultName,
        /// The target.
        target: String,
        /// The gateways that the fault is to move.
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
    /// A fault ended, with or without success.
    FaultEnded {
        /// Its number.
        fault: usize,
        /// The problem, if there was one.
        problem: Option<String>,
        /// `true` if the harness could not see or do what it should: that is not the tier's fault.
        #[serde(default)]
        blind: bool,
    },
    /// A node was marked unschedulable, or schedulable again, by this run.
    Cordon {
        /// The node.
        node: String,
        /// `true` if it is unschedulable from now on.
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
        /// The number of the try, from 1.
        attempt: u32,
        /// The API server's answer.
        outcome: String,
        /// The HTTP status.
        code: u16,
        /// The moment of the request, in seconds since the run began; none if that is not on record.
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
    /// An object appeared or changed.
    Seen {
        /// Its name.
        name: String,
        /// The object, as far as it is recorded.
        object: Object,
    },
    /// An object was deleted.
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
        /// `true` if the watch is up to date from now on.
        synced: bool,
        /// The last sign of life before it was down, in seconds since the run began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<f64>,
        /// The reason.
        problem: Option<String>,
    },
    /// An event of Kubernetes itself.
    Kubernetes {
        /// Kind and name.
        object: String,
        /// The reason, in a word.
        reason: String,
        /// The message.
        message: String,
    },
    /// The resources that a container has used since it began.
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
    /// The resources that this process has used since it began.
    HarnessUsage {
        /// Processor seconds.
        cpu_s: f64,
    },
    /// The state of the load.
    Load {
        /// Spans that the schedules asked for.
        offered: u64,
        /// Spans sent.
        emitted: u64,
        /// Spans taken by the agents.
        acknowledged: u64,
        /// Spans that arrived.
        delivered: u64,
        /// The content of the agents' queues; none if one was not known.
        queued: Option<f64>,
    },
    /// Waiting for the rest ended.
    Settled {
        /// The end that it came to.
        end: SettleEnd,
        /// The longest that a span may be on its way without a sign of life, in seconds.
        worst_retry_pause: f64,
        /// Acknowledged spans that had not arrived.
        outstanding: u64,
        /// The time since the last arrival, in seconds; none if it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        still_s: Option<f64>,
    },
    /// The tier is taken down, hop by hop from its entry: that decides what waiting left in doubt.
    TakeDown {
        /// The doubt.
        why: String,
    },
    /// A hop was taken down.
    HopGone {
        /// The hop: `agent`, `gateway`.
        hop: String,
        /// Its Collectors.
        pods: Vec<PodEnd>,
        /// Spans that arrived meanwhile.
        arrived: u64,
        /// The problem, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// A condition was awaited.
    Awaited {
        /// What.
        what: String,
        /// `true` if it was seen to hold.
        came: bool,
    },
    /// The offset of each node's clock from this machine's, in milliseconds ahead, measured again.
    Clocks {
        /// The offsets by node.
        ahead_ms: std::collections::BTreeMap<String, f64>,
    },
    /// The run was interrupted.
    Interrupted,
    /// The record is whole: nothing follows.
    Ended,
    /// A note for people.
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
    /// Returns the beginning of the run, if the event is that.
    pub(crate) fn as_began(&self) -> Option<Began<'_>> {
        let Self::Began { run, tag, seed, unix_ms } = self else { return None };
        Some(Began { run, tag: *tag, seed: *seed, unix_ms: *unix_ms })
    }

    /// The number of the fault that it belongs to, unless it is the fault's beginning.
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
    /// `true` if it was seen to be gone.
    pub gone: bool,
}

/// The end of waiting for the rest.
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
    /// The tier was taken down after that; this is the state afterwards.
    TakenDown,
    /// It was not waited for.
    Interrupted,
}

/// The environment of a run.
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
    /// The images by their use: name, ID, origin.
    pub images: serde_json::Value,
    /// The settings of a cluster that the harness made.
    pub cluster_settings: Vec<String>,
    /// The nodes, with their roles.
    pub nodes: Vec<String>,
    /// Each stream's node.
    pub streams: std::collections::BTreeMap<u16, String>,
    /// The workers that have no emitter since none can be scheduled there, each with why.
    pub nodes_without: std::collections::BTreeMap<String, String>,
    /// The sink's node.
    pub sink_node: String,
    /// The number of gateways that must be ready by the PDB's manifest, at the full number of gateways, whether or not the PDB
    /// is there.
    pub pdb_minimum: u32,
    /// The demand of that manifest, as written; none if there is none, or if it is not on record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdb: Option<Demand>,
    /// The longest that a span may be on its way through the tier without a sign of life, in seconds.
    pub worst_retry_pause: f64,
    /// The tier's hops, the entry first.
    pub hops: Vec<Hop>,
    /// `true` if an agent takes the spans of its own node's emitter and no others.
    pub entry_of_its_node: bool,
    /// The sampling of the tier; none if it keeps everything, and at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// The offset of each node's clock from this machine's, in milliseconds ahead.
    pub clock_offsets_ms: std::collections::BTreeMap<String, f64>,
}

/// Writes a run folder.
#[derive(Debug, Clone)]
pub struct Recorder {
    dir: PathBuf,
    clock: Clock,
    timeline: Arc<Mutex<Timeline>>,
}

/// The timeline's file. After a line that could not be written no other may be written.
#[derive(Debug)]
struct Timeline {
    file: File,
    next: u64,
    broken: bool,
    ended: bool,
    /// The first event.
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
        let mut timeline = self.timeline.lock();
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
    /// noticed. To be called after [`Event::Began`].
    pub fn write_vouched(&self, name: &str, bytes: &[u8]) -> Result<(), RecordError> {
        self.write(name, bytes)?;
        let began = self.timeline.lock().began.clone();
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
