//! The container around a network: magic, version, section lengths, checksums. All integers are big-endian.
//!
//! Everything here is decided from the header and the length of the file; no section is read.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/hef_internal.hpp`, `src/hef/hef.cpp`.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::digest::StoredDigest;
use super::error::{Algorithm, HefError, Result};
use super::source::Source;

/// First four bytes: `0x01`, "HEF".
pub const MAGIC: [u8; 4] = *b"\x01HEF";

/// Largest proto section this reader loads, in bytes. The vendor's limit is 2 GiB; compiled networks stay far below.
pub const MAX_PROTO: u64 = 512 << 20;

/// Bytes of the header up to and including the proto size, equal in every version.
const COMMON: usize = 12;

/// Bytes of the longest header.
const LONGEST: usize = 56;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Magic, version, sizes, checksums.
    Header,
    /// Protobuf description of the networks.
    Proto,
    /// Zero bytes in front of the config section.
    Padding,
    /// Config words for the chip.
    Config,
    /// External resources.
    Additional,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Proto => "proto section",
            Self::Padding => "padding",
            Self::Config => "config section",
            Self::Additional => "additional area",
        })
    }
}

/// The header of a file, with section lengths that are known to add up to the length of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Container version, 0 to 3.
    pub version: u8,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Length of the header in bytes.
    pub header_bytes: u64,
    /// Length of the proto section in bytes.
    pub proto_bytes: u64,
    /// Length of the padding in bytes; 0 below version 3.
    pub padding_bytes: u64,
    /// Length of the config section in bytes; 0 in version 0, where config words are inside the proto section.
    pub config_bytes: u64,
    /// Length of the additional area in bytes; 0 below version 3.
    pub additional_bytes: u64,
    /// Checksum over everything behind the header.
    pub digest: StoredDigest,
    /// Checksum over the proto section alone: version 3, and only if stored.
    pub proto_digest: Option<StoredDigest>,
}

/// A header field as it was read: for error messages.
struct Field {
    what: &'static str,
    offset: usize,
}

impl Container {
    /// Reads and checks the header against the length of the source.
    pub(crate) fn read(source: &Source) -> Result<Self> {
        let mut bytes = [0_u8; LONGEST];
        let have = source.read_start(&mut bytes)?;
        Self::parse(&bytes[..have], source.length())
    }

    /// Checks the first bytes of a file (56, or all if it is shorter) against its length.
    ///
    /// # Errors
    ///
    /// [`HefError::NotHef`], [`HefError::ContainerVersion`], [`HefError::TooShort`], [`HefError::Header`] and
    /// [`HefError::Length`], in this order.
    pub fn parse(bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        if magic != MAGIC {
            return Err(HefError::NotHef {
                found: magic.to_vec(),
            });
        }
        let short = |expected: u64| HefError::TooShort {
            expected,
            found: file_bytes,
        };
        if bytes.len() < COMMON {
            return Err(short(12));
        }
        let version = be32(bytes, 4);
        let header_bytes: usize = match version {
            0 => 32,
            1 => 28,
            2 => 44,
            3 => 56,
            found => return Err(HefError::ContainerVersion { found }),
        };
        let wide = |n: usize| u64::try_from(n).expect("a header offset is small");
        if bytes.len() < header_bytes {
            return Err(short(wide(header_bytes)));
        }
        let proto_bytes = u64::from(be32(bytes, 8));
        if proto_bytes > MAX_PROTO {
            return Err(Field {
                what: "proto size",
                offset: 8,
            }
            .wrong(format!("at most {MAX_PROTO}"), proto_bytes));
        }
        let everything = |algorithm, stored: Range<usize>| StoredDigest {
            algorithm,
            stored_at: wide(stored.start),
            value: bytes[stored].to_vec(),
            start: wide(header_bytes),
            end: file_bytes,
        };
        // Where the sizes that may be wrong begin, the config section with padding, padding, additional area.
        let (sizes_at, config, padding, additional, digest) = match version {
            0 => (8, 0, 0, 0, everything(Algorithm::Md5, 16..32)),
            1 => (
                8,
                be64(bytes, 16),
                0,
                0,
                everything(Algorithm::Crc32, 12..16),
            ),
            2 => (
                8,
                be64(bytes, 20),
                0,
                0,
                everything(Algorithm::Xxh3, 12..20),
            ),
            _ => {
                let padding = u64::from(be32(bytes, 28));
                (
                    8,
                    be64(bytes, 20),
                    padding,
                    be64(bytes, 32),
                    everything(Algorithm::Xxh3, 12..20),
                )
            }
        };
        if config < padding {
            return Err(Field {
                what: "config size with padding",
                offset: 20,
            }
            .wrong(format!("at least the padding of {padding} bytes"), config));
        }
        let ends = [
            (Section::Header, wide(header_bytes)),
            (Section::Proto, proto_bytes),
            (Section::Padding, padding),
            (Section::Config, config - padding),
            (Section::Additional, additional),
        ];
        let mut end = 0_u128;
        let mut fault = None;
        for (section, length) in ends {
            end += u128::from(length);
            if fault.is_none() && length > 0 && end > u128::from(file_bytes) {
                fault = Some(section);
            }
        }
        if end != u128::from(file_bytes) {
            let last = ends
                .iter()
                .rev()
                .find(|(_, length)| *length > 0)
                .map_or(Section::Header, |(section, _)| *section);
            return Err(HefError::Length {
                offset: sizes_at,
                expected: end,
                found: file_bytes,
                section: fault.unwrap_or(last),
            });
        }
        let proto_start = wide(header_bytes);
        let proto_digest = (version == 3 && be64(bytes, 40) != 0).then(|| StoredDigest {
            algorithm: Algorithm::Xxh3,
            stored_at: 40,
            value: bytes[40..48].to_vec(),
            start: proto_start,
            end: proto_start + proto_bytes,
        });
        Ok(Self {
            version: version.to_le_bytes()[0],
            file_bytes,
            header_bytes: proto_start,
            proto_bytes,
            padding_bytes: padding,
            config_bytes: config - padding,
            additional_bytes: additional,
            digest,
            proto_digest,
        })
    }

