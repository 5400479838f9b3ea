//! How the backend answers: what the step `backend` says.

use super::{Bytes, Share, Span};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tonic::Code;

/// See [`super::Step::Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the codes are gRPC's own")]
pub enum Answers {
    /// It takes everything.
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
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

/// See [`Answers::Slow`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    pub fn fault(&self) -> String {
        format!("backend-{}", self.answers.name())
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
    pub(super) fn name(&self) -> String {
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

    fn problem(&self) -> Option<&'static str> {
        let zero = |span: Option<Span>| span.is_some_and(|span| span.duration().is_zero());
        let untold = self.share.is_none() && self.lasts.is_none() && self.retry_after.is_none();
        match self.answers {
            Answers::Ok if !untold => {
                Some("one that takes everything does so always, and to all: `ok` alone")
            }
            _ if zero(self.lasts) => Some("`for` must be above 0"),
            _ if self.retry_after.is_some() && self.answers.code().is_none() => {
                Some("`retry_after` is sent with a code, such as `unavailable`")
            }
            Answers::RefuseConnections if self.share.is_some() => {
                Some("a port refuses all connections or none: no `share` with `refuse-connections`")
            }
            Answers::Partial(OneIn { one_in: 0 }) | Answers::Forget(OneIn { one_in: 0 }) => {
                Some("`one_in` must be above 0")
            }
            Answers::ReceiveLimit(limit) if limit.count() == 0 => Some("`receive-limit` must be above 0"),
            Answers::Slow(slow) => slow.problem(),
            _ => None,
        }
    }
}

impl Slow {
    fn problem(&self) -> Option<&'static str> {
        let zero = |span: Span| span.duration().is_zero();
        match (self.min, self.max, self.mean) {
            (None, None, None) => Some("slow: say `min` and `max`, or `mean`"),
            (_, None, None) => Some("slow: without `mean`, `max` is needed"),
            (_, Some(max), _) if zero(max) => Some("slow: `max` must be above 0"),
            (_, _, Some(mean)) if zero(mean) => Some("slow: `mean` must be above 0"),
            (Some(min), Some(max), _) if min > max => Some("slow: `min` is longer than `max`"),
            _ => None,
        }
    }
}

/// A step that makes sense: what does not is refused here, where its place in the file is known.
pub(super) fn sensible<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Backend, D::Error> {
    let backend = Backend::deserialize(deserializer)?;
    backend.problem().map_or(Ok(backend), |problem| Err(D::Error::custom(format!("backend: {problem}"))))
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
        assert_eq!(slow.fault(), "backend-slow");
        assert_eq!(slow.target(), "sink (10% of the requests)");
        assert_eq!(slow.name(), "the backend is slow, for 10% of the requests");
        assert_eq!(parse("answers: unavailable").name(), "the backend is unavailable");
        assert_eq!(
            parse("answers: {receive-limit: 64KiB}").name(),
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
