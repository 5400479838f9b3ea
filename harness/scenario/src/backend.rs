//! How the backend answers: what the step `backend` says.

use super::Code;
use super::field_path::ensure;
use super::{Bytes, FaultName, FieldPath, Problem, Share, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the backend answers from now on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{"answers": "unavailable", "for": "20s"}]))]
pub struct Backend {
    /// What it says, or does.
    pub answers: Answers,
    /// Which part of the requests (of the connections, where it is done to these) it is done to; all of them if this
    /// is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// How long: then it takes everything again by itself, and the step is over when it was seen to. Without it, until
    /// another step.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Span>,
    /// With a code: after how long the client is told to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
}

/// What a backend says, or does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// It takes everything.
    Ok,
    /// It takes nothing, and answers with gRPC's `CANCELLED`: a Collector tries again.
    Cancelled,
    /// It takes nothing, and answers with gRPC's `UNKNOWN`: a Collector drops what was refused.
    Unknown,
    /// It takes nothing, and answers with gRPC's `INVALID_ARGUMENT`: a Collector drops what was refused.
    InvalidArgument,
    /// It takes nothing, and answers with gRPC's `DEADLINE_EXCEEDED`: a Collector tries again.
    DeadlineExceeded,
    /// It takes nothing, and answers with gRPC's `NOT_FOUND`: a Collector drops what was refused.
    NotFound,
    /// It takes nothing, and answers with gRPC's `ALREADY_EXISTS`: a Collector drops what was refused.
    AlreadyExists,
    /// It takes nothing, and answers with gRPC's `PERMISSION_DENIED`: a Collector drops what was refused.
    PermissionDenied,
    /// It takes nothing, and answers with gRPC's `RESOURCE_EXHAUSTED`: a Collector tries again only where `retry_after` is told.
    ResourceExhausted,
    /// It takes nothing, and answers with gRPC's `FAILED_PRECONDITION`: a Collector drops what was refused.
    FailedPrecondition,
    /// It takes nothing, and answers with gRPC's `ABORTED`: a Collector tries again.
    Aborted,
    /// It takes nothing, and answers with gRPC's `OUT_OF_RANGE`: a Collector tries again.
    OutOfRange,
    /// It takes nothing, and answers with gRPC's `UNIMPLEMENTED`: a Collector drops what was refused.
    Unimplemented,
    /// It takes nothing, and answers with gRPC's `INTERNAL`: a Collector drops what was refused.
    Internal,
    /// It takes nothing, and answers with gRPC's `UNAVAILABLE`: a Collector tries again.
    Unavailable,
    /// It takes nothing, and answers with gRPC's `DATA_LOSS`: a Collector tries again.
    DataLoss,
    /// It takes nothing, and answers with gRPC's `UNAUTHENTICATED`: a Collector drops what was refused.
    Unauthenticated,
    /// Nothing listens, and what is connected is cut off.
    RefuseConnections,
    /// TCP RST, for what is connected and what will be.
    ResetConnections,
    /// HTTP/2 `RST_STREAM`: to a client, gRPC's INTERNAL.
    ResetStreams,
    /// Never an answer; nothing is taken.
    Hang,
    /// It takes the request after a pause.
    Slow(Slow),
    /// It takes all spans but one in so many, and says how many it did not.
    Partial(OneIn),
    /// It refuses larger requests, as a gRPC server does.
    ReceiveLimit(Bytes),
    /// It acknowledges all spans, and forgets one in so many.
    Forget(OneIn),
}

/// How long the pauses are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// The shortest pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Span>,
    /// The longest pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
    /// With it pauses are distributed exponentially, with this mean; without it evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Span>,
    /// It takes the request first, and answers after the pause: who gave up meanwhile sends it again.
    #[serde(default)]
    pub take_first: bool,
}

/// A part of the spans, chosen by hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OneIn {
    /// One in so many.
    pub one_in: u64,
}

impl Answers {
    /// The gRPC code that it refuses with; none if it does something else.
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
            _ => return None,
        })
    }

    /// What it is called, as in scenarios.
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

    /// What the fault is called.
    pub fn fault(&self) -> FaultName {
        FaultName::Backend(self.answers.name())
    }

    /// To what it is done.
    pub fn target(&self) -> String {
        self.share.map_or_else(|| "sink".to_owned(), |share| format!("sink ({share} of the {})", self.what()))
    }

    /// Whether it takes nothing, and the Collectors keep everything until it takes something again.
    pub const fn is_outage(&self) -> bool {
        let all = match self.share {
            None => true,
            Some(share) => share.fraction() >= 1.0,
        };
        all && match self.answers {
            Answers::RefuseConnections
            | Answers::ResetConnections
            | Answers::Hang
            // The codes that a Collector tries again after; what is refused with another one it drops at once.
            | Answers::Cancelled
            | Answers::DeadlineExceeded
            | Answers::Aborted
            | Answers::OutOfRange
            | Answers::Unavailable
            | Answers::DataLoss => true,
            Answers::ResourceExhausted => self.retry_after.is_some(),
            _ => false,
        }
    }

    const fn what(&self) -> &'static str {
        match self.answers {
            Answers::ResetConnections => "connections",
            _ => "requests",
        }
    }

    /// What it is called in reports.
    pub(super) fn description(&self) -> String {
        let does = match self.answers {
            Answers::Ok => "takes everything".to_owned(),
            Answers::Unavailable => "is unavailable".to_owned(),
            Answers::RefuseConnections => "refuses connections".to_owned(),
            Answers::ResetConnections => "resets connections".to_owned(),
            Answers::ResetStreams => "resets streams".to_owned(),
            Answers::Hang => "hangs".to_owned(),
            Answers::Slow(_) => "is slow".to_owned(),
            Answers::Partial(OneIn { one_in }) => format!("does not take one span in {one_in}"),
            Answers::ReceiveLimit(limit) => format!("takes no request above {limit}"),
            Answers::Forget(OneIn { one_in }) => format!("forgets one span in {one_in}"),
            code => format!("answers {}", code.name()),
        };
        let share =
            self.share.map_or_else(String::new, |share| format!(", for {share} of the {}", self.what()));
        let lasts = self.lasts.map_or_else(String::new, |lasts| format!(", for {lasts}"));
        format!("the backend {does}{share}{lasts}")
    }

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
            Answers::Partial(OneIn { one_in }) | Answers::Forget(OneIn { one_in }) => {
                ensure(one_in > 0, &at.then("one_in"), "`one_in` must be above 0")
            }
            Answers::ReceiveLimit(limit) => ensure(limit.count() > 0, &at, "`receive-limit` must be above 0"),
            Answers::Slow(slow) => slow.check(&at),
            _ => Ok(()),
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
