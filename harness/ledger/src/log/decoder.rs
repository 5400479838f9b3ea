//! Reads a ledger file block by block, with one record in memory at a time.

use super::{FRAME, HEADER, LARGEST, LogError, Record, checksum, header};
use std::marker::PhantomData;

/// The content of a ledger file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<R> {
    /// The records, in order.
    pub records: Vec<R>,
    /// The length of the whole records with the header, in bytes; the rest is a torn tail.
    pub whole: u64,
}

/// Decodes a file; an empty one has no records.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<Decoded<R>, LogError> {
    let mut decoder = Decoder::new();
    decoder.feed(bytes);
    let mut records = Vec::new();
    while let Some(record) = decoder.next_record()? {
        records.push(record);
    }
    Ok(Decoded { records, whole: decoder.finish()? })
}

/// Decodes the records of a file that is given in blocks of any size.
#[derive(Debug, Clone)]
pub struct Decoder<R> {
    /// The bytes given; those from `at` on are not decoded yet.
    bytes: Vec<u8>,
    at: usize,
    /// The offset of `bytes[at]` in the file.
    offset: u64,
    /// The header or record at `at` that is not whole; the bytes after it decide whether it is a torn tail.
    broken: Option<Broken>,
    kind: PhantomData<R>,
}

/// A header or record of full length that is not whole.
#[derive(Debug, Clone)]
struct Broken {
    length: usize,
    error: LogError,
}

/// The frame at the start of some bytes.
enum Frame<'a> {
    /// Too few bytes.
    Short,
    Whole(&'a [u8]),
    Broken {
        length: usize,
        what: &'static str,
    },
}

fn read_frame(bytes: &[u8], offset: u64) -> Frame<'_> {
    let Some((frame, rest)) = bytes.split_first_chunk::<FRAME>() else { return Frame::Short };
    let [a, b, c, d, crc @ ..] = *frame;
    let length = u32::from_le_bytes([a, b, c, d]);
    let size = length as usize;
    if size == 0 || size > LARGEST {
        return Frame::Broken { length: FRAME, what: "impossible length" };
    }
    match rest.get(..size) {
        None => Frame::Short,
        Some(payload) if checksum(offset, length, payload) == u32::from_le_bytes(crc) => {
            Frame::Whole(payload)
        }
        Some(_) => Frame::Broken { length: FRAME + size, what: "wrong checksum" },
    }
}

impl<R: Record> Decoder<R> {
    /// A decoder at the start of a file.
    pub fn new() -> Self {
        Self { bytes: Vec::new(), at: 0, offset: 0, broken: None, kind: PhantomData }
    }

    /// Adds the next bytes of the file.
    pub fn feed(&mut self, block: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(block);
    }

    /// The next record; none until more bytes are added.
    pub fn next_record(&mut self) -> Result<Option<R>, LogError> {
        if self.offset == 0 && self.broken.is_none() && !self.read_header()? {
            return Ok(None);
        }
        if self.broken.is_none() {
            match read_frame(&self.bytes[self.at..], self.offset) {
                Frame::Short => return Ok(None),
                Frame::Whole(payload) => {
                    let record = postcard::from_bytes(payload);
                    let what = "right checksum, but not a record of this kind";
                    let damaged = LogError::Damaged { offset: self.offset, what };
                    self.skip(FRAME + payload.len());
                    return record.map(Some).map_err(|_| damaged);
                }
                Frame::Broken { length, what } => {
                    let error = LogError::Damaged { offset: self.offset, what };
                    self.broken = Some(Broken { length, error });
                }
            }
        }
        self.require_zeros()?;
        Ok(None)
    }

    /// Reads the header; returns `false` if it is not complete yet.
    fn read_header(&mut self) -> Result<bool, LogError> {
        let expected = header::<R>();
        let found = &self.bytes[..HEADER.min(self.bytes.len())];
        if found == expected {
            self.skip(HEADER);
            return Ok(true);
        }
        let written = found.len() - found.iter().rev().take_while(|byte| **byte == 0).count();
        let error = LogError::Header { kind: R::KIND, found: found.to_vec() };
        if !expected.starts_with(&found[..written]) {
            return Err(error);
        }
        if found.len() == HEADER {
            // Torn: only zeros may follow.
            self.broken = Some(Broken { length: HEADER, error });
            self.require_zeros()?;
        }
        Ok(false)
    }

    fn skip(&mut self, length: usize) {
        self.at += length;
        self.offset += length as u64;
    }

    /// Checks that only zeros follow a broken record, and drops them.
    fn require_zeros(&mut self) -> Result<(), LogError> {
        let Some(Broken { length, error }) = &self.broken else { return Ok(()) };
        let end = self.at + length;
        if self.bytes[end..].iter().any(|byte| *byte != 0) {
            return Err(error.clone());
        }
        self.bytes.truncate(end);
        Ok(())
    }

    /// Ends the file; returns the length of its whole part, in bytes. Called after the last record was decoded.
    pub fn finish(self) -> Result<u64, LogError> {
        let tail = &self.bytes[self.at..];
        let whole =
            |begin: usize| matches!(read_frame(&tail[begin..], self.offset + begin as u64), Frame::Whole(_));
        if (1..tail.len()).any(whole) {
            let what = "not a whole record, but one follows";
            return Err(LogError::Damaged { offset: self.offset, what });
        }
        Ok(self.offset)
    }
}

impl<R: Record> Default for Decoder<R> {
    fn default() -> Self {
        Self::new()
    }
}
