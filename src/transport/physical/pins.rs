//! Pages that stay where they are: long-term pins, held by one descriptor.
//!
//! Locked memory (`mlock`) may still be moved by the kernel. What keeps a page in its frame is a pin, and
//! io_uring takes pins for whoever registers a buffer with it, on every stock kernel, with huge pages or
//! without. A pin also keeps the page from being freed, whatever happens to the process: it lasts as long
//! as the ring has a descriptor, so a guardian that holds one holds all memory of the device.
//!
//! No request ever goes through the ring; it is never entered.
//!
//! Source: Linux `include/uapi/linux/io_uring.h`, `io_uring/rsrc.c`.

// UNSAFETY: system calls that take pointers.
#![expect(unsafe_code, reason = "system calls take pointers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::libc;

use crate::mem::HostMemory;

/// Places for buffers; the kernel has at most four times as many.
const SLOTS: u32 = 4096;
/// Bytes of `struct io_uring_params`, in words.
const PARAMETERS: usize = 30;
/// `IORING_REGISTER_BUFFERS`.
const REGISTER_BUFFERS: libc::c_uint = 0;
/// `IORING_REGISTER_BUFFERS_UPDATE`.
const UPDATE_BUFFERS: libc::c_uint = 16;

/// `struct io_uring_rsrc_update2`.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
    tags: u64,
    count: u32,
    reserved_too: u32,
}

/// One pinned memory.
#[derive(Debug)]
pub(super) struct Pin(u32);

/// The ring that holds the pins.
#[derive(Debug)]
pub(super) struct Pins {
    ring: OwnedFd,
    free: Mutex<Vec<u32>>,
}

fn done(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

impl Pins {
    /// A ring without pins.
    ///
    /// # Errors
    /// `ENOSYS` or `EPERM` where the kernel, or a container, has io_uring switched off; `EINVAL` before
    /// Linux 5.13.
    pub(super) fn new() -> io::Result<Self> {
        let mut parameters = [0_u32; PARAMETERS];
        // SAFETY: the kernel reads and writes that many bytes, which live over the call.
        let ring =
            unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_u32, parameters.as_mut_ptr()) };
        let ring = i32::try_from(done(ring)?).map_err(io::Error::other)?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        let ring = unsafe { OwnedFd::from_raw_fd(ring) };
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        let places = vec![empty; usize::try_from(SLOTS).unwrap_or(0)];
        // SAFETY: there are as many structures as it says, and they live over the call; they name no
        // memory.
        let registered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                ring.as_raw_fd(),
                REGISTER_BUFFERS,
                places.as_ptr(),
                SLOTS,
            )
        };
        done(registered)?;
        Ok(Self {
            ring,
            free: Mutex::new((0..SLOTS).rev().collect()),
        })
    }

    /// What keeps all pins while anybody holds it.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    fn update(&self, slot: u32, buffer: libc::iovec) -> io::Result<()> {
        let data = (&raw const buffer).expose_provenance();
        let update = Update {
            offset: slot,
            reserved: 0,
            data: u64::try_from(data).map_err(io::Error::other)?,
            tags: 0,
            count: 1,
            reserved_too: 0,
        };
        // SAFETY: both structures have the size that the kernel expects and live over the call. Whose
        // memory the buffer is, the caller of this has made sure of; the ring never touches its bytes.
        let updated = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                UPDATE_BUFFERS,
                &raw const update,
                size_of::<Update>(),
            )
        };
        done(updated).map(drop)
    }

    /// Pins all pages of a memory. They are present then, and stay where they are.
    ///
    /// # Errors
    /// The kernel's: `ENOMEM` also where the process may not lock as much.
    pub(super) fn pin(&self, memory: &HostMemory) -> io::Result<Pin> {
        let slot = self.slots().pop();
        let slot = slot.ok_or_else(|| io::Error::from(io::ErrorKind::QuotaExceeded))?;
        let pinned = memory.address().and_then(|address| {
            let buffer = libc::iovec {
                iov_base: address.as_ptr().cast(),
                iov_len: memory.len(),
            };
            self.update(slot, buffer)
        });
        match pinned {
            Ok(()) => Ok(Pin(slot)),
            Err(error) => {
                self.slots().push(slot);
                Err(error)
            }
        }
    }

    /// Lets pages go.
    ///
    /// # Errors
    /// The kernel's; they are pinned still.
    pub(super) fn unpin(&self, pin: &Pin) -> io::Result<()> {
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        self.update(pin.0, empty)?;
        self.slots().push(pin.0);
        Ok(())
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::page_size;

    #[test]
    fn memory_is_pinned_and_let_go_again_and_again() {
        let pins = match Pins::new() {
            Ok(pins) => pins,
            Err(error) => {
                eprintln!("NOT RUN: no io_uring here: {error}");
                return;
            }
        };
        let memory = HostMemory::anonymous(16 * page_size()).unwrap();
        for _ in 0..3 {
            let pin = pins.pin(&memory).unwrap();
            pins.unpin(&pin).unwrap();
        }
        let first = pins.pin(&memory).unwrap();
        let second = pins.pin(&memory).unwrap();
        assert_ne!(first.0, second.0);
        let free = pins.slots().len();
        pins.unpin(&first).unwrap();
        pins.unpin(&second).unwrap();
        assert_eq!(pins.slots().len(), free + 2);
    }

    #[test]
    fn a_file_that_is_read_only_is_not_pinned() {
        let Ok(pins) = Pins::new() else { return };
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let memory = HostMemory::file(file, 0, 4096).unwrap();
        let free = pins.slots().len();
        assert!(pins.pin(&memory).is_err());
        assert_eq!(pins.slots().len(), free);
    }
}
