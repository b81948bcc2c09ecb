//! The firmware's log rings: two words, then a stream of bytes that goes round.
//!
//! Offsets count from the start of the data. The firmware moves the chip's, the host its own; equal offsets mean
//! that nothing is new. What the bytes mean is the firmware logger's business.
//!
//! Source: vendor hailort-drivers v5.3.0, `common/fw_operation.c`.

use super::Cpu;

/// Bytes of a ring with its header.
pub const RING: u32 = 4096;

/// Offset in the ring of the word that tells how far the host has read.
pub const HOST_OFFSET: u32 = 0;

/// Offset in the ring of the word that tells how far the firmware has written.
pub const CHIP_OFFSET: u32 = 4;

/// Offset in the ring of the data.
pub const DATA: u32 = 8;

/// Bytes of data; offsets are below this.
pub const DATA_LEN: u32 = RING - DATA;

/// Where the ring of `cpu` lies in BAR 4.
#[must_use]
pub const fn ring(cpu: Cpu) -> u32 {
    match cpu {
        Cpu::Application => 0x2000,
        Cpu::Core => 0x3000,
    }
}
