//! The sink: the exact set of what arrived, on disk before the gateway is answered. It also reads the
//! Collectors' metrics.

mod scrape;

pub use scrape::total;

use crate::control::{
    self, Behaviours, ChangeRequest, Description, Lease, LedgerStream, Plan, PlanFile, ProbeError,
    ProgressReply, ProgressRequest, ReadLedgerRequest, SinkStatus, StartedPlan, State, Status, StopRequest,
    StreamRanges, behaviour::Kind, change_request::Change, probe_server,
};
use crate::ledger_file::LedgerFile;
use crate::{GATEWAY_HEADER, otlp};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server::TraceService,
};
use scrape::Scraper;
use spanproof_ledger::{
    Delivery, Identity, Origin, Range, SinkLedger, SinkRecord, SinkSeal, Stream, forgotten,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tonic::{Request, Response};
use tracing::{error, info};

/// The sink: OTLP service and control service.
#[derive(Debug)]
pub struct Sink {
    plan: PlanFile,
    path: PathBuf,
    metrics: PathBuf,
    books: Mutex<Option<Books>>,
    scraper: Mutex<Option<Arc<Scraper>>>,
}

#[derive(Debug)]
struct Books {
    identity: Identity,
    seed: u64,
    behaviours: Behaviours,
    file: LedgerFile<SinkRecord>,
    ledger: SinkLedger,
    problem: String,
}

impl Sink {
    /// A sink with its files in `dir`. Goes on with a plan that is there.
    pub fn open(dir: &Path) -> Result<Arc<Self>, ProbeError> {
        let sink = Arc::new(Self {
            plan: PlanFile::new(dir),
            path: dir.join("sink.ledger"),
            metrics: dir.join("metrics.log"),
            books: Mutex::new(None),
            scraper: Mutex::new(None),
        });
        if let Some(started) = sink.plan.read()? {
            info!(run = format!("{:014x}", started.plan.run_tag), "going on with the plan on disk");
            sink.begin(&started.plan)?;
        }
        Ok(sink)
    }

    fn begin(&self, plan: &Plan) -> Result<(), ProbeError> {
        let Some(control::plan::Role::Sink(role)) = &plan.role else {
            return Err(ProbeError::Plan("it is not a sink's".to_owned()));
        };
        let mut ledger = SinkLedger::default();
        let file = LedgerFile::open_with(&self.path, |record| {
            ledger
                .apply(&record)
                .map_err(|source| ProbeError::Contradiction { path: self.path.clone(), source })
        })?;
        let identity = Identity::new(plan.run_tag, plan.spans_per_trace, plan.streams_per_trace);
        let behaviours = role.behaviours.clone().unwrap_or_default();
        let mut books = Books { identity, seed: role.seed, behaviours, file, ledger, problem: String::new() };
        books.record(
            &SinkRecord::Opened { run_tag: identity.tag(), source: 1, unix_ms: crate::unix_ms() },
            true,
        );
        *self.lock() = Some(books);
        // Without the metrics the sink goes on; what is wrong with their log is seen by whoever reads it.
        match Scraper::open(&self.metrics, &role.scrape, &role.metrics) {
            Ok(scraper) => *self.scraper.lock().unwrap_or_else(PoisonError::into_inner) = Some(scraper),
            Err(error) => error!("no metrics are read: {error}"),
        }
        Ok(())
    }

    fn scraper(&self) -> Option<Arc<Scraper>> {
        self.scraper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Books>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let unix_ms = crate::unix_ms();
        let Some(books) = &*self.lock() else {
            return Status { state: State::Idle.into(), unix_ms, ..Status::default() };
        };
        let ledger = &books.ledger;
        let state = match (books.problem.is_empty(), ledger.seal()) {
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
            misbehaved: ledger.refused_requests(),
            targets: self.scraper().map(|scraper| scraper.targets()).unwrap_or_default(),
        };
        Status {
            state: state.into(),
            problem: books.problem.clone(),
            incarnations: ledger.incarnations(),
            unix_ms,
            emit: None,
            sink: Some(sink),
        }
    }
}

impl Books {
    /// Takes a request: every span of it, or (if the ledger cannot be kept) none.
    fn take(&mut self, gateway: &str, request: &ExportTraceServiceRequest) -> Result<(), tonic::Status> {
        if self.ledger.seal().is_some() {
            return Err(tonic::Status::unavailable("the sink is sealed: the run is over"));
        }
        let forget = forget(&self.behaviours);
        let (mut foreign, mut damaged) = (0, 0);
        let mut numbers: BTreeMap<Stream, Vec<u64>> = BTreeMap::new();
        for ids in otlp::ids(request) {
            match ids.map(|(trace, span)| (self.identity.origin(trace, span), span)) {
                Some((Origin::Ours(_), id)) if forgotten(self.seed, id, forget) => {}
                Some((Origin::Ours(span), _)) => numbers.entry(span.stream).or_default().push(span.seq),
                Some((Origin::Foreign, _)) => foreign += 1,
                Some((Origin::Damaged, _)) | None => damaged += 1,
            }
        }
        let unix_ms = crate::unix_ms();
        if let Some(code) = refusal(&self.behaviours) {
            for (stream, numbers) in numbers {
                let code = u8::try_from(i32::from(code)).unwrap_or(u8::MAX);
                let refused = SinkRecord::Refused { unix_ms, code, stream, ranges: ranges(numbers) };
                self.record(&refused, false);
            }
            return Err(tonic::Status::new(code, "refused, as the scenario wants it"));
        }
        let gateway = self.gateway(gateway);
        for (stream, numbers) in numbers {
            let delivery = Delivery { unix_ms, gateway, stream, ranges: ranges(numbers) };
            self.record(&SinkRecord::Delivered(delivery), false);
        }
        if foreign + damaged > 0 {
            self.record(&SinkRecord::Unexpected { foreign, damaged }, false);
        }
        if self.problem.is_empty() { Ok(()) } else { Err(tonic::Status::unavailable(self.problem.clone())) }
    }

    fn gateway(&mut self, name: &str) -> u16 {
        if let Some(known) = self.ledger.gateway_number(name) {
            return known;
        }
        let id = u16::try_from(self.ledger.gateways()).unwrap_or(u16::MAX);
        self.record(&SinkRecord::Gateway { id, name: name.to_owned() }, false);
        id
    }

    /// To the file first, then to the sum.
    fn record(&mut self, record: &SinkRecord, durable: bool) {
        if !self.problem.is_empty() {
            return;
        }
        let written = self.file.append(record, durable).map_err(|error| error.to_string());
        let applied = written.and_then(|()| self.ledger.apply(record).map_err(|error| error.to_string()));
        if let Err(problem) = applied {
            error!(problem, "the ledger cannot be kept");
            self.problem = problem;
        }
    }
}

/// What it refuses requests with; none if it takes them.
fn refusal(behaviours: &Behaviours) -> Option<tonic::Code> {
    behaviours.behaviours.iter().find_map(|behaviour| match &behaviour.kind {
        Some(Kind::Refuse(refuse)) => Some(tonic::Code::from_i32(refuse.code.cast_signed())),
        _ => None,
    })
}

/// Of so many spans one is forgotten; 0: none is.
fn forget(behaviours: &Behaviours) -> u64 {
    let forget = behaviours.behaviours.iter().find_map(|behaviour| match &behaviour.kind {
        Some(Kind::Forget(forget)) => Some(forget.one_in),
        _ => None,
    });
    forget.unwrap_or_default()
}

/// The numbers of one request as ranges. A number that is in it twice stays in twice.
fn ranges(mut numbers: Vec<u64>) -> Vec<Range> {
    numbers.sort_unstable();
    let mut ranges: Vec<Range> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(Range::new(number, number + 1)),
        }
    }
    ranges
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, tonic::Status> {
        let named =
            request.metadata().get(GATEWAY_HEADER).and_then(|name| name.to_str().ok()).map(str::to_owned);
        let address =
            || request.remote_addr().map_or_else(|| "?".to_owned(), |address| address.ip().to_string());
        let gateway = named.unwrap_or_else(address);
        let mut books = self.lock();
        let Some(books) = &mut *books else {
            return Err(tonic::Status::unavailable("the sink has no plan yet"));
        };
        books.take(&gateway, request.get_ref())?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
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
        let plan = plan.into_inner();
        let running = self.lock().as_ref().map(|books| books.identity.tag());
        match running {
            Some(tag) if tag == Identity::new(plan.run_tag, 1, 1).tag() => {}
            Some(running) => return Err(ProbeError::Busy { running }.into()),
            None => {
                self.plan.write(&StartedPlan { started_unix_ms: crate::unix_ms(), plan: plan.clone() })?;
                self.begin(&plan)?;
            }
        }
        Ok(Response::new(self.status()))
    }

    async fn change(&self, change: Request<ChangeRequest>) -> Result<Response<Status>, tonic::Status> {
        let Some(Change::Behaviours(behaviours)) = change.into_inner().change else {
            return Err(ProbeError::Plan("a sink can change how it behaves, nothing else".to_owned()).into());
        };
        // On disk first: a process that takes over behaves as this one does.
        let mut started = self.plan.read()?.ok_or(ProbeError::NoPlan)?;
        if let Some(control::plan::Role::Sink(sink)) = &mut started.plan.role {
            sink.behaviours = Some(behaviours.clone());
        }
        self.plan.write(&started)?;
        if let Some(books) = &mut *self.lock() {
            books.behaviours = behaviours;
        }
        Ok(Response::new(self.status()))
    }

    /// A sink needs no lease: it makes no load.
    async fn renew(&self, _: Request<Lease>) -> Result<Response<Status>, tonic::Status> {
        Ok(Response::new(self.status()))
    }

    async fn stop(&self, _: Request<StopRequest>) -> Result<Response<Status>, tonic::Status> {
        if let Some(books) = &mut *self.lock()
            && books.ledger.seal().is_none()
        {
            let (delivered, incarnations) = (books.ledger.delivered_count(), books.ledger.incarnations());
            let records = books.ledger.records();
            books.record(&SinkRecord::Sealed(SinkSeal { delivered, incarnations, records }), true);
        }
        if let Some(scraper) = self.scraper() {
            scraper.seal();
        }
        Ok(Response::new(self.status()))
    }

    async fn progress(&self, _: Request<ProgressRequest>) -> Result<Response<ProgressReply>, tonic::Status> {
        let books = self.lock();
        let streams = books.iter().flat_map(|books| {
            books.ledger.streams().map(|stream| StreamRanges::of(stream, books.ledger.delivered(stream)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges_and_a_copy_stays_a_copy() {
        let made = ranges(vec![7, 3, 4, 5, 4, 9]);
        assert_eq!(made.iter().map(|range| range.count()).sum::<u64>(), 6);
        let mut ledger = SinkLedger::default();
        ledger.apply(&SinkRecord::Opened { run_tag: 1, source: 1, unix_ms: 0 }).unwrap();
        let delivery = Delivery { unix_ms: 0, gateway: 0, stream: 1, ranges: made };
        ledger.apply(&SinkRecord::Delivered(delivery)).unwrap();
        assert_eq!((ledger.delivered_count(), ledger.duplicated_count()), (5, 1));
    }
}
