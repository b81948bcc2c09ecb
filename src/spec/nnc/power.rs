//! Power measurement: opcodes 9 to 13.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control_protocol.cpp`, `control.cpp`, `hailort.h`.

use super::command::{bodies, commands};
use super::open::open_enum;
use super::wire::{Be, Flag, Le};

open_enum! {
    /// What is measured.
    #[doc(alias = "DVM")]
    pub enum Rail: u32 {
        /// Core.
        Core = 0 "vdd_core",
        /// Input and output.
        Io = 1 "vdd_io",
        /// MIPI.
        Mipi = 2 "mipi_avdd",
        /// MIPI, high.
        MipiHigh = 3 "mipi_avdd_h",
        /// USB.
        Usb = 4 "usb_avdd_io",
        /// Top.
        Top = 5 "vdd_top",
        /// USB, high voltage.
        UsbHigh = 6 "usb_avdd_io_hv",
        /// Analogue, high.
        AnalogueHigh = 7 "avdd_h",
        /// SDIO.
        Sdio = 8 "sdio_vdd_io",
        /// The over-current sensor. Measuring with it suspends the protection.
        Overcurrent = 9 "overcurrent_protection",
        /// All of an evaluation board.
        Board = 0x7fff_fffe "evb_total_power",
        /// What the board has.
        Auto = 0x7fff_ffff "auto",
    }

    /// Which quantity.
    pub enum Quantity: u32 {
        /// Shunt voltage.
        Shunt = 0 "shunt_voltage",
        /// Bus voltage.
        Bus = 1 "bus_voltage",
        /// Power.
        Power = 2 "power",
        /// Current.
        Current = 3 "current",
        /// What the rail has.
        Auto = 0x7fff_ffff "auto",
    }
}

/// Microseconds of each sampling period, by index.
pub const PERIODS: [u32; 8] = [140, 204, 332, 588, 1100, 2116, 4156, 8244];

/// Samples of each averaging, by index.
pub const AVERAGES: [u32; 8] = [1, 4, 16, 64, 128, 256, 512, 1024];

/// How many buffers for long measurements there are.
pub const BUFFERS: u32 = 4;

bodies! {
    /// Measures once.
    pub struct MeasurePower {
        /// Where.
        rail: Rail as Be,
        /// What.
        quantity: Quantity as Be,
    }

    /// One measurement. The host code reads the last two without swapping them.
    pub struct Measured {
        /// In watt, volt, millivolt or milliampere, as the quantity has it.
        value: f32 as Le,
        /// Where.
        rail: Rail as Le,
        /// What.
        quantity: Quantity as Le,
    }

    /// Says what a buffer of a long measurement collects.
    pub struct SetPowerMeasurement {
        /// Which buffer, below [`BUFFERS`].
        buffer: u32 as Be,
        /// Where.
        rail: Rail as Be,
        /// What.
        quantity: Quantity as Be,
    }

    /// What the buffer will collect.
    pub struct PowerMeasurementSet {
        /// Where.
        rail: Rail as Le,
        /// What.
        quantity: Quantity as Le,
    }

    /// Reads a buffer of a long measurement.
    pub struct GetPowerMeasurement {
        /// Which buffer.
        buffer: u32 as Be,
        /// Whether it starts anew.
        clear: bool as Flag,
    }

    /// What a buffer has collected.
    pub struct PowerMeasurement {
        /// Number of samples; the rest means nothing where it is 0.
        samples: u32 as Be,
        /// Least.
        min: f32 as Le,
        /// Greatest.
        max: f32 as Le,
        /// Average.
        average: f32 as Le,
        /// Milliseconds for each sample.
        sample_ms: f32 as Le,
    }

    /// Starts the long measurement.
    pub struct StartPowerMeasurement {
        /// Milliseconds between two looks.
        delay_ms: u32 as Be,
        /// Index into [`AVERAGES`].
        averaging: u16 as Be,
        /// Index into [`PERIODS`].
        period: u16 as Be,
    }

    /// Ends the long measurement.
    pub struct StopPowerMeasurement {}
}

commands! {
    MeasurePower = 9 -> Measured,
    SetPowerMeasurement = 10 -> PowerMeasurementSet,
    GetPowerMeasurement = 11 -> PowerMeasurement,
    StartPowerMeasurement = 12 -> (),
    StopPowerMeasurement = 13 -> (),
}
