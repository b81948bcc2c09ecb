//! BAR 2: 32 vDMA channels of 32 bytes, a source side and a destination side each.

use super::register::{Register, RegisterInfo, register};

/// Channels in the engine.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const CHANNELS: u32 = 32;

/// Channels below this one carry host to device, the others device to host.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const FIRST_FROM_DEVICE: u32 = 16;

/// Sides in the BAR: register instance `2 * channel` is the source side, `2 * channel + 1` the
/// destination side.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
pub const SIDES: u32 = 2 * CHANNELS;

register! {
    /// Control, depth, data id and available count of one side of a channel.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
    pub ChannelControl = "CHANNEL_CONTROL" @ Vdma + 0x00 [step 0x10, count 64] Plain {
        /// Descriptors made available: index after the last.
        #[doc(alias = "CHANNEL_NUM_AVAIL_OFFSET")]
        31:16 available = with_available,
        /// log2 of the list length, 0 for 65,536.
        14:11 depth = with_depth,
        /// Memory that holds the list: 0 host.
        10:8 data_id = with_data_id,
        /// `01` run, `11` pause, `00` abort, `10` abort and pause.
        1:0 control = with_control,
    }

    /// Progress of one side of a channel.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
    #[doc(alias = "CHANNEL_NUM_PROC_OFFSET")]
    pub ChannelProgress = "CHANNEL_PROGRESS" @ Vdma + 0x04 [step 0x10, count 64] ReadOnly {
        /// Descriptors fetched.
        #[doc(alias = "CHANNEL_NUM_ONGOING_OFFSET")]
        31:16 ongoing,
        /// Descriptors processed.
        15:0 processed,
    }

    /// Error byte, and bits 31..16 of the list's address.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
    #[doc(alias = "CHANNEL_ERROR_OFFSET")]
    #[doc(alias = "CHANNEL_ADDRESS_L_OFFSET")]
    pub ChannelErrorAndListLow = "CHANNEL_ERROR_AND_LIST_LOW" @ Vdma + 0x08 [step 0x10, count 64] Plain {
        /// Bits 31..16 of the list's address.
        31:16 list_low = with_list_low,
        /// Not zero: this side failed.
        7:0 error,
    }

    /// Bits 63..32 of the list's address.
    ///
    /// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
    #[doc(alias = "CHANNEL_ADDRESS_H_OFFSET")]
    pub ChannelListHigh = "CHANNEL_LIST_HIGH" @ Vdma + 0x0c [step 0x10, count 64] Plain {
        /// Bits 63..32 of the list's address.
        31:0 address,
    }
}

/// All registers of this BAR.
pub const REGISTERS: &[RegisterInfo] = &[
    ChannelControl::INFO,
    ChannelProgress::INFO,
    ChannelErrorAndListLow::INFO,
    ChannelListHigh::INFO,
];

/// Values of [`ChannelControl::control`].
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
pub mod control {
    /// Stopped; nothing is fetched.
    pub const ABORT: u32 = 0b00;
    /// Running.
    pub const START: u32 = 0b01;
    /// Stopped, as some firmware leaves it.
    pub const ABORT_PAUSE: u32 = 0b10;
    /// What was fetched completes, nothing new is fetched.
    pub const START_PAUSE: u32 = 0b11;
    /// Set while the channel is active, paused included.
    pub const ACTIVE: u32 = 0b01;
}

/// Alignment of a descriptor list in bytes.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const LIST_ALIGNMENT: u64 = 0x1_0000;

/// Longest list.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
#[doc(alias = "MAX_SG_DESCS_COUNT")]
pub const MAX_DESCRIPTORS: u32 = 65_536;

/// Shortest list.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
pub const MIN_DESCRIPTORS: u32 = 2;

/// Register instance of the side of `channel` that the host drives.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
#[must_use]
pub const fn host_side(channel: u32) -> u32 {
    if channel < FIRST_FROM_DEVICE {
        2 * channel
    } else {
        2 * channel + 1
    }
}

/// Register instance of the side of `channel` that the device drives.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.c`.
#[must_use]
pub const fn device_side(channel: u32) -> u32 {
    host_side(channel) ^ 1
}
