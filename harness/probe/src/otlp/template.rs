//! Requests of numbered spans, made of encoded templates into which the varying fields are patched.

use super::scan::{CHECKSUM, PAYLOAD};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, span::SpanKind};
use prost::Message;
use spanproof_ledger::{Identity, Range, SpanIdentity, Stream};

/// The attribute with the sequence number, for people; the sink reads the IDs.
pub(crate) const SEQUENCE: &str = "spanproof.sequence";
/// The longest varint, in bytes. There is one template for each length of the sequence number.
const VARINTS: usize = 10;
/// The offsets of the patched fields in an encoded span. Prost writes fields in the order of their numbers, and the
/// first ones have fixed lengths. A test compares this with the decoder.
const TRACE_ID: usize = 2;
const SPAN_ID: usize = TRACE_ID + 16 + 2;
const NAME: &str = "spanproof";
const START: usize = SPAN_ID + 8 + 2 + NAME.len() + 2 + 1;
const END: usize = START + 8 + 1;

/// The size and attributes of a stream's spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanShape {
    /// Length of the payload attribute, in bytes.
    pub(crate) payload_bytes: usize,
    /// The number of attributes besides sequence number and payload.
    pub(crate) attributes: u32,
    /// `true` if the payload's checksum is an attribute.
    pub(crate) checksum: bool,
}

/// Encodes the requests of one stream.
#[derive(Debug)]
pub(crate) struct Template {
    identity: Identity,
    stream: Stream,
    /// `ResourceSpans.resource`, with its key.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`, with its key.
    scope: Vec<u8>,
    /// An encoded span with its key and length, for each length of its number; the number is at its end.
    spans: Vec<Vec<u8>>,
}

impl Template {
    pub(crate) fn new(identity: Identity, stream: Stream, shape: SpanShape) -> Self {
        let resource = Resource {
            attributes: vec![
                attribute("service.name", Value::StringValue("spanproof-emit".to_owned())),
                attribute("spanproof.stream", Value::IntValue(i64::from(stream))),
            ],
            ..Resource::default()
        };
        let scope = InstrumentationScope { name: "spanproof".to_owned(), ..InstrumentationScope::default() };
        let spans = (1..=VARINTS).map(|length| encoded_span(shape, length)).collect();
        let scope_spans = ScopeSpans { scope: Some(scope), ..ScopeSpans::default() };
        Self {
            identity,
            stream,
            resource: field(1, &resource.encode_to_vec()),
            scope: scope_spans.encode_to_vec(),
            spans,
        }
    }

    /// Appends a request with the spans of a range. The same arguments give the same bytes.
    pub(crate) fn append(&self, range: Range, due_unix_ns: u64, out: &mut Vec<u8>) {
        let spans: usize =
            by_varint(range).map(|(length, part)| size(part.count()) * self.spans[length - 1].len()).sum();
        let scope_spans = self.scope.len() + spans;
        let resource_spans = self.resource.len() + 1 + prost::length_delimiter_len(scope_spans) + scope_spans;
        out.reserve(1 + prost::length_delimiter_len(resource_spans) + resource_spans);
        key(1, resource_spans, out);
        out.extend_from_slice(&self.resource);
        key(2, scope_spans, out);
        out.extend_from_slice(&self.scope);
        let mut trace = (u64::MAX, [0; 16]);
        let time = due_unix_ns.to_le_bytes();
        for (length, part) in by_varint(range) {
            let template = &self.spans[length - 1];
            // The span's own bytes begin after its key and length.
            let head = 1 + prost::length_delimiter_len(template.len() - 2);
            for seq in part.start..part.end {
                let span = SpanIdentity { stream: self.stream, seq };
                let number = seq / self.identity.spans_per_trace();
                if trace.0 != number {
                    trace = (number, self.identity.trace_id(span).to_be_bytes());
                }
                let begin = out.len();
                out.extend_from_slice(template);
                let bytes = &mut out[begin..];
                let (fields, sequence) = bytes.split_at_mut(template.len() - length);
                let fields = &mut fields[head..];
                fields[TRACE_ID..TRACE_ID + 16].copy_from_slice(&trace.1);
                fields[SPAN_ID..SPAN_ID + 8].copy_from_slice(&self.identity.span_id(span).to_be_bytes());
                fields[START..START + 8].copy_from_slice(&time);
                fields[END..END + 8].copy_from_slice(&time);
                write_varint(seq, sequence);
            }
        }
    }
}

