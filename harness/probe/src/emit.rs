//! The emitter: offers numbered spans to the node's agent at a given rate, independent of the agent's answers.

mod profile;
mod retry;
mod schedule;
mod sdk;
mod sender;
mod store;
mod tls;
mod transport;

use crate::control::{
    self, ChangeRequest, Description, Lease, LedgerStream, Plan, PlanFile, ProbeError, ProgressReply,
    ProgressRequest, Protocol, ReadLedgerRequest, StartedPlan, State, Status, StopRequest, StreamRanges, Tls,
    change_request::Change, probe_server,
};
use crate::otlp::template::SpanShape;
use parking_lot::Mutex;
use profile::Profile;
use sender::RequestSender;
use spanproof_ledger::{Identity, Stream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::EmitterStore;
use tokio::sync::watch;
use tonic::{Request, Response};
use tracing::{info, warn};

/// The most requests being sent or awaiting an answer at a time, by default.
const DEFAULT_IN_FLIGHT: usize = 24;
/// The number of requests without an outcome at which the schedule slips, by default. Those that are not being sent
/// hold their numbers only, a few hundred bytes with their task.
const DEFAULT_HELD_REQUESTS: usize = 4_096;
/// The upper limit of that number in a plan: this many tasks take half a gigabyte.
const MAX_HELD_REQUESTS: usize = 1 << 20;
/// The timeout of an attempt, by default.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait for the requests in flight after a load that ended by itself.
const MAX_DRAIN: Duration = Duration::from_secs(60);
/// The largest request in bytes, so that receivers accept it.
const MAX_REQUEST_BYTES: u64 = 64 << 20;
/// Upper bounds of a span's size without payload and attributes, and of an attribute's, in bytes.
const SPAN_BYTES: u64 = 200;
const ATTRIBUTE_BYTES: u64 = 50;

/// A validated plan of an emitter.
#[derive(Debug, Clone)]
struct Load {
    identity: Identity,
    stream: Stream,
    profile: Profile,
    /// Spans per second of the last change, in place of the profile.
    rate: Option<f64>,
    jitter: f64,
    seed: u64,
    spans_per_request: u64,
    shape: SpanShape,
    duration: Duration,
    endpoint: String,
    protocol: Protocol,
    gzip: bool,
    connections: usize,
    in_flight: usize,
    held_requests: usize,
    deadline: Duration,
    tls: Tls,
}

/// The emitter's control service.
#[derive(Debug)]
pub struct Emitter {
    plan: PlanFile,
    ledger: PathBuf,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    run_tag: u64,
    store: Arc<EmitterStore>,
    /// Spans per second of the last change, in place of the profile.
    rate: watch::Sender<Option<f64>>,
    lease: watch::Sender<Instant>,
    phase: watch::Sender<Phase>,
}

/// The phase of an emitter. It only moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// No new spans; requests in flight are awaited until then.
    Draining(Instant),
    Sealed,
}

impl Phase {
    /// The end of the wait for requests in flight; none while the load goes on.
    fn ends(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Draining(until) => Some(until),
            Self::Sealed => Some(Instant::now()),
        }
    }
}

impl Emitter {
    /// Opens an emitter with its files in `dir`, and continues the plan that it finds there.
    pub fn open(dir: &Path) -> Result<Arc<Self>, ProbeError> {
        let emitter = Arc::new(Self {
            plan: PlanFile::new(dir),
            ledger: dir.join("emit.ledger"),
            running: Mutex::new(None),
        });
        if let Some(started) = emitter.plan.read()? {
            info!(run = format!("{:014x}", started.plan.run_tag), "continuing the plan on disk");
            let late = crate::unix_ms().saturating_sub(started.started_unix_ms);
            emitter.begin(&started, Duration::from_millis(late))?;
        }
        Ok(emitter)
    }

