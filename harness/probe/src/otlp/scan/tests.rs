use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use prost::encoding::encode_varint;

/// An owned `SpanView`.
#[derive(Debug, PartialEq)]
struct Seen {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    start: u64,
    payload: Option<Vec<u8>>,
    checksum: Option<i64>,
}

fn scanned(bytes: &[u8], attributes: bool) -> Result<Vec<Seen>, ScanError> {
    let mut seen = Vec::new();
    scan(bytes, attributes, |span| {
        seen.push(Seen {
            trace_id: span.trace_id.to_vec(),
            span_id: span.span_id.to_vec(),
            start: span.start_time_unix_nano,
            payload: span.payload.map(<[u8]>::to_vec),
            checksum: span.checksum,
        });
    })?;
    Ok(seen)
}

/// The result of prost for the same bytes.
fn decoded(bytes: &[u8], attributes: bool) -> Option<Vec<Seen>> {
    let request = ExportTraceServiceRequest::decode(bytes).ok()?;
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    Some(scopes.flat_map(|scope| scope.spans).map(|span| seen(span, attributes)).collect())
}

fn seen(span: Span, attributes: bool) -> Seen {
    let value = |key: &str| {
        let last = span.attributes.iter().rfind(|attribute| attributes && attribute.key == key)?;
        last.value.as_ref()?.value.clone()
    };
    let payload = value(PAYLOAD).and_then(|value| match value {
        Value::StringValue(text) => Some(text.into_bytes()),
        _ => None,
    });
    let checksum = value(CHECKSUM).and_then(|value| match value {
        Value::IntValue(number) => Some(number),
        _ => None,
    });
    Seen {
        payload,
        checksum,
        trace_id: span.trace_id,
        span_id: span.span_id,
        start: span.start_time_unix_nano,
    }
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(value, &mut bytes);
    bytes
}

fn key(number: u32, wire: u8) -> Vec<u8> {
    varint(u64::from(number << 3 | u32::from(wire)))
}

fn with_length(number: u32, content: &[u8]) -> Vec<u8> {
    [key(number, BYTES), varint(content.len() as u64), content.to_vec()].concat()
}

/// A field of none of OTLP's messages, groups in groups included.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let number = 100u32..1_000;
    let plain = (number.clone(), any::<u64>(), vec(any::<u8>(), 0..9), 0u8..4).prop_map(
        |(number, value, bytes, kind)| match kind {
            0 => [key(number, VARINT), varint(value)].concat(),
            1 => [key(number, FIXED64), value.to_le_bytes().to_vec()].concat(),
            2 => with_length(number, &bytes),
            _ => [key(number, FIXED32), value.to_le_bytes()[..4].to_vec()].concat(),
        },
    );
    plain.prop_recursive(3, 8, 3, move |inner| {
        (number.clone(), vec(inner, 0..3)).prop_map(|(number, fields)| {
            [key(number, GROUP), fields.concat(), key(number, GROUP_END)].concat()
        })
    })
}

/// The content of a message with some of `fields`.
fn message(fields: impl Strategy<Value = Vec<u8>>, most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![9 => fields, 1 => unknown()], 0..most).prop_map(|fields| fields.concat())
}

fn field(number: u32, content: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    content.prop_map(move |content| with_length(number, &content))
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        4 => "[a-z]{0,6}".prop_map(|text| with_length(1, text.as_bytes())),
        4 => any::<u64>().prop_map(|value| [key(3, VARINT), varint(value)].concat()),
        1 => any::<bool>().prop_map(|value| [key(2, VARINT), vec![u8::from(value)]].concat()),
        1 => any::<u64>().prop_map(|value| [key(4, FIXED64), value.to_le_bytes().to_vec()].concat()),
        1 => Just(with_length(5, &[])),
        1 => Just(with_length(6, &[])),
        1 => vec(any::<u8>(), 0..4).prop_map(|bytes| with_length(7, &bytes)),
        1 => (0u8..9).prop_map(|value| [key(8, VARINT), vec![value]].concat()),
    ];
    message(kinds, 3)
}

fn attribute() -> impl Strategy<Value = Vec<u8>> {
    let keys = prop::sample::select(vec![PAYLOAD, CHECKSUM, "other"]);
    let fields = prop_oneof![keys.prop_map(|name| with_length(1, name.as_bytes())), field(2, any_value())];
    message(fields, 5)
}

