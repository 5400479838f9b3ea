//! The cluster that the tests share, and the operations of tests on it.

pub(crate) mod lent;
pub(crate) mod snapshot;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use lent::Keeper;
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use spanproof::cluster::{Cluster, ClusterChoice, Request};
use spanproof::deploy::manifests_dir;
use spanproof::host::cache_dir;
use spanproof::images::Images;
use spanproof::journal::CurrentJournal;
use spanproof::judge::{Check, Verdict};
use spanproof::progress;
use spanproof::report::Progress;
use spanproof::restore;
use spanproof::run::{self, Options, Outcome};
use spanproof::scenario::Scenario;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use testcontainers::core::WaitFor;
use testcontainers::runners::SyncRunner;
use testcontainers::{GenericImage, ImageExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The cluster, created by the first test that needs it and removed when this process ends.
pub(crate) struct Shared {
    runtime: Runtime,
    /// One run at a time: it measures the whole cluster.
    held: Mutex<Held>,
}

/// The cluster as this process holds it. It is never dropped: reaper and keeper see the process end.
#[derive(Default)]
struct Held {
    /// None if it is not created yet, or lent.
    cluster: Option<Cluster>,
    /// Removes it after it was lent, when it has no reaper any more.
    keeper: Option<Keeper>,
}

/// The name of the cluster. `ci/test` waits until it is gone.
pub(crate) const CLUSTER: &str = "spanproof-test";

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Exclusive use of the cluster.
pub(crate) struct Alone(MutexGuard<'static, Held>);

impl Shared {
    fn get() -> &'static Self {
        SHARED.get_or_init(|| {
            let progress = Progress::new();
            tracing_subscriber::registry().with(progress.layer()).init();
            progress.begin();
            Self { runtime: Runtime::new().unwrap(), held: Mutex::default() }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    /// Waits until no other test uses the cluster.
    pub(crate) fn alone() -> Alone {
        let shared = Self::get();
        let mut held = shared.lock();
        held.cluster.get_or_insert_with(|| shared.acquire());
        Alone(held)
    }

    fn acquire(&self) -> Cluster {
        let request = Request {
            cluster: ClusterChoice::Kind { name: CLUSTER.to_owned(), keep: true },
            wait: Duration::ZERO,
            collectors: vec!["0.160.0".to_owned(), "0.161.0".to_owned()],
            metrics: true,
            manifests: manifests_dir(None).unwrap(),
        };
        let cancel = CancellationToken::new();
        let acquired = self.runtime.block_on(restore::acquire(&request, &cancel));
        acquired.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
    }
}

impl Alone {
    pub(crate) fn cluster(&self) -> &Cluster {
        self.0.cluster.as_ref().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.cluster().client().clone()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.cluster().kubeconfig().unwrap()
    }

    /// Runs a scenario.
    pub(crate) async fn run(&self, scenario: &Scenario) -> Outcome {
        let options = Options {
            out: Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/runs"),
            seed: 20_260_101,
            manifests: manifests_dir(None).unwrap(),
            leave: false,
            journal: CurrentJournal::default(),
        };
        let cancel = CancellationToken::new();
        run::run(self.cluster(), scenario, &options, &cancel).await.unwrap()
    }

    #[allow(clippy::unused_self, reason = "only for whoever is alone")]
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        Shared::get().runtime.block_on(future)
    }
}

pub(crate) fn scenario_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).with_extension("yaml")
}

/// Runs a shipped scenario on the shared cluster.
pub(crate) fn run(name: &str) -> Outcome {
    run_scenario(&Scenario::load(&scenario_file(name), &[]).unwrap())
}

/// Runs a control of a shipped scenario.
pub(crate) fn run_control(name: &str, control: &str) -> Outcome {
    let file = scenario_file(name);
    run_scenario(&Scenario::load(&file, &[]).unwrap().under(&file, control).unwrap())
}

fn run_scenario(scenario: &Scenario) -> Outcome {
    let alone = Shared::alone();
    let outcome = alone.block_on(alone.run(scenario));
    tracing::info!(target: progress::TARGET, "{}", spanproof::report::verdict(&outcome.judgement));
    tracing::info!(target: progress::TARGET, "run folder: {}", outcome.folder.display());
    outcome
}

/// Asserts the verdict, and that these checks and no others cause it.
#[track_caller]
pub(crate) fn expect(outcome: &Outcome, verdict: Verdict, by: &[&str]) {
    let judgement = &outcome.judgement;
    let not_passed = judgement.checks.iter().filter(|check| check.verdict != Verdict::Pass);
    let names: Vec<&str> = not_passed.map(|check| check.name.as_str()).collect();
    assert_eq!((judgement.verdict, &names[..]), (verdict, by), "{:#?}", judgement.checks);
}

/// Returns a check of a run.
#[track_caller]
pub(crate) fn check<'a>(outcome: &'a Outcome, name: &str) -> &'a Check {
    let found = outcome.judgement.checks.iter().find(|check| check.name.as_str() == name);
    found.unwrap_or_else(|| panic!("there is no check {name}: {:#?}", outcome.judgement.checks))
}

