//! Reads the fields that the sink needs from an encoded request, without building messages.
//!
//! These fields are read as `prost` reads them: in any order, the last one of a number counts, unknown ones are
//! skipped. Of a skipped field only the length is read: its strings need not be UTF-8, and its content is not
//! checked. So every request that `prost` decodes is accepted, with the same result; of the others, those that are
//! malformed in a field that the sink reads are refused.

/// The fields of a span that the sink needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpanView<'a> {
    /// The trace ID, of any length.
    pub(crate) trace_id: &'a [u8],
    /// The span ID, of any length.
    pub(crate) span_id: &'a [u8],
    /// Unix time in nanoseconds.
    pub(crate) start_time_unix_nano: u64,
    /// The text attribute [`PAYLOAD`]; none if it is missing or attributes are not read.
    pub(crate) payload: Option<&'a [u8]>,
    /// The integer attribute [`CHECKSUM`]; none if it is missing or attributes are not read.
    pub(crate) checksum: Option<i64>,
}

/// The name of the attribute that the checksum covers.
pub(crate) const PAYLOAD: &str = "spanproof.payload";
/// The name of the attribute with the payload's CRC-32 (IEEE).
pub(crate) const CHECKSUM: &str = "spanproof.checksum";

/// An error: the bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf: {0}")]
pub(crate) struct ScanError(&'static str);

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;
/// The deepest nesting of groups, as in `prost`.
const MAX_GROUP_DEPTH: usize = 100;

/// Calls `each` for every span of an encoded `ExportTraceServiceRequest`, with its attributes if `attributes` is
/// set. Spans before an error have been given to `each`.
pub(crate) fn scan<'a>(
    request: &'a [u8],
    attributes: bool,
    mut each: impl FnMut(SpanView<'a>),
) -> Result<(), ScanError> {
    // request.resource_spans (1) → .scope_spans (2) → .spans (2)
    nested(request, 1, |resource_spans| {
        nested(resource_spans, 2, |scope_spans| {
            nested(scope_spans, 2, |bytes| {
                each(span(bytes, attributes)?);
                Ok(())
            })
        })
    })
}

/// Calls `each` for the content of every field `number` of a message.
fn nested<'a>(
    message: &'a [u8],
    number: u32,
    mut each: impl FnMut(&'a [u8]) -> Result<(), ScanError>,
) -> Result<(), ScanError> {
    let mut reader = Reader(message);
    while let Some((found, wire)) = reader.key()? {
        if found == number { each(reader.bytes(wire)?)? } else { reader.skip(found, wire)? }
    }
    Ok(())
}

fn span(message: &[u8], attributes: bool) -> Result<SpanView<'_>, ScanError> {
    let mut reader = Reader(message);
    let mut span = SpanView::default();
    while let Some((number, wire)) = reader.key()? {
        match number {
            1 => span.trace_id = reader.bytes(wire)?,
            2 => span.span_id = reader.bytes(wire)?,
            7 => span.start_time_unix_nano = reader.fixed64(wire)?,
            9 if attributes => attribute(reader.bytes(wire)?, &mut span)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(span)
}

/// An attribute's value, of the kinds that the sink reads.
#[derive(Clone, Copy)]
enum AttributeValue<'a> {
    Text(&'a [u8]),
    Integer(i64),
    Other,
}

/// Reads a `KeyValue` into `span`. Of two attributes with the same key the last one counts.
fn attribute<'a>(message: &'a [u8], span: &mut SpanView<'a>) -> Result<(), ScanError> {
    let mut reader = Reader(message);
    let (mut key, mut value): (&[u8], _) = (&[], AttributeValue::Other);
    while let Some((number, wire)) = reader.key()? {
        match number {
            1 => key = reader.bytes(wire)?,
            // A repeated message is merged into the first one.
            2 => value = any_value(reader.bytes(wire)?, value)?,
            _ => reader.skip(number, wire)?,
        }
    }
    if key == PAYLOAD.as_bytes() {
        span.payload = match value {
            AttributeValue::Text(text) => Some(text),
            _ => None,
        };
    } else if key == CHECKSUM.as_bytes() {
        span.checksum = match value {
            AttributeValue::Integer(number) => Some(number),
            _ => None,
        };
    }
    Ok(())
}

/// Reads an `AnyValue`; the last of its fields counts.
fn any_value<'a>(message: &'a [u8], before: AttributeValue<'a>) -> Result<AttributeValue<'a>, ScanError> {
    let mut reader = Reader(message);
    let mut value = before;
    while let Some((number, wire)) = reader.key()? {
        match number {
            1 => value = AttributeValue::Text(reader.bytes(wire)?),
            3 => value = AttributeValue::Integer(reader.varint_field(wire)?.cast_signed()),
            2 | 4..=8 => {
                reader.skip(number, wire)?;
                value = AttributeValue::Other;
            }
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(value)
}

/// The rest of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field's number and wire type; none at the end.
    #[inline]
    fn key(&mut self) -> Result<Option<(u32, u8)>, ScanError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| ScanError("a field's number is too large"))?;
        match (key >> 3, (key & 7) as u8) {
            (0, _) => Err(ScanError("field number 0")),
            (number, wire) => Ok(Some((number, wire))),
        }
    }

    /// A base-128 number. Most have one byte or two; this is half of the sink's work for a span, so those are inlined.
    #[inline]
    fn varint(&mut self) -> Result<u64, ScanError> {
        match *self.0 {
            [first, ref rest @ ..] if first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(first))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.0 = rest;
                Ok(u64::from(first & 0x7F) | u64::from(second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, ScanError> {
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate() {
            // The tenth byte holds the last bit.
            if index == 9 && *byte > 1 {
                return Err(ScanError("a number is too long"));
            }
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(ScanError("it ends in the middle of a number"))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], ScanError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ScanError("it ends in a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The content of a length-delimited field.
    #[inline]
    fn bytes(&mut self, wire: u8) -> Result<&'a [u8], ScanError> {
        expect(wire, BYTES)?;
        let length = usize::try_from(self.varint()?).map_err(|_| ScanError("an impossible length"))?;
        self.take(length)
    }

    fn fixed64(&mut self, wire: u8) -> Result<u64, ScanError> {
        expect(wire, FIXED64)?;
        let (bytes, rest) = self.0.split_first_chunk().ok_or(ScanError("it ends in a field"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn varint_field(&mut self, wire: u8) -> Result<u64, ScanError> {
        expect(wire, VARINT)?;
        self.varint()
    }

    #[inline]
    fn skip(&mut self, number: u32, wire: u8) -> Result<(), ScanError> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            BYTES => self.bytes(wire).map(drop),
            FIXED32 => self.take(4).map(drop),
            GROUP => self.skip_group(number),
            GROUP_END => Err(ScanError("the end of a group that did not begin")),
            _ => Err(ScanError("unknown wire type")),
        }
    }

    /// Skips the rest of a group whose start was read, with the groups in it.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), ScanError> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            let (number, wire) = self.key()?.ok_or(ScanError("a group does not end"))?;
            match wire {
                GROUP if open.len() < MAX_GROUP_DEPTH => open.push(number),
                GROUP => return Err(ScanError("groups are nested too deep")),
                GROUP_END if number == innermost => drop(open.pop()),
                _ => self.skip(number, wire)?,
            }
        }
        Ok(())
    }
}

fn expect(found: u8, expected: u8) -> Result<(), ScanError> {
    if found == expected { Ok(()) } else { Err(ScanError("a field has the wrong wire type")) }
}

#[cfg(test)]
mod tests;
