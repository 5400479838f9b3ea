//! A hop of the tier, as far as it is known before a run: its workload, and where its Collectors keep what they have
//! acknowledged.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A hop of the tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// The name, which is the label of its pods: `agent`, `gateway`.
    pub name: String,
    /// The place where acknowledged spans wait.
    pub keeps: Keeps,
    /// `true` if an exporter of its Collectors has a queue.
    pub queues: bool,
    /// `true` if its Collectors say how much is in their queues.
    pub readable: bool,
    /// The longest that a span may wait in it between two signs of life, in seconds.
    pub pause_s: f64,
}

/// The place where acknowledged spans wait until the next hop has taken them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// Nowhere: it answers when the next hop has answered.
    Nothing,
    /// In the process, or in a volume that goes with the pod.
    Memory,
    /// On a disk, which outlives the pod.
    Disk,
}

impl fmt::Display for Keeps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nothing => "nothing",
            Self::Memory => "in its pod",
            Self::Disk => "on disk",
        })
    }
}

impl Hop {
    /// Returns `true` if spans that it has acknowledged may be in it, and nowhere else.
    pub const fn keeps_something(&self) -> bool {
        !matches!(self.keeps, Keeps::Nothing)
    }
}

/// The longest that a span may be on its way through all hops without a sign of life, in seconds: in each that keeps
/// something it may wait anew. One that answers only when the next one has waits within the time of whoever asks it;
/// the entry is never left out.
pub fn worst_pause_s(hops: &[Hop]) -> f64 {
    let kept = hops.iter().filter(|hop| hop.keeps_something()).map(|hop| hop.pause_s).sum::<f64>();
    kept.max(hops.first().map_or(0.0, |entry| entry.pause_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(name: &str, keeps: Keeps, pause_s: f64) -> Hop {
        Hop { name: name.to_owned(), keeps, queues: true, readable: true, pause_s }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    fn a_span_may_wait_in_each_hop_that_keeps_it() {
        let synchronous = [hop("agent", Keeps::Disk, 50.0), hop("gateway", Keeps::Nothing, 5.0)];
        assert_eq!(worst_pause_s(&synchronous), 50.0);
        let queueing = [hop("agent", Keeps::Disk, 50.0), hop("gateway", Keeps::Memory, 80.0)];
        assert_eq!(worst_pause_s(&queueing), 130.0);
        let nothing = [hop("agent", Keeps::Nothing, 9.0), hop("gateway", Keeps::Nothing, 5.0)];
        assert_eq!(worst_pause_s(&nothing), 9.0);
    }
}
