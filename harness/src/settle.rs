//! Waiting for the rest. When to stop is decided by [`Settling`], which does no I/O.

use crate::record::SettleEnd;
use std::time::Duration;

/// What is known at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// Acknowledged spans that have not arrived; none if that could not be asked.
    pub outstanding: Option<u64>,
    /// What the agents' queues hold; none if one of them could not be read. A queue that cannot be read
    /// is not empty.
    pub queued: Option<f64>,
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
        let empty = sight.queued.is_some_and(|queued| queued < 0.5);
        if self.arrived != Some(sight.arrived) || !empty || sight.outstanding.is_none() {
            self.quiet_since = None;
        }
        self.arrived = Some(sight.arrived);
        if empty && sight.outstanding.is_some() {
            self.quiet_since.get_or_insert(now);
        }
        match sight.outstanding {
            Some(0) => drop(self.complete_since.get_or_insert(now)),
            _ => self.complete_since = None,
        }
        let lasted = |since: Option<Duration>, long: Duration| {
            since.is_some_and(|since| now.saturating_sub(since) >= long)
        };
        // A queue may still hold what has arrived: an agent that was not answered sends it once more.
        let known_empty = empty
            || lasted(self.complete_since, self.worst_retry_pause.saturating_add(Duration::from_secs(1)));
        if lasted(self.complete_since, self.tail) && known_empty {
            Some(SettleEnd::Complete)
        } else if lasted(self.quiet_since, self.worst_retry_pause.saturating_add(Duration::from_secs(1))) {
            Some(SettleEnd::Quiet)
        } else if now >= self.deadline {
            Some(SettleEnd::Deadline)
        } else {
            None
        }
    }
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
        let sight = |now| Sight { outstanding: Some(u64::from(now < 10)), queued: Some(0.0), arrived: now };
        assert_eq!(end(settling(), sight), (15, SettleEnd::Complete));
        let sight = |now| Sight {
            outstanding: Some(u64::from(now < 10)),
            queued: Some(if now < 30 { 1.0 } else { 0.0 }),
            arrived: now,
        };
        assert_eq!(end(settling(), sight), (30, SettleEnd::Complete), "what is queued is sent once more");
        let sight = |now| Sight { outstanding: Some(u64::from(now < 10)), queued: None, arrived: now };
        assert_eq!(end(settling(), sight), (61, SettleEnd::Complete), "no agent pauses for longer");
    }

    #[test]
    fn quiet_with_empty_queues_ends_it_after_the_longest_pause() {
        let sight = |now: u64| Sight { outstanding: Some(7), queued: Some(0.0), arrived: now.min(20) };
        assert_eq!(end(settling(), sight), (71, SettleEnd::Quiet));
    }

    #[test]
    fn a_queue_that_cannot_be_read_is_not_empty() {
        let sight = |_| Sight { outstanding: Some(7), queued: None, arrived: 3 };
        assert_eq!(end(settling(), sight), (180, SettleEnd::Deadline));
        let sight = |_| Sight { outstanding: Some(7), queued: Some(1.0), arrived: 3 };
        assert_eq!(end(settling(), sight), (180, SettleEnd::Deadline));
    }

    proptest! {
        /// Waiting never ends as quiet unless all was still, and known, for the whole of the pause.
        #[test]
        fn quiet_is_never_claimed_early(sights in prop::collection::vec(
            (prop::option::of(0u64..3), prop::option::of(prop::bool::ANY), 0u64..3), 1..250)) {
            let mut settling = settling();
            for (now, (outstanding, full, arrived)) in sights.iter().copied().enumerate() {
                let queued = full.map(|full| if full { 1.0 } else { 0.0 });
                let Some(end) = settling.see(seconds(now as u64), Sight { outstanding, queued, arrived }) else { continue };
                if end == SettleEnd::Quiet {
                    let still = &sights[now - 50..=now];
                    let quiet = still.iter().all(|(known, queued, there)| {
                        known.is_some() && *queued == Some(false) && *there == still[0].2
                    });
                    prop_assert!(quiet);
                }
                break;
            }
        }
    }
}
