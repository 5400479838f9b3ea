//! A tier of containers: emitter → agent → two gateways → sink, each of the real image.

use crate::config::{Part, memory_limit, merge};
use crate::engine::{self, Network, docker};
use crate::outcome::{self, Outcome};
use crate::probe::{Probe, STREAM};
use serde_json::{Value, json};
use spanproof::cluster::{Images, cache_dir};
use spanproof::settle::{Settling, Sight};
use spanproof_ledger::{EmitterLedger, RangeSet, SinkLedger};
use spanproof_probe::control::{
    Behaviour, Behaviours, EmitPlan, Scrape, Segment, SinkPlan, State, behaviour::Kind, plan::Role,
    segment::Shape,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::net::TcpStream;

/// The load of every case: 2,000 spans a second in requests of 50.
const SPANS_PER_SECOND: f64 = 2_000.0;
const SPANS_PER_REQUEST: u32 = 50;
/// What is awaited comes within this, on a machine that is busy with other tests, too.
const PATIENCE: Duration = Duration::from_secs(120);
/// The seed of what the sink does to a share.
pub(crate) const SEED: u64 = 11;
const OTLP_PORT: u16 = spanproof_probe::OTLP_PORT;
/// The emitter's, the sink's, the agent's, and the gateways' addresses in the network.
const HOSTS: [(&str, u8); 5] =
    [("emit", 10), ("backend", 11), ("agent", 12), (GATEWAYS[0], 13), (GATEWAYS[1], 14)];
const GATEWAYS: [&str; 2] = ["gateway-0", "gateway-1"];

/// The version that the manifests ship, and the one before it.
pub(crate) const VERSION: &str = "0.161.0";
pub(crate) const VERSION_BEFORE: &str = "0.160.0";

/// How a tier differs from what is shipped.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Merged into the agent's configuration.
    pub(crate) agent: Value,
    /// Merged into the gateways'.
    pub(crate) gateway: Value,
    /// The agent's version.
    pub(crate) agent_version: &'static str,
    /// How the emitter sends; load and stream are the same in all cases.
    pub(crate) emit: EmitPlan,
    /// Files beside the agent's configuration.
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
    network: Network,
    containers: BTreeMap<&'static str, ContainerAsync<GenericImage>>,
    emit: Option<Probe>,
    sink: Option<Probe>,
    began: Instant,
}

/// How a tier stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    /// Times that the sink refused a stream's spans of a request.
    pub(crate) refused_requests: u64,
    /// Requests and connections that the sink did something to.
    pub(crate) misbehaved: u64,
}

