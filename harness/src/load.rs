//! Drives the emitters and the sink: tells them the plan, renews the lease, and fetches their ledgers.

mod link;

pub use link::{Link, LinkError};

use crate::record::{Event, Recorder};
use crate::scenario::{Answers, Rate, Scenario};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use spanproof_ledger::{RangeSet, Stream};
use spanproof_probe::control::{
    Behaviour, Behaviours, EmitPlan, Forget, Lease, Plan, Refuse, Scrape, Segment, SinkPlan, State, Status,
    behaviour::Kind, change_request::Change, plan::Role, segment::Shape,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the emitters go on when nobody asks after them.
const LEASE: Duration = Duration::from_secs(60);
/// The load ends by itself after this, whatever happens.
const LONGEST_LOAD: Duration = Duration::from_secs(4 * 3600);
/// How long the emitters wait for what is in flight when the load ends.
const DRAIN: Duration = Duration::from_secs(30);

/// An answer of a Collector that is older says nothing about how it stands now.
const FRESH_MS: u64 = 3_500;
/// The Collectors' port of metrics.
const METRICS_PORT: u32 = 8888;
/// What is read of the Collectors' own metrics; each also goes by its name with `_total`.
const METRICS: [&str; 13] = [
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_in_flight_requests",
    "otelcol_exporter_sent_spans",
    "otelcol_exporter_send_failed_spans",
    "otelcol_exporter_enqueue_failed_spans",
    "otelcol_receiver_accepted_spans",
    "otelcol_receiver_refused_spans",
    // Renamed in v0.155; older ones say it without `memory_limiter`.
    "otelcol_processor_memory_limiter_refused_spans",
    "otelcol_processor_refused_spans",
    "otelcol_process_uptime",
    "otelcol_process_memory_rss",
    "otelcol_process_cpu_seconds",
];

/// The probes of a run.
#[derive(Debug, Clone)]
pub struct Probes {
    emitters: Vec<Link>,
    sink: Link,
}

/// How the load stands, all emitters added up.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadStatus {
    /// When this was so.
    pub at: Instant,
    /// Spans that the schedules asked for.
    pub offered: u64,
    /// Spans sent.
    pub emitted: u64,
    /// Spans taken by the agents.
    pub acknowledged: u64,
    /// Spans that arrived.
    pub delivered: u64,
    /// Spans that arrived more than once.
    pub duplicated: u64,
    /// Requests that the backend refused, as it was told to.
    pub refused_requests: u64,
    /// What the queue of each agent that answers holds, in the queue's own unit.
    pub queues: Vec<f64>,
}

impl LoadStatus {
    /// Nothing yet.
    pub fn none() -> Self {
        Self {
            at: Instant::now(),
            offered: 0,
            emitted: 0,
            acknowledged: 0,
            delivered: 0,
            duplicated: 0,
            refused_requests: 0,
            queues: Vec::new(),
        }
    }

    /// What all queues hold; none if one of so many could not be read. A queue that cannot be read is not
    /// empty.
    pub fn queued(&self, agents: usize) -> Option<f64> {
        (agents > 0 && self.queues.len() >= agents).then(|| self.queues.iter().sum())
    }

    /// How it stands, for a message.
    pub fn summary(&self) -> String {
        format!(
            "{} offered, {} acknowledged, {} delivered, {} requests refused, the queues hold {:?}",
            self.offered, self.acknowledged, self.delivered, self.refused_requests, self.queues
        )
    }

    /// Spans acknowledged in a second, since an earlier moment.
    pub fn acknowledged_per_second(&self, since: &Self) -> f64 {
        let seconds = self.at.saturating_duration_since(since.at).as_secs_f64();
        self.acknowledged.saturating_sub(since.acknowledged) as f64 / seconds.max(f64::EPSILON)
    }
}

/// Which numbers of which stream.
pub type Streams = BTreeMap<Stream, RangeSet>;

impl Probes {
    /// Finds the probes, asks each who it is, and gives each emitter its stream.
    pub async fn connect(client: &Client, namespace: &str) -> Result<Self, LinkError> {
        let nodes: Api<Node> = Api::all(client.clone());
        let workers = ListParams::default().labels("!node-role.kubernetes.io/control-plane");
        let listed = nodes.list(&workers).await.map_err(|source| LinkError::find("emit", source))?;
        let mut names: Vec<_> = listed.iter().map(ResourceExt::name_any).collect();
        names.sort();
        let emitters: Vec<_> =
            names.iter().map(|node| Link::to(client, namespace, "emit", Some(node))).collect();
        let probes = Self { emitters, sink: Link::to(client, namespace, "sink", None) };
        for link in probes.all() {
            link.describe().await?;
        }
        Ok(probes)
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.emitters.iter().chain([&self.sink])
    }

