//! Memory made of pages that somebody picked: how a contiguous run of physical pages is had without huge
//! pages and without a kernel driver.
//!
//! A pool is larger than what is wanted of it. Whoever knows where its pages lie takes those that follow
//! one another; they are mapped in that order, and the others go back to the kernel.

// UNSAFETY: as in `mem`: mappings are made and touched here.
#![expect(
    unsafe_code,
    reason = "memory shared with a device can't be a Rust reference"
)]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::unistd::ftruncate;

use super::{Backing, HostMemory, Mapping, page_size};

/// Size and alignment of the pages that a kernel may make of many small ones: 2 MiB on x86-64 and on
/// arm64 with 4 KiB pages. Where it is another size nothing is lost but the chance.
const HUGE: usize = 2 << 20;

/// Linux's `MADV_COLLAPSE`, which the C library's interface for musl leaves out.
/// Source: Linux, include/uapi/asm-generic/mman-common.h.
const MADV_COLLAPSE: libc::c_int = 25;

/// Pages of memory to pick from. All of them are present.
#[derive(Debug)]
pub struct PagePool {
    fd: OwnedFd,
    mapping: Mapping,
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

/// Reserves `len` bytes of addresses, the first a multiple of `align`; nothing can be there yet.
fn reserve(len: usize, align: usize) -> io::Result<Mapping> {
    let all = len.checked_add(align).ok_or_else(invalid)?;
    let size = NonZeroUsize::new(all).ok_or_else(invalid)?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing of ours.
    let start: NonNull<u8> =
        unsafe { mmap_anonymous(None, size, ProtFlags::PROT_NONE, flags) }?.cast();
    let skip = start.as_ptr().addr().next_multiple_of(align) - start.as_ptr().addr();
    // SAFETY: `skip` is at most `align`, so this is still inside the mapping.
    let address = unsafe { start.add(skip) };
    // SAFETY: as above: `len` more bytes are inside, or end with it.
    let end = unsafe { address.add(len) };
    for (part, len) in [(start, skip), (end, align - skip)] {
        if len > 0 {
            // SAFETY: the part belongs to the mapping made above, and nobody has looked at it.
            unsafe { munmap(part.cast(), len) }?;
        }
    }
    Ok(Mapping { address, len })
}

impl Mapping {
    /// Puts `len` bytes of the file at `offset` to `at` bytes from the start of this mapping.
    fn place(&self, fd: &OwnedFd, offset: usize, at: usize, len: usize) -> io::Result<()> {
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(invalid());
        }
        let size = NonZeroUsize::new(len).ok_or_else(invalid)?;
        let offset = i64::try_from(offset).map_err(|_| invalid())?;
        let place = self.address.as_ptr().wrapping_add(at).addr();
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        let place = NonZeroUsize::new(place);
        // SAFETY: only addresses of this mapping are replaced, which nobody refers to yet.
        unsafe { mmap(place, size, protection, flags, fd, offset) }?;
        Ok(())
    }
}

impl PagePool {
    /// At least `len` bytes, as whole pages; large pages where the kernel makes them when asked.
    ///
    /// # Errors
    /// The kernel's, when there is no memory or no descriptor left.
    pub fn new(len: usize) -> io::Result<Self> {
        let align = HUGE.max(page_size());
        let len = len.checked_next_multiple_of(align).filter(|&len| len > 0);
        let len = len.ok_or_else(invalid)?;
        let fd = memfd_create("hailo-pool", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&fd, i64::try_from(len).map_err(|_| invalid())?)?;
        let mapping = reserve(len, align)?;
        mapping.place(&fd, 0, 0, len)?;
        mapping.keep_from_children()?;
        for page in (0..len).step_by(page_size()) {
            // SAFETY: `page` is below the mapping's length.
            let place = unsafe { mapping.address.add(page) };
            // SAFETY: as above; the byte is mapped for writing.
            unsafe { place.write_volatile(0) };
        }
        // Only pages that are there are put together.
        let start: *mut libc::c_void = mapping.address.as_ptr().cast();
        // SAFETY: the range is the mapping; the call changes which pages lie there, not what they hold.
        if unsafe { libc::madvise(start, len, MADV_COLLAPSE) } != 0 {
            // Since Linux 6.1, where huge pages are built in. Small pages do, too.
            log::debug!("no huge pages: {}", io::Error::last_os_error());
        }
        Ok(Self { fd, mapping })
    }

    /// The address of the first page in this process.
    #[must_use]
    pub fn address(&self) -> NonNull<u8> {
        self.mapping.address
    }

    /// Pages there are.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.mapping.len / page_size()
    }

    /// Memory of these pages, by their number in the pool, in this order. The others go back.
    ///
    /// # Errors
    /// `InvalidInput` for no page or one that the pool does not have; the kernel's.
    pub fn pick(self, pages: &[usize]) -> io::Result<HostMemory> {
        let page = page_size();
        let len = pages.len().checked_mul(page).ok_or_else(invalid)?;
        if len == 0 || pages.iter().any(|&one| one >= self.pages()) {
            return Err(invalid());
        }
        let mapping = reserve(len, page)?;
        let mut at = 0;
        // Pages that follow one another in the file as well are one mapping.
        for run in pages.chunk_by(|a, b| a + 1 == *b) {
            let len = run.len() * page;
            mapping.place(&self.fd, run[0] * page, at, len)?;
            at += len;
        }
        mapping.keep_from_children()?;
        let mut wanted = pages.to_vec();
        wanted.sort_unstable();
        let mut from = 0;
        for next in wanted.into_iter().chain([self.pages()]) {
            if next > from {
                self.give_back(from * page, (next - from) * page)?;
            }
            from = from.max(next + 1);
        }
        let fd = self.fd;
        Ok(HostMemory {
            backing: Backing::Anonymous { fd, mapping },
            len,
        })
    }

    fn give_back(&self, offset: usize, len: usize) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let offset = i64::try_from(offset).map_err(|_| invalid())?;
        let len = i64::try_from(len).map_err(|_| invalid())?;
        Ok(fallocate(&self.fd, flags, offset, len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picked_pages_are_memory_in_the_order_in_which_they_were_picked() {
        let pool = PagePool::new(8 * page_size()).unwrap();
        assert!(pool.pages() >= 8);
        assert!(pool.address().as_ptr().addr().is_multiple_of(HUGE));
        let memory = pool.pick(&[5, 2, 3]).unwrap();
        assert_eq!(memory.len(), 3 * page_size());
        memory.write(page_size() - 2, &[1, 2, 3, 4]).unwrap();
        let mut seen = [0; 4];
        memory.read(page_size() - 2, &mut seen).unwrap();
        assert_eq!(seen, [1, 2, 3, 4]);
        // In the file the second page of the memory is page 2, the first is page 5.
        let (fd, _) = memory.descriptor();
        let file = std::fs::File::from(fd.try_clone_to_owned().unwrap());
        let at = |page: usize| {
            let mut bytes = [0; 2];
            let offset = u64::try_from(page * page_size()).unwrap();
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, offset).unwrap();
            bytes
        };
        assert_eq!(at(2), [3, 4]);
        assert!(memory.write(3 * page_size(), &[0]).is_err());
    }

    #[test]
    fn pages_that_the_pool_has_not_are_refused() {
        let pool = PagePool::new(1).unwrap();
        let beyond = pool.pages();
        assert!(pool.pick(&[0, beyond]).is_err());
        assert!(PagePool::new(1).unwrap().pick(&[]).is_err());
    }
}
