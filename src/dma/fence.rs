//! Order between memory that the device reads or writes and the accesses that tell it so.

// UNSAFETY: barriers that order device accesses exist only as instructions.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "barrier instructions")
)]

use std::sync::atomic::{Ordering, fence};

/// Makes descriptors and data visible to the device before the doorbell that follows.
#[inline]
pub(crate) fn before_doorbell() {
    fence(Ordering::Release);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier has no operands. Rust's fence orders CPUs only; the full-system store barrier
    // orders normal memory before the device write.
    unsafe {
        std::arch::asm!("dsb st", options(nostack, preserves_flags));
    }
}

/// Keeps reads of data behind the read that said they are complete.
#[inline]
pub(crate) fn after_completion() {
    fence(Ordering::Acquire);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; loads that follow wait for those before.
    unsafe {
        std::arch::asm!("dsb ld", options(nostack, preserves_flags));
    }
}
