//! Waiting for the rest. When to stop is decided by [`Settling`], which does no I/O.

use crate::record::SettleEnd;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use std::time::Duration;

/// The agents' metrics port.
const METRICS_PORT: u16 = 8888;

/// What is known at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// Acknowledged spans that have not arrived; none if that could not be asked.
    pub outstanding: Option<u64>,
    /// What the agents' queues hold; none if one of them could not be read. A queue that cannot be read
    /// is not empty.
    pub queued: Option<u64>,
    /// How much has arrived, copies included: anything that changes when something moves.
    pub arrived: u64,
}

/// The rules by which waiting ends.
#[derive(Debug, Clone)]
pub struct Settling {
    tail: Duration,
    worst_retry_pause: Duration,
    deadline: Duration,
    complete_since: Option<Duration>,
    /// Since when nothing has moved while every queue was known to be empty.
    quiet_since: Option<Duration>,
    arrived: Option<u64>,
}

impl Settling {
    /// `tail`: how much longer duplicates are waited for. `worst_retry_pause`: the longest pause that an
    /// agent may make.
    pub const fn new(tail: Duration, worst_retry_pause: Duration, deadline: Duration) -> Self {
        Self { tail, worst_retry_pause, deadline, complete_since: None, quiet_since: None, arrived: None }
    }

    /// Takes in what is known at a moment (since the waiting began); how waiting ends, if it does.
    pub fn see(&mut self, now: Duration, sight: Sight) -> Option<SettleEnd> {
        if self.arrived != Some(sight.arrived) || sight.queued != Some(0) || sight.outstanding.is_none() {
            self.quiet_since = None;
        }
        self.arrived = Some(sight.arrived);
        if sight.queued == Some(0) && sight.outstanding.is_some() {
            self.quiet_since.get_or_insert(now);
        }
        match sight.outstanding {
            Some(0) => drop(self.complete_since.get_or_insert(now)),
            _ => self.complete_since = None,
        }
        let lasted = |since: Option<Duration>, long: Duration| {
            since.is_some_and(|since| now.saturating_sub(since) >= long)
        };
        if lasted(self.complete_since, self.tail) {
            Some(SettleEnd::Complete)
        } else if lasted(self.quiet_since, self.worst_retry_pause + Duration::from_secs(1)) {
            Some(SettleEnd::Quiet)
        } else if now >= self.deadline {
            Some(SettleEnd::Deadline)
        } else {
            None
        }
    }
}

/// What the agents' queues hold, in the queue's own unit; none if one of them could not be read.
pub async fn queued(client: &Client, namespace: &str, agents_expected: usize) -> Option<u64> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let agents = pods.list(&ListParams::default().labels("app.kubernetes.io/name=agent")).await.ok()?;
    // One that is not there has its queue on the node's disk all the same.
    if agents.items.len() < agents_expected {
        return None;
    }
    let mut total = 0;
    for agent in &agents {
        let name = agent.name_any();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{METRICS_PORT}/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        let asked = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
        total += queue_size(&asked.ok()?.ok()?)?;
    }
    (!agents.items.is_empty()).then_some(total)
}

/// The sum over `otelcol_exporter_queue_size` in Prometheus' text format; none if it is not there.
fn queue_size(metrics: &str) -> Option<u64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("otelcol_exporter_queue_size")?;
        let value = rest
            .strip_prefix('{')
            .map_or(rest, |labels| labels.rsplit_once('}').map_or("", |(_, value)| value));
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    // A queue's size is a whole number, far below 2^53.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    values.map(|value| value.max(0.0).ceil() as u64).reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn settling() -> Settling {
        Settling::new(seconds(5), seconds(50), seconds(180))
    }

    fn end(mut settling: Settling, sight: impl Fn(u64) -> Sight) -> (u64, SettleEnd) {
        (0..).find_map(|now| Some((now, settling.see(seconds(now), sight(now))?))).unwrap()
    }

    #[test]
    fn everything_there_ends_it_after_the_tail() {
        let sight = |now| Sight { outstanding: Some(u64::from(now < 10)), queued: None, arrived: now };
        assert_eq!(end(settling(), sight), (15, SettleEnd::Complete));
    }

    #[test]
    fn quiet_with_empty_queues_ends_it_after_the_longest_pause() {
        let sight = |now: u64| Sight { outstanding: Some(7), queued: Some(0), arrived: now.min(20) };
        assert_eq!(end(settling(), sight), (71, SettleEnd::Quiet));
    }

    #[test]
    fn a_queue_that_cannot_be_read_is_not_empty() {
        let sight = |_| Sight { outstanding: Some(7), queued: None, arrived: 3 };
        assert_eq!(end(settling(), sight), (180, SettleEnd::Deadline));
        let sight = |_| Sight { outstanding: Some(7), queued: Some(1), arrived: 3 };
        assert_eq!(end(settling(), sight), (180, SettleEnd::Deadline));
    }

    proptest! {
        /// Waiting never ends as quiet unless all was still, and known, for the whole of the pause.
        #[test]
        fn quiet_is_never_claimed_early(sights in prop::collection::vec(
            (prop::option::of(0u64..3), prop::option::of(0u64..2), 0u64..3), 1..250)) {
            let mut settling = settling();
            for (now, (outstanding, queued, arrived)) in sights.iter().copied().enumerate() {
                let Some(end) = settling.see(seconds(now as u64), Sight { outstanding, queued, arrived }) else { continue };
                if end == SettleEnd::Quiet {
                    let still = &sights[now - 50..=now];
                    let quiet = still.iter().all(|(known, queued, there)| {
                        known.is_some() && *queued == Some(0) && *there == still[0].2
                    });
                    prop_assert!(quiet);
                }
                break;
            }
        }
    }

    #[test]
    fn the_queues_size_is_read_from_either_form() {
        let text = "# TYPE otelcol_exporter_queue_size gauge\n\
                    otelcol_exporter_queue_size{data_type=\"traces\",exporter=\"otlp_grpc\"} 12\n\
                    otelcol_exporter_queue_capacity{exporter=\"otlp_grpc\"} 268435456\n";
        assert_eq!(queue_size(text), Some(12));
        assert_eq!(queue_size("otelcol_exporter_queue_size 3\n"), Some(3));
        assert_eq!(queue_size("otelcol_exporter_queue_capacity{} 3\n"), None);
    }
}
