//! What differs from chip to chip, as data: ids, addresses, firmware layouts and their stages.

mod stages;

use std::fmt;
use std::time::Duration;

pub use stages::{
    CUSTOMER_CERTIFICATE, DEVICE_TREE_V4, FILE_SYSTEM, FIT_IMAGE, HAILO10H, HAILO10H_NNC, HAILO12L,
    HAILO15L, SCU_FIRMWARE, SPL, TFA,
};

use crate::addr::DeviceAddr;

/// PCI vendor id of every device here.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.h`.
pub const VENDOR_ID: u16 = 0x1e60;

/// A chip that this project knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Chip {
    /// Hailo-10H.
    Hailo10h,
    /// Hailo-12L ("Mars").
    Hailo12l,
    /// Hailo-15L as an accelerator card.
    Hailo15l,
    /// Hailo-8, 8L or 8R: one PCI id for the family. Recognised, never driven.
    Hailo8,
}

impl Chip {
    /// The chip behind a PCI device id of vendor `1e60`.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`; v4.20.0 for the Hailo-8.
    #[must_use]
    pub const fn from_device_id(id: u16) -> Option<Self> {
        match id {
            0x45c4 => Some(Self::Hailo10h),
            0x26a2 => Some(Self::Hailo12l),
            0x43a2 => Some(Self::Hailo15l),
            0x2864 => Some(Self::Hailo8),
            _ => None,
        }
    }

    /// PCI device id.
    #[must_use]
    pub const fn device_id(self) -> u16 {
        match self {
            Self::Hailo10h => 0x45c4,
            Self::Hailo12l => 0x26a2,
            Self::Hailo15l => 0x43a2,
            Self::Hailo8 => 0x2864,
        }
    }

    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hailo10h => "Hailo-10H",
            Self::Hailo12l => "Hailo-12L",
            Self::Hailo15l => "Hailo-15L",
            Self::Hailo8 => "Hailo-8/8L/8R",
        }
    }

    /// Board data, for the chips that boot in SoC mode.
    #[must_use]
    pub const fn soc_board(self) -> Option<&'static Board> {
        match self {
            Self::Hailo10h => Some(&HAILO10H),
            Self::Hailo12l => Some(&HAILO12L),
            Self::Hailo15l | Self::Hailo8 => None,
        }
    }

    /// Board data, for the chips that boot in NNC mode. A Hailo-15H is a Hailo-10H to the bus.
    #[must_use]
    pub const fn nnc_board(self) -> Option<&'static Board> {
        match self {
            Self::Hailo10h => Some(&HAILO10H_NNC),
            Self::Hailo15l => Some(&HAILO15L),
            Self::Hailo12l | Self::Hailo8 => None,
        }
    }

    /// Board data for a mode; `None` where the chip doesn't have it.
    #[must_use]
    pub const fn board(self, mode: Mode) -> Option<&'static Board> {
        match mode {
            Mode::Soc => self.soc_board(),
            Mode::Nnc => self.nnc_board(),
        }
    }
}

/// What runs on the chip, and so whom the host talks to.
///
/// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A system of its own, which serves inference over sessions.
    #[default]
    Soc,
    /// Firmware of the neural core alone, driven by the host.
    Nnc,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Soc => "soc",
            Self::Nnc => "nnc",
        })
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Addresses and ids of one chip in one mode.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c` (board tables).
#[derive(Debug)]
pub struct Board {
    /// The chip.
    pub chip: Chip,
    /// The mode it boots into.
    pub mode: Mode,
    /// Folder of its files under a firmware root such as `/lib/firmware/hailo`; the images of NNC mode lie in the
    /// root itself.
    pub firmware_dir: &'static str,
    /// Magic of its firmware container.
    pub magic: u32,
    /// Where the container's header goes.
    pub firmware_header: DeviceAddr,
    /// Where the application code goes.
    pub application_code: DeviceAddr,
    /// Where the key certificate goes.
    pub key_certificate: DeviceAddr,
    /// Where the content certificate goes.
    pub content_certificate: DeviceAddr,
    /// Boot status word: 1 while the boot ROM waits for firmware.
    pub boot_status: DeviceAddr,
    /// Where the core part of the container goes, in NNC mode.
    pub core: Option<CorePart>,
    /// SKU word, valid after stage 1. No use in NNC mode.
    pub sku: DeviceAddr,
    /// PCIe config register (queue routing). No use in NNC mode.
    pub pcie_config: DeviceAddr,
    /// Text log of the SCU, [`SCU_LOG_LEN`] bytes. No use in NNC mode.
    pub scu_log: DeviceAddr,
    /// Doorbell, byte offset in BAR 4.
    pub doorbell: u32,
    layouts: &'static [(Layout, &'static [Stage])],
}

/// Places of the core part of a container.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c` (board tables).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorePart {
    /// Where its code goes.
    pub code: DeviceAddr,
    /// Where its header goes.
    pub header: DeviceAddr,
}

