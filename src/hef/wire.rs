//! The protobuf wire form, walked without decoding.
//!
//! Two uses. [`scan`] goes over the section before prost does: it refuses what prost would only describe in general
//! terms, with the offset and with what was expected there, and it bounds the memory that decoding may take. A message
//! of two bytes can become a struct of hundreds, so the length of the section alone bounds nothing. [`locate`] finds
//! the file offset of a field from its path, when a rule is broken later; nothing is recorded while all is well.

use super::error::{HefError, Result};
use super::schema::{Kind, MESSAGES, Message};
use super::source::to_u64;

/// Nesting levels, as in every protobuf implementation.
const MAX_DEPTH: usize = 100;

/// Bytes that decoded structs may take for each byte of the section. Compiled networks need 3 to 5.
const BUDGET_FACTOR: usize = 10;

/// Bytes that decoded structs may take in any case, so that small files are not refused.
const BUDGET_BASE: usize = 256 << 10;

/// One step from a message to a field: its number, and which of the repetitions (the last if `None`).
pub(crate) type Step = (u32, Option<usize>);

/// What a tag announces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Varint,
    Fixed64,
    Length,
    Fixed32,
}

impl Wire {
    fn name(self) -> &'static str {
        match self {
            Self::Varint => "a varint",
            Self::Fixed64 => "8 bytes",
            Self::Length => "a length-delimited field",
            Self::Fixed32 => "4 bytes",
        }
    }
}

/// A field on the wire: number, type, start and end of its value.
struct Field {
    number: u32,
    wire: Wire,
    start: usize,
    end: usize,
}

/// A position in the section, with the message it is in for the error text.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    message: &'static str,
    base: u64,
}

impl Cursor<'_> {
    fn malformed(
        &self,
        at: usize,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> HefError {
        HefError::Malformed {
            offset: self.base + to_u64(at),
            message: self.message,
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn varint(&mut self) -> Result<u64> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.bytes[..self.end].get(self.at) else {
                return Err(self.malformed(start, "a varint", "the end of the message"));
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed(start, "a varint of at most 64 bits", "a longer one"))
    }

    /// The next field, `None` at the end.
    fn next(&mut self) -> Result<Option<Field>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let tag_at = self.at;
        let tag = self.varint()?;
        let number = match u32::try_from(tag >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => number,
            _ => {
                return Err(self.malformed(
                    tag_at,
                    "a field number of 1 to 536870911",
                    (tag >> 3).to_string(),
                ));
            }
        };
        let left = |cursor: &Self| cursor.end - cursor.at;
        let (wire, length) = match tag & 7 {
            0 => {
                let start = self.at;
                self.varint()?;
                return Ok(Some(Field {
                    number,
                    wire: Wire::Varint,
                    start,
                    end: self.at,
                }));
            }
            1 => (Wire::Fixed64, 8),
            2 => {
                let length_at = self.at;
                let length = self.varint()?;
                let fits = usize::try_from(length).ok().filter(|&n| n <= left(self));
                let Some(length) = fits else {
                    let expected = format!(
                        "a length of at most {} bytes for field {number}",
                        left(self)
                    );
                    return Err(self.malformed(length_at, expected, length.to_string()));
                };
                (Wire::Length, length)
            }
            5 => (Wire::Fixed32, 4),
            other => {
                return Err(self.malformed(
                    tag_at,
                    "wire type 0, 1, 2 or 5",
                    format!("{other} (field {number})"),
                ));
            }
        };
        if length > left(self) {
            return Err(self.malformed(
                self.at,
                format!("{length} bytes for field {number}"),
                left(self).to_string(),
            ));
        }
        let start = self.at;
        self.at += length;
        Ok(Some(Field {
            number,
            wire,
            start,
            end: self.at,
        }))
    }
}

/// Checks that `bytes` is a message of the schema and that decoding it stays within the memory budget.
///
/// `base` is the file offset of the first byte. Time is linear in the length; nesting is bounded.
pub(crate) fn scan(bytes: &[u8], base: u64) -> Result<()> {
    let mut budget = BUDGET_BASE.saturating_add(bytes.len().saturating_mul(BUDGET_FACTOR));
    scan_message(bytes, base, 0, 0..bytes.len(), 0, &mut budget)
}

fn scan_message(
    bytes: &[u8],
    base: u64,
    message: usize,
    range: std::ops::Range<usize>,
    depth: usize,
    budget: &mut usize,
) -> Result<()> {
    let Message { name, fields, .. } = MESSAGES[message];
    let mut cursor = Cursor {
        bytes,
        at: range.start,
        end: range.end,
        message: name,
        base,
    };
    if depth > MAX_DEPTH {
        return Err(cursor.malformed(
            range.start,
            format!("at most {MAX_DEPTH} levels of nesting"),
            "more",
        ));
    }
    while let Some(field) = cursor.next()? {
        let Some(&(_, kind)) = fields.iter().find(|(number, _)| *number == field.number) else {
            continue;
        };
        let length = field.end - field.start;
        let (expected, cost) = match (kind, field.wire) {
            (Kind::Message(child), Wire::Length) => {
                spend(&cursor, field.start, budget, MESSAGES[child].size)?;
                scan_message(
                    bytes,
                    base,
                    child,
                    field.start..field.end,
                    depth + 1,
                    budget,
                )?;
                continue;
            }
            (Kind::Text, Wire::Length) => {
                if let Err(e) = std::str::from_utf8(&bytes[field.start..field.end]) {
                    return Err(cursor.malformed(
                        field.start + e.valid_up_to(),
                        "UTF-8 text",
                        "another byte",
                    ));
                }
                (Wire::Length, size_of::<String>() + length)
            }
            (Kind::Bytes, _) => (Wire::Length, size_of::<prost::bytes::Bytes>()),
            (Kind::Text | Kind::Message(_), _) => (Wire::Length, 0),
            // Packed numbers: a byte on the wire may become eight.
            (Kind::Varint { repeated: true }, Wire::Length) => (Wire::Length, 8 * length),
            (Kind::Fixed32 { repeated: true } | Kind::Fixed64 { repeated: true }, Wire::Length) => {
                (Wire::Length, length)
            }
            (Kind::Varint { .. }, _) => (Wire::Varint, 8),
            (Kind::Fixed32 { .. }, _) => (Wire::Fixed32, 8),
            (Kind::Fixed64 { .. }, _) => (Wire::Fixed64, 8),
        };
        if field.wire != expected {
            let expected = format!("{} for field {}", expected.name(), field.number);
            return Err(cursor.malformed(field.start, expected, field.wire.name()));
        }
        spend(&cursor, field.start, budget, cost)?;
    }
    Ok(())
}

