//! The table of opcodes: which CPU answers, what each is for, how many parameters of which length go and come.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control_protocol.cpp`.

use super::Cpu::{self, Application, Core};
use super::context::{ApplicationHeader, MAX_CHUNK};
use super::{MAX_DATA, MAX_LIST_DATA};

/// Number of an operation. Any number can arrive; [`Self::info`] knows those that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Opcode(pub u32);

/// What an opcode is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A device utility needs it.
    Utility,
    /// Needed to run a network.
    Run,
    /// Useful now and then.
    Extra,
    /// Ethernet, cameras, bringing up a board: from a chip that had these.
    Board,
    /// Without a layout: never sent.
    Obsolete,
}

/// Bounds of a parameter's length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Len {
    /// Least bytes.
    pub min: usize,
    /// Most bytes.
    pub max: usize,
}

impl Len {
    /// Whether a parameter of `len` bytes is right.
    #[must_use]
    pub const fn fits(self, len: usize) -> bool {
        self.min <= len && len <= self.max
    }
}

impl std::fmt::Display for Len {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct OpcodeInfo {
    /// The number.
    pub number: u32,
    /// The vendor's name without its prefixes.
    pub name: &'static str,
    /// Who answers.
    pub cpu: Cpu,
    /// Whether it may go to firmware of another version than the host's.
    pub foreign: bool,
    /// What it is for.
    pub class: Class,
    /// Parameters of the request.
    pub request: &'static [Len],
    /// Parameters of a response that says success.
    pub response: &'static [Len],
}

impl Opcode {
    /// What the table says of it.
    #[must_use]
    pub fn info(self) -> Option<&'static OpcodeInfo> {
        OPCODES.get(usize::try_from(self.0).ok()?)
    }

    /// Whether a device utility works with it on firmware of any version.
    #[must_use]
    pub fn works_with_foreign_firmware(self) -> bool {
        self.info().is_some_and(|info| info.foreign)
    }
}

impl std::fmt::Display for Opcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.info() {
            Some(info) => write!(f, "{} ({})", info.name, self.0),
            None => write!(f, "opcode {}", self.0),
        }
    }
}

/// How many parameters follow a request's header that tells `count`: [`CONFIG_STREAM`] tells one too many, for
/// one that was removed.
pub(super) fn expected_count(opcode: Opcode, count: u32) -> u32 {
    if opcode == CONFIG_STREAM && count == CONFIG_STREAM_COUNT {
        count - 1
    } else {
        count
    }
}

/// The opcode whose header tells one parameter too many.
pub const CONFIG_STREAM: Opcode = Opcode(3);

/// What that header tells.
pub const CONFIG_STREAM_COUNT: u32 = 7;

const fn n(len: usize) -> Len {
    Len { min: len, max: len }
}

const fn upto(min: usize, max: usize) -> Len {
    Len { min, max }
}

const B: Len = n(1);
const H: Len = n(2);
const W: Len = n(4);
const DATA: Len = upto(1, MAX_DATA);
const NONE: &[Len] = &[];

/// Which firmware an opcode may go to.
const ANY: bool = true;
const OURS: bool = false;

use Class::{Board, Extra, Obsolete, Run, Utility};

const fn op(
    number: u32,
    name: &'static str,
    cpu: Cpu,
    foreign: bool,
    class: Class,
    request: &'static [Len],
    response: &'static [Len],
) -> OpcodeInfo {
    OpcodeInfo {
        number,
        name,
        cpu,
        foreign,
        class,
        request,
        response,
    }
}

