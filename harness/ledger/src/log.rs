//! The format of a ledger file: append-only records, each with its length and checksum.
//!
//! ```text
//! file   = magic version kind record*        magic "SPLG", version u8, kind u8
//! record = length crc payload                length of the payload and CRC-32 (IEEE), u32 little endian
//! crc    = over offset length payload        offset of the record in the file, u64 little endian
//! ```
//!
//! The payload is the record in postcard's wire format. A record is whole only at the offset at which it was
//! written: bytes that were repeated, moved or left out are detected, and the records read are always a prefix of
//! those written. A torn tail is cut off; a damaged record is an error with its offset.
//!
//! A tail is torn if a process was killed while writing, which leaves a file that is too short, or if the machine
//! lost power, which can also leave a file of the right length that ends in zeros, because the length reaches the
//! disk before the content. So at the first record that is not whole, the file has a torn tail if only zeros follow
//! the end that this record claims, and if no whole record begins anywhere in or after it. Otherwise it is damaged:
//! the record was written completely, because more was written after it. A damaged last record looks like a torn
//! one: it is cut off, and its content is unknown, as if it had never been written. A gap followed by records may
//! be left by a loss of power before a sync; that cannot be known, so it is damage.

mod decoder;
mod stream;

pub use decoder::{Decoded, Decoder, decode};
pub use stream::{StreamError, read_records};

use serde::{Serialize, de::DeserializeOwned};

/// The version of this format.
pub const VERSION: u8 = 4;
const MAGIC: &[u8; 4] = b"SPLG";
const HEADER: usize = 6;
const FRAME: usize = 8;
/// The largest payload, in bytes: a greater length is damage, not a record.
const LARGEST: usize = 16 << 20;

/// A record of one kind of ledger file.
pub trait Record: Serialize + DeserializeOwned {
    /// The kind's byte in the header.
    const KIND: u8;
}

/// An error of reading or writing a ledger file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The file is not a ledger, or is one of another version or kind.
    #[error("not a ledger of kind {kind} and version {VERSION}: it begins with {found:02x?}")]
    Header {
        /// The expected kind.
        kind: u8,
        /// The first bytes.
        found: Vec<u8>,
    },
    /// A record whose checksum, length or content is wrong, with more data after it.
    #[error("damaged at offset {offset}: {what}")]
    Damaged {
        /// The record's offset in the file, in bytes.
        offset: u64,
        /// The problem.
        what: &'static str,
    },
    /// A record could not be encoded.
    #[error("a record could not be encoded: {0}")]
    Encode(postcard::Error),
    /// A record is larger than the limit.
    #[error("a record of {length} bytes, more than the limit of {LARGEST}")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
}

/// The first bytes of a file of this kind.
pub fn header<R: Record>() -> [u8; HEADER] {
    let [a, b, c, d] = *MAGIC;
    [a, b, c, d, VERSION, R::KIND]
}

/// Appends a record to `bytes`, which will be written at offset `at` of the file. On an error `bytes` is unchanged.
pub fn encode<R: Record>(record: &R, at: u64, bytes: &mut Vec<u8>) -> Result<(), LogError> {
    let start = bytes.len();
    let added = add(record, at, bytes);
    if added.is_err() {
        bytes.truncate(start);
    }
    added
}

fn add<R: Record>(record: &R, at: u64, bytes: &mut Vec<u8>) -> Result<(), LogError> {
    let start = bytes.len();
    bytes.extend([0; FRAME]);
    postcard::to_io(record, &mut *bytes).map_err(LogError::Encode)?;
    let (frame, payload) = bytes[start..].split_at_mut(FRAME);
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= LARGEST);
    let length = length.ok_or(LogError::TooLarge { length: payload.len() })?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..].copy_from_slice(&checksum(at + start as u64, length, payload).to_le_bytes());
    Ok(())
}

fn checksum(offset: u64, length: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&offset.to_le_bytes());
    crc.update(&length.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

#[cfg(test)]
mod tests;
