//! Which layouts a firmware has. Nothing in a message tells: only its version does.
//!
//! Source: vendor hailort v4.17.0 to v5.2.0, `control_protocol.h`, `d2h_events.h`, `context_switch_defs.h`.

use crate::spec::firmware::Version;

/// A generation of layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Generation {
    /// 4.17 to 4.20.
    #[serde(rename = "4.17")]
    V4_17,
    /// 4.21 to 4.23.
    #[serde(rename = "4.21")]
    V4_21,
    /// 5.0.
    #[serde(rename = "5.0")]
    V5_0,
    /// 5.1 and 5.2.
    #[serde(rename = "5.1")]
    V5_1,
}

/// Sizes that differ from generation to generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of an application header.
    pub application_header: usize,
    /// Bytes of a set of stream registers.
    pub stream_registers: usize,
    /// Most applications.
    pub applications: usize,
    /// Channels of one engine in tables.
    pub engine_channels: usize,
    /// Where the engine begins in a packed channel id.
    pub engine_shift: u32,
    /// Bytes of the constants of opcode 72.
    pub hw_constants: usize,
}

impl Generation {
    /// The generation of a firmware; `None` for one that is not known.
    #[must_use]
    pub const fn of(version: Version) -> Option<Self> {
        match (version.major, version.minor) {
            (4, 17..=20) => Some(Self::V4_17),
            (4, 21..=23) => Some(Self::V4_21),
            (5, 0) => Some(Self::V5_0),
            (5, 1 | 2) => Some(Self::V5_1),
            _ => None,
        }
    }

    /// Its sizes.
    #[must_use]
    pub const fn sizes(self) -> Sizes {
        let (application_header, stream_registers) = match self {
            Self::V4_17 => (41, 18),
            Self::V4_21 => (32, 17),
            Self::V5_0 => (52, 17),
            Self::V5_1 => (53, 19),
        };
        let (applications, engine_channels, engine_shift) = match self {
            Self::V4_17 | Self::V4_21 => (32, 32, 5),
            Self::V5_0 | Self::V5_1 => (26, 40, 6),
        };
        Sizes {
            application_header,
            stream_registers,
            applications,
            engine_channels,
            engine_shift,
            hw_constants: if matches!(self, Self::V5_1) { 18 } else { 19 },
        }
    }
}

/// The generation whose layouts this crate writes action lists in.
pub const OURS: Generation = Generation::V5_1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_their_generation() {
        let of = |major, minor| Generation::of(Version::new(major, minor, 7));
        assert_eq!(of(4, 16), None);
        assert_eq!(of(4, 20), Some(Generation::V4_17));
        assert_eq!(of(4, 23), Some(Generation::V4_21));
        assert_eq!(of(5, 0), Some(Generation::V5_0));
        assert_eq!(of(5, 2), Some(OURS));
        assert_eq!(of(5, 3), None);
        assert_eq!(
            OURS.sizes().application_header,
            crate::spec::nnc::context::ApplicationHeader::BYTES
        );
    }
}
