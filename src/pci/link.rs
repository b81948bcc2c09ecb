//! What a link carries: raw rate, packet overhead, and what has been measured.
//!
//! Rates are in MB/s, 10^6 bytes a second, one direction at a time.
//!
//! Source: `spec/platform.md` section 6, after Intel 683390 (packet sizes) and the measurements on a
//! Raspberry Pi 5 that it names.

use std::fmt;

use serde::Serialize;

/// Bytes around a completion's data: framing, sequence number, CRC and a header of three words.
const READ_OVERHEAD: f64 = 20.0;
/// Bytes around a write's data, with a header of four words for 64-bit addresses.
const WRITE_OVERHEAD: f64 = 24.0;
/// What acknowledgements, flow control and skip sets leave.
const LINK_LAYER: f64 = 0.95;
/// Bytes of data in a packet at most: hosts and cards here go no higher.
const MOST_PAYLOAD: u32 = 256;
/// Bytes that most hosts send in one completion, whatever they could.
const USUAL_COMPLETION: u32 = 128;

/// Speed and width of a link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lanes {
    /// Transfers per second and lane, in 10^9.
    pub speed_gts: f32,
    /// Lanes.
    pub width: u8,
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the card: the card reads. Models and input go this way.
    ToDevice,
    /// From the card to the host: the card writes.
    FromDevice,
}

/// What goes over a link in one direction, in MB/s.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// The upper bound of the model.
    pub at_most: f64,
    /// What to expect.
    pub about: f64,
}

/// Where the expected rates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Measured on hosts of this kind.
    Measured,
    /// Calculated with completions of 128 bytes.
    Model,
}

/// What a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Throughput {
    /// Host to card.
    pub to_device: Rate,
    /// Card to host.
    pub from_device: Rate,
    /// Where `about` comes from.
    pub basis: Basis,
}

impl Lanes {
    /// A link of `width` lanes with `speed_gts` 10^9 transfers per second each.
    #[must_use]
    pub const fn new(speed_gts: f32, width: u8) -> Self {
        Self { speed_gts, width }
    }

    /// The generation by its speed: 1 to 6; 0 for a speed that there is not.
    #[must_use]
    pub fn generation(self) -> u8 {
        let speeds = [2.5, 5.0, 8.0, 16.0, 32.0, 64.0];
        let found = (1..)
            .zip(speeds)
            .find(|(_, speed)| *speed >= self.speed_gts);
        found.map_or(0, |(generation, _)| generation)
    }

    /// Bits on the wire after their encoding, in MB/s.
    #[must_use]
    pub fn raw(self) -> f64 {
        let encoding = if self.speed_gts > 5.0 {
            128.0 / 130.0
        } else {
            0.8
        };
        f64::from(self.speed_gts) * 1000.0 * encoding * f64::from(self.width) / 8.0
    }

    /// What is left for data in packets of `payload` bytes.
    #[must_use]
    pub fn usable(self, direction: Direction, payload: u32) -> f64 {
        let overhead = match direction {
            Direction::ToDevice => READ_OVERHEAD,
            Direction::FromDevice => WRITE_OVERHEAD,
        };
        let payload = f64::from(payload);
        self.raw() * payload / (payload + overhead) * LINK_LAYER
    }

    /// What this link carries. `max_payload` is the packet size in use on the way, where known; `pi5`
    /// takes the values measured on a Raspberry Pi 5, where there are some for this link.
    #[must_use]
    pub fn throughput(self, max_payload: Option<u32>, pi5: bool) -> Throughput {
        let payload = max_payload.unwrap_or(MOST_PAYLOAD).clamp(64, MOST_PAYLOAD);
        let measured = match (self.generation(), self.width) {
            (2, 1) => Some((390.0, 430.0)),
            (3, 1) => Some((740.0, 820.0)),
            _ => None,
        };
        let at_most = |direction| self.usable(direction, payload);
        let (to_device, from_device) = match measured.filter(|_| pi5) {
            Some((to, from)) => (
                f64::min(to, at_most(Direction::ToDevice)),
                f64::min(from, at_most(Direction::FromDevice)),
            ),
            None => (
                self.usable(Direction::ToDevice, payload.min(USUAL_COMPLETION)),
                at_most(Direction::FromDevice),
            ),
        };
        Throughput {
            to_device: Rate {
                at_most: at_most(Direction::ToDevice),
                about: to_device,
            },
            from_device: Rate {
                at_most: at_most(Direction::FromDevice),
                about: from_device,
            },
            basis: if pi5 && measured.is_some() {
                Basis::Measured
            } else {
                Basis::Model
            },
        }
    }
}

impl fmt::Display for Lanes {
    /// `Gen 3 x1 (8 GT/s)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { speed_gts, width } = self;
        write!(f, "Gen {} x{width} ({speed_gts} GT/s)", self.generation())
    }
}

