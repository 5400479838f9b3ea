//! The sink: the exact set of what arrived, on disk before the gateway is answered. It also reads the
//! Collectors' metrics.

mod answer;
mod behaviour;
mod books;
mod export;
mod intake;
mod request;
mod scrape;
mod tally;
mod traces;

pub use scrape::total;

use crate::control::{
    self, Behaviours, ChangeRequest, Description, Lease, LedgerStream, Plan, PlanFile, ProbeError,
    ProgressReply, ProgressRequest, ReadLedgerRequest, SinkPlan, SinkStatus, StartedPlan, State, Status,
    StopRequest, StreamRanges, change_request::Change, plan::Role, probe_server,
};
use answer::Refusal;
use behaviour::Conduct;
use books::{Books, Closed};
use scrape::Scraper;
use spanproof_ledger::Identity;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tally::Terms;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Request, Response};
use tracing::{error, info, warn};

/// The sink: what takes spans, and its control service.
#[derive(Debug)]
pub struct Sink {
    /// Held while the plan is changed.
    plan: Mutex<PlanFile>,
    path: PathBuf,
    metrics: PathBuf,
    books: Mutex<Option<Books>>,
    scraper: Mutex<Option<Arc<Scraper>>>,
    /// Set once there are books.
    terms: OnceLock<Terms>,
    conduct: watch::Sender<Arc<Conduct>>,
    requests: AtomicU64,
    connections: AtomicU64,
    misbehaved: AtomicU64,
    malformed: Oddities,
}

/// What came that makes no sense: counted, and logged the less often the more there is of it.
#[derive(Debug, Default)]
struct Oddities(AtomicU64);

impl Oddities {
    fn saw(&self, what: fmt::Arguments<'_>) {
        let count = self.0.fetch_add(1, Relaxed) + 1;
        if count.is_power_of_two() {
            warn!(count, "not a request of OTLP: {what}");
        }
    }
}

impl Sink {
    /// A sink with its files in `dir`. Goes on with a plan that is there.
    pub fn open(dir: &Path) -> Result<Arc<Self>, ProbeError> {
        let plan = PlanFile::new(dir);
        let started = plan.read()?;
        let sink = Arc::new(Self {
            plan: Mutex::new(plan),
            path: dir.join("sink.ledger"),
            metrics: dir.join("metrics.log"),
            books: Mutex::new(None),
            scraper: Mutex::new(None),
            terms: OnceLock::new(),
            conduct: watch::Sender::default(),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            misbehaved: AtomicU64::new(0),
            malformed: Oddities::default(),
        });
        if let Some(started) = started {
            info!(run = format!("{:014x}", started.plan.run_tag), "going on with the plan on disk");
            let (terms, conduct) = read_plan(&started.plan)?;
            sink.begin(&started.plan, terms, conduct)?;
        }
        tokio::spawn(tick(Arc::downgrade(&sink)));
        tokio::spawn(keep_safe(Arc::downgrade(&sink)));
        Ok(sink)
    }

