//! Architectures: what a file is compiled for, and which devices accept it.
//!
//! Source: vendor hailort v5.2.0, `libhailort/hef.proto` (numbers), `src/device_common/device_internal.cpp` (families).

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A device family as the vendor library numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceArch {
    /// First Hailo-8 silicon.
    Hailo8A0,
    /// Hailo-8.
    Hailo8,
    /// Hailo-8L.
    Hailo8L,
    /// Hailo-15H.
    Hailo15H,
    /// Hailo-15L.
    Hailo15L,
    /// Hailo-15M.
    Hailo15M,
    /// Hailo-10H, the accelerator this project drives.
    Hailo10H,
    /// Hailo-12L.
    Hailo12L,
}

impl DeviceArch {
    /// All devices, in the order of the vendor's numbers.
    pub const ALL: [Self; 8] = [
        Self::Hailo8A0,
        Self::Hailo8,
        Self::Hailo8L,
        Self::Hailo15H,
        Self::Hailo15L,
        Self::Hailo15M,
        Self::Hailo10H,
        Self::Hailo12L,
    ];

    /// Printed name, as in the vendor's tools.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hailo8A0 => "HAILO8_A0",
            Self::Hailo8 => "HAILO8",
            Self::Hailo8L => "HAILO8L",
            Self::Hailo15H => "HAILO15H",
            Self::Hailo15L => "HAILO15L",
            Self::Hailo15M => "HAILO15M",
            Self::Hailo10H => "HAILO10H",
            Self::Hailo12L => "HAILO12L",
        }
    }

    /// How to name this device to the compiler, in words for a hint.
    #[must_use]
    pub(crate) fn compiler_target(self) -> String {
        format!(
            "compiler option --hw-arch {}",
            self.name().to_ascii_lowercase()
        )
    }
}

impl fmt::Display for DeviceArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for DeviceArch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown device {0:?}: expected one of hailo8_a0, hailo8, hailo8l, hailo15h, hailo15l, hailo15m, hailo10h, hailo12l"
)]
pub struct UnknownDevice(String);

impl FromStr for DeviceArch {
    type Err = UnknownDevice;

    /// Case, `-` and `_` do not matter: `hailo10h`, `HAILO-10H` and `10h` are the same.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |s: &str| s.to_ascii_lowercase().replace(['-', '_'], "");
        let wanted = plain(text);
        let wanted = wanted.strip_prefix("hailo").unwrap_or(&wanted);
        Self::ALL
            .into_iter()
            .find(|device| plain(device.name()).strip_prefix("hailo") == Some(wanted))
            .ok_or_else(|| UnknownDevice(text.to_owned()))
    }
}

/// `header.hw_arch` of a file: any number is accepted when parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Architecture(pub u32);

/// Generation of the on-chip NMS unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NmsGeneration {
    First,
    Second,
}

impl Architecture {
    /// Number, name and accepting devices, best match first.
    const TABLE: [(u32, &'static str, &'static [DeviceArch]); 15] = [
        (0, "HAILO8", &[DeviceArch::Hailo8]),
        (1, "HAILO8P", &[DeviceArch::Hailo8]),
        (2, "HAILO8R", &[DeviceArch::Hailo8]),
        (3, "HAILO8L", &[DeviceArch::Hailo8L, DeviceArch::Hailo8]),
        (
            4,
            "HAILO15M",
            &[
                DeviceArch::Hailo15M,
                DeviceArch::Hailo15H,
                DeviceArch::Hailo10H,
            ],
        ),
        (5, "HAILO10H (withdrawn)", &[]),
        (6, "HAILO15L", &[DeviceArch::Hailo15L]),
        (100, "SAGE_A0", &[DeviceArch::Hailo8A0]),
        (101, "SAGE_B0", &[DeviceArch::Hailo8]),
        (102, "PAPRIKA_B0", &[DeviceArch::Hailo8]),
        (
            103,
            "HAILO1XH",
            &[DeviceArch::Hailo15H, DeviceArch::Hailo10H],
        ),
        (104, "GINGER", &[DeviceArch::Hailo15H, DeviceArch::Hailo10H]),
        (
            105,
            "LAVENDER",
            &[DeviceArch::Hailo15H, DeviceArch::Hailo10H],
        ),
        (106, "PLUTO", &[DeviceArch::Hailo15L]),
        (108, "MARS", &[DeviceArch::Hailo12L]),
    ];

    fn row(self) -> Option<&'static (u32, &'static str, &'static [DeviceArch])> {
        Self::TABLE.iter().find(|row| row.0 == self.0)
    }

    /// Name in the vendor's schema, `None` for an unknown number.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// Devices that accept such a file, best match first; empty for an unknown number.
    #[must_use]
    pub fn devices(self) -> &'static [DeviceArch] {
        self.row().map_or(&[], |row| row.2)
    }

    /// Files of these architectures carry one variant for each cluster layout.
    #[must_use]
    pub fn is_multi_layout(self) -> bool {
        matches!(self.0, 3 | 4)
    }

    /// Alignment of stream registers in bytes.
    ///
    /// Source: vendor hailort v5.2.0, `src/core_op/resource_manager/periph_calculator.cpp`.
    #[must_use]
    pub fn stream_alignment(self) -> u32 {
        if self.0 == 108 { 16 } else { 8 }
    }

    pub(crate) fn nms_generation(self) -> Option<NmsGeneration> {
        match self.0 {
            0..=3 | 101 => Some(NmsGeneration::First),
            4 | 6 | 103..=106 => Some(NmsGeneration::Second),
            _ => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "an unknown architecture ({})", self.0),
        }
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_parse_in_every_spelling() {
        for device in DeviceArch::ALL {
            assert_eq!(device.name().parse(), Ok(device));
        }
        assert_eq!("Hailo-10H".parse(), Ok(DeviceArch::Hailo10H));
        assert_eq!("15l".parse(), Ok(DeviceArch::Hailo15L));
        assert!("hailo".parse::<DeviceArch>().is_err());
        assert!("hailo9".parse::<DeviceArch>().is_err());
    }

    #[test]
    fn a_hailo_10h_accepts_its_family_only() {
        let accepted: Vec<u32> = (0..200)
            .filter(|&n| Architecture(n).devices().contains(&DeviceArch::Hailo10H))
            .collect();
        assert_eq!(accepted, [4, 103, 104, 105]);
        assert!(Architecture(77).devices().is_empty());
    }
}