impl Rate {
    /// Seconds that `bytes` take at least, and about.
    #[must_use]
    pub fn seconds(&self, bytes: f64) -> (f64, f64) {
        let at = |rate: f64| bytes / 1e6 / rate;
        (at(self.at_most), at(self.about))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEN1_X1: Lanes = Lanes::new(2.5, 1);
    const GEN2_X1: Lanes = Lanes::new(5.0, 1);
    const GEN3_X1: Lanes = Lanes::new(8.0, 1);
    const GEN3_X4: Lanes = Lanes::new(8.0, 4);
    const GEN4_X4: Lanes = Lanes::new(16.0, 4);

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 0.6, "{found} is not {expected}");
    }

    #[test]
    fn raw_rates_are_those_of_the_table() {
        let table = [
            (2.5, [250.0, 500.0, 1000.0]),
            (5.0, [500.0, 1000.0, 2000.0]),
            (8.0, [985.0, 1969.0, 3938.0]),
            (16.0, [1969.0, 3938.0, 7877.0]),
        ];
        for (speed, rates) in table {
            for (width, rate) in [1, 2, 4].into_iter().zip(rates) {
                close(Lanes::new(speed, width).raw(), rate);
            }
        }
    }

    #[test]
    fn usable_rates_are_those_of_the_table() {
        let table = [
            (GEN1_X1, [181.0, 205.0, 220.0, 200.0, 217.0]),
            (GEN2_X1, [362.0, 411.0, 441.0, 400.0, 434.0]),
            (Lanes::new(5.0, 2), [724.0, 822.0, 881.0, 800.0, 869.0]),
            (Lanes::new(5.0, 4), [1448.0, 1643.0, 1762.0, 1600.0, 1737.0]),
            (GEN3_X1, [713.0, 809.0, 868.0, 788.0, 855.0]),
            (Lanes::new(8.0, 2), [1425.0, 1618.0, 1735.0, 1575.0, 1710.0]),
            (GEN3_X4, [2851.0, 3236.0, 3470.0, 3151.0, 3421.0]),
            (GEN4_X4, [5701.0, 6472.0, 6941.0, 6302.0, 6842.0]),
        ];
        for (lanes, [read64, read128, read256, write128, write256]) in table {
            close(lanes.usable(Direction::ToDevice, 64), read64);
            close(lanes.usable(Direction::ToDevice, 128), read128);
            close(lanes.usable(Direction::ToDevice, 256), read256);
            close(lanes.usable(Direction::FromDevice, 128), write128);
            close(lanes.usable(Direction::FromDevice, 256), write256);
        }
    }

    #[test]
    fn a_raspberry_pi_is_expected_to_do_what_was_measured_on_one() {
        let gen3 = GEN3_X1.throughput(Some(256), true);
        assert_eq!(gen3.basis, Basis::Measured);
        close(gen3.to_device.about, 740.0);
        close(gen3.from_device.about, 820.0);
        close(gen3.to_device.at_most, 868.0);
        let gen2 = GEN2_X1.throughput(None, true);
        close(gen2.to_device.about, 390.0);
        close(gen2.from_device.about, 430.0);
        let wide = GEN3_X4.throughput(Some(256), false);
        assert_eq!(wide.basis, Basis::Model);
        close(wide.to_device.about, 3236.0);
        close(wide.from_device.about, 3421.0);
    }

    #[test]
    fn what_is_expected_is_never_more_than_what_is_possible() {
        for speed in [2.5, 5.0, 8.0, 16.0] {
            for width in [1, 2, 4, 8] {
                for payload in [None, Some(128), Some(256), Some(512)] {
                    for pi5 in [false, true] {
                        let rates = Lanes::new(speed, width).throughput(payload, pi5);
                        assert!(rates.to_device.about <= rates.to_device.at_most);
                        assert!(rates.from_device.about <= rates.from_device.at_most);
                    }
                }
            }
        }
    }

    #[test]
    fn loading_a_model_takes_the_seconds_of_the_table() {
        let table = [
            (GEN1_X1, [0.41, 7.1, 7.4, 9.9, 14.2]),
            (GEN2_X1, [0.20, 3.5, 3.7, 5.0, 7.1]),
            (GEN3_X1, [0.10, 1.8, 1.9, 2.5, 3.6]),
            (GEN3_X4, [0.03, 0.45, 0.47, 0.63, 0.90]),
        ];
        for (lanes, seconds) in table {
            let rate = lanes.throughput(None, false).to_device;
            let sizes = [90e6, 1.56e9, 1.64e9, 2.18e9, 3.13e9];
            for (size, expected) in sizes.into_iter().zip(seconds) {
                let (least, _) = rate.seconds(size);
                assert!((least - expected).abs() < 0.06, "{lanes}: {least}");
            }
        }
        let (_, about) = GEN2_X1.throughput(None, true).to_device.seconds(1.64e9);
        assert!((about - 4.2).abs() < 0.06, "{about}");
    }

    #[test]
    fn a_link_is_named_by_its_generation() {
        assert_eq!(GEN3_X1.to_string(), "Gen 3 x1 (8 GT/s)");
        assert_eq!(GEN1_X1.to_string(), "Gen 1 x1 (2.5 GT/s)");
    }
}
