//! The sink: records exactly which spans arrived, on disk before the gateway is answered. It also reads the
//! Collectors' metrics.

mod answer;
mod behaviour;
mod export;
mod intake;
mod request;
mod scrape;
mod store;
mod tally;
mod trace_sample;

pub use scrape::total;

use crate::control::{
    self, Behaviours, ChangeRequest, Description, Lease, LedgerStream, Plan, PlanFile, ProbeError,
    ProgressReply, ProgressRequest, ReadLedgerRequest, SinkPlan, SinkStatus, StartedPlan, State, Status,
    StopRequest, StreamRanges, change_request::Change, plan::Role, probe_server,
};
use answer::Refusal;
use behaviour::BehaviourRules;
use parking_lot::Mutex;
use scrape::Scraper;
use spanproof_ledger::Identity;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use store::{SinkStore, WriteError};
use tally::RunSettings;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Request, Response};
use tracing::{error, info, warn};

/// The sink's receiver of spans and its control service.
#[derive(Debug)]
pub struct Sink {
    /// Locked while the plan is changed.
    plan: Mutex<PlanFile>,
    path: PathBuf,
    metrics: PathBuf,
    store: Mutex<Option<SinkStore>>,
    scraper: Mutex<Option<Arc<Scraper>>>,
    /// Set once the ledger is open.
    settings: OnceLock<RunSettings>,
    rules: watch::Sender<Arc<BehaviourRules>>,
    requests: AtomicU64,
    connections: AtomicU64,
    misbehaved: AtomicU64,
    malformed: MalformedRequests,
}

/// Counts malformed requests, and logs the first, second, fourth, eighth and so on.
#[derive(Debug, Default)]
struct MalformedRequests(AtomicU64);

impl MalformedRequests {
    fn record(&self, what: fmt::Arguments<'_>) {
        let count = self.0.fetch_add(1, Relaxed) + 1;
        if count.is_power_of_two() {
            warn!(count, "malformed request: {what}");
        }
    }
}

impl Sink {
    /// Opens a sink with its files in `dir`, and continues the plan that it finds there.
    pub fn open(dir: &Path) -> Result<Arc<Self>, ProbeError> {
        let plan = PlanFile::new(dir);
        let started = plan.read()?;
        let sink = Arc::new(Self {
            plan: Mutex::new(plan),
            path: dir.join("sink.ledger"),
            metrics: dir.join("metrics.log"),
            store: Mutex::new(None),
            scraper: Mutex::new(None),
            settings: OnceLock::new(),
            rules: watch::Sender::default(),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            misbehaved: AtomicU64::new(0),
            malformed: MalformedRequests::default(),
        });
        if let Some(started) = started {
            info!(run = format!("{:014x}", started.plan.run_tag), "continuing the plan on disk");
            let (settings, rules) = read_plan(&started.plan)?;
            sink.begin(&started.plan, settings, rules)?;
        }
        tokio::spawn(tick(Arc::downgrade(&sink)));
        tokio::spawn(sync_ledger(Arc::downgrade(&sink)));
        Ok(sink)
    }

    /// Receives spans on a port, over gRPC and HTTP, until `end`. May be called for several ports.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        end: impl Future<Output = ()>,
    ) -> io::Result<()> {
        intake::serve(self, listener, tls, end).await
    }

    /// Writes the records that are only in memory to disk, before the process ends.
    pub fn flush(&self) {
        // An error cannot be reported any more.
        let _ = self.with_store(SinkStore::flush);
    }

    fn start_plan(&self, mut plan: Plan) -> Result<(), ProbeError> {
        let file = self.plan.lock();
        if let Some(settings) = self.settings.get() {
            let running = settings.identity.tag();
            let same = running == Identity::new(plan.run_tag, 1, 1).tag();
            return if same { Ok(()) } else { Err(ProbeError::Busy { running }) };
        }
        if let Some(Role::Sink(SinkPlan { behaviours: Some(behaviours), .. })) = &mut plan.role {
            set_start(behaviours);
        }
        let (settings, rules) = read_plan(&plan)?;
        file.write(&StartedPlan { started_unix_ms: crate::unix_ms(), plan: plan.clone() })?;
        self.begin(&plan, settings, rules)
    }

    fn begin(&self, plan: &Plan, settings: RunSettings, rules: BehaviourRules) -> Result<(), ProbeError> {
        let store = SinkStore::open(&self.path, &settings)?;
        *self.store.lock() = Some(store);
        let run_tag = settings.identity.tag();
        let _ = self.settings.set(settings);
        self.rules.send_replace(Arc::new(rules));
        let Some(Role::Sink(role)) = &plan.role else { return Ok(()) };
        // The sink works without the metrics; the reader of their log sees that it is incomplete.
        match Scraper::open(&self.metrics, run_tag, &role.scrape, &role.metrics) {
            Ok(scraper) => *self.scraper.lock() = Some(scraper),
            Err(error) => error!("no metrics are read: {error}"),
        }
        Ok(())
    }

    /// Changes the behaviour from now on.
    fn behave(&self, mut behaviours: Behaviours) -> Result<(), ProbeError> {
        let file = self.plan.lock();
        let settings = self.settings.get().ok_or(ProbeError::NoPlan)?;
        set_start(&mut behaviours);
        let rules = BehaviourRules::of(settings.seed, &behaviours).map_err(ProbeError::Plan)?;
        // Written to disk first: a process that continues after this one has the same behaviour.
        let mut started = file.read()?.ok_or(ProbeError::NoPlan)?;
        if let Some(Role::Sink(sink)) = &mut started.plan.role {
            sink.behaviours = Some(behaviours);
        }
        file.write(&started)?;
        self.rules.send_replace(Arc::new(rules));
        Ok(())
    }

    fn scraper(&self) -> Option<Arc<Scraper>> {
        self.scraper.lock().clone()
    }

    /// Writes to the ledger; on failure returns the refusal for the client.
    fn with_store(
        &self,
        write: impl FnOnce(&mut SinkStore) -> Result<(), WriteError>,
    ) -> Result<(), Refusal> {
        let mut store = self.store.lock();
        let Some(store) = &mut *store else { return Err(no_plan()) };
        write(store).map_err(|closed| Refusal::new(Code::Unavailable, closed.to_string()))
    }

    /// The number of the next request, from 0.
    fn number(&self) -> u64 {
        self.requests.fetch_add(1, Relaxed)
    }

    /// The number of the next connection, from 0.
    fn connection_number(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed)
    }

    /// Counts a request or connection to which a behaviour was applied.
    fn misbehaved(&self) {
        self.misbehaved.fetch_add(1, Relaxed);
    }

    fn status(&self) -> Status {
        let unix_ms = crate::unix_ms();
        let Some(store) = &*self.store.lock() else {
            return Status { state: State::Idle.into(), unix_ms, ..Status::default() };
        };
        let ledger = store.ledger();
        let state = match (store.problem().is_empty(), ledger.seal()) {
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
            problem: store.problem().to_owned(),
            incarnations: ledger.incarnations(),
            unix_ms,
            emit: None,
            sink: Some(sink),
        }
    }
}

