//! Reads the records of a log one at a time from any reader.

use super::{Decoder, LogError, Record};
use std::io::{self, Read};

/// The number of bytes read at a time.
const BLOCK: usize = 64 << 10;

/// An error of reading the records of a log.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The bytes could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The bytes are not a log of this kind, or are damaged.
    #[error(transparent)]
    Content(#[from] LogError),
}

/// Reads a log to its end and gives each record to `each`. Returns the length of its whole part, in bytes; the rest
/// is a torn tail.
///
/// # Errors
/// If the bytes cannot be read or are damaged, or the error that `each` returns.
pub fn read_records<R: Record, E: From<StreamError>>(
    source: &mut impl Read,
    mut each: impl FnMut(R) -> Result<(), E>,
) -> Result<u64, E> {
    let mut decoder = Decoder::new();
    let mut block = vec![0; BLOCK];
    loop {
        let length = match source.read(&mut block) {
            Ok(0) => return decoder.finish().map_err(|error| StreamError::Content(error).into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StreamError::Read(error).into()),
        };
        decoder.feed(&block[..length]);
        while let Some(record) = decoder.next_record().map_err(StreamError::Content)? {
            each(record)?;
        }
    }
}