/// All opcodes, in order and without gaps.
#[rustfmt::skip]
pub static OPCODES: [OpcodeInfo; 80] = [
    op(0, "IDENTIFY", Application, ANY, Utility, NONE, &[W, n(12), W, n(32), W, n(16), n(16), n(42)]),
    op(1, "WRITE_MEMORY", Application, OURS, Extra, &[W, DATA], NONE),
    op(2, "READ_MEMORY", Application, OURS, Extra, &[W, W], &[DATA]),
    op(3, "CONFIG_STREAM", Application, OURS, Board, &[B, B, W, B, n(19), upto(2, 35)], &[B]),
    op(4, "OPEN_STREAM", Application, OURS, Board, &[B, B], NONE),
    op(5, "CLOSE_STREAM", Application, OURS, Board, &[B, B], NONE),
    op(6, "PHY_OPERATION", Application, OURS, Board, &[W], NONE),
    op(7, "RESET", Application, ANY, Utility, &[W], NONE),
    op(8, "CONFIG_CORE_TOP", Application, OURS, Board, &[W, B], NONE),
    op(9, "POWER_MEASUREMENT", Application, OURS, Utility, &[W, W], &[W, W, W]),
    op(10, "SET_POWER_MEASUREMENT", Application, OURS, Utility, &[W, W, W], &[W, W]),
    op(11, "GET_POWER_MEASUREMENT", Application, OURS, Utility, &[W, B], &[W, W, W, W, W]),
    op(12, "START_POWER_MEASUREMENT", Application, OURS, Utility, &[W, H, H], NONE),
    op(13, "STOP_POWER_MEASUREMENT", Application, OURS, Utility, NONE, NONE),
    op(14, "START_FIRMWARE_UPDATE", Application, ANY, Utility, NONE, NONE),
    op(15, "WRITE_FIRMWARE_UPDATE", Application, ANY, Utility, &[W, DATA], NONE),
    op(16, "VALIDATE_FIRMWARE_UPDATE", Application, ANY, Utility, &[n(16), W], NONE),
    op(17, "FINISH_FIRMWARE_UPDATE", Application, ANY, Utility, NONE, NONE),
    op(18, "EXAMINE_USER_CONFIG", Application, ANY, Utility, NONE, &[W, W, W]),
    op(19, "READ_USER_CONFIG", Application, ANY, Utility, &[W, W], &[upto(0, MAX_DATA)]),
    op(20, "ERASE_USER_CONFIG", Application, ANY, Utility, NONE, NONE),
    op(21, "WRITE_USER_CONFIG", Application, ANY, Utility, &[W, DATA], NONE),
    op(22, "I2C_WRITE", Application, OURS, Board, &[B, H, B, B, B, W, DATA], NONE),
    op(23, "I2C_READ", Application, OURS, Board, &[B, H, B, B, B, W, W], &[upto(1, 4)]),
    op(24, "LATENCY_MEASUREMENT_CONFIG", Application, OURS, Extra, &[B, W, W, W, W], NONE),
    op(25, "LATENCY_MEASUREMENT_READ", Application, OURS, Extra, NONE, &[W]),
    op(26, "SENSOR_STORE_CONFIG", Application, OURS, Board, &[W, W, W, W, W, W, H, H, H, n(100), DATA], NONE),
    op(27, "SENSOR_GET_CONFIG", Application, OURS, Board, &[W, W, W], &[DATA]),
    op(28, "SENSOR_SET_GENERIC_I2C_SLAVE", Application, OURS, Board, &[H, B, B, B, B], NONE),
    op(29, "SENSOR_LOAD_AND_START", Application, OURS, Board, &[W], NONE),
    op(30, "SENSOR_RESET", Application, OURS, Board, &[W], NONE),
    op(31, "SENSOR_GET_SECTIONS_INFO", Application, OURS, Board, NONE, &[n(960)]),
    op(32, "CS_SET_NETWORK_GROUP_HEADER", Core, OURS, Run, &[n(ApplicationHeader::BYTES)], NONE),
    op(33, "CS_SET_CONTEXT_INFO", Core, OURS, Run, &[B, B, B, upto(0, MAX_CHUNK)], NONE),
    op(34, "IDLE_TIME_SET_MEASUREMENT", Application, OURS, Extra, &[B], NONE),
    op(35, "IDLE_TIME_GET_MEASUREMENT", Application, OURS, Extra, NONE, &[n(8)]),
    op(36, "DOWNLOAD_CONTEXT_ACTION_LIST", Core, OURS, Extra, &[W, B, H, H], &[W, B, W, W, upto(1, MAX_LIST_DATA)]),
    op(37, "CHANGE_CONTEXT_SWITCH_STATUS", Core, OURS, Run, &[B, B, H, H], NONE),
    op(38, "APP_WD_ENABLE", Application, OURS, Extra, &[B], NONE),
    op(39, "APP_WD_CONFIG", Application, OURS, Extra, &[W, B], NONE),
    op(40, "APP_PREVIOUS_SYSTEM_STATE", Application, OURS, Extra, NONE, &[W]),
    op(41, "SET_DATAFLOW_INTERRUPT", Core, OURS, Board, &[B, B, B], NONE),
    op(42, "CORE_IDENTIFY", Core, ANY, Utility, NONE, &[n(12)]),
    op(43, "D2H_SET_HOST_INFO", Application, OURS, Extra, &[B, W, H], NONE),
    op(44, "D2H_SEND_EVENT_HOST_INFO", Application, OURS, Extra, &[B], NONE),
    op(45, "SWITCH_APPLICATION", Core, OURS, Obsolete, NONE, NONE),
    op(46, "GET_CHIP_TEMPERATURE", Application, OURS, Utility, NONE, &[n(10)]),
    op(47, "READ_BOARD_CONFIG", Application, ANY, Utility, &[W, W], &[upto(0, MAX_DATA)]),
    op(48, "WRITE_BOARD_CONFIG", Application, ANY, Utility, &[W, DATA], NONE),
    op(49, "GET_SOC_ID", Application, OURS, Obsolete, NONE, NONE),
    op(50, "ENABLE_DEBUGGING", Application, OURS, Board, &[B], NONE),
    op(51, "GET_DEVICE_INFORMATION", Application, OURS, Utility, NONE, &[W, n(8), W, B, n(32), n(6), n(12), n(24), W]),
    op(52, "CONFIG_CS_BREAKPOINT", Core, OURS, Extra, &[W, B, n(13)], NONE),
    op(53, "GET_CS_BREAKPOINT_STATUS", Core, OURS, Extra, &[W], &[B]),
    op(54, "GET_CS_MAIN_HEADER", Core, OURS, Extra, NONE, &[n(1379)]),
    op(55, "SET_FW_LOGGER", Application, OURS, Utility, &[B, B], NONE),
    op(56, "WRITE_SECOND_STAGE", Application, ANY, Board, &[W, DATA], NONE),
    op(57, "COPY_SECOND_STAGE_TO_FLASH", Application, ANY, Board, &[n(16), W], NONE),
    op(58, "SET_PAUSE_FRAMES", Application, OURS, Board, &[B], NONE),
    op(59, "CONFIG_CS_TIMESTAMP", Core, OURS, Extra, &[W, B], NONE),
    op(60, "RUN_BIST_TEST", Application, OURS, Extra, &[B, W, B, W, W], NONE),
    op(61, "SET_CLOCK_FREQ", Application, OURS, Utility, &[W], NONE),
    op(62, "GET_HEALTH_INFORMATION", Application, OURS, Utility, NONE, &[B, B, W, B, B, B, B, n(48), W, W, W, W, W, W]),
    op(63, "SET_THROTTLING_STATE", Application, OURS, Utility, &[B], NONE),
    op(64, "GET_THROTTLING_STATE", Application, OURS, Utility, NONE, &[B]),
    op(65, "SENSOR_SET_I2C_BUS_INDEX", Application, OURS, Board, &[W, W], NONE),
    op(66, "SET_OVERCURRENT_STATE", Application, OURS, Utility, &[B], NONE),
    op(67, "GET_OVERCURRENT_STATE", Application, OURS, Utility, NONE, &[B]),
    op(68, "CORE_PREVIOUS_SYSTEM_STATE", Core, OURS, Extra, NONE, &[W]),
    op(69, "CORE_WD_ENABLE", Core, OURS, Extra, &[B], NONE),
    op(70, "CORE_WD_CONFIG", Core, OURS, Extra, &[W, B], NONE),
    op(71, "CS_CLEAR_CONFIGURED_APPS", Core, OURS, Run, NONE, NONE),
    op(72, "GET_HW_CONSTS", Core, OURS, Run, NONE, &[upto(18, 19)]),
    op(73, "SET_SLEEP_STATE", Application, OURS, Extra, &[B], NONE),
    op(74, "CHANGE_HW_INFER_STATUS", Core, OURS, Extra, &[B, B, H, H, n(481), B], &[n(5)]),
    // Has no sender in the vendor's library: over PCIe a doorbell does it.
    op(75, "SIGNAL_DRIVER_DOWN", Core, OURS, Extra, NONE, NONE),
    op(76, "CS_INIT_CACHE_INFO", Core, OURS, Obsolete, NONE, NONE),
    op(77, "CS_GET_CACHE_INFO", Core, OURS, Obsolete, NONE, NONE),
    op(78, "CS_UPDATE_CACHE_READ_OFFSET", Core, OURS, Obsolete, NONE, NONE),
    op(79, "CS_SIGNAL_CACHE_UPDATED", Core, OURS, Run, NONE, NONE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_no_gaps() {
        for (place, info) in (0..).zip(&OPCODES) {
            assert_eq!(info.number, place);
        }
        assert!(Opcode(80).info().is_none() && Opcode(u32::MAX).info().is_none());
        assert_eq!(Opcode(99).to_string(), "opcode 99");
        assert_eq!(Opcode(7).to_string(), "RESET (7)");
    }
}
