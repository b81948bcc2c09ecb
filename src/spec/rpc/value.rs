//! Numbers that bodies carry.
//!
//! Source: vendor hailort v5.2.0, `include/hailo/hailort.h`, `hrpc_protocol/rpc.proto`, `hailort_server.cpp`.

/// Scheduling of a virtual device.
pub mod scheduling {
    /// The user activates one model at a time.
    pub const NONE: u32 = 0;
    /// Models take turns.
    pub const ROUND_ROBIN: u32 = 1;
}

/// The group of a virtual device that nobody shares.
#[doc(alias = "HAILO_UNIQUE_VDEVICE_GROUP_ID")]
pub const UNIQUE_GROUP: &str = "UNIQUE";

/// Kinds of memory in [`super::types::BufferInfo`].
pub mod memory {
    /// Plain memory.
    pub const PLAIN: u32 = 1;
    /// A dma-buf; over PCI Express it travels as plain memory does.
    pub const DMA_BUF: u32 = 3;
}

/// Settings of [`super::types::StreamParams`] that stand for "not set".
pub mod unset {
    /// Scores.
    pub const SCORE: f32 = -1.0;
    /// Counts.
    pub const COUNT: u32 = u32::MAX;
}

/// Element types.
pub mod format_type {
    /// The file's.
    pub const AUTO: u32 = 0;
    /// Unsigned, 8 bits.
    pub const UINT8: u32 = 1;
    /// Unsigned, 16 bits.
    pub const UINT16: u32 = 2;
    /// IEEE 754, 32 bits.
    pub const FLOAT32: u32 = 3;
}

/// Element orders.
pub mod format_order {
    /// The file's.
    pub const AUTO: u32 = 0;
    /// Rows, pixels, features.
    pub const NHWC: u32 = 1;
    /// Rows, features, pixels.
    pub const NHCW: u32 = 2;
    /// As NHWC, padded.
    pub const FCR: u32 = 3;
    /// Groups of eight features.
    pub const F8CR: u32 = 4;
    /// Rows of single values.
    pub const NHW: u32 = 5;
    /// One vector.
    pub const NC: u32 = 6;
    /// Raw sensor values.
    pub const BAYER_RGB: u32 = 7;
    /// Raw sensor values of 12 bits.
    pub const BAYER_RGB_12: u32 = 8;
    /// Boxes.
    pub const NMS: u32 = 9;
    /// Four bytes a pixel, three used.
    pub const RGB888: u32 = 10;
    /// Planes of rows.
    pub const NCHW: u32 = 11;
    /// Y0 U Y1 V.
    pub const YUY2: u32 = 12;
    /// A Y plane, then U and V interleaved.
    pub const NV12: u32 = 13;
    /// A Y plane, then V and U interleaved.
    pub const NV21: u32 = 14;
    /// Device form of NV12.
    pub const YYUV: u32 = 15;
    /// Device form of NV21.
    pub const YYVU: u32 = 16;
    /// Rows of RGB, aligned to four bytes.
    pub const RGB4: u32 = 17;
    /// Y, U and V planes.
    pub const I420: u32 = 18;
    /// Device form of I420.
    pub const YYYYUV: u32 = 19;
    /// Boxes with byte masks.
    pub const NMS_WITH_BYTE_MASK: u32 = 20;
    /// Boxes as the chip emits them.
    pub const NMS_ON_CHIP: u32 = 21;
    /// Boxes class by class.
    pub const NMS_BY_CLASS: u32 = 22;
    /// Boxes by falling score.
    pub const NMS_BY_SCORE: u32 = 23;
}

/// Power modes.
pub mod power_mode {
    /// The default.
    pub const PERFORMANCE: u32 = 0;
    /// More clocks.
    pub const ULTRA_PERFORMANCE: u32 = 1;
}

/// Bits of the latency flag.
pub mod latency {
    /// Measure.
    pub const MEASURE: u32 = 1 << 0;
    /// Start anew after each read.
    pub const CLEAR_AFTER_GET: u32 = 1 << 1;
}

