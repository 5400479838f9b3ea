//! The parsing of a request: protocol, encoding, gateway, and the decompressed message.

use super::answer::{Body, ClientProtocol, Refusal, plain};
use crate::GATEWAY_HEADER;
use flate2::bufread::MultiGzDecoder;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};
use std::io::Read;
use tonic::Code;

/// The largest accepted message, in bytes, compressed and decompressed.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The length of gRPC's prefix of a message: a flag for compression, and the message's length.
const PREFIX: usize = 5;
/// The most memory allocated for an announced length, in bytes; more is allocated as bytes arrive.
const MAX_PREALLOCATION: usize = 4 << 20;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const TRACES: &str = "/v1/traces";

/// The head of a request, parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) protocol: ClientProtocol,
    gzip: bool,
    /// The gateway's name, if the request has one.
    pub(super) gateway: Option<String>,
}

/// The reason why there is no message.
#[derive(Debug)]
pub(super) enum MessageError {
    /// The request is refused.
    Refused(Refusal),
    /// The client disconnected.
    Disconnected,
}

impl From<Refusal> for MessageError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Head {
    /// Parses a request's head; the error is the answer to one that is not OTLP traces.
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Box<Response<Body>>> {
        let headers = request.headers();
        let content_type = text(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let gateway = text(headers, GATEWAY_HEADER).filter(|name| !name.is_empty()).map(str::to_owned);
        if media_type == "application/grpc" || media_type.starts_with("application/grpc+") {
            let refuse = |message: &'static str| {
                ClientProtocol::Grpc.refused(&Refusal::new(Code::Unimplemented, message))
            };
            if request.version() != Version::HTTP_2 {
                return Err(Box::new(plain(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2")));
            }
            if request.uri().path() != EXPORT || request.method() != Method::POST {
                return Err(Box::new(refuse("unknown method: only TraceService/Export is supported")));
            }
            let gzip = match text(headers, "grpc-encoding") {
                None | Some("identity") => false,
                Some("gzip") => true,
                Some(_) => {
                    let mut answer = refuse("the only supported encoding is gzip");
                    let known = http::HeaderValue::from_static("identity,gzip");
                    answer.headers_mut().insert("grpc-accept-encoding", known);
                    return Err(Box::new(answer));
                }
            };
            return Ok(Self { protocol: ClientProtocol::Grpc, gzip, gateway });
        }
        let problem = |status, message| Err(Box::new(plain(status, message)));
        if request.uri().path() == EXPORT {
            return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "gRPC's content type is application/grpc");
        }
        if request.uri().path() != TRACES {
            return problem(StatusCode::NOT_FOUND, "not found: OTLP traces are received at /v1/traces");
        }
        if request.method() != Method::POST {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "traces are sent with POST");
        }
        if media_type != "application/x-protobuf" {
            let message = "only protobuf (application/x-protobuf) is supported, not JSON";
            let mut answer = plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            let known = http::HeaderValue::from_static("application/x-protobuf");
            answer.headers_mut().insert(ACCEPT, known);
            return Err(Box::new(answer));
        }
        match text(headers, CONTENT_ENCODING.as_str()) {
            None | Some("identity") => Ok(Self { protocol: ClientProtocol::Http, gzip: false, gateway }),
            Some("gzip") => Ok(Self { protocol: ClientProtocol::Http, gzip: true, gateway }),
            Some(_) => problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the only supported encoding is gzip"),
        }
    }

    /// Reads the message of the request, decompressed and without gRPC's frame.
    pub(super) async fn message(&self, body: Incoming) -> Result<Bytes, MessageError> {
        let body = collect(body, self.protocol).await?;
        let (compressed, message) = match self.protocol {
            ClientProtocol::Http => (self.gzip, body),
            ClientProtocol::Grpc => {
                let (compressed, message) = unframe(&body)?;
                if compressed && !self.gzip {
                    return Err(malformed("the message is compressed, but grpc-encoding is missing").into());
                }
                (compressed, message)
            }
        };
        Ok(if compressed { decompress(&message)?.into() } else { message })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The refusal of a malformed request.
pub(super) fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::InvalidArgument, message)
}

/// The refusal of a message that is too large, as a gRPC server words it; permanent.
pub(super) fn too_large(bytes: usize, limit: usize) -> Refusal {
    let message = format!("grpc: received message larger than max ({bytes} vs. {limit})");
    Refusal::new(Code::ResourceExhausted, message).status(StatusCode::PAYLOAD_TOO_LARGE)
}

async fn collect(mut body: Incoming, protocol: ClientProtocol) -> Result<Bytes, MessageError> {
    let length = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut first: Option<Bytes> = None;
    let mut all: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| MessageError::Disconnected)?.into_data() else { continue };
        let so_far = all.len() + first.as_ref().map_or(0, Bytes::len) + data.len();
        if so_far > MAX_MESSAGE_BYTES + PREFIX {
            return Err(too_large(so_far, MAX_MESSAGE_BYTES).into());
        }
        // A body of one frame is not copied.
        if first.is_none() && all.is_empty() {
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            let announced = match protocol {
                ClientProtocol::Grpc => announced(&first),
                ClientProtocol::Http => length,
            };
            all.reserve(announced.clamp(so_far, MAX_PREALLOCATION.max(so_far)));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(first.unwrap_or_else(|| all.into()))
}

/// The announced length of gRPC's frame, in bytes; 0 if `start` is too short.
fn announced(start: &[u8]) -> usize {
    let length = start.get(1..PREFIX).and_then(|length| <[u8; 4]>::try_from(length).ok());
    length.map_or(0, |length| PREFIX.saturating_add(u32::from_be_bytes(length) as usize))
}

/// Returns (`true` if the message is compressed, the message).
fn unframe(body: &Bytes) -> Result<(bool, Bytes), Refusal> {
    let compressed = match body.first() {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(malformed("gRPC's frame is missing")),
    };
    let length = announced(body);
    if length < PREFIX || length > body.len() {
        return Err(malformed("gRPC's frame is longer than the request"));
    }
    if length < body.len() {
        return Err(malformed("there is more than one message"));
    }
    Ok((compressed, body.slice(PREFIX..)))
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut message = Vec::with_capacity(compressed.len().saturating_mul(4).min(MAX_PREALLOCATION));
    let mut reader = MultiGzDecoder::new(compressed).take(MAX_MESSAGE_BYTES as u64 + 1);
    reader.read_to_end(&mut message).map_err(|error| malformed(format!("gzip: {error}")))?;
    if message.len() > MAX_MESSAGE_BYTES {
        Err(too_large(message.len(), MAX_MESSAGE_BYTES))
    } else {
        Ok(message)
    }
}
