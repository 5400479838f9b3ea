//! One attempt to send a request to the agent: OTLP over gRPC or HTTP, plain or with TLS.

use super::retry::{self, AttemptResult};
use super::{Load, tls};
use crate::control::{ProbeError, Protocol};
use crate::otlp::rpc_status::RpcStatus;
use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, TE};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::borrow::Cow;
use std::io::{Read, Write};
use std::time::Duration;
use tonic::{Code, Status};

/// The timeout of a connection attempt. A Service without an endpoint on its node drops packets, and the kernel's
/// own timeout is too long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read. It holds only a count of rejected spans and a reason.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The size of HTTP/2's windows, large enough for whole requests.
const WINDOW: u32 = 4 << 20;
/// The length of gRPC's prefix of each message: a flag for compression, and the message's length.
const FRAME: usize = 5;
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// The connections to the agent.
#[derive(Debug)]
pub(super) struct Transport {
    connections: Vec<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    protocol: Protocol,
    gzip: bool,
    uri: Uri,
    headers: HeaderMap,
    deadline: Duration,
}

impl Transport {
    pub(super) fn new(load: &Load) -> Result<Self, ProbeError> {
        let grpc = load.protocol == Protocol::Grpc;
        let uri = endpoint(&load.endpoint, if grpc { GRPC_PATH } else { HTTP_PATH })?;
        let connections = (0..load.connections).map(|_| client(load, grpc)).collect::<Result<_, _>>()?;
        let mut headers = HeaderMap::new();
        let encoding = HeaderValue::from_static("gzip");
        if grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            let milliseconds = format!("{}m", load.deadline.as_millis().min(99_999_999));
            headers.extend(milliseconds.parse().ok().map(|value| (GRPC_TIMEOUT, value)));
            headers.extend(load.gzip.then_some((GRPC_ENCODING, encoding)));
        } else {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            headers.extend(load.gzip.then_some((CONTENT_ENCODING, encoding)));
        }
        let (protocol, gzip, deadline) = (load.protocol, load.gzip, load.deadline);
        Ok(Self { connections, protocol, gzip, uri, headers, deadline })
    }

    /// The body of a request whose message `write` appends, framed and compressed.
    pub(super) fn body(&self, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let grpc = self.protocol == Protocol::Grpc;
        let mut body = vec![0; if grpc { FRAME } else { 0 }];
        if self.gzip {
            let mut message = Vec::new();
            write(&mut message);
            let mut encoder = GzEncoder::new(body, Compression::fast());
            // Writing to memory cannot fail.
            let _ = encoder.write_all(&message);
            body = encoder.finish().unwrap_or_default();
        } else {
            write(&mut body);
        }
        if grpc {
            let length = u32::try_from(body.len() - FRAME).unwrap_or(u32::MAX);
            body[0] = u8::from(self.gzip);
            body[1..FRAME].copy_from_slice(&length.to_be_bytes());
        }
        body.into()
    }

    /// Sends a body once, over one of the connections. Errors of the connection are to be retried.
    pub(super) async fn send(&self, body: Bytes, connection: usize) -> AttemptResult {
        let asked = self.ask(body, &self.connections[connection % self.connections.len()]);
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let client = error.downcast_ref::<hyper_util::client::legacy::Error>();
                let sent = client.is_none_or(|error| !error.is_connect());
                AttemptResult::Retry { why: chain(&*error), after: None, sent }
            }
            Err(_) => {
                let why = format!("no answer within {:?}", self.deadline);
                AttemptResult::Retry { why, after: None, sent: true }
            }
        }
    }

    async fn ask(
        &self,
        body: Bytes,
        client: &Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    ) -> Result<AttemptResult, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::post(self.uri.clone()).body(Full::new(body))?;
        request.headers_mut().clone_from(&self.headers);
        let (head, body) = client.request(request).await?.into_parts();
        let answer = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
        let trailers = answer.trailers().cloned();
        let body = answer.to_bytes();
        Ok(match self.protocol {
            Protocol::Grpc => grpc_answer(&head, &body, trailers.as_ref()),
            Protocol::Http => http_answer(&head, &body),
        })
    }
}

const GRPC_TIMEOUT: http::HeaderName = http::HeaderName::from_static("grpc-timeout");
const GRPC_ENCODING: http::HeaderName = http::HeaderName::from_static("grpc-encoding");

