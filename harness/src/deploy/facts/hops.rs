//! A hop, read from its Collector's configuration: where acknowledged spans wait, and for how long. No I/O.

use crate::record::{Hop, Keeps};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;
use std::time::Duration;

/// The longest time before a gRPC client resolves addresses again: grpc-go's resolver asks at most every 30 s
/// (`MinResolutionInterval`).
const RESOLUTION_PAUSE: Duration = Duration::from_secs(30);
/// The exporters that pass no spans on, or write them at once.
const ENDS: [&str; 4] = ["debug", "logging", "nop", "file"];
/// The processors that answer at once and pass spans on later: the setting of their delay, and its default.
const KEEPING: [(&str, &str, Duration); 3] = [
    ("batch", "timeout", Duration::from_millis(200)),
    ("tail_sampling", "decision_wait", Duration::from_secs(30)),
    ("groupbytrace", "wait_duration", Duration::from_secs(1)),
];

/// A hop, by its Collectors' configuration and their pods.
pub(super) fn hop(name: &str, configuration: &Value, pod: Option<&PodSpec>) -> Result<Hop, String> {
    let Parts { exporters, processors } = Parts::of(configuration);
    let mut hop =
        Hop { name: name.to_owned(), keeps: Keeps::Nothing, queues: false, readable: true, pause_s: 0.0 };
    let mut longest: Option<Duration> = None;
    for (kind, exporter) in exporters {
        let one = if kind.starts_with("load") { balancing(exporter)? } else { exporting(exporter)? };
        let keeps = match (one.queue, one.storage) {
            (false, _) => Keeps::Nothing,
            (true, Some(storage)) if outlives_the_pod(&configuration["extensions"][storage], pod) => {
                Keeps::Disk
            }
            (true, _) => Keeps::Memory,
        };
        hop.keeps = worse(hop.keeps, keeps);
        hop.queues |= one.queue;
        hop.readable &= one.readable;
        longest = longest.max(Some(one.pause));
    }
    // What it would be of an exporter of which nothing is written.
    let exporting = longest.map_or_else(|| exporting(&Value::Null).map(|one| one.pause), Ok)?;
    let mut kept = Duration::ZERO;
    for (kind, processor) in processors {
        if let Some((_, setting, default)) = KEEPING.iter().find(|(keeping, ..)| *keeping == kind) {
            kept += duration(&processor[*setting], *default)?;
            hop.keeps = worse(hop.keeps, Keeps::Memory);
        }
    }
    hop.pause_s = (exporting + kept).as_secs_f64();
    Ok(hop)
}

/// A hop whose configuration cannot be read: what it keeps is unknown, and no metric tells.
pub(super) fn unknown(name: &str) -> Hop {
    let pause = exporting(&Value::Null).map_or(RESOLUTION_PAUSE, |one| one.pause);
    Hop {
        name: name.to_owned(),
        keeps: Keeps::Memory,
        queues: true,
        readable: false,
        pause_s: pause.as_secs_f64(),
    }
}

const fn worse(one: Keeps, other: Keeps) -> Keeps {
    match (one, other) {
        (Keeps::Disk, _) | (_, Keeps::Disk) => Keeps::Disk,
        (Keeps::Memory, _) | (_, Keeps::Memory) => Keeps::Memory,
        (Keeps::Nothing, Keeps::Nothing) => Keeps::Nothing,
    }
}

/// The components that spans pass through, by type.
struct Parts<'a> {
    exporters: Vec<(&'a str, &'a Value)>,
    processors: Vec<(&'a str, &'a Value)>,
}

impl<'a> Parts<'a> {
    /// Returns the parts of the pipelines of traces; all parts, where there is no such pipeline.
    fn of(configuration: &'a Value) -> Self {
        let pipelines = configuration["service"]["pipelines"].as_object().into_iter().flatten();
        let traces: Vec<_> = pipelines.filter(|(id, _)| kind(id) == "traces").map(|(_, it)| it).collect();
        let used = |part: &'static str| -> Vec<(&'a str, &'a Value)> {
            let listed = traces.iter().flat_map(|it| it[part].as_array().into_iter().flatten());
            let listed: Vec<&str> = listed.filter_map(Value::as_str).collect();
            let all = configuration[part].as_object().into_iter().flatten();
            let all = all.map(|(id, it)| (id.as_str(), it));
            let used = all.filter(|(id, _)| traces.is_empty() || listed.contains(id));
            used.map(|(id, it)| (kind(id), it)).collect()
        };
        let mut exporters = used("exporters");
        exporters.retain(|(kind, _)| !ENDS.contains(kind));
        Self { exporters, processors: used("processors") }
    }
}

