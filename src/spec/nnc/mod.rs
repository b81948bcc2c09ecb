//! NNC mode: what the host and the neural core's firmware exchange. Layouts only, for driver and model alike.
//!
//! All offsets are in BAR 4. Numbers inside control messages are big-endian unless a field says otherwise, those of
//! events and of the log rings little-endian.
//!
//! Source: vendor hailort-drivers v5.3.0, `common/pcie_common.c`, `common/fw_operation.c`; vendor hailort v5.2.0,
//! `control_protocol.h`, `d2h_events.h`.

pub mod command;
pub mod context;
pub mod event;
pub mod identity;
pub mod log;
pub mod memory;
pub mod message;
pub mod misc;
pub mod opcode;
pub mod open;
pub mod power;
pub mod state;
pub mod status;
pub mod stored;
pub mod switch;
pub mod version;
pub mod wire;

use std::time::Duration;

/// Where the one request slot lies; see [`slot`] for what is in it.
pub const REQUEST: u32 = 0;

/// Where the one response slot lies; laid out as the request's.
pub const RESPONSE: u32 = 0x640;

/// What a request or response slot holds, by offset from its start.
pub mod slot {
    /// MD5 of the message alone, 16 bytes.
    pub const DIGEST: u32 = 0;
    /// Bytes of the message, a little-endian word.
    pub const LENGTH: u32 = 0x10;
    /// The message.
    pub const MESSAGE: u32 = 0x14;
}

/// Where the notification slot lies.
pub const NOTIFICATION: u32 = 0xc80;

/// What the notification slot holds, by offset from its start.
pub mod notification {
    /// In use: the firmware sets it, the host clears it; 16 bits, the low half of the slot's first word.
    pub const IN_USE: u32 = 0;
    /// Bytes of the message; 16 bits, the high half of the slot's first word.
    pub const LENGTH: u32 = 2;
    /// The message.
    pub const MESSAGE: u32 = 4;
    /// Room for a message in the firmware's structure.
    pub const ROOM: usize = 880;
    /// Longer lengths are nonsense: such a notification is not even acknowledged.
    pub const MAX_LENGTH: usize = 1500;
}

/// Most bytes of a request or response.
#[doc(alias = "CONTROL_PROTOCOL__MAX_CONTROL_LENGTH")]
pub const MAX_MESSAGE: usize = 1500;

/// Most bytes that one control reads or writes of memory, firmware or configuration.
pub const MAX_DATA: usize = 1024;

/// Most bytes of an action list in one answer to a read-back.
pub const MAX_LIST_DATA: usize = 1439;

/// How long the host waits for any response.
pub const CONTROL_TIMEOUT: Duration = Duration::from_millis(1000);

/// How long the host waits until the firmware has let go of host memory.
pub const DRIVER_DOWN_TIMEOUT: Duration = Duration::from_millis(5);

/// How long a soft reset may take.
pub const SOFT_RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// How long boot status may take after a soft reset until it tells that the boot ROM waits: ten looks, 1 ms apart, in
/// the vendor's driver.
pub const BOOT_STATUS_TIMEOUT: Duration = Duration::from_millis(10);

/// How long firmware may take after its boot until it tells that it runs: 100 looks, 50 ms apart, in the vendor's
/// driver.
pub const LOADED_TIMEOUT: Duration = Duration::from_secs(5);

/// The CPU that a control is for, and whose log a ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cpu {
    /// The application CPU.
    Application,
    /// The core CPU, which runs networks.
    Core,
}

impl Cpu {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Application, Self::Core];

    /// The doorbell bit that tells of a request for it.
    #[must_use]
    pub const fn doorbell(self) -> u32 {
        match self {
            Self::Application => super::access_bar::doorbell::APPLICATION_CONTROL,
            Self::Core => super::access_bar::doorbell::CORE_CONTROL,
        }
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Application => "application CPU",
            Self::Core => "core CPU",
        })
    }
}
