//! The answers of the backend, which the step `backend` sets.

use super::Code;
use super::field_path::ensure;
use super::{Bytes, FaultName, FieldPath, Problem, Share, Span, bounds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer of the backend from now on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"answers": "unavailable", "for": "20s"}]))]
pub struct Backend {
    /// The answer.
    pub answers: Answers,
    /// The share of the requests that it affects; with `reset-connections`, of the connections. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// The duration. Then the backend takes everything again, and the step ends when it was seen to do so. Without it, the
    /// answer stays until the next `backend` step.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// The time after which the client is asked to try again, in gRPC's `RetryInfo`. Only with a gRPC code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

/// An answer of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// Takes everything.
    Ok,
    /// Takes nothing, and answers with gRPC's `CANCELLED`: a Collector tries again.
    Cancelled,
    /// Takes nothing, and answers with gRPC's `UNKNOWN`: a Collector drops what was refused.
    Unknown,
    /// Takes nothing, and answers with gRPC's `INVALID_ARGUMENT`: a Collector drops what was refused.
    InvalidArgument,
    /// Takes nothing, and answers with gRPC's `DEADLINE_EXCEEDED`: a Collector tries again.
    DeadlineExceeded,
    /// Takes nothing, and answers with gRPC's `NOT_FOUND`: a Collector drops what was refused.
    NotFound,
    /// Takes nothing, and answers with gRPC's `ALREADY_EXISTS`: a Collector drops what was refused.
    AlreadyExists,
    /// Takes nothing, and answers with gRPC's `PERMISSION_DENIED`: a Collector drops what was refused.
    PermissionDenied,
    /// Takes nothing, and answers with gRPC's `RESOURCE_EXHAUSTED`: a Collector tries again only
    /// with `retry_after`.
    ResourceExhausted,
    /// Takes nothing, and answers with gRPC's `FAILED_PRECONDITION`: a Collector drops what was refused.
    FailedPrecondition,
    /// Takes nothing, and answers with gRPC's `ABORTED`: a Collector tries again.
    Aborted,
    /// Takes nothing, and answers with gRPC's `OUT_OF_RANGE`: a Collector tries again.
    OutOfRange,
    /// Takes nothing, and answers with gRPC's `UNIMPLEMENTED`: a Collector drops what was refused.
    Unimplemented,
    /// Takes nothing, and answers with gRPC's `INTERNAL`: a Collector drops what was refused.
    Internal,
    /// Takes nothing, and answers with gRPC's `UNAVAILABLE`: a Collector tries again.
    Unavailable,
    /// Takes nothing, and answers with gRPC's `DATA_LOSS`: a Collector tries again.
    DataLoss,
    /// Takes nothing, and answers with gRPC's `UNAUTHENTICATED`: a Collector drops what was refused.
    Unauthenticated,
    /// Does not listen, and cuts open connections off. Takes no `share`.
    RefuseConnections,
    /// Resets connections, open ones and new ones, with TCP RST.
    ResetConnections,
    /// Resets streams with HTTP/2 `RST_STREAM`, which a client sees as gRPC's `INTERNAL`: a Collector drops what was refused.
    ResetStreams,
    /// Never answers, and takes nothing.
    Hang,
    /// Takes each request after a pause.
    Slow(Slow),
    /// Takes all spans but one in N, and reports how many it refused.
    Partial(OneIn),
    /// Refuses larger requests with gRPC's `RESOURCE_EXHAUSTED`, as a server does: a Collector drops what was refused.
    ReceiveLimit(Bytes),
    /// Acknowledges all spans, and forgets one in N.
    Forget(OneIn),
}

/// The pauses before the answers: `max`, and `min` or `mean` or both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// The shortest pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Span>,
    /// The longest pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// The mean of the pauses, which then are distributed exponentially, from `min` on. Without it they are distributed
    /// evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Span>,
    /// Takes the request before the pause, so that a client that gives up meanwhile sends it again.
    #[serde(default)]
    pub take_first: bool,
}