/// Returns a component's type: `otlp_grpc` of `otlp_grpc/second`.
fn kind(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}

/// The behaviour of an exporter.
struct Exporting<'a> {
    /// True if it answers before it has sent the spans.
    queue: bool,
    storage: Option<&'a str>,
    /// True if a metric tells how much its queue holds.
    readable: bool,
    pause: Duration,
}

/// Reads an exporter. Its longest pause is timeout + 1.5 × `max_interval` (its randomisation) + the pause before
/// addresses are resolved again, with the Collector's defaults.
fn exporting(exporter: &Value) -> Result<Exporting<'_>, String> {
    let (queue, retry) = (&exporter["sending_queue"], &exporter["retry_on_failure"]);
    let on = |part: &Value| part["enabled"].as_bool().unwrap_or(true);
    let timeout = duration(&exporter["timeout"], Duration::from_secs(5))?;
    let batched = duration(&queue["batch"]["flush_timeout"], Duration::ZERO)?;
    let again = duration(&retry["max_interval"], Duration::from_secs(30))? * 3 / 2 + RESOLUTION_PAUSE;
    Ok(Exporting {
        queue: on(queue) && queue["wait_for_result"].as_bool() != Some(true),
        storage: queue["storage"].as_str(),
        readable: true,
        pause: timeout + batched + if on(retry) { again } else { Duration::ZERO },
    })
}

/// Reads a load-balancing exporter. It has an exporter for each endpoint, with a queue that no metric shows; and
/// perhaps a queue and a retry before them, which are off unless they are configured.
fn balancing(exporter: &Value) -> Result<Exporting<'_>, String> {
    let each = exporting(&exporter["protocol"]["otlp"])?;
    let written = |part: &str| !exporter[part].is_null();
    let before = exporting(exporter)?;
    let queue = written("sending_queue") && before.queue;
    Ok(Exporting {
        queue: queue || each.queue,
        storage: before.storage.filter(|_| queue),
        readable: !each.queue,
        pause: each.pause + if written("retry_on_failure") { before.pause } else { Duration::ZERO },
    })
}

/// Returns true if a storage's directory is on a volume that outlives the pod.
fn outlives_the_pod(storage: &Value, pod: Option<&PodSpec>) -> bool {
    // What is not a directory is somewhere else altogether.
    let Some(directory) = storage["directory"].as_str() else { return true };
    let Some(pod) = pod else { return true };
    let mounts = pod.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    let over = mounts.filter(|mount| directory.starts_with(mount.mount_path.trim_end_matches('/')));
    let mount = over.max_by_key(|mount| mount.mount_path.len());
    let volume = mount.and_then(|mount| pod.volumes.iter().flatten().find(|it| it.name == mount.name));
    volume.is_some_and(|volume| volume.empty_dir.is_none() && volume.ephemeral.is_none())
}