impl Tier {
    /// Starts a tier as it is shipped, but for what `setup` says, and the load on it.
    pub(crate) async fn start(setup: Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (key, run) = engine::run_label();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("spanproof-{run}-{number}");
        let label = format!("{key}.tier={name}");
        let network = Network::create(&name, &[format!("{key}={run}"), label.clone()]);
        let mut tier = Self {
            setup,
            label,
            name,
            network,
            containers: BTreeMap::new(),
            emit: None,
            sink: None,
            began: Instant::now(),
        };
        let mut volume = vec!["volume", "create", "--label", &tier.label];
        let run_label = format!("{key}={run}");
        volume.extend(["--label", &run_label, &tier.name]);
        docker(&volume);
        let queue = format!("{}:/queue", tier.name);
        let give = ["give", "--user=10001", "--group=10001", "/queue"];
        let probe = images().probe().image.clone();
        let once = ["run", "--rm", "--user=0", "--label", &run_label, "--volume", &queue, &probe];
        docker(&[&once[..], &give].concat());

        tier.start_probe("backend", "sink").await;
        let sink = Probe::at(&tier.address("backend")).await;
        let scrape =
            |role: &str, host: &str| Scrape { role: role.to_owned(), host: host.to_owned(), port: 8888 };
        sink.start(Role::Sink(SinkPlan {
            scrape: vec![scrape("agent", "agent"), scrape("gateway", "gateway-headless")],
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
        let emit = Probe::at(&tier.address("emit")).await;
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

    fn emit(&self) -> &Probe {
        self.emit.as_ref().unwrap()
    }

    fn sink(&self) -> &Probe {
        self.sink.as_ref().unwrap()
    }

    fn address(&self, name: &str) -> String {
        self.network.address(HOSTS.iter().find(|(host, _)| *host == name).unwrap().1)
    }

    /// Every container knows every address by name, the gateways' by their Service's name, too. An address
    /// stays known while its container is down, as a pod's does while a container in it is started again.
    fn hosts(&self) -> Vec<String> {
        let named = HOSTS.iter().map(|(name, _)| (*name, *name));
        let service = GATEWAYS.iter().map(|name| ("gateway-headless", *name));
        named.chain(service).map(|(name, host)| format!("{name}:{}", self.address(host))).collect()
    }

    fn request(&self, image: &str, name: &str, memory: Option<i64>) -> ContainerRequest<GenericImage> {
        let (image, tag) = image.rsplit_once(':').unwrap();
        let (key, run) = engine::run_label();
        let (tier_key, tier) = self.label.split_once('=').unwrap();
        let hosts = self.hosts();
        GenericImage::new(image, tag)
            .with_container_name(format!("{}-{name}", self.name))
            .with_network(&self.network.name)
            .with_label(key, run)
            .with_label(tier_key, tier)
            .with_host_config_modifier(move |host| {
                host.extra_hosts = Some(hosts.clone());
                host.memory = memory;
                host.publish_all_ports = Some(false);
            })
    }

    async fn run(&mut self, name: &'static str, request: ContainerRequest<GenericImage>, port: u16) {
        let container = request.start().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let address = self.address(name);
        self.network.pin(container.id(), &address);
        self.containers.insert(name, container);
        self.listening(name, port).await;
    }

    async fn start_probe(&mut self, name: &'static str, role: &str) {
        let request = self
            .request(&images().probe().image, name, None)
            .with_mount(Mount::tmpfs_mount("/ledger").with_mode(0o1777))
            .with_cmd([role, "--data=/ledger"]);
        self.run(name, request, spanproof_probe::CONTROL_PORT).await;
    }

    async fn start_collector(&mut self, part: Part, name: &'static str, version: &str) {
        let image =
            images().collector(version).unwrap_or_else(|| panic!("no Collector {version}")).image.clone();
        let shipped = part.container();
        let mut configuration = part.configuration();
        let (patch, files) = match part {
            Part::Agent => (&self.setup.agent, &self.setup.agent_files[..]),
            Part::Gateway => (&self.setup.gateway, &[][..]),
        };
        merge(&mut configuration, patch);
        let mut request = self
            .request(&image, name, Some(memory_limit(&shipped)))
            .with_cmd(shipped.args.clone().unwrap())
            .with_copy_to("/etc/collector/config.yaml", serde_json::to_vec_pretty(&configuration).unwrap())
            .with_env_var("POD_NAME", name);
        for (file, bytes) in files {
            request = request.with_copy_to(format!("/etc/collector/{file}"), bytes.clone());
        }
        for variable in shipped.env.into_iter().flatten() {
            if let Some(value) = variable.value {
                request = request.with_env_var(variable.name, value);
            }
        }
        if part == Part::Agent {
            request = request.with_mount(Mount::volume_mount(&self.name, "/var/lib/otelcol/queue"));
        }
        self.run(name, request, OTLP_PORT).await;
    }

    async fn listening(&self, name: &str, port: u16) {
        let address = format!("{}:{port}", self.address(name));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).await.is_err() {
            if Instant::now() > deadline {
                panic!("{name} does not listen on port {port}; it says:\n{}", self.log(name));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self, name: &str) -> String {
        let log = std::process::Command::new("docker").args(["logs", self.id(name)]).output().unwrap();
        String::from_utf8_lossy(&[log.stdout, log.stderr].concat()).into_owned()
    }

    fn id(&self, name: &str) -> &str {
        self.containers[name].id()
    }

    // What is done to it.

    /// SIGKILL.
    pub(crate) fn kill(&self, name: &str) {
        docker(&["kill", "--signal=KILL", self.id(name)]);
    }

    /// SIGTERM, and the grace period of the manifests' agents.
    pub(crate) fn terminate(&self, name: &str) {
        docker(&["stop", "--time=30", self.id(name)]);
    }

    /// The same container again: its address, its files.
    pub(crate) async fn start_again(&self, name: &str) {
        docker(&["start", self.id(name)]);
        self.listening(name, OTLP_PORT).await;
    }

    /// Ends the agent, and puts another one in its place, with the same queue and address.
    pub(crate) async fn replace_agent(&mut self, version: &str, agent: Value) {
        self.terminate("agent");
        self.containers.remove("agent").unwrap().rm().await.unwrap();
        self.setup.agent = agent;
        self.start_collector(Part::Agent, "agent", version).await;
    }

    /// From now on the backend does this to every request.
    pub(crate) async fn backend(&self, kind: Kind) {
        self.backend_for_a_share(0, kind).await;
    }

    /// From now on the backend does this to so many requests (or connections) of a million; 0: to all.
    pub(crate) async fn backend_for_a_share(&self, per_million: u32, kind: Kind) {
        let behaviour = Behaviour { per_million, kind: Some(kind), ..Behaviour::default() };
        self.sink().behave(Behaviours { behaviours: vec![behaviour] }).await;
    }

    /// The backend takes everything again.
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
            refused_requests: sink.refused_requests,
            misbehaved: sink.misbehaved,
        }
    }

    /// Waits until something is so.
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

    /// Waits until so many more spans are acknowledged.
    pub(crate) async fn acknowledges(&self, more: u64) {
        let goal = self.standing().await.acknowledged + more;
        self.until("acknowledged spans", |now| now.acknowledged >= goal).await;
    }

    /// Waits until so many more spans are delivered.
    pub(crate) async fn delivers(&self, more: u64) {
        let goal = self.standing().await.delivered + more;
        self.until("delivered spans", |now| now.delivered >= goal).await;
    }

    /// Waits until so many acknowledged spans are not delivered.
    pub(crate) async fn backlog(&self, spans: u64) {
        self.until("a backlog", |now| now.acknowledged.saturating_sub(now.delivered) >= spans).await;
    }

    /// Ends the load, waits for the rest, and says what became of every span.
    pub(crate) async fn finish(self) -> Outcome {
        let emitted = self.emit().stop(Duration::from_secs(30)).await;
        assert_eq!(emitted.state(), State::Sealed, "{emitted:?}");
        let settled = self.settle().await;
        let sealed = self.sink().stop(Duration::ZERO).await;
        assert_eq!(sealed.state(), State::Sealed, "{sealed:?}");
        let emitter = EmitterLedger::from_records(&self.emit().records().await).unwrap();
        let sink = SinkLedger::from_records(&self.sink().records().await).unwrap();
        Outcome::of(emitter, sink, settled, self.began.elapsed())
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
            let sight = Sight {
                outstanding: Some(acknowledged.difference(&delivered).count()),
                queued: self.queued().await,
                arrived: arrived(&delivered, self.sink()).await,
            };
            if let Some(end) = settling.see(began.elapsed(), sight) {
                return end;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// What the queues hold: the agent's, and the gateways' where they have one. None if one could not be read.
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

/// Nothing of it stays in the engine. What its containers said is kept when a test fails.
impl Drop for Tier {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/docker-tests").join(&self.name);
            let kept = std::fs::create_dir_all(&folder).is_ok();
            for name in self.containers.keys().filter(|_| kept) {
                let _ = std::fs::write(folder.join(format!("{name}.log")), self.log(name));
            }
            eprintln!("what the containers said: {}", folder.display());
        }
        if let Err(error) = engine::remove(&self.label) {
            eprintln!("left to the reaper: {error}");
        }
    }
}

fn images() -> Images {
    Images::read(&cache_dir()).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}
