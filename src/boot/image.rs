//! The firmware container: header, code, certificates, and core code in NNC images.

use std::ops::Range;

use zerocopy::FromBytes;

use crate::spec::firmware::{
    CertificateHeader, ContainerHeader, HEADER_VERSION, MAX_APPLICATION_CODE, MAX_CERTIFICATE,
    MAX_CORE_CODE, MIN_CODE, Version,
};

/// Why bytes are no firmware container. Offsets count from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The file ends inside a part.
    #[error("{part} at offset {offset:#x} needs {wanted} bytes, {had} are left")]
    Truncated {
        /// Which part.
        part: &'static str,
        /// Where it begins.
        offset: usize,
        /// Its bytes.
        wanted: usize,
        /// Bytes left in the file.
        had: usize,
    },
    /// The magic is none of this chip's.
    #[error("magic at offset {offset:#x} is {found:#010x}, expected {expected:#010x}{}", known(*found))]
    Magic {
        /// Where it is.
        offset: usize,
        /// What is there.
        found: u32,
        /// What the chip wants.
        expected: u32,
    },
    /// The header is of an unknown version.
    #[error("header version at offset {offset:#x} is {found}, expected {HEADER_VERSION}")]
    HeaderVersion {
        /// Where it is.
        offset: usize,
        /// What is there.
        found: u32,
    },
    /// A size is outside its bounds.
    #[error("{part} size at offset {offset:#x} is {found:#x}, expected {least:#x} to {most:#x}")]
    Size {
        /// Which part.
        part: &'static str,
        /// Where the size is.
        offset: usize,
        /// The size.
        found: u32,
        /// Least.
        least: u32,
        /// Most.
        most: u32,
    },
    /// The parts do not consume the file.
    #[error("{left} bytes are left over behind offset {offset:#x}")]
    LeftOver {
        /// Where the parts end.
        offset: usize,
        /// Bytes behind.
        left: usize,
    },
}

fn known(magic: u32) -> String {
    let chip = crate::spec::board::MAGICS
        .iter()
        .find(|(known, _)| *known == magic);
    chip.map(|(_, name)| format!(" (this is a {name} image)"))
        .unwrap_or_default()
}

/// A firmware container whose parts have been checked; ranges are byte ranges of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Firmware version in the header.
    pub version: Version,
    /// The 24-byte header.
    pub header: Range<usize>,
    /// Application code.
    pub code: Range<usize>,
    /// Key certificate.
    pub key: Range<usize>,
    /// Content certificate.
    pub content: Range<usize>,
    /// Header and code of the core part, in NNC images.
    pub core: Option<(Range<usize>, Range<usize>)>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, part: &'static str, wanted: usize) -> Result<Range<usize>, ContainerError> {
        let (offset, had) = (self.at, self.bytes.len() - self.at);
        if wanted > had {
            return Err(ContainerError::Truncated {
                part,
                offset,
                wanted,
                had,
            });
        }
        self.at += wanted;
        Ok(offset..self.at)
    }

    fn read<T: FromBytes>(
        &mut self,
        part: &'static str,
    ) -> Result<(Range<usize>, T), ContainerError> {
        let range = self.take(part, size_of::<T>())?;
        let truncated = ContainerError::Truncated {
            part,
            offset: range.start,
            wanted: size_of::<T>(),
            had: range.len(),
        };
        let value = T::read_from_bytes(&self.bytes[range.clone()]).map_err(|_| truncated)?;
        Ok((range, value))
    }

    fn header(
        &mut self,
        part: &'static str,
        magic: u32,
        most: u32,
    ) -> Result<(Range<usize>, ContainerHeader), ContainerError> {
        let (range, header): (_, ContainerHeader) = self.read(part)?;
        let offset = range.start;
        if header.magic.get() != magic {
            return Err(ContainerError::Magic {
                offset,
                found: header.magic.get(),
                expected: magic,
            });
        }
        if header.header_version.get() != HEADER_VERSION {
            return Err(ContainerError::HeaderVersion {
                offset: offset + 4,
                found: header.header_version.get(),
            });
        }
        size("code", offset + 20, header.code_size.get(), MIN_CODE, most)?;
        Ok((range, header))
    }
}

fn size(
    part: &'static str,
    offset: usize,
    found: u32,
    least: u32,
    most: u32,
) -> Result<(), ContainerError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(ContainerError::Size {
        part,
        offset,
        found,
        least,
        most,
    })
}