/// Writes expired records once a second, even if nothing arrives.
async fn tick(sink: Weak<Sink>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    while let Some(sink) = sink.upgrade() {
        // Fails before there is a plan, after the seal and after a failure: then there is nothing to write.
        let _ = sink.with_store(|store| store.tick(crate::unix_ms()));
        drop(sink);
        seconds.tick().await;
    }
}

/// Syncs the ledger once a second, without delaying requests: a loss of power loses only later records, and the ledger
/// has the time of each sync.
async fn sync_ledger(sink: Weak<Sink>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let Some(sink) = sink.upgrade() else { return };
        let unix_ms = crate::unix_ms();
        let Some((file, records)) = sink.store.lock().as_ref().and_then(SinkStore::unsynced) else {
            continue;
        };
        let done = match file {
            Ok(file) => {
                let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
                synced.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Err(error) => Err(error),
        };
        if let Some(store) = &mut *sink.store.lock() {
            store.synced(unix_ms, records, done);
        }
    }
}

/// Validates a plan.
fn read_plan(plan: &Plan) -> Result<(RunSettings, BehaviourRules), ProbeError> {
    let Some(Role::Sink(role)) = &plan.role else {
        return Err(ProbeError::Plan("it is not for a sink".to_owned()));
    };
    let settings = RunSettings {
        identity: Identity::new(plan.run_tag, plan.spans_per_trace, plan.streams_per_trace),
        checksum: plan.checksum,
        seed: role.seed,
        trace_one_in: role.trace_one_in,
    };
    let behaviours = role.behaviours.clone().unwrap_or_default();
    let rules = BehaviourRules::of(role.seed, &behaviours).map_err(ProbeError::Plan)?;
    Ok((settings, rules))
}

/// Sets the start of all behaviours' windows to now.
fn set_start(behaviours: &mut Behaviours) {
    let since_unix_ms = crate::unix_ms();
    for behaviour in &mut behaviours.behaviours {
        behaviour.since_unix_ms = since_unix_ms;
    }
}

fn no_plan() -> Refusal {
    Refusal::new(Code::Unavailable, "the sink has no plan yet")
}

/// Waits until a time, Unix time in milliseconds; for ever if it is `u64::MAX`.
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
            return Err(ProbeError::Plan("a sink can only change its behaviour".to_owned()).into());
        };
        self.behave(behaviours)?;
        Ok(Response::new(self.status()))
    }

    /// Returns the status. A sink needs no lease, because it makes no load.
    async fn renew(&self, _: Request<Lease>) -> Result<Response<Status>, tonic::Status> {
        Ok(Response::new(self.status()))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<Status>, tonic::Status> {
        // A failure to seal is in the status.
        let _ = self.with_store(SinkStore::seal);
        if let Some(scraper) = self.scraper() {
            scraper.seal();
        }
        Ok(Response::new(self.status()))
    }

    async fn progress(&self, _: Request<ProgressRequest>) -> Result<Response<ProgressReply>, tonic::Status> {
        let store = self.store.lock();
        let streams = store.iter().flat_map(|store| {
            let ledger = store.ledger();
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
