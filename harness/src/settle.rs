//! Waiting until everything acknowledged is delivered. [`Settling`] decides when to stop, without I/O.

use crate::record::SettleEnd;
use std::time::Duration;

/// An observation at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The acknowledged spans that have not arrived; none if the sinks did not answer.
    pub outstanding: Option<u64>,
    /// The content of all Collectors' queues, of every hop; none if one of them could not be read. A queue that
    /// cannot be read is not empty.
    pub queued: Option<f64>,
    /// The number of arrived spans, copies included: it changes whenever something moves.
    pub arrived: u64,
}

/// The rules by which waiting ends.
#[derive(Debug, Clone)]
pub struct Settling {
    tail: Duration,
    worst_retry_pause: Duration,
    deadline: Duration,
    complete_since: Option<Duration>,
    /// The time since which nothing has moved while every queue was known to be empty.
    quiet_since: Option<Duration>,
    /// The time since which nothing has moved while a queue could not be read.
    unread_since: Option<Duration>,
    /// The time since which nothing has arrived.
    still_since: Option<Duration>,
    arrived: Option<u64>,
}

impl Settling {
    /// Returns the rules. `tail` is the time for which duplicates are awaited after completion; `worst_retry_pause`
    /// is the longest time that a span may be on its way, through all hops, without anything being seen of it.
    pub const fn new(tail: Duration, worst_retry_pause: Duration, deadline: Duration) -> Self {
        Self {
            tail,
            worst_retry_pause,
            deadline,
            complete_since: None,
            quiet_since: None,
            unread_since: None,
            still_since: None,
            arrived: None,
        }
    }