/// Largest priority; the default is [`DEFAULT_PRIORITY`].
pub const MAX_PRIORITY: u32 = 31;
/// Priority where nobody sets one.
pub const DEFAULT_PRIORITY: u32 = 16;

/// Names of chips by architecture number.
#[must_use]
pub fn architecture(number: u32) -> Option<&'static str> {
    const NAMES: [&str; 8] = [
        "Hailo-8 A0",
        "Hailo-8",
        "Hailo-8L",
        "Hailo-15H",
        "Hailo-15L",
        "Hailo-15M",
        "Hailo-10H",
        "Hailo-12L",
    ];
    NAMES.get(usize::try_from(number).ok()?).copied()
}

/// Architecture number of the Hailo-10H.
pub const ARCHITECTURE_10H: u32 = 6;
/// Architecture number of the Hailo-12L.
pub const ARCHITECTURE_12L: u32 = 7;

/// Sizes in replies about the device.
pub mod info {
    /// Most bytes of a board name.
    pub const BOARD_NAME: usize = 32;
    /// Most entries of a serial number.
    pub const SERIAL_NUMBER: usize = 16;
    /// Most entries of a part number.
    pub const PART_NUMBER: usize = 16;
    /// Most bytes of a product name.
    pub const PRODUCT_NAME: usize = 42;
    /// Entries of the SoC id.
    pub const SOC_ID: usize = 32;
    /// Entries of an Ethernet address.
    pub const ETHERNET_ADDRESS: usize = 6;
    /// Entries of the unit-level tracking id.
    pub const UNIT_TRACKING_ID: usize = 12;
    /// Entries of the process monitor's values, of which the first half is valid.
    pub const PROCESS_MONITOR: usize = 24;
}

/// Power measurement.
pub mod power {
    /// The supply of the core.
    pub const DVM_VDD_CORE: u32 = 0;
    /// Supply or kind as the device finds best: the whole board, power.
    pub const AUTO: u32 = 0x7fff_ffff;
    /// Shunt voltage, V.
    pub const SHUNT_VOLTAGE: u32 = 0;
    /// Bus voltage, V.
    pub const BUS_VOLTAGE: u32 = 1;
    /// Power, W.
    pub const POWER: u32 = 2;
    /// Current, mA.
    pub const CURRENT: u32 = 3;
    /// Samples a mean, by index.
    pub const AVERAGING: [u32; 8] = [1, 4, 16, 64, 128, 256, 512, 1024];
    /// Microseconds a sample, by index.
    pub const PERIOD_US: [u32; 8] = [140, 204, 332, 588, 1100, 2116, 4156, 8244];
}

/// Logs.
pub mod log {
    /// Text: the system log of the chip's Linux. Reading it consumes it.
    pub const RUNTIME: u32 = 0;
    /// System control unit.
    pub const SYSTEM_CONTROL: u32 = 1;
    /// Neural core.
    pub const NN_CORE: u32 = 2;
    /// Bytes of each log's buffer, by type.
    pub const SIZES: [u32; 3] = [524_288, 4_096, 512];
}

/// Notifications.
pub mod notification {
    /// Temperature alarm.
    pub const TEMPERATURE_ALARM: u32 = 1;
    /// Over-current alarm.
    pub const OVERCURRENT_ALARM: u32 = 3;
    /// CRC error in the neural core; no body.
    pub const NN_CORE_CRC_ERROR: u32 = 13;
    /// The chip changed its speed.
    pub const THROTTLING_CHANGE: u32 = 14;
    /// Those that can travel.
    pub const TRAVELLING: [u32; 4] = [
        TEMPERATURE_ALARM,
        OVERCURRENT_ALARM,
        NN_CORE_CRC_ERROR,
        THROTTLING_CHANGE,
    ];
    /// Largest id that can be registered.
    pub const MAX: u32 = 14;
}
