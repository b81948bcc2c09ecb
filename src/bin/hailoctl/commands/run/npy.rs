//! Arrays of NumPy in files: the header, read and written. Elements are `u1`, `u2` or `f4`, little-endian, in C order.
//!
//! Source: NumPy, `numpy.lib.format` (versions 1.0 to 3.0 of the format).

use hailo_vfio::hef::DataType;

/// How each begins.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes before the length, and bytes of all of a header that is written.
const START: usize = 8;
pub(super) const HEADER: usize = 192;

/// Why a file is no array that can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NpyError {
    #[error("it does not begin as an array of NumPy")]
    Magic,
    #[error("version {0} of the format is not known, expected 1 to 3")]
    Version(u8),
    #[error("its header ends after {found} bytes, expected {expected}")]
    Short { expected: usize, found: usize },
    #[error("its header has no usable {key:?}")]
    Key { key: &'static str },
    #[error("its elements are {0}, expected |u1, <u2 or <f4")]
    Type(String),
    #[error("its elements are in Fortran order, expected C order")]
    Fortran,
    #[error("it has {found} bytes of elements, expected {expected} for its shape")]
    Size { expected: usize, found: usize },
}

/// What a header says, and where the elements begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) data_type: DataType,
    pub(super) shape: Vec<usize>,
    pub(super) start: usize,
}

/// Reads the header of a whole file.
pub(super) fn read(file: &[u8]) -> Result<Array, NpyError> {
    let short = |expected| NpyError::Short {
        expected,
        found: file.len(),
    };
    if !file.starts_with(MAGIC) {
        return Err(NpyError::Magic);
    }
    let version = *file.get(MAGIC.len()).ok_or(short(START))?;
    let bytes = match version {
        1 => 2,
        2 | 3 => 4,
        other => return Err(NpyError::Version(other)),
    };
    let text = START + bytes;
    let mut len = [0; 4];
    len[..bytes].copy_from_slice(file.get(START..text).ok_or(short(text))?);
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    let start = text.saturating_add(len);
    let header = String::from_utf8_lossy(file.get(text..start).ok_or(short(start))?);
    let name = quoted(value(&header, "descr")?).ok_or(NpyError::Key { key: "descr" })?;
    let data_type = match name {
        "|u1" | "<u1" => DataType::Uint8,
        "<u2" => DataType::Uint16,
        "<f4" => DataType::Float32,
        other => return Err(NpyError::Type(other.to_owned())),
    };
    let order = value(&header, "fortran_order")?;
    let shape = shape(value(&header, "shape")?).ok_or(NpyError::Key { key: "shape" })?;
    // An order makes a difference only where there are several sides.
    if order.starts_with("True") && shape.len() > 1 {
        return Err(NpyError::Fortran);
    }
    let elements = shape
        .iter()
        .fold(1_usize, |all, side| all.saturating_mul(*side));
    let expected = elements.saturating_mul(usize::try_from(data_type.bytes()).unwrap_or(1));
    let found = file.len() - start;
    if expected != found {
        return Err(NpyError::Size { expected, found });
    }
    Ok(Array {
        data_type,
        shape,
        start,
    })
}

/// What follows a key of the dictionary.
fn value<'a>(header: &'a str, key: &'static str) -> Result<&'a str, NpyError> {
    let find = |quote: char| {
        let (_, rest) = header.split_once(&format!("{quote}{key}{quote}"))?;
        rest.trim_start().strip_prefix(':').map(str::trim_start)
    };
    find('\'')
        .or_else(|| find('"'))
        .ok_or(NpyError::Key { key })
}

fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote).map(|(inside, _)| inside)
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let sides = inside
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty());
    sides.map(|side| side.parse().ok()).collect()
}

