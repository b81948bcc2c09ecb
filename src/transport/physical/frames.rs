//! Where pages of this process lie in physical memory, from `/proc/self/pagemap`.
//!
//! Source: Linux `Documentation/admin-guide/mm/pagemap.rst`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use crate::mem::page_size;

/// Bytes of the file for each page.
const ENTRY: usize = 8;
/// Bit of an entry: the page is in memory.
const PRESENT: u64 = 1 << 63;
/// Bits of an entry: the number of its frame.
const FRAME: u64 = (1 << 55) - 1;

/// A page has no place that a device could be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The kernel does not tell this process where pages are.
    #[error("the kernel hides where memory is from this process")]
    Hidden,
    /// It is not in memory.
    #[error("page {page} of the memory is not present")]
    NotPresent {
        /// Number of the page.
        page: usize,
    },
    /// The file can't be read.
    #[error("reading /proc/self/pagemap")]
    Read(#[from] io::Error),
}

/// The map of this process's pages.
#[derive(Debug)]
pub(super) struct PageMap(File);

impl PageMap {
    /// Opens the map. What it tells is decided now, by the rights of this process.
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// The frames of `pages` pages from `address` on.
    pub(super) fn frames(
        &self,
        address: NonNull<u8>,
        pages: usize,
    ) -> Result<Vec<u64>, FrameError> {
        let first = address.as_ptr().addr() / page_size();
        let mut bytes = vec![0; pages * ENTRY];
        let offset = u64::try_from(first * ENTRY).map_err(io::Error::other)?;
        self.0.read_exact_at(&mut bytes, offset)?;
        parse(&bytes)
    }
}

/// The frames in entries of the file.
fn parse(bytes: &[u8]) -> Result<Vec<u64>, FrameError> {
    let entries = bytes.chunks_exact(ENTRY).enumerate();
    let frame = |(page, entry): (usize, &[u8])| {
        let entry = entry.try_into().map_or(0, u64::from_ne_bytes);
        if entry & PRESENT == 0 {
            return Err(FrameError::NotPresent { page });
        }
        // Frame 0 is never given to a process: without the right to see numbers all of them are 0.
        match entry & FRAME {
            0 => Err(FrameError::Hidden),
            frame => Ok(frame),
        }
    };
    entries.map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: &[u64]) -> Vec<u8> {
        entries.iter().flat_map(|one| one.to_ne_bytes()).collect()
    }

    #[test]
    fn only_the_number_of_the_frame_counts() {
        // With the soft-dirty and exclusive bits.
        let bytes = entries(&[PRESENT | 0x1_2345, PRESENT | 3 << 55 | 0x7]);
        assert_eq!(parse(&bytes).unwrap(), [0x1_2345, 7]);
    }

    #[test]
    fn frame_0_is_a_missing_right_and_no_address() {
        let hidden = parse(&entries(&[PRESENT]));
        assert!(matches!(hidden, Err(FrameError::Hidden)));
        // Swapped out: the number is something else then.
        let gone = parse(&entries(&[PRESENT | 9, 1 << 62 | 77]));
        assert!(matches!(gone, Err(FrameError::NotPresent { page: 1 })));
    }
}