/// Returns the verdict of a check.
#[track_caller]
pub(crate) fn verdict_of(outcome: &Outcome, name: &str) -> Verdict {
    check(outcome, name).verdict
}

/// Returns the output of `spanproof analyze --json` for a run folder.
pub(crate) fn analyzed(folder: &Path) -> Vec<u8> {
    Command::new(program()).args(["analyze", "--json"]).arg(folder).output().unwrap().stdout
}

/// Returns the program, which is next to this test's own: `cargo test --workspace` builds both.
pub(crate) fn program() -> PathBuf {
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("spanproof");
    assert!(program.exists(), "{} is not built: run `cargo test --workspace`", program.display());
    program
}

/// Checks that each version of the Collector accepts the manifests' configurations.
pub(crate) fn validate_configurations() {
    let _alone = Shared::alone();
    let images = Images::read(&cache_dir()).unwrap();
    for version in images.collectors() {
        let image = images.collector(version).unwrap();
        let (name, tag) = image.image.rsplit_once(':').unwrap();
        for part in ["gateway", "agent"] {
            let path = manifests_dir(None).unwrap().join(part).join("config.yaml");
            let map: ConfigMap = from_yaml(&path);
            let text = map.data.unwrap().remove("config.yaml").unwrap();
            // `validate` needs the queue's directory to exist, as it does in the pod.
            let text = text.replace("/var/lib/otelcol/queue", "/");
            let validated = GenericImage::new(name, tag)
                .with_wait_for(WaitFor::exit(
                    testcontainers::core::wait::ExitWaitStrategy::new().with_exit_code(0),
                ))
                .with_copy_to("/config.yaml", text.into_bytes())
                .with_cmd(["validate", "--config=/config.yaml"])
                .with_env_var("BACKEND_ENDPOINT", "backend:4317")
                .with_env_var("POD_NAME", "gateway-0")
                .start();
            if let Err(error) = validated {
                panic!("the {part}'s configuration on {version}: {error}");
            }
        }
    }
}

fn from_yaml<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// Checks that the API server admits the gateway's pod into a namespace that enforces `restricted`, in a dry run.
pub(crate) async fn admit_restricted_gateway(client: Client) {
    let name = "restricted-check";
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({"metadata": {"name": name, "labels": labels}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let pods: Api<Pod> = Api::namespaced(client, name);

    let gateway: Deployment =
        from_yaml(&manifests_dir(None).unwrap().join("gateway").join("deployment.yaml"));
    let template = gateway.spec.unwrap().template;
    let mut pod = Pod { spec: template.spec, ..Pod::default() };
    pod.metadata.name = Some("gateway".to_owned());
    let admitted = pods.create(&dry_run, &pod).await;
    // The control: the same pod as root is not admitted, so it is the namespace that was asked.
    let mut rooted = pod.clone();
    rooted.spec.as_mut().unwrap().security_context.as_mut().unwrap().run_as_non_root = Some(false);
    let refused = pods.create(&dry_run, &rooted).await;
    namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    admitted.unwrap();
    assert!(refused.unwrap_err().to_string().contains("restricted"));
}

/// Kills the program while kind creates a cluster, and waits until nothing of that is left.
pub(crate) fn kill_while_making_a_cluster() {
    const NAME: &str = "spanproof-killed";
    let _alone = Shared::alone();
    let mut harness = Command::new(program())
        .args(["run", "--cluster", NAME])
        .arg(scenario_file("node-drain"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let containers = || containers_of(NAME, "{{.Names}}").len();
    await_until("a container of the cluster", || containers() > 0);
    harness.kill().unwrap();
    harness.wait().unwrap();
    let state = cache_dir().join("clusters").join(NAME);
    await_until("the cluster's containers and state to be gone", || containers() == 0 && !state.exists());
}

/// Returns the containers of a cluster, running or not, in a format of docker.
fn containers_of(cluster: &str, format: &str) -> Vec<String> {
    let filter = format!("label=io.x-k8s.kind.cluster={cluster}");
    let listed =
        Command::new("docker").args(["ps", "-a", "--filter", &filter, "--format", format]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Checks that every node has the rules, for what it sends and for what it forwards.
pub(crate) fn nodes_are_isolated() {
    let _alone = Shared::alone();
    let nodes = containers_of(CLUSTER, "{{.Names}}");
    assert_eq!(nodes.len(), 4);
    for node in nodes {
        for rule in ["OUTPUT -o eth0 -j INSIDE", "FORWARD -o eth0 -j INSIDE", "INSIDE -j REJECT"] {
            let asked =
                Command::new("docker").args(["exec", &node, "iptables", "-C"]).args(rule.split(' ')).status();
            assert!(asked.unwrap().success(), "{node} has no rule {rule}");
        }
    }
}

pub(crate) fn await_until(awaited: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < until, "waited 90 s for {awaited}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