fn span() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(|id| with_length(1, &id)),
        vec(any::<u8>(), 0..12).prop_map(|id| with_length(2, &id)),
        any::<u64>().prop_map(|start| [key(7, FIXED64), start.to_le_bytes().to_vec()].concat()),
        any::<u64>().prop_map(|end| [key(8, FIXED64), end.to_le_bytes().to_vec()].concat()),
        "[a-z]{0,300}".prop_map(|name| with_length(5, name.as_bytes())),
        (0u8..6).prop_map(|kind| [key(6, VARINT), vec![kind]].concat()),
        any::<u32>().prop_map(|flags| [key(16, FIXED32), flags.to_le_bytes().to_vec()].concat()),
        field(9, attribute()),
    ];
    message(fields, 10)
}

/// A valid request, with its fields in any order and any number.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let scope_spans = prop_oneof![4 => field(2, span()), 1 => field(3, Just(b"url".to_vec()))];
    let resource_spans =
        prop_oneof![4 => field(2, message(scope_spans, 5)), 1 => field(3, Just(b"url".to_vec()))];
    message(field(1, message(resource_spans, 4)), 4)
}

proptest! {
    /// Every valid request is read as prost reads it.
    #[test]
    fn a_request_is_read_as_prost_reads_it(bytes in request(), attributes: bool) {
        let expected = decoded(&bytes, attributes).expect("what is generated is valid");
        prop_assert_eq!(scanned(&bytes, attributes), Ok(expected));
    }

    /// A damaged request is read as prost reads it, if prost reads it; and nothing panics.
    #[test]
    fn a_damaged_request_is_read_if_prost_reads_it(
        mut bytes in request(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
        attributes: bool,
    ) {
        if !bytes.is_empty() {
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        }
        let scanned = scanned(&bytes, attributes);
        if let Some(expected) = decoded(&bytes, attributes) {
            prop_assert_eq!(scanned, Ok(expected));
        }
    }

    /// Any bytes can be scanned, with the result of prost if it decodes them.
    #[test]
    fn any_bytes_can_be_scanned(bytes: Vec<u8>, attributes: bool) {
        let scanned = scanned(&bytes, attributes);
        if let Some(expected) = decoded(&bytes, attributes) {
            prop_assert_eq!(scanned, Ok(expected));
        }
    }
}

/// Requests malformed in a field that the sink reads are refused, by prost too.
#[test]
fn malformed_requests_are_refused() {
    let in_span = |span: Vec<u8>| with_length(1, &with_length(2, &with_length(2, &span)));
    let deep = |depth: usize| [key(200, GROUP).repeat(depth), key(200, GROUP_END).repeat(depth)].concat();
    let broken: [(&str, Vec<u8>); 14] = [
        ("a length beyond the end", vec![0x0A, 5, 0]),
        ("a length beyond the message around it", with_length(1, &[0x12, 9, 0]).repeat(4)),
        ("a huge length", [key(1, BYTES), varint(u64::MAX)].concat()),
        ("an endless number", [key(9, VARINT), vec![0xFF; 11]].concat()),
        ("a number of 65 bits", [key(9, VARINT), vec![0xFF; 9], vec![2]].concat()),
        ("half a key", vec![0x80]),
        ("a key of more than 32 bits", varint(1 << 35 | 8)),
        ("field 0", vec![0, 0]),
        ("wire type 6", key(9, 6)),
        ("wire type 7", in_span(key(9, 7))),
        ("IDs as numbers", in_span([key(1, VARINT), vec![1]].concat())),
        ("a time as a number", in_span([key(7, VARINT), vec![1]].concat())),
        ("the end of another group", [key(200, GROUP), key(201, GROUP_END)].concat()),
        ("groups without end", deep(101)),
    ];
    for (what, bytes) in broken {
        assert!(scanned(&bytes, true).is_err(), "{what}");
        assert!(decoded(&bytes, true).is_none(), "prost takes {what}");
    }
    assert_eq!(scanned(&deep(99), true), Ok(Vec::new()));
}

/// Skipped fields are not checked: their strings may be invalid UTF-8, which prost would refuse.
#[test]
fn skipped_text_is_not_checked() {
    let span = [with_length(5, &[0xFF, 0xFE]), with_length(2, &[7; 8])].concat();
    let bytes = with_length(1, &with_length(2, &with_length(2, &span)));
    assert!(decoded(&bytes, false).is_none());
    assert_eq!(scanned(&bytes, false).unwrap()[0].span_id, [7; 8]);
}
