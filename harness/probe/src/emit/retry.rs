//! When a request is sent again. Pure.
//!
//! As an SDK's exporter does it: pauses of 1 s, then half as long again each time, up to 5 s, each a fifth more or less
//! by chance; the agent's `RetryInfo` comes first. <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling>

use std::time::Duration;
use tonic::Code;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);
const FACTOR: f64 = 1.5;
const SPREAD: f64 = 0.2;
/// An agent that asks for a longer pause does not get it: a load that sleeps shows nothing.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The agent took all of it.
    Taken,
    /// The agent took a part; nobody can say which.
    Partial,
    /// Not known to be taken, and worth another try, perhaps after the pause that the agent asked for. `sent`: whether
    /// any of it may have reached the agent.
    Again { why: String, after: Option<Duration>, sent: bool },
    /// Never to be sent again: a gRPC code, or (100 and above) an HTTP status.
    Rejected { code: i32, why: String },
}

/// The pause before the attempt behind attempt `attempt` (from 0); `chance` is from 0 to 1.
pub(super) fn pause(attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
    if let Some(asked) = asked {
        return asked.min(LONGEST_ASKED);
    }
    let exponent = i32::try_from(attempt.min(20)).unwrap_or(20);
    let pause = FIRST.mul_f64(FACTOR.powi(exponent)).min(LONGEST);
    pause.mul_f64(1.0 + SPREAD * (2.0 * chance - 1.0))
}

/// Whether a gRPC status is worth another try: the protocol's table.
/// <https://opentelemetry.io/docs/specs/otlp/#failures>
pub(super) fn grpc(code: Code, message: &str, asked: Option<Duration>) -> Answer {
    let why = || format!("{code:?}: {message}");
    match code {
        Code::Ok => Answer::Taken,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Again { why: why(), after: asked, sent: true },
        Code::ResourceExhausted if asked.is_some() => Answer::Again { why: why(), after: asked, sent: true },
        code => Answer::Rejected { code: code.into(), why: why() },
    }
}

/// Whether an HTTP status is worth another try. <https://opentelemetry.io/docs/specs/otlp/#failures-1>
pub(super) fn http(status: u16, message: &str, asked: Option<Duration>) -> Answer {
    let why = || format!("HTTP {status}: {message}");
    match status {
        200..300 => Answer::Taken,
        429 | 502 | 503 | 504 => Answer::Again { why: why(), after: asked, sent: true },
        status => Answer::Rejected { code: status.into(), why: why() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_the_agent_may_ask_for_another() {
        let pauses: Vec<_> = (0..6).map(|attempt| pause(attempt, None, 0.5).as_millis()).collect();
        assert_eq!(pauses, [1_000, 1_500, 2_250, 3_375, 5_000, 5_000]);
        assert_eq!(pause(0, None, 0.0).as_millis(), 800);
        assert_eq!(pause(u32::MAX, None, 1.0).as_millis(), 6_000);
        assert_eq!(pause(3, Some(Duration::from_millis(20)), 0.5).as_millis(), 20);
        assert_eq!(pause(3, Some(Duration::MAX), 0.5), LONGEST_ASKED);
    }

    #[test]
    fn what_is_permanent_is_not_sent_again() {
        let second = Some(Duration::from_secs(1));
        let again = |answer| matches!(answer, Answer::Again { .. });
        assert!(again(grpc(Code::Unavailable, "", None)));
        assert!(again(grpc(Code::ResourceExhausted, "", second)));
        assert!(!again(grpc(Code::ResourceExhausted, "", None)));
        assert!(!again(grpc(Code::Internal, "", second)));
        assert!(matches!(grpc(Code::InvalidArgument, "", None), Answer::Rejected { code: 3, .. }));
        assert!(again(http(503, "", None)) && again(http(429, "", second)));
        assert!(matches!(http(400, "", None), Answer::Rejected { code: 400, .. }));
        assert_eq!(http(200, "", None), Answer::Taken);
    }
}
