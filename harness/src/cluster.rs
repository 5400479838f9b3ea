//! Where: a kind cluster of the harness's own, under a lock, and gone when the run is.

mod command;
mod images;
mod kind;
mod lock;
mod reach;
mod reaper;

pub use command::CommandError;
pub use images::{Image, Images, ImagesError};
pub use lock::Owner;
pub(crate) use reach::reach;

use crate::journal::Place;
use crate::restore::{self, Hands};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lock::{Lock, LockError};
use reaper::Reaper;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no cluster to work on. Each says what to do.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ClusterError {
    /// No container engine.
    #[error("no container engine answers")]
    #[diagnostic(help(
        "tried `docker version`: {tried}\nstart Docker, or let `ci/setup --install` start an engine"
    ))]
    NoEngine {
        /// What was tried, and what it said.
        tried: String,
    },
    /// No kind.
    #[error("kind is not installed")]
    #[diagnostic(help("tried `kind version` and {}: {tried}\nrun `ci/setup`", cache.display()))]
    NoKind {
        /// Where else it was looked for.
        cache: PathBuf,
        /// What it said.
        tried: String,
    },
    /// Too little memory for a cluster.
    #[error("a cluster needs {needed_mib} MiB of free memory; there are {available_mib} MiB")]
    #[diagnostic(help("end something else, or use a machine with more memory"))]
    TooLittleMemory {
        /// What there is.
        available_mib: u64,
        /// What it takes.
        needed_mib: u64,
    },
    /// The images are not there.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Images(#[from] ImagesError),
    /// Somebody else works on the cluster.
    #[error(transparent)]
    #[diagnostic(help("wait for it, or choose another name with --cluster"))]
    Locked(#[from] LockError),
    /// The name is taken by a cluster that is not ours.
    #[error("there is a kind cluster called {name} that spanproof did not make")]
    #[diagnostic(help("it is left alone; choose another name with --cluster"))]
    NotOurs {
        /// The name.
        name: String,
    },
    /// A program that the cluster is made with failed.
    #[error("{doing} failed")]
    #[diagnostic(help(
        "where a port is taken, the disk is full or a node is stopped, mend that and run it again; what was made is removed"
    ))]
    Command {
        /// What was being done.
        doing: &'static str,
        /// The program's own words.
        #[source]
        #[diagnostic_source]
        source: CommandError,
    },
    /// metrics-server, which an HPA needs, is not there.
    #[error("metrics-server could not be added to the cluster: {source}")]
    MetricsServer {
        /// Why not.
        source: Box<crate::deploy::DeployError>,
    },
    /// A file of the cluster's state cannot be read or written.
    #[error("{}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The cluster does not answer.
    #[error("the cluster {name} cannot be reached: {message}")]
    #[diagnostic(help("tried the kubeconfig {}\n`spanproof run` makes a new cluster if this one is removed: kind delete cluster --name {name}", kubeconfig.display()))]
    Unreachable {
        /// Its name.
        name: String,
        /// Its kubeconfig.
        kubeconfig: PathBuf,
        /// Why not.
        message: String,
    },
}

/// What is asked of a cluster.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// Leave it, and the lock's file, when the run is over.
    pub keep: bool,
    /// The Collector versions whose images its nodes must have.
    pub collectors: Vec<String>,
    /// Whether an HPA will be there: then metrics-server is, too.
    pub metrics: bool,
    /// The folder of the manifests.
    pub manifests: PathBuf,
}

/// A cluster, held by this process alone.
pub struct Cluster {
    name: String,
    state: PathBuf,
    kind: kind::Kind,
    images: Images,
    client: Client,
    keep: bool,
    made_here: bool,
    settings: Vec<String>,
    reaper: Option<Reaper>,
    /// Held as long as this is.
    lock: Lock,
}

/// Where everything that is kept between runs is.
pub fn cache_dir() -> PathBuf {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("SPANPROOF_CACHE").unwrap_or_else(|| {
        let base = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
        base.unwrap_or_else(std::env::temp_dir).join("spanproof")
    })
}