    /// Begins a plan; `late` is the time since its start, if another process started it.
    fn begin(&self, started: &StartedPlan, late: Duration) -> Result<(), ProbeError> {
        let load = Load::of(&started.plan)?;
        let store = Arc::new(EmitterStore::open(&self.ledger, load.identity.tag(), load.stream)?);
        let (lease, lease_ends) = watch::channel(lease_end(started.plan.lease));
        let (rate, rates) = watch::channel(None);
        let (phase, phases) = watch::channel(Phase::Running);
        let sender = Arc::new(RequestSender::new(&load, Arc::clone(&store), phases)?);
        let (ending, keeper) = (phase.clone(), Arc::clone(&store));
        tokio::spawn(async move {
            let inputs = schedule::ScheduleInputs { late, rate: rates, lease: lease_ends };
            let complete = schedule::run(&load, &keeper, &sender, &ending, inputs).await;
            keeper.seal(complete);
            ending.send_replace(Phase::Sealed);
            info!(complete, "sealed");
        });
        *self.running.lock() = Some(Running { run_tag: started.plan.run_tag, store, rate, lease, phase });
        Ok(())
    }

    fn status(&self) -> Status {
        let unix_ms = crate::unix_ms();
        let Some(running) = &*self.running.lock() else {
            return Status { state: State::Idle.into(), unix_ms, ..Status::default() };
        };
        let (emit, problem, incarnations) = running.store.status();
        let state = match (*running.phase.borrow(), problem.is_empty()) {
            (_, false) => State::Failed,
            (Phase::Running, _) => State::Running,
            (Phase::Draining(_), _) => State::Draining,
            (Phase::Sealed, _) => State::Sealed,
        };
        Status { state: state.into(), problem, incarnations, unix_ms, emit: Some(emit), sink: None }
    }
}

/// Checks a plan as [`Emitter`] does when it starts one.
pub fn check(plan: &Plan) -> Result<(), ProbeError> {
    Load::of(plan).map(|_| ())
}

impl Load {
    fn of(plan: &Plan) -> Result<Self, ProbeError> {
        let refuse = |what: &str| ProbeError::Plan(what.to_owned());
        let Some(control::plan::Role::Emit(emit)) = &plan.role else {
            return Err(refuse("it is not for an emitter"));
        };
        let stream = Stream::try_from(emit.stream).ok().filter(|stream| *stream > 0);
        let rate = emit.changed_rate.filter(|rate| is_rate(*rate));
        let profile = Profile::of(&emit.profile).map_err(|why| refuse(&why))?;
        if emit.spans_per_request == 0 {
            return Err(refuse("spans per request must be above 0"));
        }
        if !(0.0..=1.0).contains(&emit.jitter) {
            return Err(refuse("jitter must be 0 to 1"));
        }
        let span = SPAN_BYTES + u64::from(emit.payload_bytes) + ATTRIBUTE_BYTES * u64::from(emit.attributes);
        if span.saturating_mul(emit.spans_per_request.into()) > MAX_REQUEST_BYTES {
            return Err(refuse("a request would be larger than 64 MiB"));
        }
        let or = |number: u32, default: usize| if number == 0 { default } else { number as usize };
        let held_requests = or(emit.held_requests, DEFAULT_HELD_REQUESTS);
        if held_requests > MAX_HELD_REQUESTS {
            return Err(refuse("more than 1,048,576 requests cannot be held"));
        }
        let load = Self {
            identity: Identity::new(plan.run_tag, plan.spans_per_trace, plan.streams_per_trace),
            stream: stream.ok_or_else(|| refuse("stream must be 1 to 65535"))?,
            profile,
            rate,
            jitter: emit.jitter,
            seed: emit.seed,
            spans_per_request: u64::from(emit.spans_per_request),
            shape: SpanShape {
                payload_bytes: emit.payload_bytes as usize,
                attributes: emit.attributes,
                checksum: plan.checksum,
            },
            duration: Duration::from_millis(emit.duration_ms),
            endpoint: emit.endpoint.clone(),
            protocol: emit.protocol(),
            gzip: emit.gzip,
            connections: or(emit.connections, 1),
            in_flight: or(emit.in_flight, DEFAULT_IN_FLIGHT),
            held_requests,
            deadline: match emit.deadline_ms {
                0 => DEFAULT_DEADLINE,
                ms => Duration::from_millis(ms.into()),
            },
            tls: emit.tls.clone().unwrap_or_default(),
        };
        // Endpoint and certificates are checked before anything begins.
        transport::Transport::new(&load)?;
        Ok(load)
    }
}

