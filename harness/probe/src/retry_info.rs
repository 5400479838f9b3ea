//! `google.rpc.RetryInfo`, as it comes in a gRPC status' details or in the body of an HTTP answer.
//! <https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto>

use prost::Message;
use std::time::Duration;

const TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A `google.rpc.Status`, with the pause to be made before another try if there is one.
pub(crate) fn encode(code: i32, message: &str, after: Option<Duration>) -> Vec<u8> {
    let info = after.map(|after| RetryInfo {
        retry_delay: Some(ProtoDuration {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos().cast_signed(),
        }),
    });
    let details = info.map(|info| Any { type_url: TYPE.to_owned(), value: info.encode_to_vec() });
    RpcStatus { code, message: message.to_owned(), details: details.into_iter().collect() }.encode_to_vec()
}

/// The pause that a `google.rpc.Status` asks for; none if it says nothing about it, or is none.
pub(crate) fn decode(status: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(status).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url == TYPE)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?.min(999_999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read() {
        let asked = Some(Duration::from_millis(1_500));
        assert_eq!(decode(&encode(8, "full", asked)), asked);
        assert_eq!(decode(&encode(8, "full", None)), None);
        assert_eq!(decode(b"\xff"), None);
        assert_eq!(decode(b""), None);
    }
}
