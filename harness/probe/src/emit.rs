//! The emitter: offers numbered spans to the node's agent at a given rate, whatever the agent does.

mod book;
mod delivery;
mod profile;
mod retry;
mod schedule;
mod sdk;
mod tls;
mod transport;

use crate::control::{
    self, ChangeRequest, Description, Lease, LedgerStream, Plan, PlanFile, ProbeError, ProgressReply,
    ProgressRequest, Protocol, ReadLedgerRequest, StartedPlan, State, Status, StopRequest, StreamRanges, Tls,
    change_request::Change, probe_server,
};
use crate::otlp::template::Shape;
use book::Book;
use delivery::Delivery;
use profile::Profile;
use spanproof_ledger::{Identity, Stream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::{Request, Response};
use tracing::{info, warn};

/// How many requests are on their way to the agent at a time, if the plan does not say.
const IN_FLIGHT: usize = 24;
/// How many requests have no outcome yet before the schedule slips, if the plan does not say. Those that are not on
/// their way hold their numbers only, a few hundred bytes with their task.
const HELD_REQUESTS: usize = 4_096;
/// More would be a mistake: so many tasks take half a gigabyte.
const MOST_HELD: usize = 1 << 20;
/// How long an agent may take to answer, if the plan does not say.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a load that ended by itself waits for what is in flight.
const LONGEST_DRAIN: Duration = Duration::from_secs(60);
/// A request must fit into what a receiver takes.
const LARGEST_REQUEST: u64 = 64 << 20;
/// What a span takes besides payload and attributes, and what an attribute takes, in bytes, at most.
const SPAN_BYTES: u64 = 200;
const ATTRIBUTE_BYTES: u64 = 50;

/// What the emitter is told to do, checked.
#[derive(Debug, Clone)]
struct Load {
    identity: Identity,
    stream: Stream,
    profile: Profile,
    /// Spans per second, told later, instead of the profile.
    rate: Option<f64>,
    jitter: f64,
    seed: u64,
    spans_per_request: u64,
    shape: Shape,
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
    book: Arc<Book>,
    /// Spans per second, instead of the profile.
    pace: watch::Sender<Option<f64>>,
    lease: watch::Sender<Instant>,
    phase: watch::Sender<Phase>,
}

/// How far an emitter is. It only ever goes down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// No new spans; what is in flight is waited for until then.
    Draining(Instant),
    Sealed,
}

impl Phase {
    /// When what is in flight is waited for no longer; none as long as the load goes on.
    fn ends(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Draining(until) => Some(until),
            Self::Sealed => Some(Instant::now()),
        }
    }
}

impl Emitter {
    /// An emitter with its files in `dir`. Goes on with a plan that is there.
    pub fn open(dir: &Path) -> Result<Arc<Self>, ProbeError> {
        let emitter = Arc::new(Self {
            plan: PlanFile::new(dir),
            ledger: dir.join("emit.ledger"),
            running: Mutex::new(None),
        });
        if let Some(started) = emitter.plan.read()? {
            info!(run = format!("{:014x}", started.plan.run_tag), "going on with the plan on disk");
            let late = crate::unix_ms().saturating_sub(started.started_unix_ms);
            emitter.begin(&started, Duration::from_millis(late))?;
        }
        Ok(emitter)
    }

    /// `late`: how long ago the load began, if another process began it.
    fn begin(&self, started: &StartedPlan, late: Duration) -> Result<(), ProbeError> {
        let load = Load::of(&started.plan)?;
        let book = Arc::new(Book::open(&self.ledger, load.identity.tag(), load.stream)?);
        let (lease, lease_ends) = watch::channel(lease_end(started.plan.lease));
        let (pace, paces) = watch::channel(None);
        let (phase, phases) = watch::channel(Phase::Running);
        let delivery = Arc::new(Delivery::new(&load, Arc::clone(&book), phases)?);
        let (ending, keeper) = (phase.clone(), Arc::clone(&book));
        tokio::spawn(async move {
            let given = schedule::Given { late, pace: paces, lease: lease_ends };
            let complete = schedule::run(&load, &keeper, &delivery, &ending, given).await;
            keeper.seal(complete);
            ending.send_replace(Phase::Sealed);
            info!(complete, "sealed");
        });
        *self.lock() = Some(Running { run_tag: started.plan.run_tag, book, pace, lease, phase });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let unix_ms = crate::unix_ms();
        let Some(running) = &*self.lock() else {
            return Status { state: State::Idle.into(), unix_ms, ..Status::default() };
        };
        let (emit, problem, incarnations) = running.book.status();
        let state = match (*running.phase.borrow(), problem.is_empty()) {
            (_, false) => State::Failed,
            (Phase::Running, _) => State::Running,
            (Phase::Draining(_), _) => State::Draining,
            (Phase::Sealed, _) => State::Sealed,
        };
        Status { state: state.into(), problem, incarnations, unix_ms, emit: Some(emit), sink: None }
    }
}

