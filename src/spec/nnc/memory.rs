//! Device memory through the firmware: opcodes 1 and 2. At most [`MAX_DATA`](super::MAX_DATA) bytes at a time.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control.cpp`.

use super::command::{bodies, commands};
use super::wire::{Be, Raw};

bodies! {
    /// Writes device memory.
    pub struct WriteMemory {
        /// Device address.
        address: u32 as Be,
        /// The bytes, 1 to 1024.
        data: Vec<u8> as Raw,
    }

    /// Reads device memory.
    pub struct ReadMemory {
        /// Device address.
        address: u32 as Be,
        /// How many bytes, 1 to 1024.
        count: u32 as Be,
    }

    /// Bytes that were read.
    pub struct Bytes {
        /// The bytes.
        data: Vec<u8> as Raw,
    }
}

commands! {
    WriteMemory = 1 -> (),
    ReadMemory = 2 -> Bytes,
}
