//! Requests of numbered spans.

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

/// The trace ID and span ID of each span of a request; `None` for one whose IDs have a wrong length.
pub(crate) fn ids(request: &ExportTraceServiceRequest) -> impl Iterator<Item = Option<(u128, u64)>> + '_ {
    let spans = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans);
    spans.map(|span| {
        let trace_id = <[u8; 16]>::try_from(span.trace_id.as_slice()).ok()?;
        let span_id = <[u8; 8]>::try_from(span.span_id.as_slice()).ok()?;
        Some((u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id)))
    })
}
