//! From one element type to another, run by run; each kind is a type of its own, so that each loop is compiled for it.
//!
//! Quantization follows the vendor's arithmetic, in single precision and in this order: an input is clipped to the
//! layer's limits, divided by the scale, moved by the zero point and rounded to the nearest code, halves to even; an
//! output is (code - zero point) x scale. Beyond the range of codes, where the vendor's result is undefined, the
//! nearest code is taken, and for what is not a number that of the lower limit.
//!
//! Source: vendor hailort v5.2.0, `include/hailo/quantization.hpp`.

use crate::hef::Quantization;

/// 2 to the power of 23: from here on neighbouring single precision numbers are 1 apart.
const ROUNDING: f32 = 8_388_608.0;

/// Which features the elements of a run belong to.
#[derive(Clone, Copy)]
pub(super) enum Features {
    /// All to this one.
    One(usize),
    /// The first to this one, the next to the next, until there are `count`, then again.
    Cycle { first: usize, count: usize },
}

/// A conversion of elements of `FROM` bytes into elements of `TO` bytes.
pub(super) trait Convert {
    const FROM: usize;
    const TO: usize;

    /// Converts one element of feature `feature`.
    fn one(&self, from: &[u8], to: &mut [u8], feature: usize);

    /// Converts a run of elements that follow each other on both sides.
    #[inline]
    fn run(&self, from: &[u8], to: &mut [u8], features: Features) {
        let pairs = from
            .chunks_exact(Self::FROM)
            .zip(to.chunks_exact_mut(Self::TO));
        match features {
            Features::One(feature) => pairs.for_each(|(from, to)| self.one(from, to, feature)),
            Features::Cycle { first, count } => {
                let cycle = (first..first + count).cycle();
                pairs
                    .zip(cycle)
                    .for_each(|((from, to), feature)| self.one(from, to, feature));
            }
        }
    }
}

/// Elements of `N` bytes as they are.
pub(super) struct Keep<const N: usize>;

impl<const N: usize> Convert for Keep<N> {
    const FROM: usize = N;
    const TO: usize = N;

    #[inline]
    fn one(&self, from: &[u8], to: &mut [u8], _feature: usize) {
        to[..N].copy_from_slice(&from[..N]);
    }

    #[inline]
    fn run(&self, from: &[u8], to: &mut [u8], _features: Features) {
        to.copy_from_slice(from);
    }
}

/// 8 bits into 16.
pub(super) struct Widen;

impl Convert for Widen {
    const FROM: usize = 1;
    const TO: usize = 2;

    #[inline]
    fn one(&self, from: &[u8], to: &mut [u8], _feature: usize) {
        to[..2].copy_from_slice(&u16::from(from[0]).to_le_bytes());
    }

    #[inline]
    fn run(&self, from: &[u8], to: &mut [u8], _features: Features) {
        for (from, to) in from.iter().zip(to.chunks_exact_mut(2)) {
            to.copy_from_slice(&u16::from(*from).to_le_bytes());
        }
    }
}

/// Real values into codes of `N` bytes.
#[derive(Clone, Copy)]
pub(super) struct Quantize<const N: usize> {
    /// Real values are clipped to these first.
    limits: (f32, f32),
    zero_point: f32,
    scale: f32,
}

impl<const N: usize> Quantize<N> {
    const HIGHEST: f32 = if N == 1 { 255.0 } else { 65535.0 };

    pub(super) fn new(by: &Quantization) -> Self {
        let identity = by.scale == 1.0 && by.zero_point == 0.0;
        let limits = if !identity && by.limit_min < by.limit_max {
            (by.limit_min, by.limit_max)
        } else {
            (f32::NEG_INFINITY, f32::INFINITY)
        };
        Self {
            limits,
            zero_point: by.zero_point,
            scale: by.scale,
        }
    }

    #[inline]
    fn code(&self, value: f32) -> [u8; N] {
        let value = clip(value, self.limits);
        let code = clip(value / self.scale + self.zero_point, (0.0, Self::HIGHEST));
        // The sum rounds to a whole number as IEEE 754 does, and its low bits are the code.
        let bits = (code + ROUNDING).to_bits().to_le_bytes();
        std::array::from_fn(|i| bits[i])
    }
}

/// What is not a number becomes the lower limit.
#[inline]
fn clip(value: f32, (low, high): (f32, f32)) -> f32 {
    let value = if value > low { value } else { low };
    if value < high { value } else { high }
}

impl<const N: usize> Convert for Quantize<N> {
    const FROM: usize = 4;
    const TO: usize = N;

    #[inline]
    fn one(&self, from: &[u8], to: &mut [u8], _feature: usize) {
        let value = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
        to[..N].copy_from_slice(&self.code(value));
    }

    // By itself it becomes vector code; inside its caller it did not, at a third of the speed.
    #[inline(never)]
    fn run(&self, from: &[u8], to: &mut [u8], _features: Features) {
        // A copy: `to` can't be part of it, so that its fields stay in registers.
        let by = *self;
        let pairs = from.chunks_exact(4).zip(to.chunks_exact_mut(N));
        pairs.for_each(|(from, to)| by.one(from, to, 0));
    }
}

/// Codes of `N` bytes into real values.
pub(super) struct Dequantize<const N: usize> {
    /// Zero point and scale: one pair for all features, or one for each.
    by: Vec<(f32, f32)>,
}

impl<const N: usize> Dequantize<N> {
    /// `by` holds one pair for all features, or one for each.
    pub(super) fn new(by: Vec<(f32, f32)>) -> Self {
        Self { by }
    }

    #[inline]
    fn value(from: &[u8], (zero_point, scale): (f32, f32)) -> [u8; 4] {
        let code = if N == 1 {
            f32::from(from[0])
        } else {
            f32::from(u16::from_le_bytes([from[0], from[1]]))
        };
        ((code - zero_point) * scale).to_le_bytes()
    }

    #[inline]
    fn by(&self, feature: usize) -> (f32, f32) {
        *self.by.get(feature).unwrap_or(&self.by[0])
    }
}

impl<const N: usize> Convert for Dequantize<N> {
    const FROM: usize = N;
    const TO: usize = 4;

    #[inline]
    fn one(&self, from: &[u8], to: &mut [u8], feature: usize) {
        to[..4].copy_from_slice(&Self::value(from, self.by(feature)));
    }

    #[inline]
    fn run(&self, from: &[u8], to: &mut [u8], features: Features) {
        let pairs = from.chunks_exact(N).zip(to.chunks_exact_mut(4));
        match (features, self.by.as_slice()) {
            (Features::Cycle { first, count }, by) if by.len() > 1 => {
                let cycle = by[first..first + count].iter().cycle();
                for ((from, to), by) in pairs.zip(cycle) {
                    to.copy_from_slice(&Self::value(from, *by));
                }
            }
            (Features::One(feature), _) => {
                let by = self.by(feature);
                pairs.for_each(|(from, to)| to.copy_from_slice(&Self::value(from, by)));
            }
            (_, by) => {
                let by = by[0];
                pairs.for_each(|(from, to)| to.copy_from_slice(&Self::value(from, by)));
            }
        }
    }
}
