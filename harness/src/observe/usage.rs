//! The resources that containers use, from the kubelets' cAdvisor, at an interval; and those of this process.
//!
//! Nothing is judged by them. Where they cannot be read, a note says so once.

use crate::record::{Event, Recorder};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use procfs_core::FromRead;
use procfs_core::process::Stat;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The resources that one container has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    cpu_s: f64,
    memory_bytes: f64,
    periods: f64,
    throttled: f64,
}

/// Asks every kubelet, until it is cancelled.
pub async fn watch_usage(client: Client, namespace: String, recorder: Recorder, end: CancellationToken) {
    let mut said = false;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = end.cancelled() => return,
        }
        if let Some(cpu_s) = own_cpu_seconds() {
            let _ = recorder.event(Event::HarnessUsage { cpu_s });
        }
        match ask_all(&client, &namespace).await {
            Ok(used) => {
                for ((pod, container), used) in used {
                    let Used { cpu_s, memory_bytes, periods, throttled } = used;
                    let _ = recorder.event(Event::Usage {
                        pod,
                        container,
                        cpu_s,
                        memory_bytes,
                        periods,
                        throttled,
                    });
                }
            }
            Err(error) if !said => {
                said = true;
                let message =
                    format!("the containers' resource usage cannot be read, so it is not recorded: {error}");
                let _ = recorder.event(Event::Note { message });
            }
            Err(_) => {}
        }
    }
}

async fn ask_all(client: &Client, namespace: &str) -> Result<BTreeMap<(String, String), Used>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    let asked = nodes.iter().map(|node| async {
        let path = format!("/api/v1/nodes/{}/proxy/metrics/cadvisor", node.name_any());
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        match tokio::time::timeout(TIMEOUT, client.request_text(request)).await {
            Ok(text) => Ok(read(&text?, namespace)),
            Err(_) => Ok(BTreeMap::new()), // a node that is down uses nothing
        }
    });
    let answers = join_all(asked).await.into_iter().collect::<Result<Vec<_>, kube::Error>>()?;
    Ok(answers.into_iter().flatten().collect())
}

/// The namespace's containers, in Prometheus' text format.
fn read(text: &str, namespace: &str) -> BTreeMap<(String, String), Used> {
    let mut all: BTreeMap<(String, String), Used> = BTreeMap::new();
    for line in text.lines().filter(|line| label(line, "namespace") == Some(namespace)) {
        let (Some(pod), Some(container)) = (label(line, "pod"), label(line, "container")) else {
            continue;
        };
        if container.is_empty() || container == "POD" {
            continue; // the pod's own group, and its pause container
        }
        let value =
            line.rsplit_once('}').and_then(|(_, value)| value.split_whitespace().next()?.parse().ok());
        let Some(value) = value else { continue };
        let name = line.split('{').next().unwrap_or_default();
        let used = all.entry((pod.to_owned(), container.to_owned())).or_default();
        match name {
            "container_cpu_usage_seconds_total" => used.cpu_s = value,
            "container_memory_working_set_bytes" => used.memory_bytes = value,
            "container_cpu_cfs_periods_total" => used.periods = value,
            "container_cpu_cfs_throttled_periods_total" => used.throttled = value,
            _ => {}
        }
    }
    all.retain(|_, used| used.cpu_s > 0.0);
    all
}

/// A label's value; names of pods and namespaces hold no quotes.
fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// The processor seconds that this process has used, from `/proc`; none where there is none.
fn own_cpu_seconds() -> Option<f64> {
    let stat = Stat::from_file("/proc/self/stat").ok()?;
    Some((stat.utime + stat.stime) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaces_containers_are_read() {
        let text = r#"
container_cpu_usage_seconds_total{container="collector",cpu="total",id="/x",image="i",name="n",namespace="tier",pod="gateway-1"} 1.5 1700000000000
container_cpu_usage_seconds_total{container="",cpu="total",id="/x",image="",name="",namespace="tier",pod="gateway-1"} 9 1700000000000
container_cpu_usage_seconds_total{container="collector",cpu="total",id="/y",image="i",name="n",namespace="other",pod="gateway-1"} 7 1700000000000
container_cpu_cfs_periods_total{container="collector",id="/x",image="i",name="n",namespace="tier",pod="gateway-1"} 100 1700000000000
container_cpu_cfs_throttled_periods_total{container="collector",id="/x",image="i",name="n",namespace="tier",pod="gateway-1"} 4 1700000000000
container_memory_working_set_bytes{container="collector",id="/x",image="i",name="n",namespace="tier",pod="gateway-1"} 5.2e+07 1700000000000
"#;
        let used = read(text, "tier");
        assert_eq!(used.len(), 1);
        let expected = Used { cpu_s: 1.5, memory_bytes: 5.2e7, periods: 100.0, throttled: 4.0 };
        assert_eq!(used[&("gateway-1".to_owned(), "collector".to_owned())], expected);
    }

    #[test]
    fn this_process_uses_something() {
        assert!(own_cpu_seconds().is_some());
    }
}