/// A part of the spans, selected by hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneIn {
    /// N: affects the spans with `hash(seed, span ID) mod N = 0`.
    #[schemars(range(min = 1))]
    pub one_in: u64,
}

/// A pattern of the answers that are gRPC codes, and of others.
macro_rules! codes {
    ($(| $other:pat_param)*) => {
        Answers::Cancelled
            | Answers::Unknown
            | Answers::InvalidArgument
            | Answers::DeadlineExceeded
            | Answers::NotFound
            | Answers::AlreadyExists
            | Answers::PermissionDenied
            | Answers::ResourceExhausted
            | Answers::FailedPrecondition
            | Answers::Aborted
            | Answers::OutOfRange
            | Answers::Unimplemented
            | Answers::Internal
            | Answers::Unavailable
            | Answers::DataLoss
            | Answers::Unauthenticated
            $(| $other)*
    };
}

impl Answers {
    /// Returns the gRPC code of a refusal; none for any other answer.
    pub const fn code(&self) -> Option<Code> {
        Some(match self {
            Self::Cancelled => Code::Cancelled,
            Self::Unknown => Code::Unknown,
            Self::InvalidArgument => Code::InvalidArgument,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::Aborted => Code::Aborted,
            Self::OutOfRange => Code::OutOfRange,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
            Self::Unavailable => Code::Unavailable,
            Self::DataLoss => Code::DataLoss,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Ok
            | Self::RefuseConnections
            | Self::ResetConnections
            | Self::ResetStreams
            | Self::Hang
            | Self::Slow(_)
            | Self::Partial(_)
            | Self::ReceiveLimit(_)
            | Self::Forget(_) => return None,
        })
    }

    /// Returns its name in scenarios.
    pub fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(serde_json::Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
            _ => String::new(),
        }
    }
}

impl Backend {
    /// A backend that takes everything.
    pub const fn well() -> Self {
        Self { answers: Answers::Ok, share: None, lasts: None, retry_after: None }
    }

    /// Returns the name of the fault.
    pub fn fault(&self) -> FaultName {
        FaultName::Backend(self.answers.name())
    }

    /// Returns the target of the fault, for reports.
    pub fn target(&self) -> String {
        self.share.map_or_else(|| "sink".to_owned(), |share| format!("sink ({share} of the {})", self.what()))
    }

    /// Returns whether it is an outage: the backend takes nothing, and the Collectors keep everything until it does again.
    pub const fn is_outage(&self) -> bool {
        let all = match self.share {
            None => true,
            Some(share) => share.fraction() >= 1.0,
        };
        all && match self.answers {
            Answers::RefuseConnections | Answers::ResetConnections | Answers::Hang => true,
            codes!() => match self.answers.code() {
                Some(Code::ResourceExhausted) => self.retry_after.is_some(),
                Some(code) => code.is_retried(),
                None => false,
            },
            Answers::Ok
            | Answers::ResetStreams
            | Answers::Slow(_)
            | Answers::Partial(_)
            | Answers::ReceiveLimit(_)
            | Answers::Forget(_) => false,
        }
    }

