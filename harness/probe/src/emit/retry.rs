//! The retry policy: the answers that are retried, and the pauses. Pure.
//!
//! The policy of an SDK's exporter: pauses of 1 s, each 1.5 times the one before, up to 5 s, with a random deviation of
//! up to 20 %; the agent's `RetryInfo` takes precedence.
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling>

use std::time::Duration;
use tonic::Code;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(5);
const FACTOR: f64 = 1.5;
const SPREAD: f64 = 0.2;
/// The longest pause that an agent may request, so that a load does not sleep.
const MAX_REQUESTED_PAUSE: Duration = Duration::from_secs(60);

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptResult {
    /// The agent accepted all of it.
    Accepted,
    /// The agent accepted a part; it is not known which.
    Partial,
    /// To be retried, after the pause that the agent requested if there is one. `sent` is `true` if any of it may have
    /// reached the agent.
    Retry { why: String, after: Option<Duration>, sent: bool },
    /// Refused permanently, with a gRPC code or (100 and above) an HTTP status.
    Rejected { code: i32, why: String },
}

/// The pause after attempt `attempt` (from 0); `chance` is from 0 to 1.
pub(super) fn pause(attempt: u32, requested: Option<Duration>, chance: f64) -> Duration {
    if let Some(requested) = requested {
        return requested.min(MAX_REQUESTED_PAUSE);
    }
    let exponent = i32::try_from(attempt.min(20)).unwrap_or(20);
    let pause = FIRST_PAUSE.mul_f64(FACTOR.powi(exponent)).min(MAX_PAUSE);
    pause.mul_f64(1.0 + SPREAD * (2.0 * chance - 1.0))
}

/// Classifies a gRPC status by the protocol's table.
/// <https://opentelemetry.io/docs/specs/otlp/#failures>
pub(super) fn grpc(code: Code, message: &str, requested: Option<Duration>) -> AttemptResult {
    let why = || format!("{code:?}: {message}");
    match code {
        Code::Ok => AttemptResult::Accepted,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => AttemptResult::Retry { why: why(), after: requested, sent: true },
        Code::ResourceExhausted if requested.is_some() => {
            AttemptResult::Retry { why: why(), after: requested, sent: true }
        }
        code => AttemptResult::Rejected { code: code.into(), why: why() },
    }
}

/// Classifies an HTTP status. <https://opentelemetry.io/docs/specs/otlp/#failures-1>
pub(super) fn http(status: u16, message: &str, requested: Option<Duration>) -> AttemptResult {
    let why = || format!("HTTP {status}: {message}");
    match status {
        200..300 => AttemptResult::Accepted,
        429 | 502 | 503 | 504 => AttemptResult::Retry { why: why(), after: requested, sent: true },
        status => AttemptResult::Rejected { code: status.into(), why: why() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_the_agent_may_request_another() {
        let pauses: Vec<_> = (0..6).map(|attempt| pause(attempt, None, 0.5).as_millis()).collect();
        assert_eq!(pauses, [1_000, 1_500, 2_250, 3_375, 5_000, 5_000]);
        assert_eq!(pause(0, None, 0.0).as_millis(), 800);
        assert_eq!(pause(u32::MAX, None, 1.0).as_millis(), 6_000);
        assert_eq!(pause(3, Some(Duration::from_millis(20)), 0.5).as_millis(), 20);
        assert_eq!(pause(3, Some(Duration::MAX), 0.5), MAX_REQUESTED_PAUSE);
    }

    #[test]
    fn permanent_refusals_are_not_retried() {
        let second = Some(Duration::from_secs(1));
        let again = |answer| matches!(answer, AttemptResult::Retry { .. });
        assert!(again(grpc(Code::Unavailable, "", None)));
        assert!(again(grpc(Code::ResourceExhausted, "", second)));
        assert!(!again(grpc(Code::ResourceExhausted, "", None)));
        assert!(!again(grpc(Code::Internal, "", second)));
        assert!(matches!(grpc(Code::InvalidArgument, "", None), AttemptResult::Rejected { code: 3, .. }));
        assert!(again(http(503, "", None)) && again(http(429, "", second)));
        assert!(matches!(http(400, "", None), AttemptResult::Rejected { code: 400, .. }));
        assert_eq!(http(200, "", None), AttemptResult::Accepted);
    }
}
