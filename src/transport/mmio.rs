//! A BAR mapped into the process: 32-bit loads and stores that the compiler neither merges nor splits.

// UNSAFETY: registers are read and written through a pointer into a mapping made here.
#![expect(unsafe_code, reason = "registers lie behind a pointer")]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

/// A mapped BAR. Unmapped on drop.
///
/// While the function's memory decode is off, or it sleeps, the kernel answers an access with SIGBUS:
/// whoever holds this keeps track of both and comes here only in between (see `vfio::device`).
#[derive(Debug)]
pub(super) struct MappedBar {
    address: NonNull<u32>,
    /// Where in the mapping the registers begin.
    skip: u32,
    /// Bytes of registers; the mapping covers whole pages.
    len: u32,
    mapped: usize,
}

// SAFETY: the mapping is valid in every thread until drop.
unsafe impl Send for MappedBar {}
// SAFETY: every access is one volatile word; what the device makes of two at once is its business.
unsafe impl Sync for MappedBar {}

impl MappedBar {
    /// Maps `len` bytes of registers, which begin `skip` bytes behind `offset` of the device's file, to the
    /// end of their last page: a BAR below a page's size has that page for itself, where the kernel offers
    /// to map it at all.
    pub(super) fn new(device: &File, offset: u64, skip: u32, len: u32) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let bytes = skip.checked_add(len).filter(|_| skip.is_multiple_of(4));
        let bytes = bytes
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(invalid)?;
        let mapped = bytes.next_multiple_of(crate::mem::page_size());
        let size = NonZeroUsize::new(mapped).ok_or_else(invalid)?;
        let offset = i64::try_from(offset).map_err(|_| invalid())?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let address =
            unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, device, offset) }?;
        let this = Self {
            address: address.cast(),
            skip,
            len,
            mapped,
        };
        // A mapping in a forked child would keep the device open.
        // SAFETY: the range is this mapping; nothing of it changes in this process.
        unsafe { madvise(address, mapped, MmapAdvise::MADV_DONTFORK) }?;
        Ok(this)
    }

    /// The place of the word at `offset`.
    ///
    /// # Panics
    /// It is outside the BAR or no multiple of 4; the caller has checked both.
    fn word(&self, offset: u32) -> NonNull<u32> {
        assert!(
            offset.is_multiple_of(4) && offset < self.len && self.len - offset >= 4,
            "offset {offset:#x} of a BAR of {:#x} bytes",
            self.len
        );
        let bytes = usize::try_from(self.skip + offset).unwrap_or(usize::MAX);
        // SAFETY: the word lies inside the mapping, as was checked above.
        unsafe { self.address.byte_add(bytes) }
    }

    /// Reads the word at `offset`.
    pub(super) fn read(&self, offset: u32) -> u32 {
        let word = self.word(offset);
        // SAFETY: the word lies inside the mapping, which begins with a page, so it is aligned.
        u32::from_le(unsafe { word.read_volatile() })
    }

    /// Writes the word at `offset`.
    pub(super) fn write(&self, offset: u32, value: u32) {
        let word = self.word(offset);
        // SAFETY: as in `read`; nobody holds a reference into the mapping.
        unsafe { word.write_volatile(value.to_le()) };
    }
}

impl Drop for MappedBar {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping, unmapped only here.
        let unmapped = unsafe { munmap(self.address.cast(), self.mapped) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}
