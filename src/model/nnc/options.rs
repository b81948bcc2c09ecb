//! What the firmware of NNC mode is like, where builds differ.

use std::fmt;
use std::time::Duration;

use super::super::profile::parse_switch;

/// Which opcodes the firmware has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opcodes {
    /// Those that make sense on an accelerator card; others are answered as not supported.
    ///
    /// Source: inferred from what the vendor's library offers for these chips; unconfirmed.
    #[default]
    Accelerator,
    /// All that have a layout: those for boards with cameras and Ethernet are accepted and do nothing.
    Full,
}

/// Bytes of firmware memory for action lists.
///
/// Source: vendor hailort v5.2.0, `hailort_driver.hpp`; that all of it is for lists is inferred, unconfirmed.
const MEMORY: u32 = 80 << 10;

/// From the doorbell to the end of a soft reset: the vendor's driver misses one that is over before it waits.
///
/// Source: inferred from vendor hailort-drivers v5.3.0, `linux/pcie/src/nnc.c`; unconfirmed.
const RESET_DELAY: Duration = Duration::from_millis(20);

/// How long the core takes for a frame where time counts. Source: any number will do.
const FRAME_TIME: Duration = Duration::from_millis(5);

/// What the firmware of NNC mode is like. As text, keys of a [`Profile`](crate::model::Profile):
///
/// | key | value |
/// |---|---|
/// | `opcodes` | `accelerator`, or `full`: also those for cameras and Ethernet |
/// | `lenient` | `on` or `off`: whether it goes on where a host's mistake might pass unnoticed on hardware, complaining; in SoC mode too |
/// | `silent` | `on` or `off`: whether a request with a wrong MD5 is not answered at all |
/// | `extended` | `on` or `off`: whether it is a build with extended checks |
/// | `fw-memory` | bytes for action lists (81920) |
/// | `reset-delay` | milliseconds that a soft reset takes (20) |
/// | `frame-time` | microseconds that the core takes for a frame, with `timing=on` (5000) |
/// | `restricted` | `START+BYTES` of the chip's memory that no control may reach, beside the firmware's own |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NncOptions {
    /// Which opcodes it has.
    pub opcodes: Opcodes,
    /// Whether it goes on where a host's mistake might pass unnoticed on hardware. In SoC mode too: there it decides
    /// about sessions whose two ends cut their transfers differently.
    pub lenient: bool,
    /// Whether a request with a wrong MD5 is not answered at all.
    pub silent: bool,
    /// Whether it is a build with extended checks.
    pub extended: bool,
    /// Bytes for action lists.
    pub memory: u32,
    /// How long a soft reset takes: a virtual machine may need more, to wait for what it began.
    pub reset_delay: Duration,
    /// How long the core takes for a frame of all its contexts, where time counts.
    pub frame_time: Duration,
    /// Memory of the chip that a host may neither read nor write by control: where it begins, and its bytes.
    pub restricted: (u32, u32),
}

impl Default for NncOptions {
    fn default() -> Self {
        Self {
            opcodes: Opcodes::default(),
            lenient: false,
            silent: false,
            extended: false,
            memory: MEMORY,
            reset_delay: RESET_DELAY,
            frame_time: FRAME_TIME,
            restricted: (0, 0),
        }
    }
}

impl NncOptions {
    pub(in crate::model) fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "opcodes" => {
                self.opcodes = match value {
                    "accelerator" => Opcodes::Accelerator,
                    "full" => Opcodes::Full,
                    _ => return None,
                }
            }
            "lenient" => self.lenient = parse_switch(value)?,
            "silent" => self.silent = parse_switch(value)?,
            "extended" => self.extended = parse_switch(value)?,
            "fw-memory" => self.memory = value.parse().ok()?,
            "reset-delay" => self.reset_delay = Duration::from_millis(value.parse().ok()?),
            "frame-time" => self.frame_time = Duration::from_micros(value.parse().ok()?),
            "restricted" => {
                let (start, bytes) = value.split_once('+')?;
                self.restricted = (parse_number(start)?, parse_number(bytes)?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The keys that differ from the usual, each behind a comma.
impl fmt::Display for NncOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.opcodes == Opcodes::Full {
            f.write_str(",opcodes=full")?;
        }
        for (on, key) in [
            (self.lenient, "lenient"),
            (self.silent, "silent"),
            (self.extended, "extended"),
        ] {
            if on {
                write!(f, ",{key}=on")?;
            }
        }
        if self.memory != MEMORY {
            write!(f, ",fw-memory={}", self.memory)?;
        }
        if self.reset_delay != RESET_DELAY {
            write!(f, ",reset-delay={}", self.reset_delay.as_millis())?;
        }
        if self.frame_time != FRAME_TIME {
            write!(f, ",frame-time={}", self.frame_time.as_micros())?;
        }
        let (start, bytes) = self.restricted;
        if bytes > 0 {
            write!(f, ",restricted={start:#x}+{bytes:#x}")?;
        }
        Ok(())
    }
}
