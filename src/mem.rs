//! Memory that a device can reach: anonymous memory and files, shareable by descriptor.
//!
//! [`HostMemory`] is never lent out as a slice: it is copied in and out, bounds-checked, because the
//! device may write it at any moment. [`OwnedBytes`] is the one exception: while no descriptor
//! points at its memory the CPU owns it like a boxed slice (`dma::buffer` moves it away before it is
//! submitted). File memory is reached by positioned reads, so a file that shrinks gives an error
//! here and never a SIGBUS; only a back end that hands addresses to the kernel maps it.

// UNSAFETY: mmap and the copies in and out of it live here, so that they live nowhere else.
#![expect(
    unsafe_code,
    reason = "memory shared with a device can't be a Rust reference"
)]

mod pool;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::unistd::{SysconfVar, ftruncate, sysconf};

pub use pool::PagePool;

/// The page size of the running kernel in bytes.
#[must_use]
pub fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        size.and_then(|size| usize::try_from(size).ok())
            .unwrap_or(4096)
    })
}

/// A copy that would leave the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at offset {offset} leave a memory of {size} bytes")]
pub struct OutOfRange {
    /// First byte asked for.
    pub offset: usize,
    /// Bytes asked for.
    pub len: usize,
    /// Bytes there are.
    pub size: usize,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The range is not inside the memory.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The file behind the memory could not be read; it may have shrunk.
    #[error("cannot read the file behind the memory")]
    File(#[source] io::Error),
    /// The memory is for reading only.
    #[error("the memory is read-only")]
    ReadOnly,
}

#[derive(Debug)]
struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory, valid for all threads until drop.
unsafe impl Send for Mapping {}
// SAFETY: as above; every access below goes through raw copies or atomics, never references.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, offset: u64, len: usize, protection: ProtFlags) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let size = NonZeroUsize::new(len).ok_or_else(invalid)?;
        let offset = i64::try_from(offset).map_err(|_| invalid())?;
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
        let address = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, fd, offset) }?;
        let this = Self {
            address: address.cast(),
            len,
        };
        this.keep_from_children()?;
        Ok(this)
    }

    /// A forked child, a guardian above all, must not keep pages and files alive.
    fn keep_from_children(&self) -> io::Result<()> {
        let (start, advice) = (self.address.cast(), MmapAdvise::MADV_DONTFORK);
        // SAFETY: the range is this mapping; nothing of it changes in this process.
        Ok(unsafe { madvise(start, self.len, advice) }?)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those that mmap returned, unmapped only here.
        let unmapped = unsafe { munmap(self.address.cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}

#[derive(Debug)]
enum Backing {
    /// Anonymous memory behind a sealed memfd: mapped for the whole life.
    Anonymous { fd: OwnedFd, mapping: Mapping },
    /// A range of a file, for the device to read. Mapped only when an address is asked for.
    File {
        file: File,
        offset: u64,
        mapping: OnceLock<Mapping>,
    },
}

/// Memory that can be mapped for a device. Shared by `Arc`: whoever maps it keeps it alive.
#[derive(Debug)]
pub struct HostMemory {
    backing: Backing,
    len: usize,
}

impl HostMemory {
    /// Zeroed memory of at least `len` bytes, rounded up to whole pages, readable and writable.
    ///
    /// # Errors
    /// The kernel's, when there is no memory or no descriptor left.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let len = len
            .checked_next_multiple_of(page_size())
            .filter(|&len| len > 0)
            .ok_or_else(invalid)?;
        let fd = memfd_create(
            "hailo-dma",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?;
        ftruncate(&fd, i64::try_from(len).map_err(|_| invalid())?)?;
        // With the size sealed no peer that holds the descriptor can take pages away from us.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
        let mapping = Mapping::new(
            fd.as_fd(),
            0,
            len,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        )?;
        Ok(Self {
            backing: Backing::Anonymous { fd, mapping },
            len,
        })
    }

    /// `len` bytes of `file` from `offset` on, for the device to read without a copy.
    ///
    /// # Errors
    /// `InvalidInput` for an offset that is no multiple of the page size, or no bytes at all.
    pub fn file(file: File, offset: u64, len: usize) -> io::Result<Self> {
        let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
        if len == 0 || !offset.is_multiple_of(page) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            backing: Backing::File {
                file,
                offset,
                mapping: OnceLock::new(),
            },
            len,
        })
    }

    /// Bytes of the memory. Mapped for a device it takes whole pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: there is no memory of no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a device may write it.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        matches!(self.backing, Backing::Anonymous { .. })
    }

    /// The descriptor behind the memory and the offset in it, for a back end that shares memory. What
    /// was picked from a [`PagePool`] lies there in another order.
    #[must_use]
    pub fn descriptor(&self) -> (BorrowedFd<'_>, u64) {
        match &self.backing {
            Backing::Anonymous { fd, .. } => (fd.as_fd(), 0),
            Backing::File { file, offset, .. } => (file.as_fd(), *offset),
        }
    }

    /// The virtual address, for a back end that hands it to the kernel. A file is mapped by this.
    ///
    /// # Errors
    /// The kernel's, when a file can't be mapped.
    pub fn address(&self) -> io::Result<NonNull<u8>> {
        match &self.backing {
            Backing::Anonymous { mapping, .. } => Ok(mapping.address),
            Backing::File {
                file,
                offset,
                mapping,
            } => {
                if let Some(mapping) = mapping.get() {
                    return Ok(mapping.address);
                }
                let fresh = Mapping::new(file.as_fd(), *offset, self.len, ProtFlags::PROT_READ)?;
                Ok(mapping.get_or_init(|| fresh).address)
            }
        }
    }

    #[inline]
    fn check(&self, offset: usize, len: usize) -> Result<(), OutOfRange> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(OutOfRange {
                offset,
                len,
                size: self.len,
            }),
        }
    }

    /// The bytes at `offset` of the mapping, where `len` of them may be touched.
    #[inline]
    fn writable(&self, offset: usize, len: usize) -> Result<NonNull<u8>, MemoryError> {
        self.check(offset, len)?;
        match &self.backing {
            // SAFETY: `check` keeps the range inside the mapping.
            Backing::Anonymous { mapping, .. } => Ok(unsafe { mapping.address.add(offset) }),
            Backing::File { .. } => Err(MemoryError::ReadOnly),
        }
    }

    /// Copies bytes out, as a device reading memory would.
    ///
    /// # Errors
    /// The range is outside, or the file behind the memory can't be read.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), MemoryError> {
        self.check(offset, into.len())?;
        match &self.backing {
            Backing::Anonymous { .. } => {
                let from = self.writable(offset, into.len())?;
                let len = into.len();
                // SAFETY: both ranges hold `len` bytes, and a Rust slice cannot overlap memory that
                // is never lent out while it is shared.
                unsafe { from.copy_to_nonoverlapping(NonNull::from(into).cast(), len) };
                Ok(())
            }
            Backing::File {
                file, offset: base, ..
            } => {
                let at =
                    u64::try_from(offset).map_or(u64::MAX, |offset| base.saturating_add(offset));
                file.read_exact_at(into, at).map_err(MemoryError::File)
            }
        }
    }

    /// Copies bytes in, as a device writing memory would.
    ///
    /// # Errors
    /// The range is outside, or the memory is a file.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), MemoryError> {
        let to = self.writable(offset, from.len())?;
        // SAFETY: both ranges hold `from.len()` bytes; no overlap, as in `read`.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        Ok(())
    }

    /// Reads a 32-bit little-endian word that the device may be writing, with acquire order.
    ///
    /// # Errors
    /// `offset` is outside, or no multiple of 4, or the memory is a file.
    pub fn load32(&self, offset: usize) -> Result<u32, MemoryError> {
        Ok(u32::from_le(self.word(offset)?.load(Ordering::Acquire)))
    }

    /// Writes a 32-bit little-endian word that the device may read, with release order.
    ///
    /// # Errors
    /// As [`Self::load32`].
    pub fn store32(&self, offset: usize, value: u32) -> Result<(), MemoryError> {
        self.word(offset)?.store(value.to_le(), Ordering::Release);
        Ok(())
    }

    fn word(&self, offset: usize) -> Result<&AtomicU32, MemoryError> {
        let address = self.writable(offset, 4)?;
        if !offset.is_multiple_of(4) {
            return Err(OutOfRange {
                offset,
                len: 4,
                size: self.len,
            }
            .into());
        }
        // SAFETY: the mapping is page aligned, so the word is aligned; it lives as long as `self`.
        Ok(unsafe { AtomicU32::from_ptr(address.as_ptr().cast()) })
    }

    /// Writes records of 16 bytes one after the other: the inner loop of descriptor programming.
    /// `record` gives the words of one after the other. The device must not be reading the range.
    ///
    /// # Errors
    /// The range is outside, or no multiple of 16, or the memory is a file.
    #[inline]
    pub fn fill16(
        &self,
        offset: usize,
        count: usize,
        mut record: impl FnMut() -> [u32; 4],
    ) -> Result<(), MemoryError> {
        let len = count.checked_mul(16).filter(|_| offset.is_multiple_of(16));
        let len = len.ok_or(OutOfRange {
            offset,
            len: usize::MAX,
            size: self.len,
        })?;
        let first = self.writable(offset, len)?.cast::<[u32; 4]>();
        for index in 0..count {
            let words = record().map(u32::to_le);
            // SAFETY: `index` is below `count`, for which `writable` checked the room.
            let place = unsafe { first.add(index) };
            // SAFETY: the place is inside the mapping and aligned to 16.
            unsafe { place.write(words) };
        }
        Ok(())
    }
}

