//! Ledgers that are whole, torn, damaged and reordered.

use super::*;
use crate::{Delivery, Range, SinkRecord};
use proptest::prelude::*;
use proptest::sample::Index;

/// The bytes of a ledger, and where each record begins; the last one is the end.
fn file(records: &[SinkRecord]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = header::<SinkRecord>().to_vec();
    let mut begins = vec![bytes.len()];
    for record in records {
        encode(record, 0, &mut bytes).unwrap();
        begins.push(bytes.len());
    }
    (bytes, begins)
}

fn record() -> impl Strategy<Value = SinkRecord> {
    let range = (0u64..1_000_000, 1u64..500).prop_map(|(start, len)| Range::new(start, start + len));
    let delivery = (any::<u32>(), 1u16..4, prop::collection::vec(range, 1..6));
    prop_oneof![
        4 => delivery.prop_map(|(unix_ms, stream, ranges)| {
            SinkRecord::Delivered(Delivery { unix_ms: u64::from(unix_ms), gateway: 0, stream, ranges })
        }),
        1 => "[a-z]{0,40}".prop_map(|name| SinkRecord::Gateway { id: 0, name }),
        1 => (0u64..2, 0u64..2).prop_map(|(foreign, damaged)| SinkRecord::Unexpected { foreign, damaged }),
    ]
}

fn records() -> impl Strategy<Value = Vec<SinkRecord>> {
    prop::collection::vec(record(), 0..20)
}

/// A kind of damage to a file. Positions are anywhere, or the start of a record.
#[derive(Debug, Clone)]
enum Harm {
    Flip(Index, u8),
    Cut(Place),
    Remove(Place, Place),
    Repeat(Place, Place, Place),
    Overwrite(Index, Vec<u8>),
    Insert(Place, Vec<u8>),
    Zeros(Index, usize),
}

#[derive(Debug, Clone, Copy)]
struct Place(Index, bool);

impl Place {
    fn of(self, length: usize, begins: &[usize]) -> usize {
        let Self(index, between) = self;
        if between { (*index.get(begins)).min(length) } else { index.index(length + 1) }
    }
}

fn harm() -> impl Strategy<Value = Harm> {
    let place = || any::<(Index, bool)>().prop_map(|(index, between)| Place(index, between));
    let some = || prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        place().prop_map(Harm::Cut),
        (place(), place()).prop_map(|(a, b)| Harm::Remove(a, b)),
        (place(), place(), place()).prop_map(|(a, b, to)| Harm::Repeat(a, b, to)),
        (any::<Index>(), some()).prop_map(|(at, bytes)| Harm::Overwrite(at, bytes)),
        (place(), some()).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        (any::<Index>(), 1usize..200).prop_map(|(at, length)| Harm::Zeros(at, length)),
    ]
}

fn harmed(mut bytes: Vec<u8>, begins: &[usize], harms: Vec<Harm>) -> Vec<u8> {
    for harm in harms {
        let length = bytes.len();
        let span = |a: Place, b: Place| {
            let (a, b) = (a.of(length, begins), b.of(length, begins));
            a.min(b)..a.max(b)
        };
        match harm {
            _ if length == 0 => {}
            Harm::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Harm::Cut(at) => bytes.truncate(at.of(length, begins)),
            Harm::Remove(a, b) => drop(bytes.drain(span(a, b))),
            Harm::Repeat(a, b, to) => {
                let again = bytes[span(a, b)].to_vec();
                let to = to.of(length, begins);
                bytes.splice(to..to, again);
            }
            Harm::Overwrite(at, new) => {
                let at = at.index(length);
                bytes.splice(at..length.min(at + new.len()), new);
            }
            Harm::Insert(at, new) => {
                let at = at.of(length, begins);
                bytes.splice(at..at, new);
            }
            Harm::Zeros(at, zeros) => {
                let at = at.index(length);
                bytes.splice(at..length.min(at + zeros), vec![0; zeros]);
            }
        }
    }
    bytes
}

/// The records before an error or the end, decoded from blocks of `block` bytes.
fn fed(bytes: &[u8], block: usize) -> (Vec<SinkRecord>, Result<u64, LogError>) {
    let mut decoder = Decoder::new();
    let mut records = Vec::new();
    for block in bytes.chunks(block) {
        decoder.feed(block);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) => return (records, Err(error)),
            }
        }
    }
    (records, decoder.finish())
}

