//! Who the firmware is: opcodes 0, 42 and 51.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control.cpp`, `firmware_version.h`.

use super::command::{bodies, commands};
use super::message::{Message, TooLong};
use super::open::open_enum;
use super::wire::{Be, Raw, Text, Wire};
use crate::spec::firmware::Version;

open_enum! {
    /// The architecture that the firmware tells. Firmware of the Hailo-15H, 15M and 10H all tell the same.
    pub enum Architecture: u32 {
        /// Hailo-8, first silicon.
        Hailo8A0 = 0 "Hailo-8 A0",
        /// Hailo-8.
        Hailo8 = 1 "Hailo-8",
        /// Hailo-8L.
        Hailo8L = 2 "Hailo-8L",
        /// Hailo-15H, and what shares its firmware.
        Hailo15H = 3 "Hailo-15H",
        /// Hailo-15L.
        #[doc(alias = "PLUTO")]
        Hailo15L = 4 "Hailo-15L",
        /// Hailo-12L.
        #[doc(alias = "MARS")]
        Hailo12L = 5 "Hailo-12L",
    }

    /// Where the firmware came from.
    pub enum BootSource: u32 {
        /// None.
        Invalid = 0 "invalid",
        /// Over PCIe.
        Pcie = 1 "pcie",
        /// From flash memory.
        Flash = 2 "flash",
    }
}

bitflags::bitflags! {
    /// What a build of the firmware is, from the highest bits of its revision word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Build: u32 {
        /// For the core CPU.
        const CORE = 1 << 27;
        /// With extended checks.
        const EXTENDED_CHECKS = 1 << 28;
        /// With the extended context buffer.
        const EXTENDED_BUFFER = 1 << 29;
        /// A development build.
        const DEVELOPMENT = 1 << 30;
        /// The second-stage boot loader.
        const SECOND_STAGE = 1 << 31;
    }

    /// What the chip has.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u8 {
        /// Ethernet.
        const ETHERNET = 1 << 0;
        /// MIPI.
        const MIPI = 1 << 1;
        /// PCIe.
        const PCIE = 1 << 2;
        /// Current measurement.
        const CURRENT_MONITORING = 1 << 3;
        /// MDIO.
        const MDIO = 1 << 4;
    }
}

/// Bits of the revision word that are the revision.
pub const REVISION_MASK: u32 = (1 << 27) - 1;

/// Version and build of a firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareVersion {
    /// The version.
    pub version: Version,
    /// What the build is.
    pub build: Build,
}

impl FirmwareVersion {
    /// The last of the three words.
    #[must_use]
    pub fn revision_word(&self) -> u32 {
        self.version.revision & REVISION_MASK | self.build.bits()
    }
}

impl std::fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.version)?;
        let notes = [
            (Build::DEVELOPMENT, "development"),
            (Build::EXTENDED_CHECKS, "extended checks"),
            (Build::EXTENDED_BUFFER, "extended buffer"),
            (Build::SECOND_STAGE, "second stage"),
        ];
        for (_, note) in notes.iter().filter(|(bit, _)| self.build.contains(*bit)) {
            write!(f, ", {note}")?;
        }
        Ok(())
    }
}

/// Three little-endian words in one parameter.
impl Wire<FirmwareVersion> for Raw {
    fn put(value: &FirmwareVersion, message: &mut Message) -> Result<(), TooLong> {
        let Version { major, minor, .. } = value.version;
        let mut bytes = [0; 12];
        let words = [major, minor, value.revision_word()];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        message.param(&bytes)
    }

    fn take(bytes: &[u8]) -> Option<FirmwareVersion> {
        let bytes: &[u8; 12] = bytes.try_into().ok()?;
        let word = |place: usize| u32::from_le_bytes(bytes.as_chunks::<4>().0[place]);
        let revision = word(2);
        Some(FirmwareVersion {
            version: Version::new(word(0), word(1), revision & REVISION_MASK),
            build: Build::from_bits_retain(revision & !REVISION_MASK),
        })
    }
}

/// The feature bits stand in the fourth of eight bytes.
impl Wire<Features> for Raw {
    fn put(value: &Features, message: &mut Message) -> Result<(), TooLong> {
        message.param(&[0, 0, 0, value.bits(), 0, 0, 0, 0])
    }

    fn take(bytes: &[u8]) -> Option<Features> {
        let bytes: &[u8; 8] = bytes.try_into().ok()?;
        Some(Features::from_bits_retain(bytes[3]))
    }
}

bodies! {
    /// Asks the application CPU who it is.
    pub struct Identify {}

    /// Who the application CPU is.
    pub struct Identity {
        /// Version of the control protocol.
        protocol: u32 as Be,
        /// Its firmware.
        firmware: FirmwareVersion as Raw,
        /// Version of the log's form.
        logger: u32 as Be,
        /// Name of the board.
        board: Text<32> as Raw,
        /// Architecture of the chip.
        architecture: Architecture as Be,
        /// Serial number.
        serial: Text<16> as Raw,
        /// Part number.
        part: Text<16> as Raw,
        /// Name of the product.
        product: Text<42> as Raw,
    }

    /// Asks the core CPU who it is.
    pub struct CoreIdentify {}

    /// Who the core CPU is.
    pub struct CoreIdentity {
        /// Its firmware.
        firmware: FirmwareVersion as Raw,
    }

    /// Asks for what is known of the chip.
    pub struct GetDeviceInformation {}

    /// What is known of the chip.
    pub struct DeviceInformation {
        /// Highest clock of the neural core in Hz.
        core_clock: u32 as Be,
        /// What it has.
        features: Features as Raw,
        /// Where the firmware came from.
        boot_source: BootSource as Be,
        /// State in the secure life cycle; what the numbers mean is unknown.
        life_cycle: u8 as Be,
        /// Id of the chip.
        soc_id: [u8; 32] as Raw,
        /// Ethernet address, zero where there is none.
        mac: [u8; 6] as Raw,
        /// Lot, die and wafer.
        unit: [u8; 12] as Raw,
        /// Values of the process monitor.
        process: [u8; 24] as Raw,
        /// Which clusters there are.
        clusters: u32 as Be,
    }
}

commands! {
    Identify = 0 -> Identity,
    CoreIdentify = 42 -> CoreIdentity,
    GetDeviceInformation = 51 -> DeviceInformation,
}