fn endpoint(base: &str, path: &str) -> Result<Uri, ProbeError> {
    let refuse = |why: String| ProbeError::Plan(format!("endpoint {base:?}: {why}"));
    let uri: Uri = base.parse().map_err(|error: http::uri::InvalidUri| refuse(error.to_string()))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
        return Err(refuse("it must be http://HOST:PORT or https://HOST:PORT".to_owned()));
    };
    if !matches!(uri.path(), "" | "/") {
        return Err(refuse("it must not have a path: the protocol determines it".to_owned()));
    }
    let built = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build();
    built.map_err(|error| refuse(error.to_string()))
}

fn client(load: &Load, grpc: bool) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, ProbeError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let with_tls = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls::client(&load.tls)?);
    let with_tls = with_tls.https_or_http();
    let with_tls = match load.tls.server_name.as_str() {
        "" => with_tls,
        name => {
            let name = rustls::pki_types::ServerName::try_from(name.to_owned())
                .map_err(|error| ProbeError::Plan(format!("TLS server name {name:?}: {error}")))?;
            with_tls.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        }
    };
    let connector = if grpc {
        with_tls.enable_http2().wrap_connector(tcp)
    } else {
        with_tls.enable_http1().wrap_connector(tcp)
    };
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // Retries are made by the caller, and recorded in the ledger.
        .retry_canceled_requests(false)
        .http2_only(grpc)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW)
        .http2_max_send_buf_size(WINDOW as usize)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .http2_keep_alive_while_idle(true);
    Ok(builder.build(connector))
}

fn grpc_answer(head: &http::response::Parts, body: &[u8], trailers: Option<&HeaderMap>) -> AttemptResult {
    // Without a body the status is in the headers.
    let status =
        trailers.and_then(Status::from_header_map).or_else(|| Status::from_header_map(&head.headers));
    let Some(status) = status else {
        // The answer of a proxy in the agent's place. <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
        let code = match head.status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        return retry::grpc(code, &format!("HTTP {} without a gRPC status", head.status), None);
    };
    if status.code() == Code::Ok {
        return grpc_message(body).map_or(AttemptResult::Partial, |message| taken(&message));
    }
    retry::grpc(status.code(), status.message(), RpcStatus::retry_after(status.details()))
}

/// The message in a gRPC answer's frame; none if it cannot be read. Go's server answers a gzip request in gzip,
/// whatever encodings the client accepts.
fn grpc_message(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    match body.split_at_checked(FRAME) {
        Some((frame, message)) if frame[0] == 1 => {
            let mut plain = Vec::new();
            GzDecoder::new(message).take(MAX_ANSWER_BYTES as u64).read_to_end(&mut plain).ok()?;
            Some(plain.into())
        }
        Some((_, message)) => Some(message.into()),
        None => None,
    }
}

fn http_answer(head: &http::response::Parts, body: &[u8]) -> AttemptResult {
    let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match retry::http(head.status.as_u16(), &String::from_utf8_lossy(body), after.map(Duration::from_secs)) {
        AttemptResult::Accepted => taken(body),
        refused => refused,
    }
}

/// The result of an answer with status OK: everything was accepted, unless the message says otherwise.
fn taken(body: &[u8]) -> AttemptResult {
    match ExportTraceServiceResponse::decode(body) {
        Ok(answer) if answer.partial_success.as_ref().is_none_or(|part| part.rejected_spans == 0) => {
            AttemptResult::Accepted
        }
        // An answer that cannot be decoded proves nothing.
        Ok(_) | Err(_) => AttemptResult::Partial,
    }
}

/// The text of an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a Collector to an export in gzip: an empty message, in gzip.
    #[test]
    fn an_answer_in_gzip_is_read() {
        let encoder = |frame: u8| GzEncoder::new(vec![frame, 0, 0, 0, 0], Compression::fast());
        let empty = encoder(1).finish().unwrap();
        assert_eq!(grpc_message(&empty).as_deref(), Some(&[][..]));
        let mut written = encoder(1);
        written.write_all(b"message").unwrap();
        let written = written.finish().unwrap();
        assert_eq!(grpc_message(&written).as_deref(), Some(&b"message"[..]));
        assert_eq!(grpc_message(&written[..written.len() - 9]), None, "cut short");
        assert_eq!(grpc_message(b"\0\0\0\0\x07message").as_deref(), Some(&b"message"[..]));
        assert_eq!(grpc_message(&[]), None, "no message at all");
    }
}