    /// File range of the proto section.
    #[must_use]
    pub fn proto(&self) -> Range<u64> {
        self.header_bytes..self.header_bytes + self.proto_bytes
    }

    /// File range of the config section.
    #[must_use]
    pub fn config(&self) -> Range<u64> {
        let start = self.header_bytes + self.proto_bytes + self.padding_bytes;
        start..start + self.config_bytes
    }

    /// File offset that config pointers and resource offsets count from; 0 in version 0, which has no pointers.
    #[must_use]
    pub fn zero_point(&self) -> u64 {
        if self.version == 0 {
            0
        } else {
            self.config().start
        }
    }

    /// Identity of the file as the vendor library prints it: lower-case hex, the stored checksum over everything in
    /// digest order for version 0 and in reverse byte order for the others.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut bytes = self.digest.value.clone();
        if self.version != 0 {
            bytes.reverse();
        }
        hex(&bytes)
    }

    /// The checksum that vouches for the proto section.
    pub(crate) fn proto_check(&self) -> &StoredDigest {
        self.proto_digest.as_ref().unwrap_or(&self.digest)
    }
}

impl Field {
    fn wrong(&self, expected: String, found: u64) -> HefError {
        let offset = u64::try_from(self.offset).expect("a header offset is small");
        HefError::Header {
            what: self.what,
            offset,
            expected,
            found,
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Lower-case hex without separators.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            write!(out, "{byte:02x}").expect("writing to a string does not fail");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 10.3 of the format specification.
    const V3: [u8; 56] = [
        0x01, 0x48, 0x45, 0x46, 0, 0, 0, 3, 0, 0, 0, 0x4c, 0xba, 0x97, 0x7b, 0x1a, 0xbc, 0x2c,
        0x57, 0x4a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xba, 0x97, 0x7b,
        0x1a, 0xbc, 0x2c, 0x57, 0x4a, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn the_smallest_file_parses() {
        let container = Container::parse(&V3, 132).unwrap();
        assert_eq!(container.zero_point(), 132);
        assert_eq!(container.identity(), "4a572cbc1a7b97ba");
        assert_eq!(container.proto(), 56..132);
    }

    #[test]
    fn a_length_names_the_section_that_is_cut() {
        let error = Container::parse(&V3, 131).unwrap_err();
        assert!(
            matches!(
                error,
                HefError::Length {
                    section: Section::Proto,
                    expected: 132,
                    found: 131,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("1 bytes missing at the end of the proto section"),
            "{error}"
        );
    }

    #[test]
    fn sums_that_overflow_are_lengths_like_others() {
        let mut bytes = V3;
        bytes[20..28].fill(0xff);
        bytes[32..40].fill(0xff);
        assert!(matches!(
            Container::parse(&bytes, 132),
            Err(HefError::Length { .. })
        ));
    }

    #[test]
    fn any_prefix_of_a_header_is_an_error_not_a_panic() {
        for end in 0..V3.len() {
            let length = u64::try_from(end).unwrap();
            assert!(Container::parse(&V3[..end], length).is_err(), "{end}");
        }
    }
}
