//! Driving the emitters and the sinks: gives them their plan, renews their leases, and fetches their ledgers.

mod link;
mod plan;
pub mod queues;

pub use link::{Link, LinkError};
pub use plan::{PlanError, check};
pub use queues::QueueReading;

use crate::record::{Event, Hop, Recorder};
use crate::scenario::{Backend, Rate, Scenario};
use crate::timeouts;
use crate::world::World;
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use plan::{lease, millis};
use spanproof_ledger::{RangeSet, SinkLedger, Stream};
use spanproof_probe::control::{State, Status, change_request::Change};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The number of times that a clock is asked.
const CLOCK_TRIES: u32 = 3;

/// The probes of a run.
#[derive(Debug, Clone)]
pub struct Probes {
    emitters: Vec<Link>,
    sinks: Vec<Link>,
    without: BTreeMap<String, String>,
}

/// The prefix of taints that every DaemonSet's pods tolerate.
const TOLERATED: &str = "node.kubernetes.io/";

/// Returns the taint that keeps emitters off a node; none if there is no such taint.
fn taken_out(node: &Node) -> Option<String> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    let mut against = taints.iter().filter(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !taint.key.starts_with(TOLERATED)
    });
    against.next().map(|taint| format!("its taint {}:{}", taint.key, taint.effect))
}

/// The status of the load, summed over all emitters.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadStatus {
    /// The moment of this status.
    pub at: Instant,
    /// The spans that the schedules asked for.
    pub offered: u64,
    /// The spans sent.
    pub emitted: u64,
    /// The spans that agents acknowledged.
    pub acknowledged: u64,
    /// The spans that arrived.
    pub delivered: u64,
    /// The spans that arrived more than once.
    pub duplicated: u64,
    /// The requests and connections that the backend mistreated, as it was told to.
    pub misbehaved: u64,
    /// The queue readings of the Collectors that answer.
    pub readings: Vec<QueueReading>,
    /// The content of each known agent's queue, in the queue's own unit, by node; of the nodes that have an emitter.
    pub queues: BTreeMap<String, f64>,
    /// The content of all Collectors' queues, of every hop; or why it is unknown. A queue that cannot be read is not
    /// empty.
    pub held: Result<f64, String>,
}

impl LoadStatus {
    /// The status before the first answer.
    pub fn none() -> Self {
        Self {
            at: Instant::now(),
            offered: 0,
            emitted: 0,
            acknowledged: 0,
            delivered: 0,
            duplicated: 0,
            misbehaved: 0,
            readings: Vec::new(),
            queues: BTreeMap::new(),
            held: Err("nothing was read yet".to_owned()),
        }
    }

    /// Returns the content of all agents' queues; none if one of that many could not be read. A queue that cannot be
    /// read is not empty.
    pub fn queued(&self, agents: usize) -> Option<f64> {
        (agents > 0 && self.queues.len() >= agents).then(|| self.queues.values().sum())
    }

    /// Assigns the readings to nodes and hops.
    fn locate(mut self, hops: &[Hop], streams: &BTreeMap<Stream, String>, world: &World) -> Self {
        let nodes = || streams.values().map(String::as_str);
        self.queues = queues::by_node(nodes(), world, &self.readings);
        self.held = queues::held(hops, nodes(), world, &self.readings);
        self
    }

    /// Describes the status, for a message.
    pub fn summary(&self) -> String {
        format!(
            "{} offered, {} acknowledged, {} delivered, the backend misbehaved {} times, the queues hold {:?}",
            self.offered, self.acknowledged, self.delivered, self.misbehaved, self.queues
        )
    }

    /// Returns the spans offered and acknowledged per second since an earlier status.
    pub fn per_second(&self, since: &Self) -> (f64, f64) {
        let seconds = self.at.saturating_duration_since(since.at).as_secs_f64().max(f64::EPSILON);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        (rate(self.offered, since.offered), rate(self.acknowledged, since.acknowledged))
    }
}

/// The sequence numbers of each stream.
pub type Streams = BTreeMap<Stream, RangeSet>;

