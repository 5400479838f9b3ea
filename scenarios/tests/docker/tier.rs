//! A tier of containers: emitter → agent → two gateways → sink, each of the real image.

mod containers;

use crate::config::{Part, merge};
use crate::engine::{self, docker};
use crate::outcome::{self, Outcome};
use crate::probe::{Probe, STREAM};
use containers::images;
use serde_json::{Value, json};
use spanproof::settle::{Observation, Settling};
use spanproof_ledger::{EmitterLedger, RangeSet, SinkLedger};
use spanproof_probe::control::{
    Behaviour, Behaviours, EmitPlan, Refuse, Scrape, Segment, SinkPlan, State, behaviour::Kind, plan::Role,
    segment::Shape,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testcontainers::{ContainerAsync, GenericImage};

/// The load of every case: 2,000 spans a second in requests of 50.
const SPANS_PER_SECOND: f64 = 2_000.0;
const SPANS_PER_REQUEST: u32 = 50;
/// The timeout of every wait, long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
/// The seed by which the sink selects a share.
pub(crate) const SEED: u64 = 11;
const OTLP_PORT: u16 = spanproof_probe::OTLP_PORT;
const METRICS_PORT: u32 = 8888;
/// The gateways' names.
pub(crate) const GATEWAYS: [&str; 2] = ["gateway-0", "gateway-1"];

/// The version that the manifests ship, and the one before it.
pub(crate) const VERSION: &str = "0.161.0";
pub(crate) const VERSION_BEFORE: &str = "0.160.0";

/// The answer of a backend in an outage.
pub(crate) const UNAVAILABLE: Kind = Kind::Refuse(Refuse { code: 14, retry_after_ms: None });

/// The differences of a tier from the shipped one.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Merged into the agent's configuration.
    pub(crate) agent: Value,
    /// Merged into the gateways'.
    pub(crate) gateway: Value,
    /// The agent's version.
    pub(crate) agent_version: &'static str,
    /// The emitter's plan. Load and stream are the same in all cases.
    pub(crate) emit: EmitPlan,
    /// Files next to the agent's configuration.
    pub(crate) agent_files: Vec<(&'static str, Vec<u8>)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            agent: json!({}),
            gateway: json!({}),
            agent_version: VERSION,
            emit: EmitPlan { endpoint: format!("http://agent:{OTLP_PORT}"), ..EmitPlan::default() },
            agent_files: Vec::new(),
        }
    }
}

/// A tier under load.
pub(crate) struct Tier {
    setup: Setup,
    label: String,
    name: String,
    /// The addresses of the containers, as the engine assigned them.
    addresses: BTreeMap<&'static str, String>,
    containers: BTreeMap<&'static str, ContainerAsync<GenericImage>>,
    emit: Option<Probe>,
    sink: Option<Probe>,
    began: Instant,
}

/// The progress of a tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    /// Failed attempts of the emitter.
    pub(crate) failed_requests: u64,
    /// Requests and connections that the sink's behaviour affected.
    pub(crate) misbehaved: u64,
}

impl Tier {
    /// Starts the shipped tier with the differences in `setup`, and the load on it.
    pub(crate) async fn start(setup: Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (key, run) = engine::run_label();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("spanproof-{run}-{number}");
        let label = format!("{key}.tier={name}");
        let mut tier = Self {
            setup,
            label,
            name,
            addresses: BTreeMap::new(),
            containers: BTreeMap::new(),
            emit: None,
            sink: None,
            began: Instant::now(),
        };
        let run_label = format!("{key}={run}");
        for made in ["network", "volume"] {
            docker(&[made, "create", "--label", &run_label, "--label", &tier.label, &tier.name]);
        }
        let queue = format!("{}:/queue", tier.name);
        let give = ["give", "--user=10001", "--group=10001", "/queue"];
        let probe = images().probe().image.clone();
        let once = ["run", "--rm", "--user=0", "--label", &run_label, "--volume", &queue, &probe];
        docker(&[&once[..], &give].concat());

        tier.start_probe("backend", "sink").await;
        let sink = Probe::at(&tier.addresses["backend"]).await;
        let scrape = |role: &str, name: &str| Scrape {
            role: role.to_owned(),
            host: tier.container_name(name),
            port: METRICS_PORT,
        };
        sink.start(Role::Sink(SinkPlan {
            scrape: vec![
                scrape("agent", "agent"),
                scrape("gateway", GATEWAYS[0]),
                scrape("gateway", GATEWAYS[1]),
            ],
            metrics: vec!["otelcol_exporter_queue_size".to_owned()],
            seed: SEED,
            ..SinkPlan::default()
        }))
        .await;
        tier.sink = Some(sink);
        for gateway in GATEWAYS {
            tier.start_collector(Part::Gateway, gateway, VERSION).await;
        }
        tier.start_collector(Part::Agent, "agent", tier.setup.agent_version).await;
        tier.start_probe("emit", "emit").await;
        let emit = Probe::at(&tier.addresses["emit"]).await;
        emit.start(Role::Emit(EmitPlan {
            stream: u32::from(STREAM),
            profile: vec![Segment { duration_ms: 0, shape: Some(Shape::Constant(SPANS_PER_SECOND)) }],
            spans_per_request: SPANS_PER_REQUEST,
            payload_bytes: 64,
            duration_ms: 3_600_000,
            ..tier.setup.emit.clone()
        }))
        .await;
        tier.emit = Some(emit);
        tier.began = Instant::now();
        tier
    }

