//! BAR 0: bridge registers, interrupts, address translation.

use super::register::{Register, RegisterInfo, register};

/// What the low half of [`Identity`] reads while the device answers.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const VENDOR_ID: u16 = 0x1e60;

register! {
    /// Vendor and device id as the bridge shows them. All ones: the device is gone.
    ///
    /// Only the low half is tested; that the high half is the device id is inferred, unconfirmed.
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "PCIE_CONFIG_VENDOR_OFFSET")]
    pub Identity = "IDENTITY" @ Config + 0x98 ReadOnly {
        /// PCI device id.
        31:16 device,
        /// PCI vendor id, `0x1e60`.
        15:0 vendor,
    }

    /// Which causes may send the MSI: 1 delivers.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "BSC_IMASK_HOST")]
    pub InterruptMask = "INTERRUPT_MASK" @ Config + 0x188 Plain {
        /// Software interrupts of the firmware.
        31:24 software,
        /// Device-to-host channels.
        15:8 channels_from_device,
        /// Host-to-device channels.
        7:0 channels_to_device,
    }

    /// Causes pending. Write the bits that were read to acknowledge them.
    ///
    /// Channel n sets bit n / 4 of its group; the group is tested as a whole all the same.
    ///
    /// Source: vendor hailort-drivers v5.3.0 and v4.20.0, `common/pcie_common.c`.
    #[doc(alias = "BCS_ISTATUS_HOST")]
    pub InterruptStatus = "INTERRUPT_STATUS" @ Config + 0x18c Write1ToClear {
        /// Software interrupts of the firmware, see [`super::control`].
        31:24 software = with_software,
        /// Some device-to-host channel has an event.
        15:8 channels_from_device,
        /// Some host-to-device channel has an event.
        7:0 channels_to_device,
    }

    /// Events of the source side of channels, one bit a channel.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "BCS_SOURCE_INTERRUPT_PER_CHANNEL")]
    pub SourceEvents = "SOURCE_EVENTS" @ Config + 0x400 Write1ToClear {
        /// Bit n: channel n.
        31:0 channels,
    }

    /// Events of the destination side of channels, one bit a channel.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "BCS_DESTINATION_INTERRUPT_PER_CHANNEL")]
    pub DestinationEvents = "DESTINATION_EVENTS" @ Config + 0x500 Write1ToClear {
        /// Bit n: channel n.
        31:0 channels,
    }

    /// Address translation entry: enable, size, place of the window in BAR 4.
    ///
    /// The meaning of the fields is inferred, unconfirmed; the values written are the vendor's.
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "ATR_PARAM")]
    pub AtrParam = "ATR_PARAM" @ Config + 0x700 [step 0x20, count 4] Plain {
        /// Window offset in BAR 4, in 4 KiB pages.
        31:12 window_page,
        /// log2 of the window's bytes, less one.
        6:1 size,
        /// Whether the entry translates.
        0:0 enabled,
    }

    /// Address translation entry: source address, 0.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "ATR_SRC_ADDR")]
    pub AtrSource = "ATR_SOURCE" @ Config + 0x704 [step 0x20, count 4] Plain {
        /// Source address.
        31:0 address,
    }

    /// Address translation entry: device address, bits 31..0.
    ///
    /// Entry 1 tells whether firmware runs, see [`FIRMWARE_LOADED`].
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "ATR_TRSL_ADDR_LO")]
    pub AtrTargetLow = "ATR_TARGET_LOW" @ Config + 0x708 [step 0x20, count 4] Plain {
        /// Bits 31..0 of the device address.
        31:0 address,
    }

    /// Address translation entry: device address, bits 63..32.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "ATR_TRSL_ADDR_HI")]
    pub AtrTargetHigh = "ATR_TARGET_HIGH" @ Config + 0x70c [step 0x20, count 4] Plain {
        /// Bits 63..32 of the device address.
        31:0 address,
    }

    /// Address translation entry: target parameter, 6.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
    #[doc(alias = "ATR_TRSL_PARAM")]
    pub AtrTargetParam = "ATR_TARGET_PARAM" @ Config + 0x710 [step 0x20, count 4] Plain {
        /// Parameter of the target side.
        31:0 value,
    }
}

/// All registers of this BAR, by offset.
pub const REGISTERS: &[RegisterInfo] = &[
    Identity::INFO,
    InterruptMask::INFO,
    InterruptStatus::INFO,
    SourceEvents::INFO,
    DestinationEvents::INFO,
    AtrParam::INFO,
    AtrSource::INFO,
    AtrTargetLow::INFO,
    AtrTargetHigh::INFO,
    AtrTargetParam::INFO,
];

/// OR-ed into [`InterruptMask`] to let every cause interrupt.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
#[doc(alias = "BSC_IMASK_HOST")]
pub const MASK_ALL_CAUSES: u32 = 0xff00_ffff;

/// Entry 1's [`AtrTargetLow`] while firmware runs; the boot ROM leaves something else there.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
#[doc(alias = "PCIE_BLOCK_ADDRESS_ATR1")]
pub const FIRMWARE_LOADED: u32 = 0x0020_0000;

/// The entry that the host may move; the others belong to the firmware.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const HOST_WINDOW: u32 = 0;

/// The entry whose target tells whether firmware runs.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const FIRMWARE_WINDOW: u32 = 1;

/// Bytes that one translation entry shows.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const WINDOW_LEN: u32 = 0x1000;

/// What the host writes into [`AtrParam`] of entry `index`: enabled, 4 KiB, at `index` pages of BAR 4.
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
#[must_use]
pub const fn atr_param(index: u32) -> AtrParam {
    AtrParam(0x17 | index << 12)
}

/// What the host writes into [`AtrTargetParam`].
///
/// Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`.
pub const ATR_TARGET_PARAM: u32 = 6;
