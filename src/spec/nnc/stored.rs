//! What a board stores: firmware, user and board configuration. Opcodes 14 to 21, 47, 48.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control.cpp`, `device_internal.cpp`.

use super::command::{bodies, commands};
use super::memory::Bytes;
use super::wire::{Be, Raw};

/// Bytes of the board configuration.
pub const BOARD_CONFIG: u32 = 500;

/// Bytes of the head of the stored user configuration: magic, version, number of entries.
pub const USER_CONFIG_HEAD: usize = 12;

/// Bytes of the head of one of its entries: category and id of 16 bits, size.
pub const USER_CONFIG_ENTRY_HEAD: usize = 8;

bodies! {
    /// Begins an update of stored firmware; erases it.
    pub struct StartUpdate {}

    /// Writes a part of an update; parts follow each other without gaps.
    pub struct WriteUpdate {
        /// Where in the image.
        offset: u32 as Be,
        /// The bytes, 1 to 1024.
        data: Vec<u8> as Raw,
    }

    /// Has the firmware check the update.
    pub struct ValidateUpdate {
        /// MD5 of the whole image.
        digest: [u8; 16] as Raw,
        /// Bytes of the whole image.
        size: u32 as Be,
    }

    /// Makes the update the firmware of the next start.
    pub struct FinishUpdate {}

    /// Asks what the user configuration holds.
    pub struct ExamineUserConfig {}

    /// What the user configuration holds.
    pub struct UserConfig {
        /// Version of its form.
        version: u32 as Be,
        /// Number of entries.
        entries: u32 as Be,
        /// Bytes in all.
        size: u32 as Be,
    }

    /// Reads a part of the user configuration.
    pub struct ReadUserConfig {
        /// Where in it.
        offset: u32 as Be,
        /// How many bytes, up to 1024; fewer may come.
        count: u32 as Be,
    }

    /// Erases the user configuration.
    pub struct EraseUserConfig {}

    /// Writes a part of the user configuration.
    pub struct WriteUserConfig {
        /// Where in it.
        offset: u32 as Be,
        /// The bytes, 1 to 1024.
        data: Vec<u8> as Raw,
    }

    /// Reads the board configuration.
    pub struct ReadBoardConfig {
        /// Where in it.
        offset: u32 as Be,
        /// How many bytes; the whole has [`BOARD_CONFIG`].
        count: u32 as Be,
    }

    /// Writes a part of the board configuration.
    pub struct WriteBoardConfig {
        /// Where in it.
        offset: u32 as Be,
        /// The bytes.
        data: Vec<u8> as Raw,
    }
}

commands! {
    StartUpdate = 14 -> (),
    WriteUpdate = 15 -> (),
    ValidateUpdate = 16 -> (),
    FinishUpdate = 17 -> (),
    ExamineUserConfig = 18 -> UserConfig,
    ReadUserConfig = 19 -> Bytes,
    EraseUserConfig = 20 -> (),
    WriteUserConfig = 21 -> (),
    ReadBoardConfig = 47 -> Bytes,
    WriteBoardConfig = 48 -> (),
}