    /// Returns what a share of it is a share of.
    const fn what(&self) -> &'static str {
        if matches!(self.answers, Answers::ResetConnections) { "connections" } else { "requests" }
    }

    /// Returns its name in reports.
    pub(super) fn description(&self) -> String {
        let does = match self.answers {
            Answers::Ok => "takes everything".to_owned(),
            Answers::RefuseConnections => "refuses connections".to_owned(),
            Answers::ResetConnections => "resets connections".to_owned(),
            Answers::ResetStreams => "resets streams".to_owned(),
            Answers::Hang => "hangs".to_owned(),
            Answers::Slow(_) => "is slow".to_owned(),
            Answers::Partial(OneIn { one_in }) => format!("does not take one span in {one_in}"),
            Answers::ReceiveLimit(limit) => format!("takes no request above {limit}"),
            Answers::Forget(OneIn { one_in }) => format!("forgets one span in {one_in}"),
            code @ codes!() => match code.name().as_str() {
                unavailable @ "unavailable" => format!("is {unavailable}"),
                code => format!("answers {code}"),
            },
        };
        let share =
            self.share.map_or_else(String::new, |share| format!(", for {share} of the {}", self.what()));
        let lasts = self.lasts.map_or_else(String::new, |lasts| format!(", for {lasts}"));
        format!("the backend {does}{share}{lasts}")
    }

    /// Checks what its fields must fulfil besides their types.
    pub(super) fn check_fields(&self, at: &FieldPath) -> Result<(), Problem> {
        let untold = self.share.is_none() && self.lasts.is_none() && self.retry_after.is_none();
        let alone = "one that takes everything does so always, and to all: `ok` alone";
        ensure(self.answers != Answers::Ok || untold, at, alone)?;
        let lasts = self.lasts.is_none_or(|lasts| !lasts.duration().is_zero());
        ensure(lasts, &at.then("for"), "`for` must be above 0")?;
        let code = self.retry_after.is_none() || self.answers.code().is_some();
        let sent = "`retry_after` is sent with a code, such as `unavailable`";
        ensure(code, &at.then("retry_after"), sent)?;
        let all = self.answers != Answers::RefuseConnections || self.share.is_none();
        let none = "a port refuses all connections or none: no `share` with `refuse-connections`";
        ensure(all, &at.then("share"), none)?;
        let at = at.then("answers").then(self.answers.name());
        match self.answers {
            Answers::Partial(part) | Answers::Forget(part) => bounds::check(&part, &at),
            Answers::ReceiveLimit(limit) => ensure(limit.count() > 0, &at, "`receive-limit` must be above 0"),
            Answers::Slow(slow) => slow.check(&at),
            codes!(|Answers::Ok| Answers::RefuseConnections
                | Answers::ResetConnections
                | Answers::ResetStreams
                | Answers::Hang) => Ok(()),
        }
    }
}

impl Slow {
    fn check(&self, at: &FieldPath) -> Result<(), Problem> {
        for (name, span) in [("max", self.max), ("mean", self.mean)] {
            let some = span.is_none_or(|span| !span.duration().is_zero());
            ensure(some, &at.then(name), format!("`{name}` must be above 0"))?;
        }
        match (self.min, self.max, self.mean) {
            (None, None, None) => Err(Problem::new(at.clone(), "say `min` and `max`, or `mean`")),
            (_, None, None) => Err(Problem::new(at.clone(), "without `mean`, `max` is needed")),
            (Some(min), Some(max), _) => ensure(min <= max, &at.then("min"), "`min` is longer than `max`"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Backend {
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn every_answer_has_the_name_that_it_is_written_with() {
        for name in ["ok", "unavailable", "invalid-argument", "reset-streams", "hang"] {
            assert_eq!(parse(&format!("answers: {name}")).answers.name(), name);
        }
        let slow = parse("answers: {slow: {min: 500ms, max: 2s}}\nshare: 10%");
        assert_eq!(slow.fault().to_string(), "backend-slow");
        assert_eq!(slow.target(), "sink (10% of the requests)");
        assert_eq!(slow.description(), "the backend is slow, for 10% of the requests");
        assert_eq!(parse("answers: unavailable").description(), "the backend is unavailable");
        assert_eq!(
            parse("answers: {receive-limit: 64KiB}").description(),
            "the backend takes no request above 64KiB"
        );
    }

    #[test]
    fn only_what_takes_nothing_and_is_tried_again_is_an_outage() {
        for (text, outage) in [
            ("answers: unavailable", true),
            ("answers: hang", true),
            ("answers: refuse-connections", true),
            ("answers: resource-exhausted\nretry_after: 2s", true),
            ("answers: resource-exhausted", false),
            ("answers: internal", false),
            ("answers: reset-streams", false),
            ("answers: unavailable\nshare: 50%", false),
            ("answers: {slow: {mean: 1s}}", false),
        ] {
            assert_eq!(parse(text).is_outage(), outage, "{text}");
        }
    }
}