proptest! {
    /// A file cut at any position gives all whole records, and never an error.
    #[test]
    fn a_torn_tail_is_cut(records in records(), cut: Index) {
        let (bytes, begins) = file(&records);
        let cut = cut.index(bytes.len() + 1);
        let decoded = decode::<SinkRecord>(&bytes[..cut]).unwrap();
        let whole = begins.iter().rposition(|begin| *begin <= cut);
        prop_assert_eq!(decoded.whole, whole.map_or(0, |whole| begins[whole] as u64));
        prop_assert_eq!(decoded.records, &records[..whole.unwrap_or(0)]);
    }

    /// So does one that ends in any number of zeros.
    #[test]
    fn a_tail_of_zeros_is_cut(records in records(), cut: Index, zeros in 0usize..300) {
        let (mut bytes, begins) = file(&records);
        let cut = cut.index(bytes.len() + 1);
        bytes.truncate(cut);
        bytes.resize(cut + zeros, 0);
        let decoded = decode::<SinkRecord>(&bytes).unwrap();
        let whole = begins.iter().rposition(|begin| *begin <= cut).unwrap_or(0);
        // A record that ends in zeros may be whole again.
        prop_assert!((whole..=whole + 1).contains(&decoded.records.len()));
        prop_assert_eq!(&decoded.records, &records[..decoded.records.len()]);
    }

    /// A flipped bit is detected: an error, or the last record is cut off.
    #[test]
    fn a_flipped_bit_is_detected(records in records(), at: Index, bit in 0u8..8) {
        let (mut bytes, begins) = file(&records);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        match decode::<SinkRecord>(&bytes) {
            Err(LogError::Header { .. }) => prop_assert!(at < HEADER),
            Err(LogError::Damaged { offset, .. }) => {
                let record = begins.iter().rposition(|begin| *begin <= at).unwrap();
                prop_assert_eq!(offset, begins[record] as u64);
            }
            Err(other) => panic!("{other}"),
            Ok(decoded) => {
                prop_assert!(at >= begins[records.len() - 1]);
                prop_assert_eq!(decoded.whole, begins[records.len() - 1] as u64);
                prop_assert_eq!(decoded.records, &records[..records.len() - 1]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(4096),
        ..ProptestConfig::default()
    })]

    /// After any damage, the records read are a prefix of those written, and the size of the blocks does not
    /// matter.
    #[test]
    fn records_read_are_a_prefix_of_those_written(
        records in records(),
        harms in prop::collection::vec(harm(), 1..4),
        block in 1usize..100,
    ) {
        let (bytes, begins) = file(&records);
        let bytes = harmed(bytes, &begins, harms);
        let (read, end) = fed(&bytes, bytes.len().max(1));
        prop_assert!(read.len() <= records.len());
        prop_assert_eq!(&read, &records[..read.len()]);
        if let Ok(whole) = end {
            prop_assert!(whole == 0 || whole == begins[read.len()] as u64);
        }
        let (by_block, end_by_block) = fed(&bytes, block);
        prop_assert_eq!(read, by_block);
        prop_assert_eq!(end.ok(), end_by_block.ok());
    }

    /// Arbitrary bytes cause no panic and hold no record.
    #[test]
    fn arbitrary_bytes_can_be_read(bytes: Vec<u8>) {
        prop_assert!(fed(&bytes, 64).0.is_empty());
        prop_assert!(fed(&[&header::<SinkRecord>()[..], &bytes].concat(), 64).0.is_empty());
    }
}

fn three() -> (Vec<u8>, Vec<usize>) {
    file(&[1, 2, 3].map(|foreign| SinkRecord::Unexpected { foreign, damaged: 0 }))
}

#[test]
fn a_length_beyond_the_end_is_damage_if_a_record_follows() {
    let (mut bytes, begins) = three();
    bytes[begins[1] + 2] = 1;
    let what = "not a whole record, but one follows";
    assert_eq!(decode::<SinkRecord>(&bytes), Err(LogError::Damaged { offset: begins[1] as u64, what }));
    bytes.truncate(begins[2] + FRAME);
    assert_eq!(decode::<SinkRecord>(&bytes).unwrap().records.len(), 1, "nothing whole follows");
}

#[test]
fn a_gap_followed_by_records_is_damage() {
    let (mut bytes, begins) = three();
    bytes[begins[1]..begins[2]].fill(0);
    let what = "impossible length";
    assert_eq!(decode::<SinkRecord>(&bytes), Err(LogError::Damaged { offset: begins[1] as u64, what }));
}

#[test]
fn a_record_that_is_there_twice_is_damage() {
    let (mut bytes, begins) = three();
    let again = bytes[begins[1]..].to_vec();
    bytes.extend(again);
    let what = "wrong checksum";
    assert_eq!(decode::<SinkRecord>(&bytes), Err(LogError::Damaged { offset: begins[3] as u64, what }));
}

#[test]
fn a_record_that_could_not_be_read_is_not_written() {
    let mut bytes = vec![1, 2, 3];
    let name = "x".repeat(LARGEST);
    let refused = encode(&SinkRecord::Gateway { id: 0, name }, 0, &mut bytes).unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { length } if length > LARGEST), "{refused}");
    assert_eq!(bytes, [1, 2, 3]);
}
