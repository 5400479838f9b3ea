//! The sink's answers, in OTLP/gRPC and OTLP/HTTP.

use crate::otlp::rpc_status::RpcStatus;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Bytes, Frame};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::{Code, Status};

/// The body of an answer. An empty one ends with the head, as gRPC requires of an answer that is only a status.
#[derive(Debug, Default)]
pub(super) struct Body(VecDeque<Frame<Bytes>>);

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientProtocol {
    Grpc,
    Http,
}

/// The reason why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: Code,
    message: Cow<'static, str>,
    retry_after_ms: Option<u64>,
    /// The status for OTLP/HTTP.
    status: StatusCode,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, status: http_status(code) }
    }

    /// Sets the pause before a retry.
    pub(super) fn retry_after(mut self, milliseconds: Option<u64>) -> Self {
        self.retry_after_ms = milliseconds;
        self
    }

    /// Sets a status other than the code's.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// The status that has the same effect on an OTLP/HTTP client as the code has on a gRPC client: 429, 502, 503 and
/// 504 are retried, others are not. (Throttling without a pause for the retry is permanent in gRPC, but not in HTTP.)
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Aborted | Code::OutOfRange | Code::DataLoss => StatusCode::BAD_GATEWAY,
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ClientProtocol {
    /// The answer to a request that was accepted, except for `rejected` spans.
    pub(super) fn taken(self, rejected: u64) -> Response<Body> {
        let partial = (rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: "accepted in part, as the scenario specifies".to_owned(),
        });
        let message = ExportTraceServiceResponse { partial_success: partial }.encode_to_vec();
        match self {
            Self::Http => protobuf(StatusCode::OK, message),
            Self::Grpc => {
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                let framed = [&[0], &length.to_be_bytes()[..], &message].concat();
                let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
                let frames = [Frame::data(framed.into()), Frame::trailers(trailers)];
                let mut answer = Response::new(Body(frames.into()));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                answer
            }
        }
    }

    /// The answer to a request that was refused.
    pub(super) fn refused(self, refusal: &Refusal) -> Response<Body> {
        let details = RpcStatus::new(refusal.code.into(), &refusal.message, refusal.retry_after_ms);
        match self {
            Self::Grpc => {
                let details = if details.details.is_empty() { Vec::new() } else { details.encode_to_vec() };
                let status = Status::with_details(refusal.code, &*refusal.message, details.into());
                status.into_http()
            }
            Self::Http => {
                let mut answer = protobuf(refusal.status, details.encode_to_vec());
                if let Some(ms) = refusal.retry_after_ms {
                    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
                }
                answer
            }
        }
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

fn protobuf(status: StatusCode, message: Vec<u8>) -> Response<Body> {
    whole(status, "application/x-protobuf", message)
}

/// An answer to a request of neither protocol.
pub(super) fn plain(status: StatusCode, message: &str) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", format!("{message}\n").into_bytes())
}

fn whole(status: StatusCode, content_type: &'static str, content: Vec<u8>) -> Response<Body> {
    let length = HeaderValue::from(content.len());
    let mut answer = Response::new(Body([Frame::data(content.into())].into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}