/// Parses a duration as Go writes it: `1m30s`, `1.5s`. A number is in nanoseconds.
pub(in crate::deploy) fn duration(value: &Value, default: Duration) -> Result<Duration, String> {
    if let Some(number) = value.as_u64() {
        return Ok(Duration::from_nanos(number));
    }
    let Some(text) = value.as_str() else { return Ok(default) };
    let wrong = || format!("{text:?} is not a duration");
    let (mut rest, mut sum) = (text.trim(), Duration::ZERO);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let seconds = match &rest[digits..unit] {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        sum = sum.checked_add(part).filter(|sum| sum.as_secs() < 1 << 32).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(configuration: &str) -> Hop {
        hop("agent", &serde_saphyr::from_str(configuration).unwrap(), None).unwrap()
    }

    fn told(configuration: &str) -> (Keeps, bool, f64) {
        let hop = of(configuration);
        (hop.keeps, hop.readable, hop.pause_s)
    }

    #[test]
    fn defaults_count_where_nothing_is_written() {
        assert_eq!(told("exporters: {otlp_grpc: {endpoint: x}}"), (Keeps::Memory, true, 80.0));
        assert_eq!(told("exporters: {otlp_grpc: null}"), (Keeps::Memory, true, 80.0));
        assert_eq!(told("exporters: {}"), (Keeps::Nothing, true, 80.0));
    }

    #[test]
    fn of_several_exporters_the_slowest_counts() {
        let two = "exporters: {otlp/a: {timeout: 1s, retry_on_failure: {max_interval: 2s}}, otlphttp: {}, debug: {}}";
        assert_eq!(told(two), (Keeps::Memory, true, 80.0));
    }

    #[test]
    fn what_no_pipeline_of_traces_uses_does_not_count() {
        let logs = "exporters: {otlp: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}, otlp/logs: {}}\n\
             service: {pipelines: {traces/in: {exporters: [otlp]}, logs: {exporters: [otlp/logs], processors: [batch]}}}\n\
             processors: {batch: {}}";
        assert_eq!(told(logs), (Keeps::Nothing, true, 5.0));
    }

    #[test]
    fn what_waits_behind_an_answer_is_kept() {
        let exporter =
            "exporters: {otlp: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}}";
        for (processor, wait) in [
            ("batch: {timeout: 1m}", 60.0),
            ("batch/a: null", 0.2),
            ("tail_sampling: {}", 30.0),
            ("groupbytrace: {wait_duration: 1.5s}", 1.5),
        ] {
            let hop = of(&format!("{exporter}\nprocessors: {{{processor}}}"));
            assert_eq!((hop.keeps, hop.pause_s), (Keeps::Memory, 5.0 + wait), "{processor}");
        }
        assert_eq!(of(&format!("{exporter}\nprocessors: {{memory_limiter: {{}}}}")).keeps, Keeps::Nothing);
        let waits = "exporters: {otlp: {sending_queue: {wait_for_result: true}}}";
        assert_eq!(of(waits).keeps, Keeps::Nothing, "it answers when the next hop has");
    }

    #[test]
    fn the_queues_behind_a_load_balancing_exporter_cannot_be_read() {
        assert_eq!(told("exporters: {load_balancing: {resolver: {}}}"), (Keeps::Memory, false, 80.0));
        let before = "exporters: {loadbalancing/x: {timeout: 1s, sending_queue: {storage: file_storage}, \
             retry_on_failure: {enabled: true, max_interval: 4s}, \
             protocol: {otlp: {sending_queue: {enabled: false}, retry_on_failure: {enabled: false}}}}}";
        assert_eq!(told(before), (Keeps::Disk, true, 5.0 + 1.0 + 6.0 + 30.0));
    }

    #[test]
    fn a_queue_is_on_disk_if_it_outlives_the_pod() {
        let configuration = json!({
            "exporters": {"otlp": {"sending_queue": {"storage": "file_storage/q"}}},
            "extensions": {"file_storage/q": {"directory": "/var/lib/queue/here"}},
        });
        let kept = |volume: Value| {
            let pod = json!({
                "containers": [{"name": "c", "volumeMounts": [
                    {"name": "other", "mountPath": "/var"}, {"name": "state", "mountPath": "/var/lib/queue/"}]}],
                "volumes": [{"name": "other", "emptyDir": {}}, volume],
            });
            hop("x", &configuration, Some(&serde_json::from_value(pod).unwrap())).unwrap().keeps
        };
        assert_eq!(kept(json!({"name": "state", "hostPath": {"path": "/x"}})), Keeps::Disk);
        assert_eq!(kept(json!({"name": "state", "persistentVolumeClaim": {"claimName": "x"}})), Keeps::Disk);
        assert_eq!(kept(json!({"name": "state", "emptyDir": {}})), Keeps::Memory);
        let pod = serde_json::from_value(json!({"containers": [{"name": "c"}]})).unwrap();
        assert_eq!(hop("x", &configuration, Some(&pod)).unwrap().keeps, Keeps::Memory, "the container's own");
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read = |text: &str| duration(&json!(text), Duration::ZERO);
        for (text, ms) in
            [("5s", 5_000), ("1m30s", 90_000), ("1.5s", 1_500), ("250ms", 250), ("0", 0), ("2h", 7_200_000)]
        {
            assert_eq!(read(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-3s", "1x", "1..2s", "${env:T}", "1e9s", "99999999999h"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!(duration(&json!(1_000_000), Duration::ZERO), Ok(Duration::from_millis(1)));
    }
}