    /// How many emitters there are.
    pub fn emitters(&self) -> usize {
        self.emitters.len()
    }

    /// Each stream's node.
    pub fn streams(&self) -> BTreeMap<Stream, String> {
        let numbered = (1..).zip(&self.emitters);
        numbered.map(|(stream, link)| (stream, link.node().to_owned())).collect()
    }

    /// By how many milliseconds each probe's clock is ahead of this machine's.
    pub async fn clock_offsets(&self) -> Result<BTreeMap<String, f64>, LinkError> {
        let asked = self.all().map(|link| async move {
            let before = crate::clock::unix_ms();
            let description = link.describe().await?;
            let between = u64::midpoint(before, crate::clock::unix_ms());
            Ok((description.node, description.unix_ms as f64 - between as f64))
        });
        Ok(try_join_all(asked).await?.into_iter().collect())
    }

    /// Gives every probe its whole plan, the sink first.
    pub async fn start(&self, scenario: &Scenario, tag: u64, seed: u64) -> Result<(), LinkError> {
        let load = &scenario.load;
        let plan = |role| Plan {
            run_tag: tag,
            spans_per_trace: load.spans_per_trace,
            lease: Some(lease()),
            role: Some(role),
            ..Plan::default()
        };
        let forget = scenario.sabotage.sink_forgets_one_in.map(|one_in| Kind::Forget(Forget { one_in }));
        let scrape = ["agent", "gateway"].map(|role| Scrape {
            role: role.to_owned(),
            host: format!("{role}-metrics"),
            port: METRICS_PORT,
        });
        let sink = SinkPlan {
            behaviours: Some(behaviours(forget)),
            seed,
            scrape: scrape.into(),
            metrics: METRICS.map(str::to_owned).into(),
            ..SinkPlan::default()
        };
        self.sink.start(plan(Role::Sink(sink))).await?;
        let share = scenario.sabotage.emitters_at.map_or(1.0, crate::scenario::Share::fraction);
        let rate = self.of_each(load.rate) * share;
        let started = (1u32..).zip(&self.emitters).map(|(stream, link)| {
            link.start(plan(Role::Emit(EmitPlan {
                stream,
                profile: vec![Segment { duration_ms: 0, shape: Some(Shape::Constant(rate)) }],
                spans_per_request: load.spans_per_request,
                payload_bytes: load.payload_bytes,
                duration_ms: millis(LONGEST_LOAD),
                endpoint: format!("http://agent:{}", spanproof_probe::OTLP_PORT),
                ..EmitPlan::default()
            })))
        });
        try_join_all(started).await.map(|_| ())
    }

    fn of_each(&self, rate: Rate) -> f64 {
        rate.in_a_second() / self.emitters.len() as f64
    }

    /// From now on the emitters offer this, all of them together.
    pub async fn change_rate(&self, rate: Rate) -> Result<(), LinkError> {
        let each = self.of_each(rate);
        let asked = self.emitters.iter().map(|link| link.change(Change::SpansPerSecond(each)));
        // Each is asked, whatever another one says.
        join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
    }

    /// From now on the backend answers like this.
    pub async fn change_backend(&self, answers: Answers) -> Result<(), LinkError> {
        let kind = match answers {
            Answers::Ok => None,
            Answers::Unavailable => Some(Kind::Refuse(Refuse {
                code: i32::from(tonic::Code::Unavailable).cast_unsigned(),
                ..Refuse::default()
            })),
        };
        self.sink.change(Change::Behaviours(behaviours(kind))).await.map(|_| ())
    }

