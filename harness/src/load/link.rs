//! A probe's control service, reached through the API server: a fresh stream for each connection.

use super::{PlanError, Streams};
use backon::{ConstantBuilder, Retryable};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use spanproof_ledger::{SinkLedger, SinkRecord, log};
use spanproof_probe::CONTROL_PORT;
use spanproof_probe::control::{
    ChangeRequest, DescribeRequest, Description, Lease, Plan, ProgressRequest, ReadLedgerRequest, Status,
    StopRequest, change_request::Change, probe_client::ProbeClient,
};
use std::io;
use std::time::Duration;
use tokio::io::DuplexStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// The longest wait for a probe's answer, beyond the time that it is asked to take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The number of attempts while the connection to the probe breaks. Each request can be repeated without harm: the
/// plan is the same, the ledger is read from its beginning.
const TRIES: usize = 4;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait for the renewal of a probe's lease.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(5);

/// An error in talking to a probe.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Its pod cannot be found.
    #[error("finding the pod of {probe}: {source}")]
    Find {
        /// The probe.
        probe: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The request failed, or had no answer.
    #[error("{probe}: {action}: {status}")]
    Call {
        /// The probe.
        probe: String,
        /// The request.
        action: &'static str,
        /// The probe's answer.
        status: Box<tonic::Status>,
    },
    /// The emitters cannot be given a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It did not seal its ledger.
    #[error("{probe} did not seal its ledger: {state} {problem}")]
    NotSealed {
        /// The probe.
        probe: String,
        /// Its state.
        state: String,
        /// The problem.
        problem: String,
    },
    /// Its ledger cannot be decoded.
    #[error("{probe}: its ledger cannot be read: {message}")]
    Ledger {
        /// The probe.
        probe: String,
        /// The problem.
        message: String,
    },
    /// It was built from other sources than this program.
    #[error("{probe} was built from other sources ({found}) than this program: run `ci/setup`")]
    OtherSources {
        /// The probe.
        probe: String,
        /// The fingerprint of its sources.
        found: String,
    },
}

impl LinkError {
    pub(super) fn find(probe: &str, source: kube::Error) -> Self {
        Self::Find { probe: probe.to_owned(), source: Box::new(source) }
    }
}

/// The way to one probe.
#[derive(Debug, Clone)]
pub struct Link {
    name: String,
    /// The base name of its files.
    file: String,
    node: String,
    client: ProbeClient<Channel>,
}

impl Link {
    /// Returns a link to the probe of an application on a node.
    pub(super) fn on_node(client: &Client, namespace: &str, app: &str, node: &str) -> Self {
        let wanted = ListParams::default()
            .labels(&format!("app.kubernetes.io/name={app}"))
            .fields(&format!("spec.nodeName={node}"));
        Self {
            name: format!("{app} on {node}"),
            file: format!("{app}-{node}"),
            node: node.to_owned(),
            client: connect(client, namespace, wanted),
        }
    }

    /// Returns a link to the probe in a pod, on whatever node.
    pub(super) fn to_pod(client: &Client, namespace: &str, pod: &str) -> Self {
        let wanted = ListParams::default().fields(&format!("metadata.name={pod}"));
        let client = connect(client, namespace, wanted);
        Self { name: pod.to_owned(), file: pod.to_owned(), node: String::new(), client }
    }

