//! What a software chip infers: numbers that depend on network, inputs and frame, and can be computed by others.
//!
//! For frame `n` (the `n`-th RUN_ASYNC that a configured model accepted, from 0; a RUN_ASYNC_FOR_DURATION counts as one)
//! of a network group called `name` in a file:
//!
//! 1. `key = xxh3_64(file) ^ xxh3_64(name)`, [`network_key`].
//! 2. `seed = xxh3_64_with_seed(inputs, key + n * 0x9e3779b97f4a7c15)`, modulo 2^64, over all input buffers one after
//!    the other as they came, [`frame_seed`].
//! 3. Output `i` (in the order of the reply, from 0) is made of little-endian 64-bit words, the last one cut; word `j`
//!    is the finaliser of splitmix64 over `seed + (i + 1) * 0xd1342543de82ef95 + (j + 1) * 0x9e3779b97f4a7c15`.
//! 4. In an output of 32-bit floating-point numbers each 32-bit half is then `half & 0x007fffff | 0x3f800000`, which
//!    makes it a number from 1.0 up to 2.0. Detections are such numbers too, and mean nothing.
//!
//! With the profile's `loopback=on`, output `i` is input `i` where the two have the same size.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const OUTPUT_STEP: u64 = 0xd134_2543_de82_ef95;
/// Makes a floating-point number from 1.0 up to 2.0 of any 32 bits, twice.
const MANTISSA: u64 = 0x007f_ffff_007f_ffff;
const ONE: u64 = 0x3f80_0000_3f80_0000;

/// The key of a network group in a file.
#[must_use]
pub fn network_key(file: &[u8], group: &str) -> u64 {
    xxh3_64(file) ^ xxh3_64(group.as_bytes())
}

/// The seed of a frame: `inputs` are its input buffers in order.
#[must_use]
pub fn frame_seed<'a>(key: u64, frame: u64, inputs: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Xxh3::with_seed(key.wrapping_add(frame.wrapping_mul(STEP)));
    for input in inputs {
        hasher.update(input);
    }
    hasher.digest()
}

fn finalise(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Fills output `index` of a frame; `float` where it holds 32-bit floating-point numbers.
pub fn fill_output(seed: u64, index: u64, float: bool, into: &mut [u8]) {
    let start = seed.wrapping_add((index + 1).wrapping_mul(OUTPUT_STEP));
    let (and, or) = if float {
        (MANTISSA, ONE)
    } else {
        (u64::MAX, 0)
    };
    let mut at = start;
    let mut next = || {
        at = at.wrapping_add(STEP);
        (finalise(at) & and | or).to_le_bytes()
    };
    let (words, rest) = into.as_chunks_mut::<8>();
    for word in words {
        *word = next();
    }
    let last = next();
    let len = rest.len();
    rest.copy_from_slice(&last[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_the_description() {
        // Computed apart from this code, by the description above.
        let key = network_key(b"file", "net");
        assert_eq!(key, xxh3_64(b"file") ^ xxh3_64(b"net"));
        let whole = xxhash_rust::xxh3::xxh3_64_with_seed(b"abcdef", key.wrapping_add(STEP));
        assert_eq!(frame_seed(key, 1, [&b"abc"[..], b"def"]), whole);
        let mut words = [0; 12];
        fill_output(0, 0, false, &mut words);
        let splitmix = |state: u64| {
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
            z ^ (z >> 31)
        };
        let first = splitmix(OUTPUT_STEP.wrapping_add(STEP));
        let second = splitmix(OUTPUT_STEP.wrapping_add(STEP.wrapping_mul(2)));
        assert_eq!(words[..8], first.to_le_bytes());
        assert_eq!(words[8..], second.to_le_bytes()[..4]);
        // The first number that splitmix64 gives for seed 0.
        assert_eq!(finalise(STEP), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn floating_point_outputs_are_plain_numbers() {
        let mut bytes = [0; 4000];
        fill_output(77, 3, true, &mut bytes);
        for number in bytes.as_chunks::<4>().0 {
            assert!((1.0..2.0).contains(&f32::from_le_bytes(*number)));
        }
    }
}
