//! Getting a request to the agent: again and again, until it is acknowledged or refused for good.

use super::book::{Book, Outcome};
use super::{Load, Phase};
use crate::otlp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use spanproof_ledger::{Identity, Range, Stream};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc, watch};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long an agent may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One of the emitter's workers: has at most one request on its way.
pub(super) struct Worker {
    identity: Identity,
    stream: Stream,
    payload: String,
    client: TraceServiceClient<Channel>,
    book: Arc<Book>,
    phases: watch::Receiver<Phase>,
}

impl Worker {
    pub(super) fn new(
        load: &Load,
        channel: Channel,
        book: Arc<Book>,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        let client = TraceServiceClient::new(channel);
        Self {
            identity: load.identity,
            stream: load.stream,
            payload: load.payload.clone(),
            client,
            book,
            phases,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) async fn run(mut self, queue: Arc<Mutex<mpsc::Receiver<Range>>>) {
        loop {
            let next = queue.lock().await.recv().await;
            let Some(range) = next else { return };
            let outcome = if self.over() { Outcome::Abandoned } else { self.deliver(range).await };
            self.book.settle(range, outcome);
        }
    }

    async fn deliver(&mut self, range: Range) -> Outcome {
        let message = otlp::request(&self.identity, self.stream, range, &self.payload, crate::unix_ms());
        let mut pause = FIRST_PAUSE;
        for attempt in 0u32.. {
            let status = match self.send(message.clone()).await {
                Ok(0) => return Outcome::Acknowledged,
                Ok(_) => return Outcome::Partial,
                Err(status) => status,
            };
            if !worth_another_try(&status) {
                return Outcome::Rejected(status.code().into());
            }
            self.book.failed(range, attempt == 0, &format!("{:?}: {}", status.code(), status.message()));
            if !self.wait(pause).await || !self.book.healthy() {
                return Outcome::Abandoned;
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
        Outcome::Abandoned
    }

    /// Sends it once; the number of spans that a partial success refused.
    async fn send(&mut self, message: ExportTraceServiceRequest) -> Result<i64, Status> {
        let mut request = Request::new(message);
        request.set_timeout(DEADLINE);
        let answer = self.client.export(request).await?.into_inner();
        Ok(answer.partial_success.map_or(0, |partial| partial.rejected_spans))
    }

    /// Whether the time for what is in flight is over: what is still queued then is not sent any more.
    fn over(&self) -> bool {
        match *self.phases.borrow() {
            Phase::Running => false,
            Phase::Draining(until) => Instant::now() >= until,
            Phase::Sealed => true,
        }
    }

    /// False when the time for what is in flight is over.
    async fn wait(&mut self, pause: Duration) -> bool {
        let until = |phases: &watch::Receiver<Phase>| match *phases.borrow() {
            Phase::Running => None,
            Phase::Draining(until) => Some(until),
            Phase::Sealed => Some(Instant::now()),
        };
        let pause =
            until(&self.phases).map_or(pause, |end| pause.min(end.saturating_duration_since(Instant::now())));
        tokio::time::sleep(pause).await;
        until(&self.phases).is_none_or(|end| Instant::now() < end)
    }
}

/// The codes after which an OTLP client tries again: the protocol's table, plus every failure that
/// happened on the way, where the agent never said anything.
/// <https://opentelemetry.io/docs/specs/otlp/#failures>
fn worth_another_try(status: &Status) -> bool {
    let on_the_way = status.source().is_some();
    on_the_way
        || matches!(
            status.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        )
        || (status.code() == Code::ResourceExhausted && !status.details().is_empty())
}