/// Memory that the CPU alone uses for now. It derefs to bytes; [`Self::memory`] is the same memory
/// as the device sees it.
///
/// Whoever gives the memory to a device must give up this handle first: a slice of it must not live
/// while a descriptor points at it.
#[derive(Debug)]
pub struct OwnedBytes {
    memory: Arc<HostMemory>,
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: like a boxed slice; the mapping is valid in every thread.
unsafe impl Send for OwnedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for OwnedBytes {}

impl OwnedBytes {
    /// `len` zeroed bytes of anonymous memory.
    ///
    /// # Errors
    /// As [`HostMemory::anonymous`].
    pub fn new(len: usize) -> io::Result<Self> {
        Self::of(HostMemory::anonymous(len)?, len)
    }

    /// The first `len` bytes of memory that nobody else holds yet.
    ///
    /// # Errors
    /// `InvalidInput` where the memory is shorter or read-only.
    pub fn of(memory: HostMemory, len: usize) -> io::Result<Self> {
        let Backing::Anonymous { mapping, .. } = &memory.backing else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if len > memory.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let address = mapping.address;
        Ok(Self {
            memory: Arc::new(memory),
            address,
            len,
        })
    }

    /// The memory as a device sees it.
    #[must_use]
    pub fn memory(&self) -> &Arc<HostMemory> {
        &self.memory
    }
}

impl std::ops::Deref for OwnedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes of the mapping that `memory` keeps alive, owned by the CPU.
        unsafe { NonNull::slice_from_raw_parts(self.address, self.len).as_ref() }
    }
}

