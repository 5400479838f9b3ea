//! A run from its first moment to its verdict, in the order in which it happens.

mod collect;
mod plan;
mod remove;
mod settle;
mod steady;
mod steps;

use crate::cluster::Cluster;
use crate::deploy::{DeployError, Deployment, TierFacts};
use crate::fault::{Access, Shared, Stage, State, Usual, Watched};
use crate::journal::{CurrentJournal, Journal, JournalError};
use crate::judge::clock::Clock;
use crate::judge::{Judgement, Verdict, judge};
use crate::load::{LinkError, LoadStatus, Probes};
use crate::observe::{self, Observer};
use crate::plan::LookError;
use crate::progress;
use crate::record::{Event, Record, RecordError, Recorder};
use crate::report;
use crate::sampling::{Demand, Sampling};
use crate::scenario::{Rate, Scenario, Share};
use crate::scope::Scope;
use crate::timeouts;
use crate::undo::Undo;
use crate::world::World;
use spanproof_ledger::Identity;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use steady::Steady;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The options of a run, besides its scenario.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder for run folders.
    pub out: PathBuf,
    /// The seed of whatever is random.
    pub seed: u64,
    /// The folder of the manifests.
    pub manifests: PathBuf,
    /// Leave what was deployed: the cluster is deleted right afterwards.
    pub leave: bool,
    /// Receives the run's journal.
    pub journal: CurrentJournal,
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The run folder.
    pub folder: PathBuf,
    /// The judgement, as in its `verdict.json`.
    pub judgement: Judgement,
    /// True if it was interrupted.
    pub interrupted: bool,
    /// The parts that could not be removed, and why.
    pub left_behind: Option<String>,
}

/// An error that leaves a run without a verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run folder cannot be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The journal cannot be written, so nothing is done.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The tier is not there.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The probes cannot be talked to.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The cluster does not answer.
    #[error("the cluster: {0}")]
    Cluster(#[from] kube::Error),
    /// The cluster's objects could not be read, so there is no plan.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The user may not do what the run needs.
    #[error("the cluster does not allow what this needs; nothing was done\n  {}", missing.join("\n  "))]
    NotAllowed {
        /// The missing rights, each with its purpose.
        missing: Vec<String>,
    },
    /// The scenario could not be written down.
    #[error("the scenario could not be written: {0}")]
    Scenario(String),
    /// It was interrupted before there was anything to judge.
    #[error("interrupted before there was anything to judge")]
    Interrupted,
}

/// Runs a scenario on a cluster, and judges it.
pub async fn run(
    cluster: &Cluster,
    scenario: &Scenario,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<Outcome, RunError> {
    let clock = Clock::start(spanproof_probe::unix_ms());
    let id = run_id(&clock, options.seed);
    let short = format!("{:06x}", id & 0xff_ffff);
    let sampling = crate::deploy::sampling(&options.manifests, &scenario.tier)?;
    let name = match &scenario.control {
        Some(control) => format!("{}-{control}", scenario.name),
        None => scenario.name.clone(),
    };
    let folder = options.out.join(format!("{name}-{short}"));
    let recorder = Recorder::create(&folder, clock)?;
    let text = serde_saphyr::to_string(scenario).map_err(|error| RunError::Scenario(error.to_string()))?;
    let (run, seed) = (short.clone(), options.seed);
    recorder.event(Event::Began { run, tag: id, seed, unix_ms: clock.began_unix_ms() })?;
    recorder.write_vouched("scenario.yaml", text.as_bytes())?;
    tracing::info!(
        target: progress::TARGET,
        "{name}: run {short}, seed {seed}, recorded in {}",
        folder.display()
    );

    let journal = Journal::create(&folder, &short, cluster.location())?;
    options.journal.set(&journal);
    let deployment = Deployment::new(cluster.client().clone(), &options.manifests, &short);
    let going = Run {
        cluster,
        scenario,
        options,
        cancel,
        recorder: &recorder,
        journal: &journal,
        deployment: &deployment,
        id,
        short,
        sampling,
    };
    // Nothing has been made yet, so nothing is to be removed.
    let plan = Box::pin(going.plan()).await.inspect_err(|error| {
        let _ = recorder.event(Event::Note { message: error.to_string() });
    })?;
    journal.open(Undo::namespace(&going.short))?;
    // In boxes: they are large, and a caller's thread may have a small stack.
    let carried_out = Box::pin(going.carry_out(plan.scope)).await;
    let judged = match carried_out {
        Ok(()) => match recorder.event(Event::Ended) {
            Ok(()) => going.judge().await,
            Err(error) => Err(error.into()),
        },
        Err(error) => {
            // What there is helps to see why; the error itself is what the caller gets.
            let _ = recorder.event(Event::Note { message: error.to_string() });
            going.collect_diagnostics().await;
            Err(error)
        }
    };
    let mut left_behind = None;
    if !options.leave {
        left_behind = Box::pin(going.remove()).await;
    }
    let judgement = judged?;
    Ok(Outcome { folder, judgement, interrupted: cancel.is_cancelled(), left_behind })
}

/// A number that no other run has: its 56 low bits are in every trace ID.
fn run_id(clock: &Clock, seed: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (clock.began_unix_ms(), std::process::id(), seed).hash(&mut hasher);
    hasher.finish() & ((1 << 56) - 1)
}

struct Run<'a> {
    cluster: &'a Cluster,
    scenario: &'a Scenario,
    options: &'a Options,
    cancel: &'a CancellationToken,
    recorder: &'a Recorder,
    journal: &'a Journal,
    deployment: &'a Deployment,
    id: u64,
    short: String,
    sampling: Option<Sampling>,
}

