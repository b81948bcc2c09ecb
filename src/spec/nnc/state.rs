//! Reset, sensors, clock, protection, logger: opcodes 7, 46, 55, 61 to 64, 66, 67, 73.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control_protocol.cpp`, `control.cpp`.

use super::command::{bodies, commands};
use super::message::{Message, TooLong};
use super::open::open_enum;
use super::wire::{Be, Flag, Raw, Wire};

open_enum! {
    /// What is reset.
    pub enum ResetKind: u32 {
        /// The chip: not possible over PCIe.
        Chip = 0 "chip",
        /// The neural core. The one kind with an answer.
        NeuralCore = 1 "nn core",
        /// The firmware.
        Soft = 2 "soft",
        /// The firmware, whatever it does.
        ForcedSoft = 3 "forced soft",
    }

    /// How much the firmware's logger tells.
    pub enum LogLevel: u8 {
        /// Everything.
        Trace = 0 "trace",
        /// For those who debug.
        Debug = 1 "debug",
        /// What happens.
        Info = 2 "info",
        /// What should not happen.
        Warning = 3 "warning",
        /// What failed.
        Error = 4 "error",
        /// What ended everything.
        Fatal = 5 "fatal",
    }

    /// How hot a chip is, or how much current it draws.
    pub enum Zone: u32 {
        /// All is well.
        Green = 0 "green",
        /// Above the first threshold of temperature.
        Orange = 1 "orange",
        /// Above the last threshold of temperature.
        Red = 2 "red",
    }

    /// How much current a chip draws.
    pub enum CurrentZone: u32 {
        /// All is well.
        Green = 0 "green",
        /// Above the threshold.
        Red = 1 "red",
    }

    /// Whether the chip sleeps.
    pub enum SleepState: u8 {
        /// It sleeps.
        Sleeping = 0 "sleeping",
        /// It is awake.
        Awake = 1 "awake",
    }
}

bitflags::bitflags! {
    /// Where the firmware's logger writes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct LogTargets: u8 {
        /// The rings that the host reads.
        const RING = 1 << 0;
        /// A serial line.
        const UART = 1 << 1;
    }
}

impl Wire<LogTargets> for Be {
    fn put(value: &LogTargets, message: &mut Message) -> Result<(), TooLong> {
        message.param(&[value.bits()])
    }

    fn take(bytes: &[u8]) -> Option<LogTargets> {
        Self::take(bytes).map(LogTargets::from_bits_retain)
    }
}

/// A number that has 32 bits elsewhere, in one byte.
#[derive(Debug)]
pub struct Byte;

macro_rules! bytes {
    ($($name:ty),*) => {$(
        impl Wire<$name> for Byte {
            fn put(value: &$name, message: &mut Message) -> Result<(), TooLong> {
                message.param(&[u8::try_from(value.raw()).unwrap_or(u8::MAX)])
            }

            fn take(bytes: &[u8]) -> Option<$name> {
                <Be as Wire<u8>>::take(bytes).map(|raw| <$name>::from_raw(raw.into()))
            }
        }
    )*};
}

bytes!(Zone, CurrentZone);

/// Temperatures of the chip in degrees Celsius, and from how many samples. The floats are little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperatures {
    /// Of the two sensors.
    pub celsius: [f32; 2],
    /// Number of samples.
    pub samples: u16,
}

impl Wire<Temperatures> for Raw {
    fn put(value: &Temperatures, message: &mut Message) -> Result<(), TooLong> {
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&value.celsius[0].to_le_bytes());
        bytes[4..8].copy_from_slice(&value.celsius[1].to_le_bytes());
        bytes[8..].copy_from_slice(&value.samples.to_be_bytes());
        message.param(&bytes)
    }

    fn take(bytes: &[u8]) -> Option<Temperatures> {
        let [words @ .., high, low] = <&[u8; 10]>::try_from(bytes).ok()?;
        let words: &[u8; 8] = words;
        let float = |place: usize| f32::from_le_bytes(words.as_chunks::<4>().0[place]);
        Some(Temperatures {
            celsius: [float(0), float(1)],
            samples: u16::from_be_bytes([*high, *low]),
        })
    }
}

/// The threshold of the over-current protection, as oddly as the wire has it: a little-endian float whose *value*
/// is the threshold with its bytes swapped as an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentThreshold(pub [u8; 4]);

impl CurrentThreshold {
    /// The form of a threshold in whole units.
    #[must_use]
    pub fn new(threshold: u32) -> Self {
        Self((threshold.swap_bytes() as f32).to_le_bytes())
    }

    /// The threshold; `None` where the bytes make no sense.
    #[must_use]
    pub fn value(self) -> Option<u32> {
        whole(f32::from_le_bytes(self.0)).map(u32::swap_bytes)
    }
}

/// A float that is a whole number of 32 bits, as that number.
fn whole(value: f32) -> Option<u32> {
    let bits = value.to_bits();
    if bits == 0 {
        return Some(0);
    }
    let (exponent, mantissa) = (bits >> 23, bits & 0x007f_ffff | 0x0080_0000);
    // 150 is the exponent (its offset added) at which the lowest bit of the mantissa counts one.
    match exponent {
        150..=158 => Some(mantissa << (exponent - 150)),
        127..150 if mantissa.trailing_zeros() >= 150 - exponent => {
            Some(mantissa >> (150 - exponent))
        }
        _ => None,
    }
}

impl Wire<CurrentThreshold> for Raw {
    fn put(value: &CurrentThreshold, message: &mut Message) -> Result<(), TooLong> {
        message.param(&value.0)
    }

