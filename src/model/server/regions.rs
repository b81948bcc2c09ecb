//! Accesses of any width and alignment, as the aligned words with byte enables that a bus carries.

use nix::errno::Errno;

use crate::spec::config_space;
use crate::spec::register::Bar;
use crate::spec::vfio_user::region;
use crate::transport::local::{ByteEnables, Endpoint};

/// A region that can be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Bar(Bar),
    Config,
}

impl Space {
    /// The region with this number, where the function has such a thing.
    pub(super) fn from_index(index: u32) -> Option<Self> {
        match index {
            region::CONFIG => Some(Self::Config),
            _ => Bar::from_index(index).map(Self::Bar),
        }
    }

    /// Bytes of the region.
    pub(super) fn len(self, endpoint: &dyn Endpoint) -> u32 {
        match self {
            Self::Bar(bar) => endpoint.bar_len(bar),
            Self::Config => config_space::LEN.into(),
        }
    }

    fn read_word(self, endpoint: &dyn Endpoint, offset: u32) -> u32 {
        match self {
            Self::Bar(bar) => endpoint.read(bar, offset),
            // Inside 4 KiB, so it fits.
            Self::Config => u16::try_from(offset).map_or(u32::MAX, |at| endpoint.config_read(at)),
        }
    }

    fn write_word(self, endpoint: &dyn Endpoint, offset: u32, value: u32, enables: ByteEnables) {
        match self {
            Self::Bar(bar) => endpoint.write(bar, offset, value, enables),
            Self::Config => {
                if let Ok(at) = u16::try_from(offset) {
                    endpoint.config_write(at, value, enables);
                }
            }
        }
    }

    /// Checks a range; gives its first byte.
    ///
    /// # Errors
    /// `EINVAL` for no bytes, or bytes outside.
    pub(super) fn check(
        self,
        endpoint: &dyn Endpoint,
        offset: u64,
        count: usize,
    ) -> Result<u32, Errno> {
        let end = u64::try_from(count)
            .ok()
            .and_then(|count| offset.checked_add(count));
        let inside = end.is_some_and(|end| end <= u64::from(self.len(endpoint)));
        if count == 0 || !inside {
            return Err(Errno::EINVAL);
        }
        u32::try_from(offset).map_err(|_| Errno::EINVAL)
    }

    /// Reads a range that was checked.
    pub(super) fn read(self, endpoint: &dyn Endpoint, offset: u32, into: &mut [u8]) {
        for_words(offset, into.len(), |word, skip, range| {
            let bytes = self.read_word(endpoint, word).to_le_bytes();
            let len = range.len();
            into[range].copy_from_slice(&bytes[skip..skip + len]);
        });
    }

    /// Writes a range that was checked.
    pub(super) fn write(self, endpoint: &dyn Endpoint, offset: u32, from: &[u8]) {
        for_words(offset, from.len(), |word, skip, range| {
            let mut bytes = [0; 4];
            let mut enables = 0;
            for (place, &byte) in from[range].iter().enumerate() {
                bytes[skip + place] = byte;
                enables |= 1 << (skip + place);
            }
            let value = u32::from_le_bytes(bytes);
            self.write_word(endpoint, word, value, ByteEnables(enables));
        });
    }
}

/// Calls `each` with every aligned word that the range touches, the bytes to skip in it, and the
/// range of the buffer that it holds.
fn for_words(offset: u32, len: usize, mut each: impl FnMut(u32, usize, std::ops::Range<usize>)) {
    let mut word = offset & !3;
    let mut skip = usize::from(offset.to_le_bytes()[0] & 3);
    let mut done = 0;
    while done < len {
        let take = (4 - skip).min(len - done);
        each(word, skip, done..done + take);
        done += take;
        word += 4;
        skip = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_into_aligned_words() {
        let cut = |offset, len| {
            let mut seen = Vec::new();
            for_words(offset, len, |word, skip, range| {
                seen.push((word, skip, range))
            });
            seen
        };
        assert_eq!(cut(8, 4), [(8, 0, 0..4)]);
        assert_eq!(cut(6, 2), [(4, 2, 0..2)]);
        assert_eq!(cut(7, 6), [(4, 3, 0..1), (8, 0, 1..5), (12, 0, 5..6)]);
        assert_eq!(cut(5, 1), [(4, 1, 0..1)]);
    }
}