    /// Takes spans on a port, over gRPC and over HTTP, until `end`. May be called for several ports.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        intake::serve(self, listener, tls, end).await
    }

    /// Writes down what is only in memory. The process is about to end; the run is not.
    pub fn flush(&self) {
        // There is nobody to be told any more.
        let _ = self.with_books(Books::flush);
    }

    fn start_plan(&self, mut plan: Plan) -> Result<(), ProbeError> {
        let file = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(terms) = self.terms.get() {
            let running = terms.identity.tag();
            let same = running == Identity::new(plan.run_tag, 1, 1).tag();
            return if same { Ok(()) } else { Err(ProbeError::Busy { running }) };
        }
        if let Some(Role::Sink(SinkPlan { behaviours: Some(behaviours), .. })) = &mut plan.role {
            tell(behaviours);
        }
        let (terms, conduct) = read_plan(&plan)?;
        file.write(&StartedPlan { started_unix_ms: crate::unix_ms(), plan: plan.clone() })?;
        self.begin(&plan, terms, conduct)
    }

    fn begin(&self, plan: &Plan, terms: Terms, conduct: Conduct) -> Result<(), ProbeError> {
        let books = Books::open(&self.path, &terms)?;
        *self.lock() = Some(books);
        let run_tag = terms.identity.tag();
        let _ = self.terms.set(terms);
        self.conduct.send_replace(Arc::new(conduct));
        let Some(Role::Sink(role)) = &plan.role else { return Ok(()) };
        // Without the metrics the sink goes on; what is wrong with their log is seen by whoever reads it.
        match Scraper::open(&self.metrics, run_tag, &role.scrape, &role.metrics) {
            Ok(scraper) => *self.scraper.lock().unwrap_or_else(PoisonError::into_inner) = Some(scraper),
            Err(error) => error!("no metrics are read: {error}"),
        }
        Ok(())
    }

    /// From now on it behaves like this.
    fn behave(&self, mut behaviours: Behaviours) -> Result<(), ProbeError> {
        let file = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let terms = self.terms.get().ok_or(ProbeError::NoPlan)?;
        tell(&mut behaviours);
        let conduct = Conduct::of(terms.seed, &behaviours).map_err(ProbeError::Plan)?;
        // On disk first: a process that takes over behaves as this one does.
        let mut started = file.read()?.ok_or(ProbeError::NoPlan)?;
        if let Some(Role::Sink(sink)) = &mut started.plan.role {
            sink.behaviours = Some(behaviours);
        }
        file.write(&started)?;
        self.conduct.send_replace(Arc::new(conduct));
        Ok(())
    }

    fn scraper(&self) -> Option<Arc<Scraper>> {
        self.scraper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Books>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes into the books; if that cannot be, says what to tell the client.
    fn with_books(&self, write: impl FnOnce(&mut Books) -> Result<(), Closed>) -> Result<(), Refusal> {
        let mut books = self.lock();
        let Some(books) = &mut *books else { return Err(no_plan()) };
        write(books).map_err(|closed| Refusal::new(Code::Unavailable, closed.to_string()))
    }

    /// The number of a request, from 0.
    fn number(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed)
    }

    /// The number of a connection, from 0.
    fn connection_number(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed)
    }

    /// Something was done as the sink was told.
    fn misbehaved(&self) {
        self.misbehaved.fetch_add(1, Relaxed);
    }

    fn status(&self) -> Status {
        let unix_ms = crate::unix_ms();
        let Some(books) = &*self.lock() else {
            return Status { state: State::Idle.into(), unix_ms, ..Status::default() };
        };
        let ledger = books.ledger();
        let state = match (books.problem().is_empty(), ledger.seal()) {
            (false, _) => State::Failed,
            (true, None) => State::Running,
            (true, Some(_)) => State::Sealed,
        };
        let sink = SinkStatus {
            delivered: ledger.delivered_count(),
            duplicated: ledger.duplicated_count(),
            unexpected: ledger.foreign() + ledger.damaged(),
            last_delivery_unix_ms: ledger.last_delivery_ms(),
            refused_requests: ledger.refused_requests(),
            misbehaved: self.misbehaved.load(Relaxed),
            targets: self.scraper().map(|scraper| scraper.targets()).unwrap_or_default(),
        };
        Status {
            state: state.into(),
            problem: books.problem().to_owned(),
            incarnations: ledger.incarnations(),
            unix_ms,
            emit: None,
            sink: Some(sink),
        }
    }
}

/// What is over is written down, though nothing arrives any more.
async fn tick(sink: Weak<Sink>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while let Some(sink) = sink.upgrade() {
        // Before there is a plan, after the seal and after a failure there is nothing to be done.
        let _ = sink.with_books(|books| books.tick(crate::unix_ms()));
        drop(sink);
        seconds.tick().await;
    }
}

