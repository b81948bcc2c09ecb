//! What the chip says of itself, as data, and its texts made fit to be shown.

use serde::Serialize;

/// Who the chip says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Version of the control protocol.
    pub protocol: u32,
    /// Firmware of the neural core.
    pub firmware: String,
    /// Whether it is a release build.
    pub release: bool,
    /// Version of its logger.
    pub logger: u32,
    /// Board.
    pub board: String,
    /// Chip, by name; its number where that is not known.
    pub architecture: String,
    /// Serial number; empty where the board has none.
    pub serial_number: String,
    /// Part number (SKU); empty where the board has none.
    pub part_number: String,
    /// Product; empty where the board has none.
    pub product: String,
    /// Whether context switches have the larger buffer.
    pub extended_context_switch_buffer: bool,
    /// Whether firmware is checked more closely.
    pub extended_firmware_check: bool,
}

/// More of who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extended {
    /// Clock of the neural core in Hz; `None` where the chip does not say.
    pub core_clock_hz: Option<u32>,
    /// What the chip can do, by name.
    pub features: Vec<&'static str>,
    /// What it booted from; `None` where it does not say.
    pub boot_source: Option<&'static str>,
    /// Its own id, in hexadecimal.
    pub soc_id: String,
    /// Life-cycle state.
    pub life_cycle_state: u32,
    /// Lot and wafer, in hexadecimal.
    pub unit_tracking_id: String,
    /// Process monitor, in hexadecimal.
    pub process_monitor: String,
    /// Pins.
    pub gpio_mask: u32,
}

/// Temperatures in degrees Celsius.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Temperature {
    /// First sensor.
    pub ts0: f32,
    /// Second sensor.
    pub ts1: f32,
}

/// Health.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Health {
    /// Degrees Celsius: the warmer sensor.
    pub temperature: f32,
    /// Millivolts, where they are measured.
    pub voltage_mv: Option<i32>,
    /// Failed self-tests, where they were run.
    pub bist_failures: Option<i32>,
}

/// Load; `None` for what could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Performance {
    /// Percent of the processors.
    pub cpu: Option<f32>,
    /// Percent of the neural core.
    pub nnc: Option<f32>,
    /// Percent of the signal processor.
    pub dsp: Option<i32>,
    /// Bytes of memory.
    pub ram_total: Option<u64>,
    /// Bytes of memory in use.
    pub ram_used: Option<u64>,
    /// Transactions of the memory.
    pub ddr_transactions: Option<i32>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// Watts.
    Power,
    /// Milliamperes.
    Current,
    /// Volts at the supply.
    BusVoltage,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogSource {
    /// The system log of the chip's Linux, text. Reading it consumes it.
    Runtime,
    /// System control unit.
    SystemControl,
    /// Neural core.
    NnCore,
}

/// Numbers that hold a byte each.
pub(super) fn bytes_of(numbers: &[u32]) -> Option<Vec<u8>> {
    numbers
        .iter()
        .map(|&number| u8::try_from(number).ok())
        .collect()
}

/// Text where the bytes are some, up to the first zero; hexadecimal otherwise.
pub(super) fn readable(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = &bytes[..end.unwrap_or(bytes.len())];
    if text
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        text.iter().map(|&byte| char::from(byte)).collect()
    } else {
        hexadecimal(bytes)
    }
}

/// Two digits a byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text of a device, without what would play with a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .take_while(|&c| c != '\0')
        .filter(|c| !c.is_control())
        .collect()
}
