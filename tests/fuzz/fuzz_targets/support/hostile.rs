//! What hostile devices are alike in: an identity, a config space, and how they are reached.

use std::collections::HashMap;

use hailo_vfio::transport::{Capabilities, ResetAbility, TransportError, Width};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub const IDENTITY: u32 = 0x98;
pub const STATUS: u32 = 0x18c;
/// What [`IDENTITY`] reads.
pub const CHIP: u32 = 0x45c4_1e60;

pub fn gone() -> TransportError {
    TransportError::Closed("the input is used up".into())
}

pub fn capabilities(interrupt: bool, coherent: bool, file_mappings: bool) -> Capabilities {
    Capabilities {
        backend: "hostile",
        confined: true,
        interrupt,
        coherent,
        one_way_mappings: true,
        file_mappings,
        longest_list: 65_536,
        map_granularity: 4096,
        reset: ResetAbility {
            at_open: false,
            on_request: true,
        },
    }
}

pub fn event() -> EventFd {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_value_and_flags(0, flags).expect("an eventfd")
}

/// The config space of a sane chip.
#[derive(Debug, Default)]
pub struct Config(HashMap<u16, u32>);

impl Config {
    /// The word that has `offset`.
    pub fn word(&self, offset: u16) -> u32 {
        let written = |offset| self.0.get(&offset).copied().unwrap_or(0);
        match offset & !3 {
            0x00 => CHIP,
            0x04 => written(4) & 0xffff | 1 << 20,
            0x34 => 0x40,
            0x40 => 0x0003_5001,
            0x50 => 0x0080_6005,
            0x60 => 0x0002_0010,
            0x64 => 1 << 28,
            0x68 => 2 << 12,
            0x70 => 0x1043 << 16,
            other => written(other),
        }
    }

    pub fn write(&mut self, offset: u16, value: u32) {
        let value = value << (8 * (offset & 3));
        self.0.insert(offset & !3, value);
    }
}

/// What a read of `width` at `offset` sees of a word.
pub fn part(word: u32, offset: u16, width: Width) -> u32 {
    let bits = 8 * u32::from(width.bytes());
    word >> (8 * (offset & 3)) & (u32::MAX >> (32 - bits))
}