    /// Returns its node; empty if it may be anywhere.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Returns its name, for messages.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Returns the base name of its files, without an extension.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    async fn call<T, F>(
        &self,
        action: &'static str,
        timeout: Duration,
        ask: impl Fn(ProbeClient<Channel>) -> F,
    ) -> Result<T, LinkError>
    where
        F: Future<Output = Result<T, tonic::Status>> + Send,
    {
        let late = || tonic::Status::deadline_exceeded(format!("no answer within {}s", timeout.as_secs()));
        let asked = || async {
            let answer = tokio::time::timeout(timeout, ask(self.client.clone())).await;
            answer.unwrap_or_else(|_| Err(late()))
        };
        // What the probe itself refuses stays refused; a broken connection is tried again.
        let on_the_way = |status: &tonic::Status| {
            std::error::Error::source(status).is_some()
                || matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
        };
        let pauses = ConstantBuilder::new().with_delay(PAUSE).with_max_times(TRIES - 1);
        let answered = asked.retry(pauses).when(on_the_way).await;
        answered.map_err(|status| LinkError::Call { probe: self.name(), action, status: Box::new(status) })
    }

    pub(super) async fn describe(&self) -> Result<Description, LinkError> {
        let ask = |mut client: ProbeClient<Channel>| async move { client.describe(DescribeRequest {}).await };
        let description = self.call("asking what it is", TIMEOUT, ask).await?.into_inner();
        if description.sources == spanproof_probe::SOURCES {
            return Ok(description);
        }
        Err(LinkError::OtherSources { probe: self.name(), found: description.sources })
    }

    pub(super) async fn start(&self, plan: Plan) -> Result<(), LinkError> {
        let ask = |mut client: ProbeClient<Channel>| {
            let plan = plan.clone();
            async move { client.start(plan).await }
        };
        self.call("starting", TIMEOUT, ask).await.map(|_| ())
    }

    /// Renews the lease, in one short attempt: the next one comes in a second, and a probe that hangs must not delay
    /// the others' leases.
    pub(super) async fn renew_once(&self, lease: Lease) -> Option<Status> {
        let mut client = self.client.clone();
        let asked = tokio::time::timeout(RENEWAL_TIMEOUT, client.renew(lease)).await;
        Some(asked.ok()?.ok()?.into_inner())
    }

    pub(super) async fn change(&self, change: Change) -> Result<Status, LinkError> {
        let change = ChangeRequest { change: Some(change) };
        let ask = |mut client: ProbeClient<Channel>| {
            let change = change.clone();
            async move { client.change(change).await }
        };
        Ok(self.call("changing what it does", TIMEOUT, ask).await?.into_inner())
    }

    pub(super) async fn stop(&self, drain: Duration) -> Result<Status, LinkError> {
        let stop = StopRequest { drain_ms: super::millis(drain) };
        let ask = |mut client: ProbeClient<Channel>| async move { client.stop(stop).await };
        Ok(self.call("stopping", TIMEOUT + drain, ask).await?.into_inner())
    }

    pub(super) async fn progress(&self) -> Result<Streams, LinkError> {
        let ask = |mut client: ProbeClient<Channel>| async move { client.progress(ProgressRequest {}).await };
        let reply = self.call("asking for its progress", TIMEOUT, ask).await?.into_inner();
        let sets = reply.streams.into_iter();
        Ok(sets.filter_map(|ranges| Some((u16::try_from(ranges.stream).ok()?, ranges.set()))).collect())
    }

    /// Returns its ledger, or the metrics that it scraped from the Collectors.
    pub(super) async fn ledger(&self, metrics: bool) -> Result<Vec<u8>, LinkError> {
        let ask = |mut client: ProbeClient<Channel>| async move {
            let mut chunks = client.read_ledger(ReadLedgerRequest { metrics }).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                bytes.extend(chunk.data);
            }
            Ok(bytes)
        };
        self.call("reading its ledger", TIMEOUT * 4, ask).await
    }

    /// Returns a sink's ledger so far.
    pub(super) async fn sink_ledger(&self) -> Result<SinkLedger, LinkError> {
        let bytes = self.ledger(false).await?;
        let unread = |message: String| LinkError::Ledger { probe: self.name.clone(), message };
        let records = log::decode::<SinkRecord>(&bytes).map_err(|error| unread(error.to_string()))?.records;
        SinkLedger::from_records(&records).map_err(|error| unread(error.to_string()))
    }
}

/// Connects when it is used, each time to the pod that is there then.
fn connect(client: &Client, namespace: &str, wanted: ListParams) -> ProbeClient<Channel> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let connector = tower::service_fn(move |_: Uri| {
        let (pods, wanted) = (pods.clone(), wanted.clone());
        async move { forward(&pods, &wanted).await.map(TokioIo::new) }
    });
    // The name is never looked up: the connector knows the way.
    let channel = Endpoint::from_static("http://probe.invalid")
        .connect_timeout(TIMEOUT)
        .connect_with_connector_lazy(connector);
    // A snapshot of a million gaps is 16 MB.
    ProbeClient::new(channel).max_decoding_message_size(64 << 20)
}

/// A stream to the control port of the pod that is there now.
async fn forward(pods: &Api<Pod>, wanted: &ListParams) -> io::Result<DuplexStream> {
    let found = pods.list(wanted).await.map_err(io::Error::other)?;
    let running = found.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
    let pod = running.ok_or_else(|| io::Error::other("no pod is there"))?;
    let mut forwarder = pods.portforward(&pod.name_any(), &[CONTROL_PORT]).await.map_err(io::Error::other)?;
    let stream = forwarder.take_stream(CONTROL_PORT);
    stream.ok_or_else(|| io::Error::other("the port was not forwarded"))
}