    /// Returns the label of everything in it: `key=value`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    fn emit(&self) -> &Probe {
        self.emit.as_ref().unwrap()
    }

    fn sink(&self) -> &Probe {
        self.sink.as_ref().unwrap()
    }

    // What is done to it.

    /// Kills a container with SIGKILL.
    pub(crate) fn kill(&self, name: &str) {
        docker(&["kill", "--signal=KILL", self.id(name)]);
    }

    /// Stops a container with SIGTERM and the grace period of the agents' manifests.
    pub(crate) fn terminate(&self, name: &str) {
        docker(&["stop", "--time=30", self.id(name)]);
    }

    /// Starts the same container again, with its files and its address.
    pub(crate) async fn start_again(&self, name: &str) {
        docker(&["start", self.id(name)]);
        assert_eq!(self.asked_address(name), self.addresses[name], "{name} is not where it was");
        self.listening(name, OTLP_PORT).await;
    }

    /// Stops the agent and replaces it by another one with the same queue and address.
    pub(crate) async fn replace_agent(&mut self, version: &str, agent: Value) {
        self.terminate("agent");
        self.containers.remove("agent").unwrap().rm().await.unwrap();
        self.setup.agent = agent;
        self.start_collector(Part::Agent, "agent", version).await;
    }

    /// Makes the backend behave like this towards every request.
    pub(crate) async fn backend(&self, kind: Kind) {
        self.backend_for_a_share(0, kind).await;
    }

    /// Makes the backend behave like this towards this many requests (or connections) of a million; 0: towards all.
    pub(crate) async fn backend_for_a_share(&self, per_million: u32, kind: Kind) {
        let behaviour = Behaviour { per_million, kind: Some(kind), ..Behaviour::default() };
        self.sink().behave(Behaviours { behaviours: vec![behaviour] }).await;
    }

    /// Makes the backend take everything again.
    pub(crate) async fn backend_heals(&self) {
        self.sink().behave(Behaviours::default()).await;
    }

    // What is awaited of it.

    pub(crate) async fn standing(&self) -> Standing {
        let (emit, sink) = (self.emit().status().await, self.sink().status().await);
        assert_eq!(emit.state(), State::Running, "the load goes on: {emit:?}");
        let (emit, sink) = (emit.emit.unwrap(), sink.sink.unwrap());
        Standing {
            acknowledged: emit.acknowledged,
            delivered: sink.delivered,
            failed_requests: emit.failed_requests,
            misbehaved: sink.misbehaved,
        }
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, awaited: &str, condition: impl Fn(&Standing) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let standing = self.standing().await;
            if condition(&standing) {
                return;
            }
            assert!(Instant::now() < deadline, "waited for {awaited}: {standing:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until this many more spans are acknowledged.
    pub(crate) async fn acknowledges(&self, more: u64) {
        let goal = self.standing().await.acknowledged + more;
        self.until("acknowledged spans", |now| now.acknowledged >= goal).await;
    }

    /// Waits until this many more spans are delivered.
    pub(crate) async fn delivers(&self, more: u64) {
        let goal = self.standing().await.delivered + more;
        self.until("delivered spans", |now| now.delivered >= goal).await;
    }

    /// Waits until this many acknowledged spans are not delivered.
    pub(crate) async fn backlog(&self, spans: u64) {
        self.until("a backlog", |now| now.acknowledged.saturating_sub(now.delivered) >= spans).await;
    }

    /// Stops the load, waits for the rest, and returns the fate of every span.
    pub(crate) async fn finish(self) -> Outcome {
        let emitted = self.emit().stop(Duration::from_secs(30)).await;
        assert_eq!(emitted.state(), State::Sealed, "{emitted:?}");
        let settled = self.settle().await;
        let sealed = self.sink().stop(Duration::ZERO).await;
        assert_eq!(sealed.state(), State::Sealed, "{sealed:?}");
        let emitter = EmitterLedger::from_records(&self.emit().records().await).unwrap();
        let sink = SinkLedger::from_records(&self.sink().records().await).unwrap();
        Outcome::of(emitter, &sink, settled, self.began.elapsed())
    }

    async fn settle(&self) -> spanproof::record::SettleEnd {
        let mut configuration = Part::Agent.configuration();
        merge(&mut configuration, &self.setup.agent);
        let pause = outcome::worst_retry_pause(&configuration);
        let mut settling = Settling::new(Duration::from_secs(2), pause, Duration::from_secs(240));
        let acknowledged = self.emit().numbers().await;
        let began = Instant::now();
        loop {
            let delivered = self.sink().numbers().await;
            let observation = Observation {
                outstanding: Some(acknowledged.difference(&delivered).count()),
                queued: self.queued().await,
                arrived: arrived(&delivered, self.sink()).await,
            };
            if let Some(end) = settling.observe(began.elapsed(), observation) {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Returns the size of the agent's queue and, where there are any, the gateways' queues. None if one could not be read.
    async fn queued(&self) -> Option<f64> {
        const FRESH_MS: u64 = 3_500;
        let status = self.sink().status().await;
        let fresh =
            status.sink.unwrap().targets.into_iter().filter(|target| {
                target.answered_unix_ms + FRESH_MS > status.unix_ms && target.queue_size >= 0.0
            });
        let gateways_hold = self.setup.gateway["exporters"]["otlp_grpc"]
            .as_object()
            .is_some_and(|exporter| exporter.get("sending_queue").is_some());
        let holders = fresh.filter(|target| gateways_hold || target.role == "agent").map(|it| it.queue_size);
        let sizes: Vec<f64> = holders.collect();
        (sizes.len() == if gateways_hold { 3 } else { 1 }).then(|| sizes.iter().sum())
    }
}

async fn arrived(delivered: &RangeSet, sink: &Probe) -> u64 {
    delivered.count() + sink.status().await.sink.unwrap().duplicated
}
