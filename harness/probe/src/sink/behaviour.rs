//! The sink's behaviour: pure decisions on each request and connection.
//!
//! A share is selected by a seeded hash of a running number, so a seed gives the same selection again.

use crate::control::{Behaviour, Behaviours, Refuse, Slow, behaviour::Kind};
use spanproof_ledger::hash;
use std::time::Duration;

/// The action for a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum RequestAction {
    /// Accept it.
    Take,
    /// Refuse it with a code.
    Refuse(Refuse),
    /// Refuse it because it has more than this many bytes.
    TooLarge(u32),
    /// Reset its stream.
    ResetStream,
    /// Leave it unanswered until then (Unix time in milliseconds) or until the next change of the behaviour.
    Hang { until_unix_ms: u64 },
    /// Wait, then accept and answer it; with `take_first`, accept it, wait, then answer.
    Slow { pause: Duration, take_first: bool },
    /// Accept all spans but one in `one_in`.
    Partial { one_in: u64 },
    /// Acknowledge all spans, but do not record one in `one_in`.
    Forget { one_in: u64 },
}

/// The action for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionAction {
    /// Close it.
    Close,
    /// Reset it.
    Reset,
}

/// The validated behaviour of the sink.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct BehaviourRules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    kind: Kind,
    per_million: u32,
    /// The end of its window, Unix time in milliseconds.
    ends_unix_ms: u64,
    /// The seed of its selection: two rules select independently.
    seed: u64,
}

const MILLION: u32 = 1_000_000;

impl BehaviourRules {
    /// Validates a list of behaviours; the error is its problem.
    pub(super) fn of(seed: u64, behaviours: &Behaviours) -> Result<Self, String> {
        let rules = (0..).zip(&behaviours.behaviours).map(|(index, behaviour)| {
            Rule::of(behaviour, hash(seed, index)).map_err(|problem| format!("behaviour {index}: {problem}"))
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    fn in_force(&self, unix_ms: u64) -> impl Iterator<Item = &Rule> + '_ {
        self.rules.iter().filter(move |rule| unix_ms < rule.ends_unix_ms)
    }

    /// Returns `true` if the port is open.
    pub(super) fn listens(&self, unix_ms: u64) -> bool {
        !self.in_force(unix_ms).any(|rule| matches!(rule.kind, Kind::RefuseConnections(_)))
    }

    /// The action for connection `number`; none if no rule selects it.
    pub(super) fn connection_action(&self, unix_ms: u64, number: u64) -> Option<ConnectionAction> {
        self.in_force(unix_ms).find_map(|rule| match rule.kind {
            Kind::RefuseConnections(_) => Some(ConnectionAction::Close),
            Kind::ResetConnections(_) if rule.selects(number) => Some(ConnectionAction::Reset),
            _ => None,
        })
    }

    /// The action for request `number`, of `bytes` bytes.
    pub(super) fn request_action(&self, unix_ms: u64, number: u64, bytes: usize) -> RequestAction {
        let mut selecting = self.in_force(unix_ms).filter(|rule| rule.selects(number));
        selecting.find_map(|rule| rule.action(number, bytes)).unwrap_or(RequestAction::Take)
    }

    /// The end of the next window, Unix time in milliseconds; `u64::MAX` if there is none.
    pub(super) fn next_change_unix_ms(&self, unix_ms: u64) -> u64 {
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
            window => behaviour.since_unix_ms.saturating_add(window),
        };
        Ok(Self { kind, per_million, ends_unix_ms, seed })
    }

    fn selects(&self, number: u64) -> bool {
        hash(self.seed, number) % u64::from(MILLION) < u64::from(self.per_million)
    }

    /// The action for a selected request; none if the rule is about connections or larger requests.
    fn action(&self, number: u64, bytes: usize) -> Option<RequestAction> {
        Some(match self.kind {
            Kind::RefuseConnections(_) | Kind::ResetConnections(_) => return None,
            Kind::ReceiveLimit(limit) => usize::try_from(limit)
                .is_ok_and(|limit| bytes > limit)
                .then_some(RequestAction::TooLarge(limit))?,
            Kind::Refuse(refuse) => RequestAction::Refuse(refuse),
            Kind::ResetStreams(_) => RequestAction::ResetStream,
            Kind::Slow(slow) => RequestAction::Slow {
                pause: pause(&slow, hash(!self.seed, number)),
                take_first: slow.take_first,
            },
            Kind::Hang(_) => RequestAction::Hang { until_unix_ms: self.ends_unix_ms },
            Kind::Partial(partial) => RequestAction::Partial { one_in: partial.one_in },
            Kind::Forget(forget) => RequestAction::Forget { one_in: forget.one_in },
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

/// A pause; `random` is uniform over 64 bits.
fn pause(slow: &Slow, random: u64) -> Duration {
    if slow.mean_ms == 0.0 {
        let width = u128::from(slow.max_ms - slow.min_ms) + 1;
        // Below `width`, so it fits.
        let above = ((u128::from(random) * width) >> 64) as u64;
        return Duration::from_millis(slow.min_ms + above);
    }
    // In (0, 1]: an f64 has 53 bits.
    let share = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let longest = if slow.max_ms == 0 { u64::MAX } else { slow.max_ms };
    let above = Duration::try_from_secs_f64(-share.ln() * slow.mean_ms / 1_000.0);
    let pause = Duration::from_millis(slow.min_ms).saturating_add(above.unwrap_or(Duration::MAX));
    pause.min(Duration::from_millis(longest))
}

#[cfg(test)]
mod tests;
