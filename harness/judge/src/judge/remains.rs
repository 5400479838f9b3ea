//! The remains of a tier that was taken down: what a Collector may still hold is stranded, not lost.

use super::{Story, grouped, queues, story};
use crate::record::{Hop, Keeps, PodEnd, Record, SettleEnd};
use serde_json::{Value, json};
use spanproof_ledger::{Account, Stream};
use std::collections::BTreeSet;

/// A Collector that may still hold something, or whose disk may.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    hop: String,
    node: String,
    pod: String,
    why: String,
    /// `true` if it takes the spans of its own node's emitter and no others.
    of_its_node: bool,
}

/// The Collectors of a tier that was taken down that may still hold something.
#[derive(Debug, Clone, Default)]
pub(super) struct Remains {
    holders: Vec<Holder>,
    /// The reason why it is not known what is left, if so.
    unknown: Option<String>,
}

/// Returns what is left of the tier; empty if it was not taken down.
pub(super) fn of(record: &Record, story: &Story) -> Remains {
    let mut remains = Remains::default();
    let (Some(start), Some((SettleEnd::TakenDown, ..))) = (story.take_down, story.settled) else {
        return remains;
    };
    let hops = &record.environment.hops;
    if hops.is_empty() {
        remains.unknown = Some("it is not on record which hops the tier had".to_owned());
    }
    for (number, hop) in hops.iter().enumerate() {
        let Some(gone) = story.hops_gone.iter().find(|gone| gone.hop == hop.name) else {
            remains.unknown = Some(format!("it is not on record that each {} was taken down", hop.name));
            continue;
        };
        if let Some(problem) = &gone.problem {
            remains.unknown = Some(format!("taking down each {}: {problem}", hop.name));
        }
        // Pods that a watch still saw at the end of the run are there, whatever else is on record.
        let there = story.pods.get(&hop.name).and_then(|series| story::at(series, story.last));
        let there = there.into_iter().flatten().filter(|(_, pod)| !pod.ip.is_empty());
        let seen = there.map(|(name, pod)| PodEnd { pod: name.clone(), node: pod.node.clone(), gone: false });
        let listed = gone.pods.iter().filter(|end| !end.pod.is_empty()).cloned();
        let mut ends: Vec<PodEnd> = seen.chain(listed).collect();
        ends.sort_by(|a, b| (&a.pod, a.gone).cmp(&(&b.pod, b.gone)));
        ends.dedup_by(|later, earlier| later.pod == earlier.pod);
        let entry = number == 0;
        let of_its_node = entry && record.environment.entry_of_its_node;
        for end in &ends {
            let holds = queues::when_it_went(record, story, hop, &end.pod, start);
            if let Some(why) = may_hold(hop, end.gone, holds) {
                let (hop, pod, node) = (hop.name.clone(), end.pod.clone(), end.node.clone());
                remains.holders.push(Holder { hop, node, pod, why, of_its_node });
            }
        }
        // Disks whose Collector was not there to say what is on them.
        let nodes = record.environment.streams.values().collect::<BTreeSet<_>>();
        let bare = nodes.into_iter().filter(|node| !ends.iter().any(|end| end.node == **node));
        for node in bare.filter(|_| entry && hop.keeps == Keeps::Disk) {
            let (hop, pod, node) = (hop.name.clone(), String::new(), node.clone());
            let why = "was not there when the tier was taken down".to_owned();
            remains.holders.push(Holder { hop, node, pod, why, of_its_node });
        }
    }
    remains
}

/// Returns why a Collector may still hold something, if so. `gone` says that it was seen to go; `held` is the content of its
/// queue then, if that is known.
fn may_hold(hop: &Hop, gone: bool, held: Option<f64>) -> Option<String> {
    match (hop.keeps, gone, held) {
        (Keeps::Nothing | Keeps::Memory | Keeps::Disk, false, _) => Some("was not seen to go".to_owned()),
        // Its memory went with it.
        (Keeps::Nothing | Keeps::Memory, true, _) => None,
        (Keeps::Disk, true, Some(held)) if held < 0.5 => None,
        (Keeps::Disk, true, Some(held)) => Some(format!("had {held:.0} in its queue on disk when it went")),
        (Keeps::Disk, true, None) => {
            Some("went without having said what was in its queue on disk".to_owned())
        }
    }
}

impl Remains {
    /// Returns the streams of which something may be held.
    pub(super) fn streams(&self, record: &Record) -> Vec<Stream> {
        let may = |node: &str| self.holders.iter().any(|holder| !holder.of_its_node || holder.node == node);
        let streams = record.environment.streams.iter();
        streams.filter(|(_, node)| may(node)).map(|(stream, _)| *stream).collect()
    }

    /// Names the Collectors that may hold something, with the reason.
    pub(super) fn holders(&self) -> String {
        let named = self.holders.iter().map(|holder| {
            let Holder { hop, node, pod, why, .. } = holder;
            let pod = if pod.is_empty() { hop } else { pod };
            format!("{pod} on node {node} {why}")
        });
        named.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn evidence(&self) -> Value {
        let holder = |holder: &Holder| {
            let Holder { hop, node, pod, why, .. } = holder;
            json!({"hop": hop, "node": node, "pod": pod, "why": why})
        };
        self.holders.iter().map(holder).collect()
    }

    /// Returns why taking the tier down did not decide about every span, if so.
    pub(super) fn undecided(&self, record: &Record, story: &Story, account: &Account) -> Option<String> {
        if let Some(unknown) = &self.unknown {
            return Some(format!("the tier was taken down, but {unknown}"));
        }
        // Spans in the memory of a process that was ended might have arrived otherwise.
        let (still, pause) = (story.still_s.unwrap_or_default(), story.settled?.2);
        let in_memory = record.environment.hops.iter().any(|hop| hop.keeps == Keeps::Memory);
        let too_early = account.counts.lost > 0 && in_memory && still < pause;
        too_early.then(|| {
            format!(
                "{} spans never arrived, but some still arrived {still:.0}s before the tier was taken down, and a Collector \
                 may wait for {pause:.0}s: they may have been in the memory of one; a longer settle.deadline tells",
                grouped(account.counts.lost)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_disk_or_a_process_that_is_still_there_holds_something() {
        let hop = |keeps| Hop { name: "agent".to_owned(), keeps, queues: true, readable: true, pause_s: 1.0 };
        for keeps in [Keeps::Nothing, Keeps::Memory, Keeps::Disk] {
            for held in [None, Some(0.0), Some(7.0)] {
                assert!(may_hold(&hop(keeps), false, held).is_some(), "{keeps:?} {held:?}");
                let holds = may_hold(&hop(keeps), true, held).is_some();
                assert_eq!(holds, keeps == Keeps::Disk && held != Some(0.0), "{keeps:?} {held:?}");
            }
        }
    }
}