/// Lossless: the sizes here are checked against bounds far below 2^31.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Container {
    /// Checks the container in `bytes`, which must be whole: `magic` for the chip, `core` where the
    /// image has a core part.
    ///
    /// # Errors
    /// The first check that fails, with offset, expected and found.
    pub fn parse(bytes: &[u8], magic: u32, core: bool) -> Result<Self, ContainerError> {
        let mut reader = Reader { bytes, at: 0 };
        let (header, fields) = reader.header("the firmware header", magic, MAX_APPLICATION_CODE)?;
        let code = reader.take("the application code", to_usize(fields.code_size.get()))?;
        let (certificates, sizes): (_, CertificateHeader) =
            reader.read("the certificate header")?;
        size(
            "key certificate",
            certificates.start,
            sizes.key_size.get(),
            0,
            MAX_CERTIFICATE,
        )?;
        size(
            "content certificate",
            certificates.start + 4,
            sizes.content_size.get(),
            0,
            MAX_CERTIFICATE,
        )?;
        let key = reader.take("the key certificate", to_usize(sizes.key_size.get()))?;
        let content = reader.take(
            "the content certificate",
            to_usize(sizes.content_size.get()),
        )?;
        let core = if core {
            let (header, fields) = reader.header("the core header", magic, MAX_CORE_CODE)?;
            Some((
                header,
                reader.take("the core code", to_usize(fields.code_size.get()))?,
            ))
        } else {
            None
        };
        if reader.at != bytes.len() {
            return Err(ContainerError::LeftOver {
                offset: reader.at,
                left: bytes.len() - reader.at,
            });
        }
        Ok(Self {
            version: fields.into(),
            header,
            code,
            key,
            content,
            core,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAGIC: u32 = 0xe905_daab;

    fn container(code: u32, key: u32, content: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [MAGIC, 0, 5, 2, 0, code] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(24 + to_usize(code), 0xc0);
        bytes.extend(key.to_le_bytes());
        bytes.extend(content.to_le_bytes());
        bytes.resize(bytes.len() + to_usize(key + content), 0xce);
        bytes
    }

    #[test]
    fn the_parts_are_found_where_they_are() {
        let parsed = Container::parse(&container(100, 16, 32), MAGIC, false).unwrap();
        assert_eq!(parsed.version, Version::new(5, 2, 0));
        assert_eq!((parsed.header, parsed.code), (0..24, 24..124));
        assert_eq!((parsed.key, parsed.content), (132..148, 148..180));
    }

    #[test]
    fn each_check_names_offset_expected_and_found() {
        let good = container(80, 0, 0);
        let patch = |offset: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            Container::parse(&bytes, MAGIC, false)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            patch(0, 0xf947_39ab),
            "magic at offset 0x0 is 0xf94739ab, expected 0xe905daab (this is a Hailo-15L image)"
        );
        assert_eq!(patch(4, 1), "header version at offset 0x4 is 1, expected 0");
        assert_eq!(
            patch(20, 79),
            "code size at offset 0x14 is 0x4f, expected 0x50 to 0x40000"
        );
        assert_eq!(
            patch(104, 0x1001),
            "key certificate size at offset 0x68 is 0x1001, expected 0x0 to 0x1000"
        );
        assert_eq!(
            patch(108, 4),
            "the content certificate at offset 0x70 needs 4 bytes, 0 are left"
        );
        let mut longer = good.clone();
        longer.push(0);
        let left = Container::parse(&longer, MAGIC, false)
            .unwrap_err()
            .to_string();
        assert_eq!(left, "1 bytes are left over behind offset 0x70");
        assert!(matches!(
            Container::parse(&[], MAGIC, false),
            Err(ContainerError::Truncated { .. })
        ));
    }

    #[test]
    fn an_nnc_image_has_a_core_part() {
        let mut bytes = container(80, 4, 4);
        let core = bytes.len();
        bytes.extend(container(80, 0, 0)[..104].to_vec());
        let parsed = Container::parse(&bytes, MAGIC, true).unwrap();
        assert_eq!(parsed.core, Some((core..core + 24, core + 24..core + 104)));
        assert!(matches!(
            Container::parse(&bytes, MAGIC, false),
            Err(ContainerError::LeftOver { .. })
        ));
    }

    proptest! {
        #[test]
        fn a_truncated_container_is_refused(cut in 0_usize..300) {
            let whole = container(200, 30, 30);
            let cut = cut.min(whole.len() - 1);
            prop_assert!(Container::parse(&whole[..cut], MAGIC, false).is_err());
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(parsed) = Container::parse(&bytes, MAGIC, true) {
                prop_assert_eq!(parsed.header, 0..24);
            }
        }
    }
}
