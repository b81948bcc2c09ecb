//! The firmware container (files marked "container" in the stage tables).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Header in front of the application code, and again in front of the core code of NNC images.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h` (struct firmware_header_t).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ContainerHeader {
    /// Which chip the image is for, see [`super::board::Board::magic`].
    pub magic: U32,
    /// Version of this header, 0.
    pub header_version: U32,
    /// Firmware version, major.
    pub major: U32,
    /// Firmware version, minor.
    pub minor: U32,
    /// Firmware version, revision.
    pub revision: U32,
    /// Bytes of code that follow.
    pub code_size: U32,
}

const _: () = assert!(size_of::<ContainerHeader>() == 24);

/// Header in front of the two certificates.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h` (struct secure_boot_certificate_header).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct CertificateHeader {
    /// Bytes of the key certificate.
    pub key_size: U32,
    /// Bytes of the content certificate.
    pub content_size: U32,
}

const _: () = assert!(size_of::<CertificateHeader>() == 8);

/// The only header version known.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.c`.
pub const HEADER_VERSION: u32 = 0;

/// Least bytes of code.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h`.
#[doc(alias = "MINIMUM_FIRMWARE_CODE_SIZE")]
pub const MIN_CODE: u32 = 80;

/// Most bytes of application code.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h`.
#[doc(alias = "MAXIMUM_APP_FIRMWARE_CODE_SIZE")]
pub const MAX_APPLICATION_CODE: u32 = 0x40000;

/// Most bytes of core code.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h`.
#[doc(alias = "MAXIMUM_CORE_FIRMWARE_CODE_SIZE")]
pub const MAX_CORE_CODE: u32 = 0x20000;

/// Most bytes of either certificate.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h`.
pub const MAX_CERTIFICATE: u32 = 0x1000;

/// A version of firmware or driver: major, minor, revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Revision.
    pub revision: u32,
}

impl Version {
    /// The version of the three numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, revision: u32) -> Self {
        Self {
            major,
            minor,
            revision,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.revision)
    }
}

/// The text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: {0:?} (expected like 5.2.0)")]
pub struct VersionError(pub String);

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError(text.to_owned());
        let mut numbers = text.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(bad);
        let version = Self {
            major: next()?,
            minor: next()?,
            revision: next()?,
        };
        if numbers.next().is_some() {
            Err(bad())
        } else {
            Ok(version)
        }
    }
}

impl From<ContainerHeader> for Version {
    fn from(header: ContainerHeader) -> Self {
        Self::new(
            header.major.get(),
            header.minor.get(),
            header.revision.get(),
        )
    }
}