fn spend(cursor: &Cursor<'_>, at: usize, budget: &mut usize, cost: usize) -> Result<()> {
    *budget = budget.checked_sub(cost).ok_or_else(|| {
        cursor.malformed(
            at,
            format!("a description that decodes to at most {BUDGET_FACTOR} times its size"),
            "more",
        )
    })?;
    Ok(())
}

/// File offset of the value that `path` leads to, or of the innermost message on the way that is there.
pub(crate) fn locate(bytes: &[u8], base: u64, path: &[Step]) -> u64 {
    let mut range = 0..bytes.len();
    let mut found = 0;
    for &(number, wanted) in path {
        let mut cursor = Cursor {
            bytes,
            at: range.start,
            end: range.end,
            message: "",
            base,
        };
        let mut hit = None;
        let mut index = 0;
        while let Ok(Some(field)) = cursor.next() {
            if field.number != number {
                continue;
            }
            if wanted.is_none_or(|wanted| wanted == index) {
                hit = Some(
                    field.start..if field.wire == Wire::Length {
                        field.end
                    } else {
                        field.start
                    },
                );
            }
            index += 1;
        }
        let Some(inner) = hit else { break };
        found = inner.start;
        range = inner;
    }
    base + to_u64(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(bytes: &[u8]) -> String {
        scan(bytes, 0x1000).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_offset_expected_and_found() {
        assert_eq!(
            problem(&[0x0a, 0x04, 0x08, 0x67]),
            "malformed protobuf at offset 0x1001 (Hef): expected a length of at most 2 bytes for field 1, found 4"
        );
        assert_eq!(
            problem(&[0x0a, 0x02, 0x0a, 0x00]),
            "malformed protobuf at offset 0x1004 (Header): expected a varint for field 1, found a length-delimited field"
        );
        assert_eq!(
            problem(&[0x03]),
            "malformed protobuf at offset 0x1000 (Hef): expected a field number of 1 to 536870911, found 0"
        );
        assert!(problem(&[0x0b]).contains("expected wire type 0, 1, 2 or 5, found 3 (field 1)"));
        assert!(problem(&[0xff; 11]).contains("a varint of at most 64 bits"));
        assert!(problem(&[0x2a, 0x03, 0x12, 0x01, 0xff]).contains("expected UTF-8 text"));
    }

    #[test]
    fn unknown_fields_and_the_mapping_blob_are_skipped() {
        scan(&[0x1a, 0x03, 0xff, 0xff, 0xff, 0xf8, 0x3e, 0x01], 0).unwrap();
    }

    #[test]
    fn tiny_messages_that_decode_to_large_structs_are_refused() {
        // 400,000 empty edge layers in one context.
        let mut layers = Vec::new();
        for _ in 0..400_000 {
            layers.extend([0x12, 0x00]);
        }
        let wrap = |field: u8, inner: &[u8]| {
            let mut out = vec![field << 3 | 2];
            let mut length = inner.len();
            while length >= 0x80 {
                out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            out.push(u8::try_from(length).unwrap());
            out.extend(inner);
            out
        };
        let file = wrap(2, &wrap(3, &wrap(3, &layers)));
        assert!(problem(&file).contains("times its size"));
    }

    #[test]
    fn recursion_is_bounded() {
        // Network group in partial network group in network group, the innermost first.
        let mut inner = Vec::new();
        for level in 0..200 {
            let field = if level % 2 == 0 { 0x3a } else { 0x0a };
            let mut length = inner.len();
            let mut out = vec![field];
            while length >= 0x80 {
                out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            out.push(u8::try_from(length).unwrap());
            out.extend(&inner);
            inner = out;
        }
        inner.splice(0..1, [0x12]);
        assert!(problem(&inner).contains("levels of nesting"));
    }

    #[test]
    fn a_path_leads_to_the_value() {
        // Header with hw_arch, then two extensions.
        let bytes = [
            0x0a, 0x02, 0x08, 0x67, 0x2a, 0x02, 0x08, 0x1a, 0x2a, 0x02, 0x08, 0x24,
        ];
        assert_eq!(locate(&bytes, 56, &[(1, None), (1, None)]), 59);
        assert_eq!(locate(&bytes, 56, &[(5, Some(1)), (1, None)]), 67);
        // What is missing is reported at the message that lacks it.
        assert_eq!(locate(&bytes, 56, &[(5, Some(0)), (2, None)]), 62);
        assert_eq!(locate(&bytes, 56, &[(5, Some(2))]), 56);
    }
}
