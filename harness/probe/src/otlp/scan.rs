//! Reads out of an encoded request what the sink needs, and builds nothing.
//!
//! What is looked at is read as `prost` reads it: fields in any order, the last one of a kind counts,
//! unknown ones are skipped. What is skipped is only measured: whether its strings are UTF-8 and what is
//! nested in it is not checked. So every request that `prost` takes is taken, with the same result; and
//! of the others those are refused that are broken where the sink looks.

/// What the sink needs of a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpanView<'a> {
    /// Of whatever length it came.
    pub(crate) trace_id: &'a [u8],
    /// Of whatever length it came.
    pub(crate) span_id: &'a [u8],
    /// Unix time in nanoseconds.
    pub(crate) start_time_unix_nano: u64,
    /// The text attribute [`PAYLOAD`]; none if it is not there, or not asked for.
    pub(crate) payload: Option<&'a [u8]>,
    /// The integer attribute [`CHECKSUM`]; none if it is not there, or not asked for.
    pub(crate) checksum: Option<i64>,
}

/// The attribute whose bytes the checksum is of.
pub(crate) const PAYLOAD: &str = "spanproof.payload";
/// The attribute with the payload's CRC-32 (IEEE).
pub(crate) const CHECKSUM: &str = "spanproof.checksum";

/// The bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf: {0}")]
pub(crate) struct ScanError(&'static str);

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;
/// How deep groups may be nested: as deep as `prost` allows.
const DEEPEST: usize = 100;

/// Calls `each` for every span of an encoded `ExportTraceServiceRequest`; their attributes are read only
/// if `attributes` says so. Spans before the place of an error have been given to `each`.
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

/// An attribute's value, as far as it is looked at.
#[derive(Clone, Copy)]
enum AttributeValue<'a> {
    Text(&'a [u8]),
    Integer(i64),
    Other,
}

/// A `KeyValue`. Of two attributes with the same key the last one counts.
fn attribute<'a>(message: &'a [u8], span: &mut SpanView<'a>) -> Result<(), ScanError> {
    let mut reader = Reader(message);
    let (mut key, mut value): (&[u8], _) = (&[], AttributeValue::Other);
    while let Some((number, wire)) = reader.key()? {
        match number {
            1 => key = reader.bytes(wire)?,
            // A message that comes again is merged into the first one.
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

/// An `AnyValue`: the last one of its kinds counts.
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

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field's number and wire type; none at the end.
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

    fn varint(&mut self) -> Result<u64, ScanError> {
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

    fn take(&mut self, length: usize) -> Result<&'a [u8], ScanError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ScanError("it ends in a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The content of a field with a length.
    fn bytes(&mut self, wire: u8) -> Result<&'a [u8], ScanError> {
        expect(wire, BYTES)?;
        let length = usize::try_from(self.varint()?).map_err(|_| ScanError("an impossible length"))?;
        self.take(length)
    }

    fn fixed64(&mut self, wire: u8) -> Result<u64, ScanError> {
        expect(wire, FIXED64)?;
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn varint_field(&mut self, wire: u8) -> Result<u64, ScanError> {
        expect(wire, VARINT)?;
        self.varint()
    }

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

    /// Up to the end of a group whose beginning was read, with the groups in it.
    fn skip_group(&mut self, number: u32) -> Result<(), ScanError> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            let (number, wire) = self.key()?.ok_or(ScanError("a group does not end"))?;
            match wire {
                GROUP if open.len() < DEEPEST => open.push(number),
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
