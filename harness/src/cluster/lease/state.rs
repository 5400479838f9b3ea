//! The rules of the lease: who may acquire it, and what its holder does after a renewal. No I/O.

use std::time::Duration;

/// The timing of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// The lease's duration after a renewal.
    pub(super) lasts: Duration,
    /// The holder's interval between renewals.
    pub(super) renew_interval: Duration,
    /// The time for which a lease that seems to have expired is watched before it is acquired: clocks differ, and a
    /// holder that could not renew for a while may still be alive.
    pub(super) probation: Duration,
    /// The interval at which a waiting process looks at the lease.
    pub(super) poll_interval: Duration,
    /// The longest wait for the API server's answer to a renewal.
    pub(super) answer_timeout: Duration,
}

/// A lease as it was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObservedLease {
    pub(super) holder: Holder,
    /// The duration after a renewal, as the lease itself says.
    pub(super) lasts: Duration,
    /// The time since the last renewal, from the holder's clock to this machine's.
    pub(super) age: Duration,
    /// The time for which it has been seen not to change.
    pub(super) unchanged_for: Duration,
}

/// The holder of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// A process that is seen to be dead.
    Dead,
    Somebody,
}

/// A decision about a lease that this process wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is free: acquire it.
    Take,
    /// It seems to have expired: watch whether it is renewed, and acquire it if not.
    Watch,
    /// Somebody holds it.
    Held,
}

/// Decides what to do about an existing lease that this process wants.
pub(super) fn decide(lease: ObservedLease, terms: &Terms) -> Decision {
    let ObservedLease { holder, lasts, age, unchanged_for } = lease;
    match holder {
        Holder::Nobody | Holder::Dead => Decision::Take,
        // Whatever the clocks say: a holder that lives would have renewed it.
        Holder::Somebody if unchanged_for >= lasts.max(terms.probation) => Decision::Take,
        Holder::Somebody if age >= lasts && unchanged_for >= terms.probation => Decision::Take,
        Holder::Somebody if age >= lasts => Decision::Watch,
        Holder::Somebody => Decision::Held,
    }
}

/// The result of a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Renewal {
    Renewed,
    /// The object has changed: this is its holder now.
    Found(FoundHolder),
    /// No answer in time, or none that tells anything.
    Unknown,
}

/// The holder of a lease.that was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundHolder {
    /// This process: an earlier renewal had no answer, but an effect.
    Ours,
    /// Nobody: the object was deleted.
    Nobody,
    /// Another process, which has taken the lease over.
    Other(String),
}

/// The holder's next step after a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Renew at the next interval.
    Wait,
    /// Renew the object that was found, at once.
    Adopt,
    /// Create the object again.
    Recreate,
    /// Stop: another process has taken the lease over.
    Lost(String),
}

/// Returns the holder's next step after a renewal. Without an answer it carries on: an unavailable API server may be
/// the very fault of the scenario, and nobody can take the lease over meanwhile.
pub(super) fn after_renewal(answer: Renewal) -> NextStep {
    match answer {
        Renewal::Renewed | Renewal::Unknown => NextStep::Wait,
        Renewal::Found(FoundHolder::Ours) => NextStep::Adopt,
        Renewal::Found(FoundHolder::Nobody) => NextStep::Recreate,
        Renewal::Found(FoundHolder::Other(by)) => NextStep::Lost(by),
    }
}

#[cfg(test)]
mod tests {
    use super::super::TERMS;
    use super::*;
    use proptest::prelude::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn seen(holder: Holder, age: u64, unchanged_for: u64) -> Decision {
        decide(
            ObservedLease { holder, lasts: TERMS.lasts, age: S(age), unchanged_for: S(unchanged_for) },
            &TERMS,
        )
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free() {
        assert_eq!(seen(Holder::Nobody, 0, 0), Decision::Take);
        assert_eq!(seen(Holder::Dead, 0, 0), Decision::Take);
        assert_eq!(seen(Holder::Somebody, 5, 0), Decision::Held);
        assert_eq!(seen(Holder::Somebody, 59, 30), Decision::Held);
        assert_eq!(seen(Holder::Somebody, 60, 0), Decision::Watch, "its holder's clock may be behind");
        assert_eq!(seen(Holder::Somebody, 75, 15), Decision::Take);
        assert_eq!(seen(Holder::Somebody, 0, 60), Decision::Take, "its holder's clock is ahead");
    }

    proptest! {
        /// A holder that renews in time keeps its lease, whatever the clocks say.
        #[test]
        fn a_holder_that_renews_keeps_it(age in 0_u64..100_000, unchanged_for in 0_u64..15, lasts in 0_u64..100) {
            let lease = ObservedLease {
                holder: Holder::Somebody, lasts: S(lasts), age: S(age), unchanged_for: S(unchanged_for),
            };
            prop_assert_ne!(decide(lease, &TERMS), Decision::Take);
        }

        /// A lease that is not renewed becomes free, whatever the clocks say, and stays free.
        #[test]
        fn one_that_is_not_renewed_is_free_in_the_end(age in 0_u64..100_000, unchanged_for in 0_u64..200) {
            let now = seen(Holder::Somebody, age, unchanged_for);
            let later = seen(Holder::Somebody, age + 1, unchanged_for + 1);
            prop_assert!(now != Decision::Take || later == Decision::Take);
            prop_assert_eq!(seen(Holder::Somebody, age, 60), Decision::Take);
        }
    }
}
