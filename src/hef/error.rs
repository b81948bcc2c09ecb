//! What can be wrong with a HEF, or with the wish to use it.
//!
//! Each variant is a situation that a caller may treat differently. Where a value in the file is at fault the error
//! carries its file offset, what was expected and what was found; [`HefError::hint`] names the next step.

use std::fmt;
use std::io;

use super::arch::{Architecture, DeviceArch};
use super::container::Section;
use super::genai::ModelKind;

/// Result of this module.
pub type Result<T> = std::result::Result<T, HefError>;

/// Checksum algorithm of a container version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Algorithm {
    /// RFC 1321, container version 0.
    #[serde(rename = "MD5")]
    Md5,
    /// Reflected polynomial `0xEDB88320`, container version 1.
    #[serde(rename = "CRC-32")]
    Crc32,
    /// XXH3, 64 bits, seed 0, container versions 2 and 3 and resources.
    #[serde(rename = "XXH3-64")]
    Xxh3,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Crc32 => "CRC-32",
            Self::Xxh3 => "XXH3-64",
        })
    }
}

/// A file that cannot be read, is damaged, is not understood, or does not fit its use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HefError {
    /// The file could not be opened or examined.
    #[error("cannot open the file")]
    Open {
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read {wanted} bytes at offset {offset:#x}")]
    Read {
        /// First byte of the read.
        offset: u64,
        /// Bytes asked for.
        wanted: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file ended while it was read although its length, taken at open, says otherwise: it was changed meanwhile.
    #[error(
        "the file shrank while it was read: expected {expected} bytes at offset {offset:#x}, found {found}"
    )]
    Shrank {
        /// First byte of the read.
        offset: u64,
        /// Bytes asked for.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// Not a regular file.
    #[error("expected a regular file, found {found}")]
    NotAFile {
        /// What it is.
        found: &'static str,
    },
    /// The first four bytes are not the magic number.
    #[error(
        "not a HEF: expected bytes 01 48 45 46 at offset 0, found {}",
        Hex(found)
    )]
    NotHef {
        /// The bytes found, four unless the file is shorter.
        found: Vec<u8>,
    },
    /// Container version this reader does not know.
    #[error("unsupported container version: expected 0 to 3 at offset 4, found {found}")]
    ContainerVersion {
        /// The version of the file.
        found: u32,
    },
    /// The file ends inside its header.
    #[error("file too short: expected a header of {expected} bytes at offset 0, found {found}")]
    TooShort {
        /// Size of the header.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
    /// The section lengths of the header do not add up to the length of the file.
    #[error(
        "length mismatch: expected {expected} bytes by the sizes at offset {offset:#x}, found {found} ({} of the {section})",
        missing_or_extra(*.expected, *.found)
    )]
    Length {
        /// Where the sizes begin in the header.
        offset: u64,
        /// Length by the header.
        expected: u128,
        /// Length of the file.
        found: u64,
        /// Section that is cut, or after which bytes follow.
        section: Section,
    },
    /// Sizes in the header contradict each other, or exceed a limit of this reader.
    #[error("{what} at offset {offset:#x}: expected {expected}, found {found}")]
    Header {
        /// Which field.
        what: &'static str,
        /// Where it is.
        offset: u64,
        /// What is allowed.
        expected: String,
        /// What is there.
        found: u64,
    },
    /// Bytes do not match their stored checksum.
    #[error(
        "{algorithm} checksum mismatch of the {what}: expected {expected} (stored at offset {stored_at:#x}), found {found} over bytes {start:#x} to {end:#x}"
    )]
    Digest {
        /// What is covered.
        what: String,
        /// How it is computed.
        algorithm: Algorithm,
        /// File offset of the stored value.
        stored_at: u64,
        /// First byte covered.
        start: u64,
        /// Behind the last byte covered.
        end: u64,
        /// Stored value in hex.
        expected: String,
        /// Computed value in hex.
        found: String,
    },
    /// The proto section is not a well-formed protobuf message of the schema.
    #[error(
        "malformed protobuf at offset {offset:#x} ({message}): expected {expected}, found {found}"
    )]
    Malformed {
        /// File offset.
        offset: u64,
        /// Message being read.
        message: &'static str,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value breaks a rule of the format.
    #[error("{place}: {what}: expected {expected}, found {found} (offset {offset:#x})")]
    Invalid {
        /// Where in the network: group, context, layer.
        place: String,
        /// Which value or rule.
        what: &'static str,
        /// File offset of the value, or of the message that lacks it.
        offset: u64,
        /// What is allowed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file requires a feature this reader does not know: it is newer.
    #[error(
        "unsupported extension {number}{} in the mandatory list: expected one of 0-6 and 9-35, found {number} (offset {offset:#x})",
        label(name)
    )]
    TooNew {
        /// Number of the extension.
        number: u32,
        /// Its label in the file, may be empty.
        name: String,
        /// File offset of the number.
        offset: u64,
    },
    /// The file lacks extension 26, which every compiler since release 5.0 sets.
    #[error(
        "too old: expected extension 26 in the mandatory list, found {found} (offset {offset:#x})"
    )]
    TooOld {
        /// What the list holds.
        found: String,
        /// File offset of the list, or of the proto header when lists are not in use.
        offset: u64,
    },
    /// Compiled for another chip.
    #[error(
        "wrong architecture: the file is compiled for {compiled} (accepted by {}), the device is {device}",
        list(accepted)
    )]
    Architecture {
        /// What the file says.
        compiled: Architecture,
        /// Devices that accept it.
        accepted: &'static [DeviceArch],
        /// The device at hand.
        device: DeviceArch,
    },
    /// A multi-layout file has no variant for the device.
    #[error("no layout for {device}: expected {expected}, found {found}")]
    Layout {
        /// The device at hand.
        device: DeviceArch,
        /// What would fit.
        expected: &'static str,
        /// Bitmaps in the file.
        found: String,
    },
    /// The file asks to be run by the release it was compiled with.
    #[error("version mismatch: the file demands runtime {expected}, found {found}")]
    Runtime {
        /// Major and minor of the compiler.
        expected: String,
        /// Major and minor of the runtime.
        found: String,
    },
    /// Another kind of model is needed.
    #[error("wrong kind of model: expected {expected}, found {found}")]
    Kind {
        /// What the caller needs.
        expected: ModelKind,
        /// What the file is.
        found: ModelKind,
    },
    /// No such group, network, stream or resource.
    #[error("no {what} named {name:?}: found {found}")]
    NotFound {
        /// What was looked up.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// Names there are.
        found: String,
    },
    /// A value cannot be derived, for example a stream register for a page size that is too large.
    #[error("{place}: {what}: expected {expected}, found {found}")]
    Unusable {
        /// Where in the network.
        place: String,
        /// Which value.
        what: &'static str,
        /// What is allowed.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The caller's progress function asked to stop.
    #[error("stopped by the caller after {done} of {total} bytes")]
    Stopped {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

impl HefError {
    /// File offset of the fault, where there is one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::NotHef { .. } | Self::TooShort { .. } => Some(0),
            Self::ContainerVersion { .. } => Some(4),
            Self::Read { offset, .. }
            | Self::Shrank { offset, .. }
            | Self::Length { offset, .. }
            | Self::Header { offset, .. }
            | Self::Malformed { offset, .. }
            | Self::Invalid { offset, .. }
            | Self::TooNew { offset, .. }
            | Self::TooOld { offset, .. } => Some(*offset),
            Self::Digest { stored_at, .. } => Some(*stored_at),
            _ => None,
        }
    }

    /// What to try next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotHef { found } if found.starts_with(&[0x46, 0x45, 0x48, 0x01]) => {
                "the magic number is byte-swapped: the file was written by a broken tool, get it again".to_owned()
            }
            Self::NotHef { .. } => {
                "check the file name; a model in ONNX, TFLite or HAR form must be compiled to a HEF first".to_owned()
            }
            Self::ContainerVersion { .. } => {
                "the file comes from a newer compiler: update this tool, or compile with release 5.x".to_owned()
            }
            Self::TooShort { .. } | Self::Length { .. } | Self::Digest { .. } => {
                "the file is damaged or was cut in transit: download it again and compare its size and checksum".to_owned()
            }
            Self::Shrank { .. } => "another process is writing the file: wait until it is complete".to_owned(),
            Self::TooNew { number, .. } => {
                format!("update this tool, or compile the model with a release that does not need extension {number}")
            }
            Self::TooOld { .. } => "compile the model again with compiler release 5.0 or newer".to_owned(),
            Self::Architecture { accepted, device, .. } => match accepted.first() {
                Some(first) => format!(
                    "use a {first}, or get the model compiled for {device} ({})",
                    device.compiler_target()
                ),
                None => format!("get the model compiled for {device} ({})", device.compiler_target()),
            },
            Self::Layout { device, .. } => format!("get the model compiled for {device} ({})", device.compiler_target()),
            Self::Runtime { expected, .. } => format!("load the firmware of release {expected}, or compile the model again"),
            Self::Kind { found, .. } => found.use_hint().to_owned(),
            Self::Malformed { .. } | Self::Invalid { .. } => {
                "compile the model again; if the file was downloaded, compare its checksum first".to_owned()
            }
            _ => return None,
        })
    }
}

/// Bytes in hex, separated by blanks.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

fn missing_or_extra(expected: u128, found: u64) -> String {
    let found = u128::from(found);
    if found < expected {
        format!("{} bytes missing at the end", expected - found)
    } else {
        format!("{} extra bytes behind the end", found - expected)
    }
}

fn label(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" ({name})")
    }
}

/// Names separated by commas, or "none".
pub(crate) fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