impl std::ops::DerefMut for OwnedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes it the only slice.
        unsafe { NonNull::slice_from_raw_parts(self.address, self.len).as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_written_is_read_back_and_nothing_beyond_the_end() {
        let memory = HostMemory::anonymous(100).unwrap();
        assert_eq!(memory.len() % page_size(), 0);
        memory.write(8, &[1, 2, 3, 4]).unwrap();
        assert_eq!(memory.load32(8).unwrap(), 0x0403_0201);
        let mut bytes = [0; 4];
        memory.read(8, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert!(matches!(
            memory.write(memory.len() - 3, &bytes),
            Err(MemoryError::OutOfRange(_))
        ));
        assert!(memory.read(usize::MAX, &mut bytes).is_err());
        assert!(memory.load32(6).is_err());
    }

    #[test]
    fn a_file_that_shrinks_gives_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let memory = HostMemory::file(file.try_clone().unwrap(), 0, 8192).unwrap();
        let mut bytes = [0; 16];
        memory.read(8000, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 16]);
        file.set_len(100).unwrap();
        assert!(matches!(
            memory.read(8000, &mut bytes),
            Err(MemoryError::File(_))
        ));
        assert!(matches!(
            memory.write(0, &bytes),
            Err(MemoryError::ReadOnly)
        ));
    }

    #[test]
    fn owned_bytes_are_the_same_memory_that_the_device_sees() {
        let mut bytes = OwnedBytes::new(16).unwrap();
        bytes[3] = 9;
        let mut seen = [0; 16];
        bytes.memory().read(0, &mut seen).unwrap();
        assert_eq!(seen[3], 9);
    }

    #[test]
    fn records_are_written_in_order() {
        let memory = HostMemory::anonymous(64).unwrap();
        let mut n = 0;
        memory
            .fill16(16, 2, || {
                n += 1;
                [n - 1, 1, 2, 3]
            })
            .unwrap();
        assert_eq!(memory.load32(16).unwrap(), 0);
        assert_eq!(memory.load32(32).unwrap(), 1);
        assert_eq!(memory.load32(44).unwrap(), 3);
        assert!(memory.fill16(memory.len() - 16, 2, || [0; 4]).is_err());
    }
}