/// Once a second what was written is brought to the disk, beside the way of the requests: a loss of power takes no more than
/// what came since, and the ledger says since when.
async fn keep_safe(sink: Weak<Sink>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let Some(sink) = sink.upgrade() else { return };
        let unix_ms = crate::unix_ms();
        let Some((file, records)) = sink.lock().as_ref().and_then(Books::unsynced) else { continue };
        let done = match file {
            Ok(file) => {
                let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
                synced.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Err(error) => Err(error),
        };
        if let Some(books) = &mut *sink.lock() {
            books.synced(unix_ms, records, done);
        }
    }
}

/// What a plan says, checked.
fn read_plan(plan: &Plan) -> Result<(Terms, Conduct), ProbeError> {
    let Some(Role::Sink(role)) = &plan.role else {
        return Err(ProbeError::Plan("it is not a sink's".to_owned()));
    };
    let terms = Terms {
        identity: Identity::new(plan.run_tag, plan.spans_per_trace, plan.streams_per_trace),
        checksum: plan.checksum,
        seed: role.seed,
        trace_one_in: role.trace_one_in,
    };
    let behaviours = role.behaviours.clone().unwrap_or_default();
    let conduct = Conduct::of(role.seed, &behaviours).map_err(ProbeError::Plan)?;
    Ok((terms, conduct))
}

/// Windows begin when they are told.
fn tell(behaviours: &mut Behaviours) {
    let told_unix_ms = crate::unix_ms();
    for behaviour in &mut behaviours.behaviours {
        behaviour.told_unix_ms = told_unix_ms;
    }
}

fn no_plan() -> Refusal {
    Refusal::new(Code::Unavailable, "the sink has no plan yet")
}

/// Waits for a time, Unix time in milliseconds; for ever if it is `u64::MAX`.
async fn until(unix_ms: u64) {
    if unix_ms == u64::MAX {
        return std::future::pending().await;
    }
    tokio::time::sleep(Duration::from_millis(unix_ms.saturating_sub(crate::unix_ms()))).await;
}

#[tonic::async_trait]
impl probe_server::Probe for Sink {
    type ReadLedgerStream = LedgerStream;

    async fn describe(
        &self,
        _: Request<control::DescribeRequest>,
    ) -> Result<Response<Description>, tonic::Status> {
        Ok(Response::new(control::describe("sink")))
    }

    async fn start(&self, plan: Request<Plan>) -> Result<Response<Status>, tonic::Status> {
        self.start_plan(plan.into_inner())?;
        Ok(Response::new(self.status()))
    }

    async fn change(&self, change: Request<ChangeRequest>) -> Result<Response<Status>, tonic::Status> {
        let Some(Change::Behaviours(behaviours)) = change.into_inner().change else {
            return Err(ProbeError::Plan("a sink can change how it behaves, nothing else".to_owned()).into());
        };
        self.behave(behaviours)?;
        Ok(Response::new(self.status()))
    }

    /// A sink needs no lease: it makes no load.
    async fn renew(&self, _: Request<Lease>) -> Result<Response<Status>, tonic::Status> {
        Ok(Response::new(self.status()))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<Status>, tonic::Status> {
        // What keeps it from sealing is in the status.
        let _ = self.with_books(Books::seal);
        if let Some(scraper) = self.scraper() {
            scraper.seal();
        }
        Ok(Response::new(self.status()))
    }

    async fn progress(&self, _: Request<ProgressRequest>) -> Result<Response<ProgressReply>, tonic::Status> {
        let books = self.lock();
        let streams = books.iter().flat_map(|books| {
            let ledger = books.ledger();
            ledger.streams().map(|stream| StreamRanges::of(stream, ledger.delivered(stream)))
        });
        Ok(Response::new(ProgressReply { streams: streams.collect() }))
    }

    async fn read_ledger(
        &self,
        which: Request<ReadLedgerRequest>,
    ) -> Result<Response<LedgerStream>, tonic::Status> {
        let path = if which.get_ref().metrics { &self.metrics } else { &self.path };
        Ok(Response::new(control::stream_file(path.clone())))
    }
}