/// Bytes of the SCU log.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.h`.
pub const SCU_LOG_LEN: usize = 0x1000;

/// What the SCU log's first word reads while it can't be read.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const SCU_LOG_UNREADABLE: u32 = u32::MAX;

/// Boot status while the boot ROM waits for firmware.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
#[doc(alias = "BOOT_STATUS_UNINITIALIZED")]
pub const BOOT_STATUS_WAITING: u32 = 1;

/// Bit of [`Board::pcie_config`] that opens vDMA between host and device.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const PCIE_CONFIG_OPEN_VDMA: u32 = 1 << 2;

/// The word whose write starts a stage.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const TRIGGER: u32 = 1;

/// Page size of the boot transfer in bytes.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.h`.
pub const BOOT_PAGE: u32 = 512;

/// Descriptors used in one channel of the boot transfer; the last of the list never is.
///
/// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`.
pub const BOOT_DESCRIPTORS: u32 = 65_535;

/// Most channels that the boot transfer uses.
///
/// Source: vendor hailort-drivers v5.3.0, `linux/pcie/src/pcie.c`.
pub const BOOT_CHANNELS: u32 = 16;

/// A release family by what its firmware set looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum Layout {
    /// Releases 4.20 to 4.23.
    #[serde(rename = "4.x")]
    V4,
    /// Releases 5.0.0 and 5.0.1.
    #[serde(rename = "5.0")]
    V5_0,
    /// Releases 5.1 and later.
    #[serde(rename = "5.1")]
    V5_1,
    /// The one image of NNC mode, of any release.
    #[serde(rename = "nnc")]
    Nnc,
}

impl Layout {
    /// The layout that a release of SoC firmware uses; `None` for a release that isn't known.
    #[must_use]
    pub const fn of_release(major: u32, minor: u32) -> Option<Self> {
        match (major, minor) {
            (4, 20..=23) => Some(Self::V4),
            (5, 0) => Some(Self::V5_0),
            (5, 1..) => Some(Self::V5_1),
            _ => None,
        }
    }

    /// Name as users type it: `4.x`, `5.0`, `5.1`, `nnc`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "4.x",
            Self::V5_0 => "5.0",
            Self::V5_1 => "5.1",
            Self::Nnc => "nnc",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One stage of the boot.
#[derive(Debug)]
pub struct Stage {
    /// 1, 2, 3.
    pub number: u32,
    /// How its files travel.
    pub transport: StageTransport,
    /// Its files, in the order of upload.
    pub files: &'static [StageFile],
    /// Writing [`TRIGGER`] here starts the stage.
    pub trigger: DeviceAddr,
    /// Longest wait for its completion (for each of the two waits of a vDMA stage).
    pub timeout: Duration,
}

/// How the files of a stage travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageTransport {
    /// Written through the 4 KiB window of BAR 4.
    Window,
    /// Moved by the device's own DMA.
    Vdma,
}

/// One file of a stage.
#[derive(Debug)]
pub struct StageFile {
    /// Its name in the firmware folder.
    pub name: FileName,
    /// Where it goes (not used for a container, whose parts have places of their own).
    pub address: DeviceAddr,
    /// Most bytes.
    pub max_len: u64,
    /// Whether the set is incomplete without it.
    pub mandatory: bool,
    /// How it is read.
    pub kind: FileKind,
}

/// Name of a stage's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// The same on every board.
    Fixed(&'static str),
    /// `u-boot-<sku>.dtb.signed`.
    BySku,
}

/// How a stage's file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Bytes as they are.
    Raw,
    /// A firmware container, see [`super::firmware`].
    Container,
    /// A container with a core part behind it.
    CoreContainer,
}

impl FileKind {
    /// Whether it is a container of either kind.
    #[must_use]
    pub const fn is_container(self) -> bool {
        matches!(self, Self::Container | Self::CoreContainer)
    }
}

