//! `google.rpc.Status` with the one detail that is used: the pause before a retry.

use prost::Message;
use std::time::Duration;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Detail {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl RpcStatus {
    /// A status, with a `RetryInfo` if there is a pause before a retry.
    pub(crate) fn new(code: i32, message: &str, retry_after_ms: Option<u64>) -> Self {
        let details = retry_after_ms.map(|ms| {
            let delay = Delay {
                seconds: i64::try_from(ms / 1_000).unwrap_or(i64::MAX),
                nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap_or_default(),
            };
            let info = RetryInfo { retry_delay: Some(delay) };
            Detail { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() }
        });
        Self { code, message: message.to_owned(), details: details.into_iter().collect() }
    }

    /// The pause that an encoded status requests; none if it has no `RetryInfo` or cannot be decoded.
    pub(crate) fn retry_after(encoded: &[u8]) -> Option<Duration> {
        let status = Self::decode(encoded).ok()?;
        let info = status.details.iter().find(|detail| detail.type_url == RETRY_INFO)?;
        let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
        let nanos = u32::try_from(delay.nanos).ok()?.min(999_999_999);
        Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_pause_is_decoded() {
        let asked = |status: RpcStatus| RpcStatus::retry_after(&status.encode_to_vec());
        assert_eq!(asked(RpcStatus::new(8, "full", Some(1_500))), Some(Duration::from_millis(1_500)));
        assert_eq!(asked(RpcStatus::new(8, "full", None)), None);
        assert_eq!(RpcStatus::retry_after(b"\xff"), None);
        assert_eq!(RpcStatus::retry_after(b""), None);
    }
}
