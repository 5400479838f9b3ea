//! Requests of numbered spans.

pub(crate) mod rpc_status;
pub(crate) mod scan;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::SpanKind};
use spanproof_ledger::{Identity, Range, SpanIdentity, Stream};

/// A request with the spans of a range of a stream. The same range gives the same IDs every time.
pub(crate) fn request(
    identity: &Identity,
    stream: Stream,
    range: Range,
    payload: &str,
    now_unix_ms: u64,
) -> ExportTraceServiceRequest {
    let end = now_unix_ms * 1_000_000;
    let spans = (range.start..range.end).map(|seq| {
        let span = SpanIdentity { stream, seq };
        Span {
            trace_id: identity.trace_id(span).to_be_bytes().to_vec(),
            span_id: identity.span_id(span).to_be_bytes().to_vec(),
            name: "spanproof".to_owned(),
            kind: SpanKind::Internal as i32,
            start_time_unix_nano: end.saturating_sub(1_000_000),
            end_time_unix_nano: end,
            // For people who read; the IDs are what counts.
            attributes: vec![
                attribute("spanproof.sequence", Value::IntValue(seq.cast_signed())),
                attribute("spanproof.payload", Value::StringValue(payload.to_owned())),
            ],
            ..Span::default()
        }
    });
    let resource = Resource {
        attributes: vec![
            attribute("service.name", Value::StringValue("spanproof-emit".to_owned())),
            attribute("spanproof.stream", Value::IntValue(i64::from(stream))),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "spanproof".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: spans.collect(), ..ScopeSpans::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
