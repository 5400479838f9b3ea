//! What the sink does to a request or a connection, as it was told: a pure decision.
//!
//! A share is chosen by a seeded hash of a running number, so a seed gives the same choice again.

use crate::control::{Behaviour, Behaviours, Refuse, Slow, behaviour::Kind};
use spanproof_ledger::hash;
use std::time::Duration;

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Deed {
    /// It is taken.
    Take,
    /// It is refused with a code.
    Refuse(Refuse),
    /// It is larger than this many bytes, so refused.
    TooLarge(u32),
    /// Its stream is reset.
    ResetStream,
    /// It is not answered before then, Unix time in milliseconds, unless the sink is told otherwise.
    Hang { until_unix_ms: u64 },
    /// It is taken, and answered after a pause; `take_first`: the pause is between the two.
    Slow { pause: Duration, take_first: bool },
    /// Taken but for one span in so many.
    Partial { one_in: u64 },
    /// Taken, but one span in so many is forgotten.
    Forget { one_in: u64 },
}

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
}

/// What the sink was told, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Conduct {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    kind: Kind,
    per_million: u32,
    /// Not in force from then on, Unix time in milliseconds.
    ends_unix_ms: u64,
    /// Of its choice: two rules choose independently.
    seed: u64,
}

const MILLION: u32 = 1_000_000;

impl Conduct {
    /// What a list says; or what is wrong with it.
    pub(super) fn of(seed: u64, behaviours: &Behaviours) -> Result<Self, String> {
        let rules = (0..).zip(&behaviours.behaviours).map(|(index, behaviour)| {
            Rule::of(behaviour, hash(seed, index)).map_err(|problem| format!("behaviour {index}: {problem}"))
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    fn in_force(&self, unix_ms: u64) -> impl Iterator<Item = &Rule> + '_ {
        self.rules.iter().filter(move |rule| unix_ms < rule.ends_unix_ms)
    }

    /// Whether anybody may connect.
    pub(super) fn listens(&self, unix_ms: u64) -> bool {
        !self.in_force(unix_ms).any(|rule| matches!(rule.kind, Kind::RefuseConnections(_)))
    }

    /// What is done to connection `number`; nothing if nothing hits it.
    pub(super) fn to_connection(&self, unix_ms: u64, number: u64) -> Option<Fate> {
        self.in_force(unix_ms).find_map(|rule| match rule.kind {
            Kind::RefuseConnections(_) => Some(Fate::Close),
            Kind::ResetConnections(_) if rule.hits(number) => Some(Fate::Reset),
            _ => None,
        })
    }

    /// What is done to request `number`, which is `bytes` large.
    pub(super) fn to_request(&self, unix_ms: u64, number: u64, bytes: usize) -> Deed {
        let mut chosen = self.in_force(unix_ms).filter(|rule| rule.hits(number));
        chosen.find_map(|rule| rule.deed(number, bytes)).unwrap_or(Deed::Take)
    }

    /// When this changes by itself, Unix time in milliseconds; never if that is `u64::MAX`.
    pub(super) fn changes_unix_ms(&self, unix_ms: u64) -> u64 {
        self.in_force(unix_ms).map(|rule| rule.ends_unix_ms).min().unwrap_or(u64::MAX)
    }
}

impl Rule {
    fn of(behaviour: &Behaviour, seed: u64) -> Result<Self, String> {
        let kind = behaviour.kind.ok_or("of no kind")?;
        let per_million = match behaviour.per_million {
            0 => MILLION,
            share if share <= MILLION => share,
            share => return Err(format!("{share} of a million")),
        };
        let problem = match kind {
            Kind::Refuse(Refuse { code: 1..=16, .. }) => None,
            Kind::Refuse(_) => Some("no code of gRPC's to refuse with: 1 to 16"),
            Kind::RefuseConnections(_) if behaviour.per_million != 0 => {
                Some("a port refuses all connections or none: no share")
            }
            Kind::Slow(slow) => slow_problem(&slow),
            Kind::Partial(partial) if partial.one_in == 0 => Some("partial: one in 0"),
            Kind::Forget(forget) if forget.one_in == 0 => Some("forget: one in 0"),
            Kind::ReceiveLimit(0) => Some("a limit of 0 bytes"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(problem.to_owned());
        }
        let ends_unix_ms = match behaviour.window_ms {
            0 => u64::MAX,
            window => behaviour.told_unix_ms.saturating_add(window),
        };
        Ok(Self { kind, per_million, ends_unix_ms, seed })
    }

    fn hits(&self, number: u64) -> bool {
        hash(self.seed, number) % u64::from(MILLION) < u64::from(self.per_million)
    }

    /// None if it is about connections, or does not concern requests of this size.
    fn deed(&self, number: u64, bytes: usize) -> Option<Deed> {
        Some(match self.kind {
            Kind::RefuseConnections(_) | Kind::ResetConnections(_) => return None,
            Kind::ReceiveLimit(limit) => {
                usize::try_from(limit).is_ok_and(|limit| bytes > limit).then_some(Deed::TooLarge(limit))?
            }
            Kind::Refuse(refuse) => Deed::Refuse(refuse),
            Kind::ResetStreams(_) => Deed::ResetStream,
            Kind::Slow(slow) => {
                Deed::Slow { pause: pause(&slow, hash(!self.seed, number)), take_first: slow.take_first }
            }
            Kind::Hang(_) => Deed::Hang { until_unix_ms: self.ends_unix_ms },
            Kind::Partial(partial) => Deed::Partial { one_in: partial.one_in },
            Kind::Forget(forget) => Deed::Forget { one_in: forget.one_in },
        })
    }
}

fn slow_problem(slow: &Slow) -> Option<&'static str> {
    if !slow.mean_ms.is_finite() || slow.mean_ms < 0.0 {
        Some("slow: the mean is not a time")
    } else if slow.min_ms > slow.max_ms && (slow.max_ms > 0 || slow.mean_ms == 0.0) {
        Some("slow: the shortest pause is longer than the longest")
    } else if slow.max_ms == 0 && slow.mean_ms == 0.0 {
        Some("slow: without a pause")
    } else {
        None
    }
}

/// A pause; `random` is evenly spread over 64 bits.
fn pause(slow: &Slow, random: u64) -> Duration {
    if slow.mean_ms == 0.0 {
        let width = u128::from(slow.max_ms - slow.min_ms) + 1;
        // Below `width`, so it fits.
        let above = ((u128::from(random) * width) >> 64) as u64;
        return Duration::from_millis(slow.min_ms + above);
    }
    // In (0, 1]: 53 bits are what an f64 holds.
    let share = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let longest = if slow.max_ms == 0 { u64::MAX } else { slow.max_ms };
    let above = Duration::try_from_secs_f64(-share.ln() * slow.mean_ms / 1_000.0);
    let pause = Duration::from_millis(slow.min_ms).saturating_add(above.unwrap_or(Duration::MAX));
    pause.min(Duration::from_millis(longest))
}

#[cfg(test)]
mod tests;
