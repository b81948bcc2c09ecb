//! Memory of the chip that a session is through with, for its next transfers.
//!
//! Memory fresh from the host's kernel costs a page fault for every page: more than to fill it.

use std::collections::VecDeque;

/// Most buffers that are kept.
const MOST: usize = 16;
/// Most bytes that are kept.
const MOST_BYTES: usize = 32 << 20;
/// Smaller ones are not worth the trouble.
const LEAST: usize = 4096;

/// Buffers of no more use, oldest first.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    /// Whether a buffer of so many bytes is kept.
    pub(super) fn keeps(len: usize) -> bool {
        (LEAST..=MOST_BYTES).contains(&len)
    }

    /// Keeps a buffer, as the youngest. What is given up for it comes back, to be freed where no lock is held.
    pub(super) fn put(&mut self, buffer: Vec<u8>) -> Vec<Vec<u8>> {
        if !Self::keeps(buffer.capacity()) {
            return vec![buffer];
        }
        self.bytes += buffer.capacity();
        self.buffers.push_back(buffer);
        let mut gone = Vec::new();
        while (self.buffers.len() > MOST || self.bytes > MOST_BYTES)
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes -= oldest.capacity();
            gone.push(oldest);
        }
        gone
    }

    /// Takes a buffer that holds `len` bytes and not much more; its length and contents are any.
    pub(super) fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let fits = len..=len.saturating_mul(2);
        let place = self
            .buffers
            .iter()
            .position(|buffer| fits.contains(&buffer.capacity()))?;
        let buffer = self.buffers.remove(place)?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Gives up all of it.
    pub(super) fn clear(&mut self) -> VecDeque<Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_comes_back_where_it_fits() {
        let mut spare = Spare::default();
        assert_eq!(spare.put(vec![1; 100]), [vec![1; 100]]);
        assert_eq!(spare.put(vec![2; 5000]), [[0; 0]; 0]);
        assert_eq!(spare.take(2000), None);
        assert_eq!(spare.take(5001), None);
        assert_eq!(spare.take(4000), Some(vec![2; 5000]));
        assert_eq!(spare.take(4000), None);
        for number in 0..MOST {
            assert_eq!(spare.put(vec![0; 5000 + number]), [[0; 0]; 0]);
        }
        assert_eq!(spare.put(vec![0; 8192]), [vec![0; 5000]]);
        assert_eq!(spare.put(vec![0; MOST_BYTES]).len(), MOST);
        assert_eq!(spare.clear().len(), 1);
        assert_eq!((spare.bytes, spare.take(MOST_BYTES)), (0, None));
    }
}
