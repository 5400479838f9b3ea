//! How a ledger is written: an append-only file of records, each with its length and checksum.
//!
//! ```text
//! file   = magic version kind record*        magic "SPLG", version u8, kind u8
//! record = length crc payload                length and CRC-32 (IEEE) of the payload, u32 little endian
//! ```
//!
//! The payload is the record in postcard's wire format. A tail that a crash tore off is cut; a record
//! that was damaged is an error that says where: nothing is guessed.

use serde::{Serialize, de::DeserializeOwned};

/// Version of this format.
pub const VERSION: u8 = 3;
const MAGIC: &[u8; 4] = b"SPLG";
const HEADER: usize = 6;
const FRAME: usize = 8;
/// No record is larger: a length beyond it is damage, not a record.
const LARGEST: usize = 16 << 20;

/// A record that can stand in a ledger file, and which kind of file that is.
pub trait Record: Serialize + DeserializeOwned {
    /// The kind's byte in the header.
    const KIND: u8;
}

/// What was read of a ledger file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<R> {
    /// The records, in order.
    pub records: Vec<R>,
    /// Up to where the file is whole, in bytes; what follows is a torn tail.
    pub whole: usize,
}

/// Why a ledger file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not a ledger, or of another version or kind.
    #[error("not a ledger of kind {kind} and version {VERSION}: it begins with {found:02x?}")]
    Header {
        /// The kind that was asked for.
        kind: u8,
        /// The first bytes.
        found: Vec<u8>,
    },
    /// A record whose checksum, length or content is wrong, with more behind it.
    #[error("damaged at offset {offset}: {what}")]
    Damaged {
        /// Where the record begins, in bytes.
        offset: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A record could not be put into its wire format.
    #[error("a record could not be encoded: {0}")]
    Encode(postcard::Error),
}

/// The bytes that a file of this kind begins with.
pub fn header<R: Record>() -> [u8; HEADER] {
    let [a, b, c, d] = *MAGIC;
    [a, b, c, d, VERSION, R::KIND]
}

/// The bytes of one record.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, LogError> {
    let mut bytes = postcard::to_extend(record, vec![0; FRAME]).map_err(LogError::Encode)?;
    let payload = &bytes[FRAME..];
    let (length, crc) = (u32::try_from(payload.len()), crc32fast::hash(payload));
    let length = length.map_err(|_| LogError::Encode(postcard::Error::SerializeBufferFull))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..FRAME].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// Reads a whole file; an empty one holds no records.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<Decoded<R>, LogError> {
    let expected = header::<R>();
    if bytes.len() < HEADER && expected.starts_with(bytes) {
        return Ok(Decoded { records: Vec::new(), whole: 0 });
    }
    if !bytes.starts_with(&expected) {
        let found = bytes.iter().take(HEADER).copied().collect();
        return Err(LogError::Header { kind: R::KIND, found });
    }
    let mut records = Vec::new();
    let mut offset = HEADER;
    while let Some(frame) = bytes.get(offset..offset + FRAME) {
        let number = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let length = number(0) as usize;
        if length > LARGEST {
            return Err(LogError::Damaged { offset, what: "impossible length" });
        }
        let end = offset + FRAME + length;
        let Some(payload) = bytes.get(offset + FRAME..end) else {
            break;
        };
        if crc32fast::hash(payload) != number(4) {
            if end == bytes.len() {
                break; // the last one, half written: its length reached the disk, its end did not
            }
            return Err(LogError::Damaged { offset, what: "wrong checksum" });
        }
        let record = postcard::from_bytes(payload).map_err(|_| LogError::Damaged {
            offset,
            what: "right checksum, but not a record of this kind",
        })?;
        records.push(record);
        offset = end;
    }
    Ok(Decoded { records, whole: offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmitterRecord, Range};
    use proptest::prelude::*;

    fn file(records: &[EmitterRecord]) -> Vec<u8> {
        let mut bytes = header::<EmitterRecord>().to_vec();
        for record in records {
            bytes.extend(encode(record).unwrap());
        }
        bytes
    }

    fn records() -> impl Strategy<Value = Vec<EmitterRecord>> {
        let range = (0u64..1_000_000, 1u64..500).prop_map(|(start, len)| Range::new(start, start + len));
        let record = (range, any::<bool>()).prop_map(|(range, acknowledged)| {
            if acknowledged {
                EmitterRecord::Acknowledged { range }
            } else {
                EmitterRecord::Reserved { range }
            }
        });
        prop::collection::vec(record, 0..20)
    }

    proptest! {
        /// Cut anywhere, a file gives the records that were whole, and never an error.
        #[test]
        fn a_torn_tail_is_cut(records in records(), cut: prop::sample::Index) {
            let bytes = file(&records);
            let cut = cut.index(bytes.len() + 1);
            let decoded = decode::<EmitterRecord>(&bytes[..cut]).unwrap();
            prop_assert!(decoded.whole <= cut);
            prop_assert_eq!(&decoded.records[..], &records[..decoded.records.len()]);
            if cut == bytes.len() {
                prop_assert_eq!(decoded.records.len(), records.len());
            }
        }

        /// A flipped bit is found: an error, or (in the last record, or a length) records missing at the end.
        #[test]
        fn a_flipped_bit_is_never_believed(records in records(), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = file(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            match decode::<EmitterRecord>(&bytes) {
                Err(_) => {}
                Ok(decoded) => {
                    prop_assert!(decoded.records.len() < records.len());
                    prop_assert_eq!(&decoded.records[..], &records[..decoded.records.len()]);
                }
            }
        }

        /// Arbitrary bytes never panic.
        #[test]
        fn anything_can_be_read(bytes: Vec<u8>) {
            let _ = decode::<EmitterRecord>(&bytes);
            let _ = decode::<EmitterRecord>(&[&header::<EmitterRecord>()[..], &bytes].concat());
        }
    }
}