impl Cluster {
    /// Takes the lock, cleans up after a run that died, and makes the cluster or uses the one that was
    /// kept. `say` is told what happens.
    pub async fn acquire(request: &Request, say: &(dyn Fn(&str) + Sync)) -> Result<Self, ClusterError> {
        let cache = cache_dir();
        let engine = kind::engine_version().await?;
        let kind = kind::Kind::find(&cache).await?;
        let images = Images::read(&cache)?;
        images.check(&request.collectors).await?;

        let state = cache.join("clusters").join(&request.name);
        let lock = Lock::await_reaper(&state, &request.name, say).await?;
        let found = kind.nodes(&request.name).await?;
        let kept = state.join("kept").exists();
        if let Some(owner) = lock.previous()
            && !kept
        {
            say(&format!(
                "found what run {} (process {}) left behind when it died: cleaning up",
                owner.run, owner.pid
            ));
        }
        if !found.is_empty() && !kept {
            if lock.previous().is_none() {
                return Err(ClusterError::NotOurs { name: request.name.clone() });
            }
            kind.delete(&request.name, &state).await?;
        }
        lock.own()?;

        let use_kept = kept && !found.is_empty();
        let mut reaper = None;
        if !use_kept {
            // Should it be there: a mark of a cluster that somebody else has removed since.
            let _ = std::fs::remove_file(state.join("kept"));
            restore::forget(&Place::Kind { cluster: request.name.clone() }, say);
            let armed = reaper.insert(Reaper::arm(&kind, &request.name, &state, &lock)?);
            say(&format!("making the kind cluster {} (engine {engine})", request.name));
            kind.create(&request.name, &state, images.node(), armed).await?;
        }
        let client = connect(&request.name, &state.join("kubeconfig"), None).await?;
        let mut loaded = vec![images.probe()];
        loaded.extend(request.collectors.iter().filter_map(|version| images.collector(version)));
        if request.metrics {
            loaded.push(images.metrics_server());
        }
        kind.load(&request.name, &loaded).await?;
        let cluster = Self {
            name: request.name.clone(),
            settings: kind::settings(),
            made_here: !use_kept,
            keep: request.keep,
            reaper,
            kind,
            images,
            client,
            state,
            lock,
        };
        if use_kept {
            say(&format!("using the kind cluster {}, which was kept", request.name));
            let hands =
                Hands { client: &cluster.client, manifests: &request.manifests, images: &cluster.images };
            restore::clean(&cluster.place(), &hands, say).await;
        } else {
            kind::pin_dns(&cluster.client).await.map_err(|error| cluster.unreachable(&error.to_string()))?;
        }
        if request.metrics {
            let added = crate::deploy::apply_metrics_server(
                &cluster.client,
                &request.manifests,
                &cluster.images,
                Duration::from_secs(120),
            );
            added.await.map_err(|source| ClusterError::MetricsServer { source: Box::new(source) })?;
        }
        Ok(cluster)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Where it is, for a journal.
    pub fn place(&self) -> Place {
        Place::Kind { cluster: self.name.clone() }
    }
    /// To talk to its API server.
    pub const fn client(&self) -> &Client {
        &self.client
    }
    /// The images that it may use.
    pub const fn images(&self) -> &Images {
        &self.images
    }
    /// How it was set up, for the record.
    pub fn settings(&self) -> &[String] {
        &self.settings
    }
    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }
    /// Whether it stays when this process lets go of it.
    pub const fn stays(&self) -> bool {
        self.keep || !self.made_here
    }

    /// Whether it would stay if this process ended at once.
    pub const fn outlives(&self) -> bool {
        self.reaper.is_none()
    }

    fn unreachable(&self, message: &str) -> ClusterError {
        ClusterError::Unreachable {
            name: self.name.clone(),
            kubeconfig: self.kubeconfig(),
            message: message.to_owned(),
        }
    }

    /// Lets go of it: removes it, unless it is to stay.
    pub async fn release(mut self) -> Result<(), ClusterError> {
        if self.stays() {
            let path = self.state.join("kept");
            std::fs::write(&path, b"").map_err(|source| ClusterError::State { path, source })?;
        } else {
            self.kind.delete(&self.name, &self.state).await?;
            self.lock.forget();
        }
        if let Some(reaper) = self.reaper.take() {
            reaper.disarm();
        }
        Ok(())
    }
}

async fn connect(name: &str, kubeconfig: &Path, context: Option<&str>) -> Result<Client, ClusterError> {
    let unreachable = |message: String| ClusterError::Unreachable {
        name: name.to_owned(),
        kubeconfig: kubeconfig.to_owned(),
        message,
    };
    let read = Kubeconfig::read_from(kubeconfig).map_err(|e| unreachable(e.to_string()))?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(read, &options).await;
    let mut config = config.map_err(|e| unreachable(e.to_string()))?;
    // The client would try again by itself what was answered with 429 or 503: an eviction that a budget refused
    // would look like one that took long.
    config.default_retry = false;
    let client = Client::try_from(config);
    let client = client.map_err(|e| unreachable(e.to_string()))?;
    match tokio::time::timeout(Duration::from_secs(15), client.apiserver_version()).await {
        Ok(answered) => drop(answered.map_err(|e| unreachable(e.to_string()))?),
        Err(_) => return Err(unreachable("no answer within 15s".to_owned())),
    }
    Ok(client)
}