impl Board {
    /// The stages of a layout; `None` where this chip has no such release.
    #[must_use]
    pub fn stages(&self, layout: Layout) -> Option<&'static [Stage]> {
        self.layouts
            .iter()
            .find(|(known, _)| *known == layout)
            .map(|(_, stages)| *stages)
    }

    /// The layouts that exist for this chip.
    pub fn layouts(&self) -> impl Iterator<Item = Layout> {
        self.layouts.iter().map(|(layout, _)| *layout)
    }

    /// Name of the one image of NNC mode.
    #[must_use]
    pub fn image(&self) -> Option<&'static str> {
        let stage = self.stages(Layout::Nnc)?.first()?;
        match stage.files.first()?.name {
            FileName::Fixed(name) => Some(name),
            FileName::BySku => None,
        }
    }

    /// Most bytes of the key certificate before it runs into the content certificate.
    #[must_use]
    pub const fn key_certificate_room(&self) -> u64 {
        self.content_certificate.0 - self.key_certificate.0
    }
}

/// The variant of a board, as its fuses tell it after stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sku {
    /// The board has no number.
    Default,
    /// The board's number, 0..=63.
    Number(u8),
}

impl Sku {
    /// Bits of the SKU word that make the number, lowest first.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c` (5.0.0 alone took 1, 2, 3, 12, 13, 14).
    pub const NUMBER_BITS: [u32; 6] = [1, 2, 3, 9, 10, 11];

    /// Bit of the SKU word that says that there is a number.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    pub const VALID_BIT: u32 = 0;

    /// Reads the SKU word.
    #[must_use]
    pub fn from_word(word: u32) -> Self {
        if word >> Self::VALID_BIT & 1 == 0 {
            return Self::Default;
        }
        let bit = |place: u32| u8::from(word >> place & 1 != 0);
        Self::Number(
            (0..)
                .zip(Self::NUMBER_BITS)
                .map(|(n, place)| bit(place) << n)
                .sum(),
        )
    }

    /// Name of the board's device tree file.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{SKU_FILE_PREFIX}{self}{SKU_FILE_SUFFIX}")
    }

    /// The SKU whose file has this name.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        match name
            .strip_prefix(SKU_FILE_PREFIX)?
            .strip_suffix(SKU_FILE_SUFFIX)?
        {
            "default" => Some(Self::Default),
            digits => {
                let number: u8 = digits.parse().ok()?;
                (number < 64 && number.to_string() == digits).then_some(Self::Number(number))
            }
        }
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

const SKU_FILE_PREFIX: &str = "u-boot-";
const SKU_FILE_SUFFIX: &str = ".dtb.signed";

/// Names of the NNC images: Hailo-10H and 15H, Hailo-15L.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const NNC_IMAGES: [&str; 2] = ["hailo15_fw.bin", "hailo15l_fw.bin"];

/// Magic of the containers of NNC images and others that a person may point at by mistake.
///
/// Source: vendor hailort-drivers v5.3.0, `common/fw_validation.h`.
pub const MAGICS: [(u32, &str); 3] = [
    (0xe905_daab, "Hailo-10H/15H"),
    (0xf947_39ab, "Hailo-15L"),
    (0x8639_aa42, "Hailo-12L"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sku_word_without_its_valid_bit_is_the_default() {
        assert_eq!(Sku::from_word(0), Sku::Default);
        assert_eq!(Sku::from_word(0xffff_fffe), Sku::Default);
    }

    #[test]
    fn a_sku_number_is_gathered_from_its_six_bits() {
        assert_eq!(Sku::from_word(1), Sku::Number(0));
        assert_eq!(Sku::from_word(0b1111), Sku::Number(7));
        assert_eq!(Sku::from_word(1 | 1 << 9), Sku::Number(8));
        assert_eq!(Sku::from_word(u32::MAX), Sku::Number(63));
        assert_eq!(Sku::from_word(0x0000_f1f1), Sku::Number(0));
    }

    #[test]
    fn a_sku_names_its_file_and_the_file_its_sku() {
        for sku in [
            Sku::Default,
            Sku::Number(0),
            Sku::Number(6),
            Sku::Number(63),
        ] {
            assert_eq!(Sku::from_file_name(&sku.file_name()), Some(sku));
        }
        for name in [
            "u-boot.dtb.signed",
            "u-boot-64.dtb.signed",
            "u-boot-01.dtb.signed",
            "u-boot-x.dtb.signed",
        ] {
            assert_eq!(Sku::from_file_name(name), None, "{name}");
        }
    }
}
