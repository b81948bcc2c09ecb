//! Cache maintenance for hosts on which devices do not see the processor's caches.
//!
//! arm64 Linux lets programs clean and invalidate cache lines by address, and read how long a line is.
//! On x86-64 there is nothing to do; on other processors a host that is not coherent is not supported.
//!
//! Source: Arm Architecture Reference Manual, `DC CIVAC`, `CTR_EL0.DminLine`; Linux
//! `arch/arm64/include/asm/sysreg.h` (the enables for programs).

// UNSAFETY: cache maintenance exists only as instructions.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "cache maintenance instructions")
)]

use std::ops::Range;

/// Whether caches can be maintained here.
pub(super) const POSSIBLE: bool = cfg!(target_arch = "aarch64");

/// Writes all changed lines of a memory at these addresses back, and drops them: the device sees what
/// the processor wrote, and the processor what the device wrote. The addresses must be mapped.
#[cfg(target_arch = "aarch64")]
pub(super) fn clean_and_invalidate(bytes: Range<usize>) {
    use std::arch::asm;
    let kind: u64;
    // SAFETY: reading the register changes nothing; Linux allows it to programs, or answers for it.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) kind, options(nomem, nostack, preserves_flags)) };
    for line in lines(bytes, 4 << (kind >> 16 & 0xf)) {
        // SAFETY: the address is in memory that the caller has mapped. The line keeps what it holds;
        // memory is read and written behind the compiler's back, which it is told by leaving `nomem` out.
        unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier has no operands. It waits until the lines are gone, for devices as well.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// See above: on this processor there is nothing to do, or nothing that can be done.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn clean_and_invalidate(bytes: Range<usize>) {
    debug_assert!(bytes.start <= bytes.end);
}

/// The first address of every line that has one of these bytes.
#[cfg(any(test, target_arch = "aarch64"))]
fn lines(bytes: Range<usize>, line: usize) -> impl Iterator<Item = usize> {
    let first = bytes.start & !(line - 1);
    (first..bytes.end).step_by(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_touched_counts_once() {
        let all = |range: Range<usize>| lines(range, 64).collect::<Vec<_>>();
        assert_eq!(all(0x1000..0x1001), [0x1000]);
        assert_eq!(all(0x103f..0x1041), [0x1000, 0x1040]);
        assert_eq!(all(0x1000..0x1080), [0x1000, 0x1040]);
        assert_eq!(all(0x1000..0x1000), [] as [usize; 0]);
    }

    #[test]
    fn maintenance_changes_nothing_that_a_program_sees() {
        let memory = crate::mem::HostMemory::anonymous(4096).unwrap();
        memory.write(100, b"kept").unwrap();
        let start = memory.address().unwrap().as_ptr().addr();
        clean_and_invalidate(start + 90..start + 200);
        let mut seen = [0; 4];
        memory.read(100, &mut seen).unwrap();
        assert_eq!(&seen, b"kept");
    }
}
