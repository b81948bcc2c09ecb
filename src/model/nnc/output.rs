//! What a software neural core computes in NNC mode: bytes that follow from the network's configuration and the inputs,
//! and that others can compute too.
//!
//! The chip sees no file, only action lists and the configuration words (CCWs) that its config channels fetch. So:
//!
//! 1. Every config stream of a context has a digest: `xxh3_64` over its CCW bytes in order, 64-bit words that are zero
//!    left out ([`ConfigDigest`]). They are no-operations, and how many pad a stream is the host's choice.
//! 2. `config_key` of a context: `xxh3_64` over, for each config stream in ascending order, its number (one byte) and its
//!    digest (eight bytes, little-endian), [`config_key`].
//! 3. Key of a dynamic context: `config_key(preliminary) + 0x9e3779b97f4a7c15 * config_key(the context)`, modulo 2^64,
//!    [`context_key`].
//! 4. The seed of a frame is made of that key and of the inputs of the context that belong to one network, in ascending
//!    order of stream numbers, [`frame_seed`]. An input is a frame as it travels: a boundary or inter-context transfer,
//!    or all entries of a cache's input list; where the stream registers tell a payload, that many bytes of it count. The
//!    number of the frame does not: the same input gives the same output.
//! 5. The output of stream `s` is made of the seed and `s`, [`fill_output`], as long as its transfer; the output of a cache
//!    as long as all entries of its output list.
//!
//! An inter-context output is an output like any other and its consumer's input. DDR rings carry bytes of the seed
//! too; they are compared when they come back and do not enter the outputs.
//!
//! With the profile's `loopback=on`, the n-th output of a network in a context is its n-th input where the two have the
//! same size.

use xxhash_rust::xxh3::Xxh3;

use crate::model::soc::output;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const WORD: usize = 8;

/// Digest of the configuration words of a stream; zero words do not count.
#[derive(Clone, Default)]
pub struct ConfigDigest {
    hasher: Xxh3,
    /// The beginning of a word.
    begun: [u8; WORD],
    len: usize,
}

impl std::fmt::Debug for ConfigDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ConfigDigest").field(&self.finish()).finish()
    }
}

impl ConfigDigest {
    /// The digest of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while self.len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.begun[self.len] = byte;
            self.len += 1;
            if self.len == WORD {
                self.len = 0;
                self.words(&[self.begun]);
            }
        }
        let (words, rest) = bytes.as_chunks::<WORD>();
        self.words(words);
        self.begun[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
    }

    fn words(&mut self, words: &[[u8; WORD]]) {
        for run in words.split(|word| *word == [0; WORD]) {
            self.hasher.update(run.as_flattened());
        }
    }

    /// The digest so far. Bytes after the last whole word count as they are.
    #[must_use]
    pub fn finish(&self) -> u64 {
        if self.len == 0 {
            return self.hasher.digest();
        }
        let mut hasher = self.hasher.clone();
        hasher.update(&self.begun[..self.len]);
        hasher.digest()
    }
}

/// The key of a context's configuration: number and digest of each config stream, in ascending order.
#[must_use]
pub fn config_key(streams: &[(u8, u64)]) -> u64 {
    let mut hasher = Xxh3::new();
    for (stream, digest) in streams {
        hasher.update(&[*stream]);
        hasher.update(&digest.to_le_bytes());
    }
    hasher.digest()
}

/// The key of a dynamic context, made of the preliminary context's and its own [`config_key`].
#[must_use]
pub fn context_key(preliminary: u64, own: u64) -> u64 {
    preliminary.wrapping_add(own.wrapping_mul(STEP))
}

/// The seed of a frame: `inputs` are those of one network of the context in ascending order of their streams.
#[must_use]
pub fn frame_seed<'a>(key: u64, inputs: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    output::frame_seed(key, 0, inputs)
}

/// Fills the output of a stream.
pub fn fill_output(seed: u64, stream: u8, into: &mut [u8]) {
    output::fill_output(seed, stream.into(), false, into);
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn padding_does_not_count_and_cuts_do_not_either() {
        let words = [7u64, 0x0100, 9, u64::MAX];
        let plain: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut padded = vec![0; 24];
        padded.extend(&plain[..16]);
        padded.extend([0; 16]);
        padded.extend(&plain[16..]);
        for cut in 0..padded.len() {
            let mut digest = ConfigDigest::new();
            digest.update(&padded[..cut]);
            digest.update(&padded[cut..]);
            assert_eq!(digest.finish(), xxh3_64(&plain), "cut at {cut}");
        }
        let mut short = ConfigDigest::new();
        short.update(&plain[..11]);
        assert_eq!(short.finish(), xxh3_64(&plain[..11]));
    }

    #[test]
    fn keys_are_those_of_the_description() {
        let mut bytes = vec![3];
        bytes.extend(5u64.to_le_bytes());
        bytes.push(4);
        bytes.extend(6u64.to_le_bytes());
        assert_eq!(config_key(&[(3, 5), (4, 6)]), xxh3_64(&bytes));
        assert_eq!(context_key(1, 2), 1u64.wrapping_add(STEP.wrapping_mul(2)));
        assert_ne!(frame_seed(1, [&b"ab"[..]]), frame_seed(2, [&b"ab"[..]]));
        assert_eq!(
            frame_seed(1, [&b"ab"[..], b"c"]),
            frame_seed(1, [&b"abc"[..]])
        );
    }
}