    fn take(bytes: &[u8]) -> Option<CurrentThreshold> {
        bytes.try_into().ok().map(CurrentThreshold)
    }
}

/// One level of throttling by temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottlingLevel {
    /// Where it begins, in degrees Celsius.
    pub above: f32,
    /// Where it ends, in degrees Celsius.
    pub below: f32,
    /// Clock of the neural core on it, in Hz.
    pub clock: u32,
}

/// Number of throttling levels.
pub const LEVELS: usize = 4;

impl Wire<[ThrottlingLevel; LEVELS]> for Raw {
    fn put(value: &[ThrottlingLevel; LEVELS], message: &mut Message) -> Result<(), TooLong> {
        let mut bytes = [0; 12 * LEVELS];
        for (place, level) in bytes.as_chunks_mut::<12>().0.iter_mut().zip(value) {
            place[..4].copy_from_slice(&level.above.to_le_bytes());
            place[4..8].copy_from_slice(&level.below.to_le_bytes());
            place[8..].copy_from_slice(&level.clock.to_le_bytes());
        }
        message.param(&bytes)
    }

    fn take(bytes: &[u8]) -> Option<[ThrottlingLevel; LEVELS]> {
        let bytes: &[u8; 12 * LEVELS] = bytes.try_into().ok()?;
        let words = bytes.as_chunks::<4>().0;
        Some(std::array::from_fn(|level| ThrottlingLevel {
            above: f32::from_le_bytes(words[3 * level]),
            below: f32::from_le_bytes(words[3 * level + 1]),
            clock: u32::from_le_bytes(words[3 * level + 2]),
        }))
    }
}

bodies! {
    /// Resets. Kinds other than the neural core have no answer.
    pub struct Reset {
        /// What.
        kind: ResetKind as Be,
    }

    /// Asks how hot the chip is.
    pub struct GetTemperature {}

    /// How hot the chip is.
    pub struct Temperature {
        /// Of both sensors.
        chip: Temperatures as Raw,
    }

    /// Sets what the firmware's logger tells, and where; for both CPUs.
    pub struct SetLogger {
        /// How much.
        level: LogLevel as Be,
        /// Where.
        targets: LogTargets as Be,
    }

    /// Sets the clock of the neural core.
    pub struct SetClock {
        /// In Hz.
        hertz: u32 as Be,
    }

    /// Asks for the state of the protections.
    pub struct GetHealth {}

    /// State of the protections.
    pub struct Health {
        /// Whether over-current protection is on.
        overcurrent_protection: bool as Flag,
        /// How much current is drawn.
        overcurrent_zone: CurrentZone as Byte,
        /// Threshold of the over-current protection.
        overcurrent_threshold: CurrentThreshold as Raw,
        /// Whether current throttles the clock.
        overcurrent_throttling: bool as Flag,
        /// Whether temperature throttles the clock.
        temperature_throttling: bool as Flag,
        /// How hot the chip is.
        temperature_zone: Zone as Byte,
        /// Throttling level now, -1 for none.
        throttling_level: i8 as Be,
        /// The levels.
        levels: [ThrottlingLevel; LEVELS] as Raw,
        /// Where orange begins, in degrees Celsius.
        orange: i32 as Be,
        /// Where orange ends.
        orange_below: i32 as Be,
        /// Where red begins.
        red: i32 as Be,
        /// Where red ends.
        red_below: i32 as Be,
        /// Clock that the over-current protection asks for, in Hz.
        overcurrent_clock: u32 as Be,
        /// Clock that the temperature protection asks for, in Hz.
        temperature_clock: u32 as Be,
    }

    /// Switches throttling on or off.
    pub struct SetThrottling {
        /// Whether it is on.
        active: bool as Flag,
    }

    /// Asks whether throttling is on.
    pub struct GetThrottling {}

    /// Whether throttling is on.
    pub struct Throttling {
        /// Whether it is on.
        active: bool as Flag,
    }

    /// Switches over-current protection on or off.
    pub struct SetOvercurrent {
        /// Whether it is on.
        active: bool as Flag,
    }

    /// Asks whether over-current protection is required.
    pub struct GetOvercurrent {}

    /// Whether over-current protection is required.
    pub struct Overcurrent {
        /// Whether it is.
        required: bool as Flag,
    }

    /// Puts the chip to sleep or wakes it.
    pub struct SetSleepState {
        /// Which.
        state: SleepState as Be,
    }
}

commands! {
    Reset = 7 -> (),
    GetTemperature = 46 -> Temperature,
    SetLogger = 55 -> (),
    SetClock = 61 -> (),
    GetHealth = 62 -> Health,
    SetThrottling = 63 -> (),
    GetThrottling = 64 -> Throttling,
    SetOvercurrent = 66 -> (),
    GetOvercurrent = 67 -> Overcurrent,
    SetSleepState = 73 -> (),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_s_odd_form_reads_back() {
        assert_eq!(CurrentThreshold::new(9).0, 150_994_944.0_f32.to_le_bytes());
        for threshold in [0, 1, 9, 255, 256, 4000] {
            assert_eq!(CurrentThreshold::new(threshold).value(), Some(threshold));
        }
        for odd in [f32::NAN, f32::INFINITY, -1.0, 0.5, 4_294_967_296.0, 1.5] {
            assert_eq!(CurrentThreshold(odd.to_le_bytes()).value(), None, "{odd}");
        }
    }
}
