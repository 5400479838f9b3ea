use super::*;
use crate::otlp::scan::{CHECKSUM, PAYLOAD};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;
use spanproof_ledger::SpanIdentity;
use std::collections::BTreeMap;

fn settings() -> RunSettings {
    RunSettings { identity: Identity::new(7, 10, 1), checksum: false, seed: 5, trace_one_in: 3 }
}

fn span(settings: &RunSettings, stream: Stream, seq: u64, start: u64) -> Span {
    let identity = SpanIdentity { stream, seq };
    Span {
        trace_id: settings.identity.trace_id(identity).to_be_bytes().to_vec(),
        span_id: settings.identity.span_id(identity).to_be_bytes().to_vec(),
        start_time_unix_nano: start,
        ..Span::default()
    }
}

fn encoded(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn numbers(tally: &Tally) -> BTreeMap<(Stream, u64), usize> {
    let mut numbers = BTreeMap::new();
    for (stream, ranges) in &tally.streams {
        for seq in ranges.iter().flat_map(|range| range.start..range.end) {
            *numbers.entry((*stream, seq)).or_default() += 1;
        }
    }
    numbers
}

proptest! {
    /// Every copy of every span is counted, in any order, and exactly the spans selected by hash are left out.
    #[test]
    fn every_copy_of_every_span_is_counted(
        sent in prop::collection::vec((1u16..4, 0u64..30, 0u64..3), 0..80),
        left_out_one_in in 0u64..4,
    ) {
        let settings = settings();
        let spans = sent.iter().map(|(stream, seq, start)| span(&settings, *stream, *seq, *start)).collect();
        let request = ScannedRequest::of(&encoded(spans), &settings, left_out_one_in).unwrap();

        let (mut taken, mut left_out) = (BTreeMap::new(), BTreeMap::new());
        let mut sampled = 0;
        for (stream, seq, _) in &sent {
            let identity = SpanIdentity { stream: *stream, seq: *seq };
            let gone = is_selected(settings.seed, settings.identity.span_id(identity), left_out_one_in);
            *(if gone { &mut left_out } else { &mut taken }).entry((*stream, *seq)).or_default() += 1;
            let trace = settings.identity.trace_id(identity) & u128::from(u64::MAX);
            let trace = u64::try_from(trace).unwrap();
            sampled += u32::from(!gone && is_selected(settings.seed, trace, settings.trace_one_in));
        }
        prop_assert_eq!(numbers(&request.taken), taken);
        prop_assert_eq!(numbers(&request.left_out), left_out);
        prop_assert_eq!(request.taken.spans() + request.left_out.spans(), sent.len() as u64);
        prop_assert_eq!(request.taken.due.iter().map(|(_, spans)| spans).sum::<u64>(), request.taken.spans());
        prop_assert_eq!(request.taken.traces.iter().map(|(_, spans)| spans).sum::<u32>(), sampled);
        for (_, ranges) in &request.taken.streams {
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end != pair[1].start), "{:?}", ranges);
        }
    }
}

#[test]
fn consecutive_numbers_are_one_range() {
    let settings = settings();
    let spans = (0..1_000).map(|seq| span(&settings, 9, seq, 1)).collect();
    let request = ScannedRequest::of(&encoded(spans), &settings, 0).unwrap();
    assert_eq!(request.taken.streams, [(9, vec![Range::new(0, 1_000)])]);
    assert_eq!(request.taken.due, [(1, 1_000)]);
}

#[test]
fn foreign_and_damaged_spans_are_counted_apart() {
    let settings = settings();
    let other = RunSettings { identity: Identity::new(8, 10, 1), ..settings };
    let stolen = Span { span_id: span(&settings, 1, 999, 0).span_id, ..span(&settings, 1, 1, 0) };
    let short = Span { span_id: vec![1; 7], ..span(&settings, 1, 1, 0) };
    let spans = vec![span(&other, 1, 1, 0), stolen, short, Span::default()];
    let taken = ScannedRequest::of(&encoded(spans), &settings, 0).unwrap().taken;
    assert_eq!((taken.foreign, taken.damaged, taken.spans()), (1, 3, 0));
}

#[test]
fn a_payload_that_contradicts_its_checksum_is_damage() {
    let attribute = |key: &str, value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    let payload = |text: &str| attribute(PAYLOAD, Value::StringValue(text.to_owned()));
    let checksum = |text: &str| attribute(CHECKSUM, Value::IntValue(crc32fast::hash(text.as_bytes()).into()));
    let settings = RunSettings { checksum: true, ..settings() };
    let with = |seq, attributes| Span { attributes, ..span(&settings, 1, seq, 0) };
    let spans = vec![
        with(0, vec![payload("abc"), checksum("abc")]),
        with(1, vec![checksum("abc"), payload("abd")]),
        with(2, vec![payload("abc")]),
        with(3, vec![checksum("abc")]),
        with(4, vec![]),
    ];
    let bytes = encoded(spans);
    let taken = ScannedRequest::of(&bytes, &settings, 0).unwrap().taken;
    assert_eq!((taken.damaged, taken.streams), (4, vec![(1, vec![Range::new(0, 1)])]));
    let unchecked =
        ScannedRequest::of(&bytes, &RunSettings { checksum: false, ..settings }, 0).unwrap().taken;
    assert_eq!((unchecked.damaged, unchecked.spans()), (0, 5));
}
