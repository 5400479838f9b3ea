//! OTLP as the probes speak it: requests are patched together, and looked at no closer than is needed.

pub(crate) mod template;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

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