fn is_rate(spans_per_second: f64) -> bool {
    spans_per_second > 0.0 && spans_per_second.is_finite()
}

/// Begins to drain, with requests in flight awaited until then. Only the first call counts.
fn drain(phase: &watch::Sender<Phase>, until: Instant) {
    phase.send_if_modified(|phase| {
        let first = *phase == Phase::Running;
        if first {
            *phase = Phase::Draining(until);
        }
        first
    });
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A pseudo-random number from 0 to 1, by seed and position.
fn chance(seed: u64, position: u64) -> f64 {
    spanproof_ledger::hash(seed, position) as f64 / u64::MAX as f64
}

fn lease_end(lease: Option<Lease>) -> Instant {
    Instant::now() + Duration::from_millis(lease.unwrap_or_default().milliseconds)
}

#[tonic::async_trait]
impl probe_server::Probe for Emitter {
    type ReadLedgerStream = LedgerStream;

    async fn describe(
        &self,
        _: Request<control::DescribeRequest>,
    ) -> Result<Response<Description>, tonic::Status> {
        Ok(Response::new(control::describe("emit")))
    }

    async fn start(&self, plan: Request<Plan>) -> Result<Response<Status>, tonic::Status> {
        let started = StartedPlan { started_unix_ms: crate::unix_ms(), plan: plan.into_inner() };
        let running = self.running.lock().as_ref().map(|running| running.run_tag);
        match running {
            Some(tag) if tag == started.plan.run_tag => {}
            Some(running) => return Err(ProbeError::Busy { running }.into()),
            None => {
                Load::of(&started.plan)?;
                self.plan.write(&started)?;
                self.begin(&started, Duration::ZERO)?;
            }
        }
        Ok(Response::new(self.status()))
    }

    async fn change(&self, change: Request<ChangeRequest>) -> Result<Response<Status>, tonic::Status> {
        let Some(Change::SpansPerSecond(rate)) = change.into_inner().change.filter(|change| match change {
            Change::SpansPerSecond(rate) => is_rate(*rate),
            Change::Behaviours(_) => false,
        }) else {
            return Err(ProbeError::Plan("an emitter's rate must be above 0".to_owned()).into());
        };
        // Written to disk first: a process that continues after this one uses the same rate.
        let mut started = self.plan.read()?.ok_or(ProbeError::NoPlan)?;
        if let Some(control::plan::Role::Emit(emit)) = &mut started.plan.role {
            emit.changed_rate = Some(rate);
        }
        self.plan.write(&started)?;
        if let Some(running) = &*self.running.lock() {
            running.rate.send_replace(Some(rate));
        }
        Ok(Response::new(self.status()))
    }

    async fn renew(&self, lease: Request<Lease>) -> Result<Response<Status>, tonic::Status> {
        if let Some(running) = &*self.running.lock() {
            running.lease.send_replace(lease_end(Some(lease.into_inner())));
        }
        Ok(Response::new(self.status()))
    }

    async fn stop(&self, stop: Request<StopRequest>) -> Result<Response<Status>, tonic::Status> {
        let phases = self.running.lock().as_ref().map(|running| {
            let until = Instant::now() + Duration::from_millis(stop.get_ref().drain_ms);
            drain(&running.phase, until);
            running.phase.subscribe()
        });
        if let Some(mut phases) = phases
            && phases.wait_for(|phase| *phase == Phase::Sealed).await.is_err()
        {
            warn!("the emitter ended before it was sealed");
        }
        Ok(Response::new(self.status()))
    }

    async fn progress(&self, _: Request<ProgressRequest>) -> Result<Response<ProgressReply>, tonic::Status> {
        let streams = self.running.lock().as_ref().map(|running| running.store.acknowledged());
        let streams = streams.map(|(stream, set)| StreamRanges::of(stream, &set)).into_iter().collect();
        Ok(Response::new(ProgressReply { streams }))
    }

    async fn read_ledger(
        &self,
        _: Request<ReadLedgerRequest>,
    ) -> Result<Response<LedgerStream>, tonic::Status> {
        Ok(Response::new(control::stream_file(self.ledger.clone())))
    }
}