    /// Returns the time for which nothing has arrived, by the last observation.
    pub fn still_for(&self, now: Duration) -> Duration {
        self.still_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Takes in an observation, at a time since the waiting began. Returns how waiting ends, once it does.
    pub fn observe(&mut self, now: Duration, observation: Observation) -> Option<SettleEnd> {
        // What is no number says nothing, and no queue holds less than nothing.
        let queued = observation.queued.filter(|queued| queued.is_finite() && *queued >= 0.0);
        let empty = queued.is_some_and(|queued| queued < 0.5);
        let still = self.arrived == Some(observation.arrived) && observation.outstanding.is_some();
        self.arrived = Some(observation.arrived);
        for (since, goes_on) in [
            (&mut self.quiet_since, empty),
            (&mut self.unread_since, queued.is_none()),
            (&mut self.still_since, true),
        ] {
            if !still || !goes_on {
                *since = None;
            }
            if observation.outstanding.is_some() && goes_on {
                since.get_or_insert(now);
            }
        }
        match observation.outstanding {
            Some(0) => drop(self.complete_since.get_or_insert(now)),
            _ => self.complete_since = None,
        }
        let lasted = |since: Option<Duration>, long: Duration| {
            since.is_some_and(|since| now.saturating_sub(since) >= long)
        };
        // A queue may still hold what has arrived: an agent that was not answered sends it once more.
        let longer_than_any = self.worst_retry_pause.saturating_add(Duration::from_secs(1));
        let known_empty = empty || lasted(self.complete_since, longer_than_any);
        let complete = self.complete_since.is_some();
        if lasted(self.complete_since, self.tail) && known_empty {
            Some(SettleEnd::Complete)
        } else if lasted(self.quiet_since, longer_than_any) {
            Some(SettleEnd::Quiet)
        } else if !complete && lasted(self.unread_since, longer_than_any) {
            Some(SettleEnd::Unread)
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

    fn end(mut settling: Settling, observation: impl Fn(u64) -> Observation) -> (u64, SettleEnd) {
        (0..).find_map(|now| Some((now, settling.observe(seconds(now), observation(now))?))).unwrap()
    }

    #[test]
    fn everything_there_ends_it_after_the_tail() {
        let observation =
            |now| Observation { outstanding: Some(u64::from(now < 10)), queued: Some(0.0), arrived: now };
        assert_eq!(end(settling(), observation), (15, SettleEnd::Complete));
        let observation = |now| Observation {
            outstanding: Some(u64::from(now < 10)),
            queued: Some(if now < 30 { 1.0 } else { 0.0 }),
            arrived: now,
        };
        assert_eq!(
            end(settling(), observation),
            (30, SettleEnd::Complete),
            "what is queued is sent once more"
        );
        let observation =
            |now| Observation { outstanding: Some(u64::from(now < 10)), queued: None, arrived: now };
        assert_eq!(end(settling(), observation), (61, SettleEnd::Complete), "no agent pauses for longer");
    }

    #[test]
    fn quiet_with_empty_queues_ends_it_after_the_longest_pause() {
        let observation =
            |now: u64| Observation { outstanding: Some(7), queued: Some(0.0), arrived: now.min(20) };
        assert_eq!(end(settling(), observation), (71, SettleEnd::Quiet));
    }

    #[test]
    fn a_queue_that_cannot_be_read_is_not_empty() {
        let observation = |now| Observation { outstanding: Some(7), queued: None, arrived: now };
        assert_eq!(end(settling(), observation), (180, SettleEnd::Deadline));
        for none in [f64::NAN, f64::INFINITY, -3.0] {
            let observation = |_| Observation { outstanding: Some(7), queued: Some(none), arrived: 3 };
            assert_eq!(end(settling(), observation), (51, SettleEnd::Unread));
        }
        let observation = |_| Observation { outstanding: Some(7), queued: Some(1.0), arrived: 3 };
        assert_eq!(end(settling(), observation), (180, SettleEnd::Deadline));
    }

    #[test]
    fn what_cannot_be_read_and_moves_no_more_is_not_waited_for() {
        let observation = |now: u64| Observation { outstanding: Some(7), queued: None, arrived: now.min(30) };
        assert_eq!(end(settling(), observation), (81, SettleEnd::Unread));
        // What holds something still, and is seen to, may move yet.
        let observation = |now: u64| Observation {
            outstanding: Some(7),
            queued: if now == 70 { Some(4.0) } else { None },
            arrived: now.min(30),
        };
        assert_eq!(end(settling(), observation), (122, SettleEnd::Unread));
        // Nobody knows what is outstanding while the sinks do not answer.
        let observation = |_| Observation { outstanding: None, queued: None, arrived: 0 };
        assert_eq!(end(settling(), observation), (180, SettleEnd::Deadline));
    }

    #[test]
    fn how_long_nothing_arrived_is_told() {
        let mut settling = settling();
        for now in 0..40 {
            let observation = Observation { outstanding: Some(7), queued: Some(3.0), arrived: now.min(10) };
            assert_eq!(settling.observe(seconds(now), observation), None);
        }
        assert_eq!(settling.still_for(seconds(39)), seconds(29));
    }

    proptest! {
        /// Waiting never ends as quiet unless everything was still, and known, for the whole pause.
        #[test]
        fn quiet_is_never_claimed_early(stretches in prop::collection::vec(
            (prop::option::weighted(0.8, 0u64..3), prop::option::of(prop::bool::ANY), 0u64..3, 1usize..70), 1..20)) {
            let observations: Vec<_> = stretches.iter()
                .flat_map(|(known, full, arrived, long)| std::iter::repeat_n((*known, *full, *arrived), *long))
                .collect();
            let mut settling = settling();
            for (now, (outstanding, full, arrived)) in observations.iter().copied().enumerate() {
                let queued = full.map(|full| if full { 1.0 } else { 0.0 });
                let Some(end) = settling.observe(seconds(now as u64), Observation { outstanding, queued, arrived }) else { continue };
                if matches!(end, SettleEnd::Quiet | SettleEnd::Unread) {
                    let still = &observations[now - 50..=now];
                    let readable = (end == SettleEnd::Quiet).then_some(false);
                    let quiet = still.iter().all(|(known, queued, there)| {
                        known.is_some() && *queued == readable && *there == still[0].2
                    });
                    prop_assert!(quiet);
                    prop_assert!(settling.still_for(seconds(now as u64)) >= seconds(50));
                }
                break;
            }
        }
    }
}
