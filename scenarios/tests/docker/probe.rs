//! The connection to a probe's control port.

use spanproof_ledger::{RangeSet, log};
use spanproof_probe::control::probe_client::ProbeClient;
use spanproof_probe::control::{
    Behaviours, ChangeRequest, DescribeRequest, Lease, Plan, ProgressRequest, ReadLedgerRequest, Status,
    StopRequest, StreamRanges, change_request::Change, plan::Role,
};
use spanproof_probe::{CONTROL_PORT, SOURCES};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The run's tag, the stream, and the number of spans in a trace. They can be constants: each tier has its own probes.
pub(crate) const RUN_TAG: u64 = 0x0012_3456_789a;
pub(crate) const STREAM: u16 = 3;
pub(crate) const SPANS_PER_TRACE: u32 = 10;
/// The lease, longer than any test: a probe whose test has ended is removed with its container.
const LEASE: Lease = Lease { milliseconds: 1_800_000 };

/// A probe.
#[derive(Debug, Clone)]
pub(crate) struct Probe(ProbeClient<Channel>);

impl Probe {
    /// Connects to the probe at an address, and waits until it answers.
    pub(crate) async fn at(address: &str) -> Self {
        let uri = format!("http://{address}:{CONTROL_PORT}");
        let endpoint = Endpoint::from_shared(uri).unwrap().connect_timeout(Duration::from_secs(2));
        let mut client = ProbeClient::new(endpoint.connect_lazy()).max_decoding_message_size(64 << 20);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        let description = loop {
            match client.describe(DescribeRequest {}).await {
                Ok(description) => break description.into_inner(),
                Err(error) => {
                    assert!(std::time::Instant::now() < deadline, "the probe at {address}: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        assert_eq!(description.sources, SOURCES, "the probe's image is of other sources: run `ci/setup`");
        Self(client)
    }

    pub(crate) async fn start(&self, role: Role) {
        let plan = Plan {
            run_tag: RUN_TAG,
            spans_per_trace: SPANS_PER_TRACE,
            lease: Some(LEASE),
            role: Some(role),
            ..Plan::default()
        };
        self.0.clone().start(plan).await.unwrap();
    }

    pub(crate) async fn behave(&self, behaviours: Behaviours) {
        let change = ChangeRequest { change: Some(Change::Behaviours(behaviours)) };
        self.0.clone().change(change).await.unwrap();
    }

    pub(crate) async fn status(&self) -> Status {
        let status = self.0.clone().renew(LEASE).await.unwrap().into_inner();
        assert_eq!(status.problem, "");
        status
    }

    /// Returns the sequence numbers that were acknowledged, or delivered.
    pub(crate) async fn numbers(&self) -> RangeSet {
        let streams = self.0.clone().progress(ProgressRequest {}).await.unwrap().into_inner().streams;
        streams
            .iter()
            .find(|ranges| ranges.stream == u32::from(STREAM))
            .map_or_else(RangeSet::new, StreamRanges::set)
    }

    pub(crate) async fn stop(&self, drain: Duration) -> Status {
        let drain_ms = u64::try_from(drain.as_millis()).unwrap();
        self.0.clone().stop(StopRequest { drain_ms }).await.unwrap().into_inner()
    }

    /// Returns the content of its ledger.
    pub(crate) async fn records<T: log::Record>(&self) -> Vec<T> {
        let request = ReadLedgerRequest { metrics: false };
        let mut chunks = self.0.clone().read_ledger(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            bytes.extend(chunk.data);
        }
        log::decode::<T>(&bytes).unwrap().records
    }
}