impl Probes {
    /// Finds the probes, asks each who it is, and gives each emitter its stream. A worker that takes no emitter is
    /// remembered with why.
    pub async fn connect(client: &Client, namespace: &str, sinks: u16) -> Result<Self, LinkError> {
        let find = |source| LinkError::find("emit", source);
        let nodes: Api<Node> = Api::all(client.clone());
        let workers = ListParams::default().labels("!node-role.kubernetes.io/control-plane");
        let listed = nodes.list(&workers).await.map_err(find)?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let emitting = ListParams::default().labels("app.kubernetes.io/name=emit");
        let pods = pods.list(&emitting).await.map_err(find)?;
        let hosts: BTreeSet<&String> =
            pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_ref()).collect();
        let (with, without): (Vec<&Node>, Vec<&Node>) =
            listed.iter().partition(|node| hosts.contains(&node.name_any()));
        let without = without.into_iter().filter_map(|node| Some((node.name_any(), taken_out(node)?)));
        let mut names: Vec<_> = with.into_iter().map(ResourceExt::name_any).collect();
        names.sort();
        let emitters = names.iter().map(|node| Link::on_node(client, namespace, "emit", node)).collect();
        let sinks = (0..sinks).map(|sink| Link::to_pod(client, namespace, &format!("sink-{sink}")));
        let probes = Self { emitters, sinks: sinks.collect(), without: without.collect() };
        for link in probes.all() {
            link.describe().await?;
        }
        Ok(probes)
    }

    /// The workers that take no emitter, each with why.
    pub fn nodes_without(&self) -> &BTreeMap<String, String> {
        &self.without
    }

    fn all(&self) -> impl Iterator<Item = &Link> {
        self.emitters.iter().chain(&self.sinks)
    }

    /// Returns the number of emitters.
    pub fn emitters(&self) -> usize {
        self.emitters.len()
    }

    /// Returns the number of sinks.
    pub fn sinks(&self) -> u16 {
        u16::try_from(self.sinks.len()).unwrap_or(u16::MAX)
    }

    /// Returns the node of each stream.
    pub fn streams(&self) -> BTreeMap<Stream, String> {
        let numbered = (1..).zip(&self.emitters);
        numbered.map(|(stream, link)| (stream, link.node().to_owned())).collect()
    }

    /// Returns the milliseconds by which each probe's clock is ahead of this machine's. The quickest of a few answers
    /// counts.
    pub async fn clock_offsets(&self) -> Result<BTreeMap<String, f64>, LinkError> {
        let asked = self.all().map(|link| async move {
            let mut quickest: Option<(u64, String, f64)> = None;
            for _ in 0..CLOCK_TRIES {
                let before = spanproof_probe::unix_ms();
                let description = link.describe().await?;
                let after = spanproof_probe::unix_ms();
                let (took, between) = (after.saturating_sub(before), u64::midpoint(before, after));
                let ahead = description.unix_ms as f64 - between as f64;
                if quickest.as_ref().is_none_or(|(least, ..)| took < *least) {
                    quickest = Some((took, description.node, ahead));
                }
            }
            Ok::<_, LinkError>(quickest.map(|(_, node, ahead)| (node, ahead)))
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    /// Gives every probe its whole plan, the sinks first.
    pub async fn start(&self, scenario: &Scenario, tag: u64, seed: u64) -> Result<(), LinkError> {
        let run = plan::Run { tag, seed };
        let sinks = (0..).zip(&self.sinks);
        try_join_all(sinks.map(|(sink, link)| link.start(plan::sink(scenario, run, sink == 0)))).await?;
        let tls = plan::tls(&scenario.load)?;
        let started = (1..).zip(&self.emitters).map(|(stream, link)| {
            link.start(plan::emit(scenario, run, stream, self.emitters.len(), tls.clone()))
        });
        try_join_all(started).await.map(|_| ())
    }

    fn rate_per_emitter(&self, rate: Rate) -> f64 {
        rate.in_a_second() / self.emitters.len() as f64
    }

    /// Changes the rate of all emitters together.
    pub async fn change_rate(&self, rate: Rate) -> Result<(), LinkError> {
        let each = self.rate_per_emitter(rate);
        let asked = self.emitters.iter().map(|link| link.change(Change::SpansPerSecond(each)));
        // Each is asked, whatever another one says.
        join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
    }

    /// Changes the behaviour of the backend: of every sink.
    pub async fn change_backend(&self, backend: &Backend) -> Result<(), LinkError> {
        let told = plan::behaviours(backend);
        let asked = self.sinks.iter().map(|link| link.change(Change::Behaviours(told.clone())));
        // Each is asked, whatever another one says.
        join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ())
    }

    /// Renews the leases once a second and publishes the status of the load, until it is cancelled. A probe that does
    /// not answer is asked again; it carries on by itself meanwhile.
    pub async fn renew_leases(
        self,
        (hops, world): (Vec<Hop>, watch::Receiver<World>),
        recorder: Recorder,
        status: watch::Sender<LoadStatus>,
        end: CancellationToken,
    ) {
        let streams = self.streams();
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
            let load = sum(&answers).locate(&hops, &streams, &world.borrow());
            let queued = load.queued(self.emitters.len());
            let LoadStatus { offered, emitted, acknowledged, delivered, .. } = load;
            status.send_replace(load);
            // A timeline that cannot be written ends the run elsewhere.
            let _ = recorder.event(Event::Load { offered, emitted, acknowledged, delivered, queued });
        }
    }

    /// Ends the load; every emitter waits for what is in flight, and seals its ledger.
    pub async fn stop_emitters(&self) -> Vec<LinkError> {
        stop_all(&self.emitters, timeouts::LOAD_DRAIN).await
    }

    /// Seals the sinks' ledgers.
    pub async fn seal_sinks(&self) -> Vec<LinkError> {
        stop_all(&self.sinks, Duration::ZERO).await
    }

    /// Returns what the agents have acknowledged so far.
    pub async fn acknowledged(&self) -> Result<Streams, LinkError> {
        progress(&self.emitters).await
    }

    /// Returns what has arrived so far, at any sink.
    pub async fn delivered(&self) -> Result<Streams, LinkError> {
        progress(&self.sinks).await
    }

    /// Returns the sinks' part of the status, with the queues; none if a sink does not answer.
    pub async fn seen_by_sinks(&self, hops: &[Hop], world: &watch::Receiver<World>) -> Option<LoadStatus> {
        let answers = join_all(self.sinks.iter().map(|link| link.renew_once(lease()))).await;
        let seen = sum(&answers.into_iter().collect::<Option<Vec<_>>>()?);
        Some(seen.locate(hops, &self.streams(), &world.borrow()))
    }

    /// Returns the sinks' ledgers so far.
    pub async fn sink_ledgers(&self) -> Result<Vec<SinkLedger>, LinkError> {
        try_join_all(self.sinks.iter().map(Link::sink_ledger)).await
    }

    /// The ledgers and the metrics, by the names that they have in a run folder.
    pub async fn ledgers(&self) -> Vec<(String, Result<Vec<u8>, LinkError>)> {
        let fetched = self
            .all()
            .map(|link| async move { (format!("ledgers/{}.ledger", link.file()), link.ledger(false).await) });
        let mut fetched = join_all(fetched).await;
        if let Some(first) = self.sinks.first() {
            fetched.push(("metrics.log".to_owned(), first.ledger(true).await));
        }
        fetched
    }

    /// Returns the node of the sinks, which is the same for all of them.
    pub async fn sink_node(&self) -> Result<String, LinkError> {
        match self.sinks.first() {
            Some(first) => Ok(first.describe().await?.node),
            None => Ok(String::new()),
        }
    }
}

/// The numbers of all of them together.
async fn progress(links: &[Link]) -> Result<Streams, LinkError> {
    let mut all = Streams::new();
    for (stream, set) in try_join_all(links.iter().map(Link::progress)).await?.into_iter().flatten() {
        all.entry(stream).or_default().extend(&set);
    }
    Ok(all)
}

async fn stop_all(links: &[Link], drain: Duration) -> Vec<LinkError> {
    let stopped = join_all(links.iter().map(|link| stop(link, drain))).await;
    stopped.into_iter().filter_map(Result::err).collect()
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
            load.misbehaved += sink.misbehaved;
            load.readings.extend(QueueReading::fresh(answer));
        }
    }
    load
}