impl Run<'_> {
    async fn carry_out(&self, scope: Scope) -> Result<(), RunError> {
        let namespace = self.deployment.namespace();
        tracing::info!(target: progress::TARGET, "deploying tier and probes into {namespace}");
        let applied = self.deployment.apply(&self.scenario.tier, self.cluster.images(), timeouts::DEPLOY);
        let facts = self.unless_cancelled(applied).await??;

        // From here on tasks watch and ask; they end with this function, however it ends.
        let end = CancellationToken::new();
        let _ends = end.clone().drop_guard();
        let client = self.cluster.client();
        let (world, watches) = Observer::start(client, namespace, self.recorder, &end);
        tokio::spawn(observe::watch_usage(
            client.clone(),
            namespace.to_owned(),
            self.recorder.clone(),
            end.clone(),
        ));
        let probes =
            self.unless_cancelled(Probes::connect(client, namespace, self.scenario.tier.sinks)).await??;
        let environment = collect::environment(self, &probes, &facts).await?;
        self.recorder.write_json_vouched("environment.json", &environment)?;

        let (status_sender, status) = watch::channel(LoadStatus::none());
        probes.start(self.scenario, self.id, self.options.seed).await?;
        let load = &self.scenario.load;
        let rate = load.constant().map(Rate::in_a_second);
        self.recorder.event(Event::LoadStarted { rate, emitters: probes.emitters() })?;
        tracing::info!(
            target: progress::TARGET,
            "{} emitters offer {} together",
            probes.emitters(),
            load.offers()
        );
        let watched = (facts.hops.clone(), world.clone());
        tokio::spawn(probes.clone().renew_leases(watched, self.recorder.clone(), status_sender, end.clone()));
        let showing = tokio::spawn(report::tell_status(status.clone(), world.clone()));

        let wanted = facts.gateways(&self.scenario.tier);
        let snapshots = tokio::spawn(collect::snapshots(probes.clone(), self.recorder.clone()));
        if let Some(steady) = self.await_steady(&probes, status.clone(), &world, wanted).await? {
            let watched = Watched { world: world.clone(), status };
            let shared = self.shared(&probes, watched, wanted, steady, scope);
            self.take_steps(&Stage::first(&shared)).await?;
        }
        // Nothing else writes the ledgers from here on.
        snapshots.abort();
        let _ = snapshots.await;
        // What the watches tell late would be told of a time without load.
        watches.catch_up().await;
        self.finish(&probes, &facts, &world).await?;
        showing.abort();
        Ok(())
    }

    /// Returns the demand: the spans of this run that must arrive.
    fn demand(&self) -> Demand {
        let load = &self.scenario.load;
        let identity = Identity::new(self.id, load.spans_per_trace, load.streams_per_trace);
        Demand::new(identity, self.sampling.clone())
    }

    /// Returns the state that all steps share.
    fn shared(
        &self,
        probes: &Probes,
        watched: Watched,
        gateways: usize,
        steady: Steady,
        scope: Scope,
    ) -> Shared<'_> {
        Shared {
            access: Access {
                client: self.cluster.client().clone(),
                namespace: self.deployment.namespace().to_owned(),
                run: self.short.clone(),
                scope,
                images: self.cluster.images(),
            },
            watched,
            usual: Usual {
                gateways,
                queue: steady.usual_queue,
                rate: self.scenario.load.constant(),
                share: self.scenario.sabotage.emitters_at.map_or(1.0, Share::fraction),
            },
            probes: probes.clone(),
            demand: self.demand(),
            seed: self.options.seed,
            recorder: self.recorder.clone(),
            journal: self.journal.clone(),
            cancel: self.cancel.clone(),
            state: State::default(),
        }
    }

    /// Ends the load, waits for the rest, seals, and fetches the ledgers.
    async fn finish(
        &self,
        probes: &Probes,
        facts: &TierFacts,
        world: &watch::Receiver<World>,
    ) -> Result<(), RunError> {
        if self.cancel.is_cancelled() {
            self.recorder.event(Event::Interrupted)?;
            tracing::info!(target: progress::TARGET, "interrupted: collecting what there is");
        }
        self.recorder.event(Event::LoadStopped)?;
        tracing::info!(
            target: progress::TARGET,
            "the load ends; waiting until everything acknowledged is delivered"
        );
        // Whatever fails from here on leaves a hole in the record, and the checks say what that means.
        for error in probes.stop_emitters().await {
            self.note(&error)?;
        }
        if let Err(error) = self.settle(probes, facts, world).await {
            self.note(&error)?;
        }
        match probes.clock_offsets().await {
            Ok(ahead_ms) => self.recorder.event(Event::Clocks { ahead_ms })?,
            Err(error) => self.note(&error)?,
        }
        for error in probes.seal_sinks().await {
            self.note(&error)?;
        }
        for (name, ledger) in probes.ledgers().await {
            match ledger {
                Ok(bytes) => self.recorder.write(&name, &bytes)?,
                Err(error) => self.note(&error)?,
            }
        }
        Ok(())
    }

    fn note(&self, problem: &dyn std::error::Error) -> Result<(), RecordError> {
        tracing::info!(target: progress::TARGET, "{problem}");
        self.recorder.event(Event::Note { message: problem.to_string() })
    }

    /// Judges the run folder, as `spanproof analyze` would.
    async fn judge(&self) -> Result<Judgement, RunError> {
        let judgement = judge(&Record::read(self.recorder.dir())?);
        self.recorder.write_json("verdict.json", &judgement)?;
        if judgement.verdict != Verdict::Pass {
            self.collect_diagnostics().await;
        }
        Ok(judgement)
    }

    async fn collect_diagnostics(&self) {
        let (client, namespace) = (self.cluster.client(), self.deployment.namespace());
        tracing::info!(target: progress::TARGET, "collecting the pods' logs");
        collect::diagnostics(client, namespace, self.recorder).await;
    }

    async fn unless_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, RunError> {
        tokio::select! {
            done = future => Ok(done),
            () = self.cancel.cancelled() => Err(RunError::Interrupted),
        }
    }
}

/// An error in writing to the folder for run folders.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("no run folder can be written into {}: {source}", path.display())]
#[diagnostic(help("--out names a folder that you may write to; nothing was done"))]
pub struct OutError {
    path: PathBuf,
    source: std::io::Error,
}

/// Makes the folder that run folders go to, and writes to it: before anything is made that would have to be removed.
pub fn try_out(out: &Path) -> Result<(), OutError> {
    let tried = out.join(format!(".spanproof-{}", std::process::id()));
    let written = std::fs::create_dir_all(out)
        .and_then(|()| std::fs::write(&tried, "a run folder can be written here\n"))
        .and_then(|()| std::fs::remove_file(&tried));
    written.map_err(|source| OutError { path: out.to_owned(), source })
}