/// Whether an emitter would carry out a plan: what [`Emitter`] refuses is an error here, too.
pub fn check(plan: &Plan) -> Result<(), ProbeError> {
    Load::of(plan).map(|_| ())
}

impl Load {
    fn of(plan: &Plan) -> Result<Self, ProbeError> {
        let refuse = |what: &str| ProbeError::Plan(what.to_owned());
        let Some(control::plan::Role::Emit(emit)) = &plan.role else {
            return Err(refuse("it is not an emitter's"));
        };
        let stream = Stream::try_from(emit.stream).ok().filter(|stream| *stream > 0);
        let rate = emit.told.filter(|rate| is_rate(*rate));
        let profile = Profile::of(&emit.profile).map_err(|why| refuse(&why))?;
        if emit.spans_per_request == 0 {
            return Err(refuse("spans per request must be above 0"));
        }
        if !(0.0..=1.0).contains(&emit.jitter) {
            return Err(refuse("jitter must be 0 to 1"));
        }
        let span = SPAN_BYTES + u64::from(emit.payload_bytes) + ATTRIBUTE_BYTES * u64::from(emit.attributes);
        if span.saturating_mul(emit.spans_per_request.into()) > LARGEST_REQUEST {
            return Err(refuse("a request would be larger than 64 MiB"));
        }
        let or = |number: u32, default: usize| if number == 0 { default } else { number as usize };
        let held_requests = or(emit.held_requests, HELD_REQUESTS);
        if held_requests > MOST_HELD {
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
            shape: Shape {
                payload_bytes: emit.payload_bytes as usize,
                attributes: emit.attributes,
                checksum: plan.checksum,
            },
            duration: Duration::from_millis(emit.duration_ms),
            endpoint: emit.endpoint.clone(),
            protocol: emit.protocol(),
            gzip: emit.gzip,
            connections: or(emit.connections, 1),
            in_flight: or(emit.in_flight, IN_FLIGHT),
            held_requests,
            deadline: match emit.deadline_ms {
                0 => DEADLINE,
                ms => Duration::from_millis(ms.into()),
            },
            tls: emit.tls.clone().unwrap_or_default(),
        };
        // Endpoint and certificates are looked at before anything begins.
        transport::Transport::new(&load)?;
        Ok(load)
    }
}

fn is_rate(spans_per_second: f64) -> bool {
    spans_per_second > 0.0 && spans_per_second.is_finite()
}

/// No new spans; what is in flight is waited for until then. Only the first word counts.
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

/// A number from 0 to 1, by seed and position.
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
        let running = self.lock().as_ref().map(|running| running.run_tag);
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
        // On disk first: a process that takes over goes on at this rate.
        let mut started = self.plan.read()?.ok_or(ProbeError::NoPlan)?;
        if let Some(control::plan::Role::Emit(emit)) = &mut started.plan.role {
            emit.told = Some(rate);
        }
        self.plan.write(&started)?;
        if let Some(running) = &*self.lock() {
            running.pace.send_replace(Some(rate));
        }
        Ok(Response::new(self.status()))
    }

    async fn renew(&self, lease: Request<Lease>) -> Result<Response<Status>, tonic::Status> {
        if let Some(running) = &*self.lock() {
            running.lease.send_replace(lease_end(Some(lease.into_inner())));
        }
        Ok(Response::new(self.status()))
    }

    async fn stop(&self, stop: Request<StopRequest>) -> Result<Response<Status>, tonic::Status> {
        let phases = self.lock().as_ref().map(|running| {
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
        let streams = self.lock().as_ref().map(|running| running.book.acknowledged());
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