/// A header of version 1.0 and of [`HEADER`] bytes, whatever the number of frames.
pub(super) fn header(data_type: DataType, frames: u64, sides: &[usize]) -> [u8; HEADER] {
    let name = match data_type.bytes() {
        1 => "|u1",
        2 => "<u2",
        _ => "<f4",
    };
    let sides: String = sides.iter().map(|side| format!(" {side},")).collect();
    let text =
        format!("{{'descr': '{name}', 'fortran_order': False, 'shape': ({frames},{sides}), }}");
    let mut header = [b' '; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..START].copy_from_slice(&[1, 0]);
    let len = u16::try_from(HEADER - START - 2).expect("a header is short");
    header[START..START + 2].copy_from_slice(&len.to_le_bytes());
    // Four numbers of 20 digits and 60 other characters fit.
    header[START + 2..][..text.len()].copy_from_slice(text.as_bytes());
    header[HEADER - 1] = b'\n';
    header
}

/// A shape as people write it.
pub(super) fn shown(sides: &[usize]) -> String {
    let sides: Vec<_> = sides.iter().map(usize::to_string).collect();
    sides.join("x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, text: &str, data: usize) -> Vec<u8> {
        let mut file = [MAGIC, &[version, 0]].concat();
        let len = u32::try_from(text.len()).unwrap().to_le_bytes();
        file.extend_from_slice(&len[..if version == 1 { 2 } else { 4 }]);
        file.extend_from_slice(text.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    #[test]
    fn a_written_header_reads_back() {
        for (data_type, sides) in [
            (DataType::Uint8, vec![3, 5, 7]),
            (DataType::Uint16, vec![10]),
            (DataType::Float32, vec![0, usize::MAX, usize::MAX]),
        ] {
            let mut whole = header(data_type, 2, &sides).to_vec();
            let mut shape = vec![2];
            shape.extend(&sides);
            let bytes = shape
                .iter()
                .fold(1_usize, |all, side| all.saturating_mul(*side));
            whole.resize(
                HEADER + bytes * usize::try_from(data_type.bytes()).unwrap(),
                0,
            );
            let start = HEADER;
            let expected = Array {
                data_type,
                shape,
                start,
            };
            assert_eq!(read(&whole), Ok(expected));
        }
    }

    #[test]
    fn each_version_is_read_however_its_dictionary_is_spelt() {
        let usual = "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }\n";
        let other = "{\"shape\" : (2,3), \"fortran_order\": False,\"descr\":\"<u2\"}";
        for (version, text) in [(1, usual), (2, usual), (3, other)] {
            let array = read(&file(version, text, 12)).unwrap();
            assert_eq!(
                (array.data_type, array.shape),
                (DataType::Uint16, vec![2, 3])
            );
        }
    }

    #[test]
    fn what_is_no_usable_array_is_refused_with_the_reason() {
        let text = |descr: &str, fortran: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")
        };
        let refused = |text: String, data| read(&file(1, &text, data)).unwrap_err();
        assert_eq!(read(b"PNG"), Err(NpyError::Magic));
        assert_eq!(
            read(MAGIC),
            Err(NpyError::Short {
                expected: 8,
                found: 6
            })
        );
        assert_eq!(read(&file(9, "", 0)), Err(NpyError::Version(9)));
        let whole = file(1, &text("'<f4'", "False", "(1,)"), 4);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err());
        }
        let big = refused(text("'>f4'", "False", "(1,)"), 4);
        assert_eq!(big, NpyError::Type(">f4".into()));
        let record = refused(text("[('x', '<f4')]", "False", "(1,)"), 4);
        assert_eq!(record, NpyError::Key { key: "descr" });
        assert_eq!(
            refused(text("'<f4'", "True", "(1, 1)"), 4),
            NpyError::Fortran
        );
        assert_eq!(
            refused(text("'<f4'", "False", "(-1,)"), 4),
            NpyError::Key { key: "shape" }
        );
        let size = NpyError::Size {
            expected: 4,
            found: 3,
        };
        assert_eq!(refused(text("'<f4'", "False", "()"), 3), size);
        assert!(read(&file(1, "{'descr': 'é", 0)).is_err());
    }
}
