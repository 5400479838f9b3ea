//! Watches the gateways for as long as a run takes; every change is a line of the timeline.

use crate::record::{Event, Gateway, Recorder};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The gateways as far as the watch has told. No I/O.
#[derive(Debug, Default)]
struct View {
    pods: BTreeMap<String, Gateway>,
    /// What a re-list has told so far; it takes the place of `pods` when it is complete.
    listed: Option<BTreeMap<String, Gateway>>,
    synced: bool,
}

impl View {
    /// Takes in what the watch says; the events to be recorded.
    fn take(&mut self, said: Result<watcher::Event<Pod>, String>) -> Vec<Event> {
        let before = self.pods.clone();
        let mut events = Vec::new();
        match said {
            Ok(watcher::Event::Apply(pod)) => drop(self.pods.insert(pod.name_any(), gateway(&pod))),
            Ok(watcher::Event::Delete(pod)) => drop(self.pods.remove(&pod.name_any())),
            Ok(watcher::Event::Init) => self.listed = Some(BTreeMap::new()),
            Ok(watcher::Event::InitApply(pod)) => {
                self.listed.get_or_insert_default().insert(pod.name_any(), gateway(&pod));
            }
            Ok(watcher::Event::InitDone) => {
                self.pods = self.listed.take().unwrap_or_default();
                if !self.synced {
                    self.synced = true;
                    events.push(Event::Watch { synced: true, problem: None });
                }
            }
            Err(problem) => {
                if self.synced {
                    self.synced = false;
                    events.push(Event::Watch { synced: false, problem: Some(problem) });
                }
            }
        }
        if self.pods != before {
            events.push(Event::Gateways { pods: self.pods.values().cloned().collect() });
        }
        events
    }
}

fn gateway(pod: &Pod) -> Gateway {
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    Gateway {
        pod: pod.name_any(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        ready: ready && !terminating,
        terminating,
    }
}

/// Watches until it is cancelled. A connection that breaks is taken up again, and both are recorded.
pub async fn watch_gateways(
    client: Client,
    namespace: String,
    recorder: Recorder,
    gateways: watch::Sender<Vec<Gateway>>,
    end: CancellationToken,
) {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let wanted = watcher::Config::default().labels("app.kubernetes.io/name=gateway").timeout(30);
    let mut said = watcher(pods.clone(), wanted.clone()).boxed();
    let mut view = View::default();
    loop {
        let next = tokio::select! {
            next = said.next() => next,
            () = end.cancelled() => return,
        };
        let Some(next) = next else { return };
        if next.is_err() {
            // Begun anew, with a list: a watch that is resumed does not say what it missed.
            tokio::time::sleep(Duration::from_millis(500)).await;
            said = watcher(pods.clone(), wanted.clone()).boxed();
        }
        for event in view.take(next.map_err(|error| error.to_string())) {
            if let Event::Gateways { pods } = &event {
                gateways.send_replace(pods.clone());
            }
            // A timeline that cannot be written ends the run elsewhere.
            let _ = recorder.event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::watcher::Event as Said;
    use serde_json::json;

    fn pod(name: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"containers": [], "nodeName": "worker"},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        }))
        .unwrap()
    }

    fn ready(events: &[Event]) -> Option<usize> {
        events.iter().rev().find_map(|event| match event {
            Event::Gateways { pods } => Some(pods.iter().filter(|pod| pod.ready).count()),
            _ => None,
        })
    }

    #[test]
    fn a_relist_replaces_what_was_known_only_when_it_is_complete() {
        let mut view = View::default();
        for said in [Said::Init, Said::InitApply(pod("a", true)), Said::InitApply(pod("b", true))] {
            assert!(view.take(Ok(said)).is_empty(), "half a list is nothing");
        }
        let events = view.take(Ok(Said::InitDone));
        assert_eq!(events[0], Event::Watch { synced: true, problem: None });
        assert_eq!(ready(&events), Some(2));
        assert_eq!(ready(&view.take(Ok(Said::Apply(pod("a", false))))), Some(1));

        let lost = view.take(Err("connection lost".to_owned()));
        assert!(matches!(lost[..], [Event::Watch { synced: false, .. }]));
        view.take(Ok(Said::Init));
        view.take(Ok(Said::InitApply(pod("b", true))));
        let events = view.take(Ok(Said::InitDone));
        assert_eq!(ready(&events), Some(1), "a was deleted while nobody looked");
        assert_eq!(events[0], Event::Watch { synced: true, problem: None });
    }

    #[test]
    fn a_pod_on_its_way_out_is_not_ready() {
        let mut leaving = pod("a", true);
        leaving.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert!(!gateway(&leaving).ready, "as the PDB's controller counts");
        assert!(gateway(&pod("a", true)).ready);
    }
}
