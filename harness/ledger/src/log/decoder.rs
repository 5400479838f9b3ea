//! Reads a ledger file block by block: one record is in memory, not all of them.

use super::{FRAME, HEADER, LARGEST, LogError, Record, checksum, header};
use std::marker::PhantomData;

/// What was read of a ledger file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<R> {
    /// The records, in order.
    pub records: Vec<R>,
    /// Up to where the file is whole, in bytes; what follows is a torn tail.
    pub whole: u64,
}

/// Reads a whole file; an empty one holds no records.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<Decoded<R>, LogError> {
    let mut decoder = Decoder::new();
    decoder.feed(bytes);
    let mut records = Vec::new();
    while let Some(record) = decoder.next_record()? {
        records.push(record);
    }
    Ok(Decoded { records, whole: decoder.finish()? })
}

/// Gives the records of a file that comes in blocks of any size.
#[derive(Debug, Clone)]
pub struct Decoder<R> {
    /// What came and is not read yet, from `at` on.
    bytes: Vec<u8>,
    at: usize,
    /// Where in the file that is.
    offset: u64,
    /// What is not whole there; whatever follows decides whether it is the torn tail.
    broken: Option<Broken>,
    kind: PhantomData<R>,
}

/// A header or record that is there in its full length, and is not whole.
#[derive(Debug, Clone)]
struct Broken {
    length: usize,
    error: LogError,
}

/// What is at the beginning of some bytes.
enum Piece<'a> {
    /// Too few bytes to tell.
    Short,
    Whole(&'a [u8]),
    Broken {
        length: usize,
        what: &'static str,
    },
}

fn piece(bytes: &[u8], offset: u64) -> Piece<'_> {
    let Some((frame, rest)) = bytes.split_first_chunk::<FRAME>() else { return Piece::Short };
    let [a, b, c, d, crc @ ..] = *frame;
    let length = u32::from_le_bytes([a, b, c, d]);
    let size = length as usize;
    if size == 0 || size > LARGEST {
        return Piece::Broken { length: FRAME, what: "impossible length" };
    }
    match rest.get(..size) {
        None => Piece::Short,
        Some(payload) if checksum(offset, length, payload) == u32::from_le_bytes(crc) => {
            Piece::Whole(payload)
        }
        Some(_) => Piece::Broken { length: FRAME + size, what: "wrong checksum" },
    }
}

impl<R: Record> Decoder<R> {
    /// At the beginning of a file.
    pub fn new() -> Self {
        Self { bytes: Vec::new(), at: 0, offset: 0, broken: None, kind: PhantomData }
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, block: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(block);
    }

    /// The next record; none until more bytes come.
    pub fn next_record(&mut self) -> Result<Option<R>, LogError> {
        if self.offset == 0 && self.broken.is_none() && !self.begin()? {
            return Ok(None);
        }
        if self.broken.is_none() {
            match piece(&self.bytes[self.at..], self.offset) {
                Piece::Short => return Ok(None),
                Piece::Whole(payload) => {
                    let record = postcard::from_bytes(payload);
                    let what = "right checksum, but not a record of this kind";
                    let damaged = LogError::Damaged { offset: self.offset, what };
                    self.skip(FRAME + payload.len());
                    return record.map(Some).map_err(|_| damaged);
                }
                Piece::Broken { length, what } => {
                    let error = LogError::Damaged { offset: self.offset, what };
                    self.broken = Some(Broken { length, error });
                }
            }
        }
        self.behind_broken()?;
        Ok(None)
    }

    /// Reads the header, if it is there.
    fn begin(&mut self) -> Result<bool, LogError> {
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
            // Torn: zeros are all that may follow.
            self.broken = Some(Broken { length: HEADER, error });
            self.behind_broken()?;
        }
        Ok(false)
    }

    fn skip(&mut self, length: usize) {
        self.at += length;
        self.offset += length as u64;
    }

    /// Behind what is broken may be zeros. They need not be kept.
    fn behind_broken(&mut self) -> Result<(), LogError> {
        let Some(Broken { length, error }) = &self.broken else { return Ok(()) };
        let end = self.at + length;
        if self.bytes[end..].iter().any(|byte| *byte != 0) {
            return Err(error.clone());
        }
        self.bytes.truncate(end);
        Ok(())
    }

    /// The file is at its end: up to where it is whole, in bytes. To be called when there are no more records.
    pub fn finish(self) -> Result<u64, LogError> {
        let tail = &self.bytes[self.at..];
        let whole =
            |begin: usize| matches!(piece(&tail[begin..], self.offset + begin as u64), Piece::Whole(_));
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