/// An encoded span with its key and length, whose number has `length` bytes as a varint.
fn encoded_span(shape: SpanShape, length: usize) -> Vec<u8> {
    let payload = "x".repeat(shape.payload_bytes);
    let mut attributes = Vec::new();
    if shape.checksum {
        let checksum = crc32fast::hash(payload.as_bytes());
        attributes.push(attribute(CHECKSUM, Value::IntValue(checksum.into())));
    }
    attributes.push(attribute(PAYLOAD, Value::StringValue(payload)));
    let more = (0..shape.attributes)
        .map(|n| attribute(&format!("spanproof.attribute.{n}"), Value::StringValue(format!("value-{n}"))));
    attributes.extend(more);
    // The last field of the last attribute, so that it is at the end of the span.
    let number = if length == VARINTS { u64::MAX } else { 1 << (7 * (length - 1)) };
    attributes.push(attribute(SEQUENCE, Value::IntValue(number.cast_signed())));
    let span = Span {
        trace_id: vec![0xff; 16],
        span_id: vec![0xff; 8],
        name: NAME.to_owned(),
        kind: SpanKind::Internal as i32,
        // Not 0, or they would not be encoded.
        start_time_unix_nano: u64::MAX,
        end_time_unix_nano: u64::MAX,
        attributes,
        ..Span::default()
    };
    field(2, &span.encode_to_vec())
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// An encoded length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    key(number, content.len(), &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

fn key(number: u8, length: usize, out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    // Writing to a vector cannot fail.
    let _ = prost::encode_length_delimiter(length, out);
}

/// The parts of a range whose numbers have the same length as a varint, with that length.
fn by_varint(range: Range) -> impl Iterator<Item = (usize, Range)> {
    let mut start = range.start;
    std::iter::from_fn(move || {
        (start < range.end).then(|| {
            let length = varint_length(start);
            let end = if length == VARINTS { range.end } else { range.end.min(1 << (7 * length)) };
            let part = Range::new(start, end);
            start = end;
            (length, part)
        })
    })
}

fn varint_length(number: u64) -> usize {
    prost::encoding::encoded_len_varint(number)
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits of it at a time")]
fn write_varint(mut number: u64, out: &mut [u8]) {
    let last = out.len() - 1;
    for byte in &mut out[..last] {
        *byte = (number & 0x7f) as u8 | 0x80;
        number >>= 7;
    }
    out[last] = number as u8;
}

fn size(spans: u64) -> usize {
    usize::try_from(spans).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use spanproof_ledger::{Origin, SEQ_LIMIT};

    fn decode(identity: Identity, stream: Stream, shape: SpanShape, range: Range) -> Vec<Span> {
        let mut bytes = Vec::new();
        Template::new(identity, stream, shape).append(range, 77, &mut bytes);
        let mut request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
        assert_eq!(request.encode_to_vec(), bytes, "nothing is encoded in an unusual way");
        let mut resource = request.resource_spans.remove(0);
        assert!(request.resource_spans.is_empty());
        resource.scope_spans.remove(0).spans
    }

    proptest! {
        /// Requests decode to the intended spans, for any shape and any numbers.
        #[test]
        fn requests_decode_to_the_intended_spans(
            tag: u64,
            share in 1u32..20,
            stream in 1u16..9,
            start in prop_oneof![0..20_000u64, 0..SEQ_LIMIT - 300],
            spans in 1u64..300,
            payload_bytes in 0usize..200,
            attributes in 0u32..3,
            checksum: bool,
        ) {
            let identity = Identity::new(tag, share, 2);
            let shape = SpanShape { payload_bytes, attributes, checksum };
            let read = decode(identity, stream, shape, Range::new(start, start + spans));
            prop_assert_eq!(read.len() as u64, spans);
            for (seq, span) in (start..).zip(read) {
                let trace_id = u128::from_be_bytes(span.trace_id[..].try_into().unwrap());
                let span_id = u64::from_be_bytes(span.span_id[..].try_into().unwrap());
                prop_assert_eq!(identity.origin(trace_id, span_id), Origin::Ours(SpanIdentity { stream, seq }));
                prop_assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (77, 77));
                let sequence = attribute(SEQUENCE, Value::IntValue(seq.cast_signed()));
                prop_assert_eq!(span.attributes.last(), Some(&sequence));
                let expected = 2 + attributes as usize + usize::from(checksum);
                prop_assert_eq!(span.attributes.len(), expected);
            }
        }
    }
}