    /// Renews the leases once a second and publishes how the load stands, until it is cancelled. A probe
    /// that does not answer is asked again: it goes on by itself meanwhile.
    pub async fn keep(self, recorder: Recorder, status: watch::Sender<LoadStatus>, end: CancellationToken) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let links: Vec<Link> = self.all().cloned().collect();
        loop {
            tokio::select! {
                _ = seconds.tick() => {}
                () = end.cancelled() => return,
            }
            let answers = tokio::select! {
                answers = join_all(links.iter().map(|link| link.renew_once(lease()))) => answers,
                () = end.cancelled() => return,
            };
            let answers: Vec<Status> = answers.into_iter().flatten().collect();
            if answers.len() < links.len() {
                continue; // a sum over some of them would look like a step back
            }
            let load = sum(&answers);
            let queued = load.queued(self.emitters.len());
            let LoadStatus { offered, emitted, acknowledged, delivered, .. } = load;
            status.send_replace(load);
            // A timeline that cannot be written ends the run elsewhere.
            let _ = recorder.event(Event::Load { offered, emitted, acknowledged, delivered, queued });
        }
    }

    /// Ends the load; every emitter waits for what is in flight, and seals its ledger.
    pub async fn stop_emitters(&self) -> Vec<LinkError> {
        let stopped = join_all(self.emitters.iter().map(|link| stop(link, DRAIN))).await;
        stopped.into_iter().filter_map(Result::err).collect()
    }

    /// Seals the sink's ledger.
    pub async fn seal_sink(&self) -> Result<(), LinkError> {
        stop(&self.sink, Duration::ZERO).await
    }

    /// What the agents have acknowledged so far.
    pub async fn acknowledged(&self) -> Result<Streams, LinkError> {
        let asked = try_join_all(self.emitters.iter().map(Link::progress)).await?;
        Ok(asked.into_iter().flatten().collect())
    }

    /// How the sink stands: the load's part that it sees, and the queues.
    pub async fn seen_by_sink(&self) -> Option<LoadStatus> {
        Some(sum(&[self.sink.renew_once(lease()).await?]))
    }

    /// What has arrived so far.
    pub async fn delivered(&self) -> Result<Streams, LinkError> {
        self.sink.progress().await
    }

    /// The ledgers and the metrics, by the names that they have in a run folder.
    pub async fn ledgers(&self) -> Vec<(String, Result<Vec<u8>, LinkError>)> {
        let fetched = self.all().map(|link| async move {
            let name = match link.node() {
                "" => "ledgers/sink-0.ledger".to_owned(),
                node => format!("ledgers/emit-{node}.ledger"),
            };
            (name, link.ledger(false).await)
        });
        let mut fetched = join_all(fetched).await;
        fetched.push(("metrics.log".to_owned(), self.sink.ledger(true).await));
        fetched
    }

    /// The sink's node.
    pub async fn sink_node(&self) -> Result<String, LinkError> {
        Ok(self.sink.describe().await?.node)
    }
}

async fn stop(link: &Link, drain: Duration) -> Result<(), LinkError> {
    let status = link.stop(drain).await?;
    match status.state() {
        State::Sealed => Ok(()),
        state => Err(LinkError::NotSealed {
            probe: link.name(),
            state: format!("{state:?}"),
            problem: status.problem,
        }),
    }
}

fn sum(answers: &[Status]) -> LoadStatus {
    let mut load = LoadStatus::none();
    for answer in answers {
        if let Some(emit) = &answer.emit {
            load.offered += emit.offered;
            load.emitted += emit.emitted;
            load.acknowledged += emit.acknowledged;
        }
        if let Some(sink) = &answer.sink {
            load.delivered += sink.delivered;
            load.duplicated += sink.duplicated;
            load.refused_requests += sink.refused_requests;
            let fresh = sink.targets.iter().filter(|target| {
                let age = answer.unix_ms.saturating_sub(target.answered_unix_ms);
                target.role == "agent" && age <= FRESH_MS && target.queue_size >= 0.0
            });
            load.queues.extend(fresh.map(|target| target.queue_size));
        }
    }
    load
}

/// Done to every request, until it is told otherwise.
fn behaviours(kind: Option<Kind>) -> Behaviours {
    let behaviour = |kind| Behaviour { kind: Some(kind), ..Behaviour::default() };
    Behaviours { behaviours: kind.map(behaviour).into_iter().collect() }
}

fn lease() -> Lease {
    Lease { milliseconds: millis(LEASE) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is acknowledged and has not arrived: how many spans.
pub fn outstanding(acknowledged: &Streams, delivered: &Streams) -> u64 {
    let none = RangeSet::new();
    acknowledged
        .iter()
        .map(|(stream, taken)| taken.difference(delivered.get(stream).unwrap_or(&none)).count())
        .sum()
}
