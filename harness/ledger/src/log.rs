//! How a ledger is written: an append-only file of records, each with its length and checksum.
//!
//! ```text
//! file   = magic version kind record*        magic "SPLG", version u8, kind u8
//! record = length crc payload                length of the payload and CRC-32 (IEEE), u32 little endian
//! crc    = over offset length payload        offset of the record in the file, u64 little endian
//! ```
//!
//! The payload is the record in postcard's wire format. A record is whole only where it was written: bytes
//! that were repeated, moved or left out are noticed, and what is read is always the beginning of what was
//! written. A tail that a crash tore off is cut; a record that was damaged is an error that says where.
//!
//! **What is a torn tail?** A process that is killed leaves a file that is too short. A machine that loses its
//! power can also leave one of the right length that ends in zeros, for the length reaches the disk before the
//! content. So at the first record that is not whole, the file has a torn tail if behind the end that this
//! record claims there is nothing but zeros, and if no whole record begins anywhere in or behind it. Else it
//! is damage: something was written there, and whole, for more was written after it. A last record that was
//! damaged looks like one that was torn: it is cut, and what it said is unknown, as if it had never been
//! written. A hole with records behind it may be what the loss of power left of writes that no sync had
//! covered; that is not known, so it is damage.

mod decoder;
mod stream;

pub use decoder::{Decoded, Decoder, decode};
pub use stream::{StreamError, read_records};

use serde::{Serialize, de::DeserializeOwned};

/// Version of this format.
pub const VERSION: u8 = 4;
const MAGIC: &[u8; 4] = b"SPLG";
const HEADER: usize = 6;
const FRAME: usize = 8;
/// No payload is larger, in bytes: a length beyond it is damage, not a record.
const LARGEST: usize = 16 << 20;

/// A record that can stand in a ledger file, and which kind of file that is.
pub trait Record: Serialize + DeserializeOwned {
    /// The kind's byte in the header.
    const KIND: u8;
}

/// Why a ledger file cannot be read or written.
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
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A record could not be put into its wire format.
    #[error("a record could not be encoded: {0}")]
    Encode(postcard::Error),
    /// A record is larger than any may be.
    #[error("a record of {length} bytes: none may have more than {LARGEST}")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
}

/// The bytes that a file of this kind begins with.
pub fn header<R: Record>() -> [u8; HEADER] {
    let [a, b, c, d] = *MAGIC;
    [a, b, c, d, VERSION, R::KIND]
}

/// Adds a record to `bytes`, which will be written at offset `at` of the file. On an error they are as before.
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
