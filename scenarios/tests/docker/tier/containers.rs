//! The containers of a tier, each made from the real image and the manifests.

use super::{GATEWAYS, OTLP_PORT, PATIENCE, Tier};
use crate::config::{Part, memory_limit, merge};
use crate::engine::{self, docker};
use spanproof::host::cache_dir;
use spanproof::images::Images;
use std::path::Path;
use std::time::{Duration, Instant};
use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio::net::TcpStream;

impl Tier {
    pub(super) fn container_name(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Returns the names by which a container knows those that were started before it; the gateways have that of their
    /// Service. Without DNS, so that an address stays known while its container is down, as a pod's does while a container
    /// in it restarts.
    fn hosts(&self) -> Vec<String> {
        let service = |name| if GATEWAYS.contains(&name) { "gateway-headless" } else { name };
        self.addresses.iter().map(|(name, address)| format!("{}:{address}", service(name))).collect()
    }

    fn request(&self, image: &str, name: &str, memory: Option<i64>) -> ContainerRequest<GenericImage> {
        let (image, tag) = image.rsplit_once(':').unwrap();
        let (key, run) = engine::run_label();
        let (tier_key, tier) = self.label.split_once('=').unwrap();
        let hosts = self.hosts();
        GenericImage::new(image, tag)
            .with_container_name(self.container_name(name))
            .with_network(&self.name)
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
        self.containers.insert(name, container);
        let address = self.asked_address(name);
        // The engine gives the lowest address that is free: what takes another one's place has its address.
        let before = self.addresses.insert(name, address.clone()).unwrap_or_else(|| address.clone());
        assert_eq!(before, address, "{name} is not where it was");
        self.listening(name, port).await;
    }

    pub(super) async fn start_probe(&mut self, name: &'static str, role: &str) {
        let request = self
            .request(&images().probe().image, name, None)
            .with_mount(Mount::tmpfs_mount("/ledger").with_mode(0o1777))
            .with_cmd([role, "--data=/ledger"]);
        self.run(name, request, spanproof_probe::CONTROL_PORT).await;
    }

    pub(super) async fn start_collector(&mut self, part: Part, name: &'static str, version: &str) {
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

    pub(super) fn asked_address(&self, name: &str) -> String {
        let format = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", format, self.id(name)])
    }

    pub(super) async fn listening(&self, name: &str, port: u16) {
        let address = format!("{}:{port}", self.addresses[name]);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).await.is_err() {
            let patient = Instant::now() < deadline;
            assert!(patient, "{name} does not listen on port {port}; it says:\n{}", self.log(name));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self, name: &str) -> String {
        let log = std::process::Command::new("docker").args(["logs", self.id(name)]).output().unwrap();
        String::from_utf8_lossy(&[log.stdout, log.stderr].concat()).into_owned()
    }

    pub(super) fn id(&self, name: &str) -> &str {
        self.containers[name].id()
    }
}

/// Removes everything from the engine. If the test fails, the logs of the containers are kept.
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

pub(super) fn images() -> Images {
    Images::read(&cache_dir()).unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}
