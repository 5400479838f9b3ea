//! The emitter: offers numbered spans to the node's agent at a given rate, whatever the agent does.

mod book;
mod delivery;
mod schedule;

use crate::control::{
    self, ChangeRequest, Description, Lease, LedgerStream, Plan, PlanFile, ProbeError, ProgressReply,
    ProgressRequest, ReadLedgerRequest, StartedPlan, State, Status, StopRequest, StreamRanges,
    change_request::Change, probe_server, segment::Shape,
};
use book::Book;
use spanproof_ledger::{Identity, Range, Stream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response};
use tracing::{info, warn};

/// How many requests are held between schedule and agent before the schedule slips.
const QUEUE: usize = 512;
/// How many requests are on their way to the agent at a time.
const WORKERS: usize = 24;

/// What the emitter is told to do, checked.
#[derive(Debug, Clone)]
struct Load {
    identity: Identity,
    stream: Stream,
    spans_per_second: f64,
    spans_per_request: u64,
    payload: String,
    started_unix_ms: u64,
    duration: Duration,
    endpoint: tonic::transport::Endpoint,
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
    /// Spans per second.
    pace: watch::Sender<f64>,
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
            emitter.begin(&started)?;
        }
        Ok(emitter)
    }

    fn begin(&self, started: &StartedPlan) -> Result<(), ProbeError> {
        let load = Load::of(started)?;
        let book = Arc::new(Book::open(&self.ledger, load.identity.tag(), load.stream)?);
        let (lease, lease_ends) = watch::channel(lease_end(started.plan.lease));
        let (pace, paces) = watch::channel(load.spans_per_second);
        let (phase, phases) = watch::channel(Phase::Running);
        let (requests, queue) = mpsc::channel::<Range>(QUEUE);
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        let channel = load.endpoint.connect_lazy();
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let worker = delivery::Worker::new(&load, channel.clone(), Arc::clone(&book), phases.clone());
                tokio::spawn(worker.run(Arc::clone(&queue)))
            })
            .collect();
        let ending = phase.clone();
        let keeper = Arc::clone(&book);
        tokio::spawn(async move {
            let complete = schedule::run(
                &load,
                &keeper,
                requests,
                phases,
                schedule::Given { pace: paces, lease: lease_ends },
            )
            .await;
            ending.send_if_modified(|phase| {
                let first = *phase == Phase::Running;
                if first {
                    *phase = Phase::Draining(Instant::now() + Duration::from_secs(60));
                }
                first
            });
            for worker in workers {
                if let Err(error) = worker.await {
                    keeper.fail(&format!("a worker ended: {error}"));
                }
            }
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

impl Load {
    fn of(started: &StartedPlan) -> Result<Self, ProbeError> {
        let plan = &started.plan;
        let refuse = |what: &str| ProbeError::Plan(what.to_owned());
        let Some(control::plan::Role::Emit(emit)) = &plan.role else {
            return Err(refuse("it is not an emitter's"));
        };
        let stream = Stream::try_from(emit.stream).ok().filter(|stream| *stream > 0);
        let endpoint = tonic::transport::Endpoint::from_shared(emit.endpoint.clone())
            .map_err(|error| ProbeError::Plan(format!("endpoint {:?}: {error}", emit.endpoint)))?
            // Without an endpoint on its node a Service drops packets: do not wait for the kernel to give up.
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let rate = first_rate(emit);
        if !is_rate(rate) || emit.spans_per_request == 0 {
            return Err(refuse("rate and spans per request must be above 0"));
        }
        Ok(Self {
            identity: Identity::new(plan.run_tag, plan.spans_per_trace, plan.streams_per_trace),
            stream: stream.ok_or_else(|| refuse("stream must be 1 to 65535"))?,
            spans_per_second: rate,
            spans_per_request: u64::from(emit.spans_per_request),
            payload: "x".repeat(emit.payload_bytes as usize),
            started_unix_ms: started.started_unix_ms,
            duration: Duration::from_millis(emit.duration_ms),
            endpoint,
        })
    }
}

fn first_rate(emit: &control::EmitPlan) -> f64 {
    match emit.profile.first().and_then(|segment| segment.shape) {
        Some(Shape::Constant(rate)) => rate,
        _ => 0.0,
    }
}

fn is_rate(spans_per_second: f64) -> bool {
    spans_per_second > 0.0 && spans_per_second.is_finite()
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
                Load::of(&started)?;
                self.plan.write(&started)?;
                self.begin(&started)?;
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
            emit.profile = vec![control::Segment { duration_ms: 0, shape: Some(Shape::Constant(rate)) }];
        }
        self.plan.write(&started)?;
        if let Some(running) = &*self.lock() {
            running.pace.send_replace(rate);
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
            running.phase.send_if_modified(|phase| {
                let first = *phase == Phase::Running;
                if first {
                    *phase = Phase::Draining(until);
                }
                first
            });
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
