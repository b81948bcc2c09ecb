//! Events that the firmware tells the host by its notification slot. Everything little-endian and packed.
//!
//! Source: vendor hailort v4.17.0 to v5.2.0, `d2h_events.h`, `d2h_events_parser.cpp`.

mod codec;

use super::open::open_enum;
use super::state::{CurrentZone, Zone};
use super::status::Status;

/// Bytes in front of the parameters.
pub const HEADER: usize = 28;

/// Most bytes of parameters that any event has.
pub const MAX_PARAMETERS: usize = 20;

/// The version in the header of the software chip's events; nobody checks it.
pub const VERSION: u32 = 1;

/// Numbers of the events.
pub mod id {
    /// Ethernet receive error.
    pub const ETHERNET_ERROR: u32 = 0;
    /// Host info.
    pub const HOST_INFO: u32 = 1;
    /// Temperature alarm.
    pub const TEMPERATURE: u32 = 2;
    /// The health monitor closed the streams.
    pub const CLOSED_STREAMS: u32 = 3;
    /// Over-current alert.
    pub const OVERCURRENT: u32 = 4;
    /// Memory error in a compute unit, corrected.
    pub const LCU_ECC_CORRECTED: u32 = 5;
    /// Memory error in a compute unit.
    pub const LCU_ECC: u32 = 6;
    /// Memory error of a CPU, corrected.
    pub const CPU_ECC_CORRECTED: u32 = 7;
    /// Memory error of a CPU.
    pub const CPU_ECC: u32 = 8;
    /// A breakpoint was reached.
    pub const BREAKPOINT: u32 = 9;
    /// The neural core's clock changed.
    pub const CLOCK_CHANGED: u32 = 10;
    /// The benchmark without the host is done.
    pub const HW_INFER_DONE: u32 = 11;
    /// An action failed.
    pub const RUN_TIME_ERROR: u32 = 12;
    /// Checksum error of the neural core; up to 5.0.0 an offset of the cache.
    pub const CORE_CRC: u32 = 13;
    /// The throttling state changed.
    pub const THROTTLING: u32 = 14;
}

open_enum! {
    /// How much an event matters.
    pub enum Priority: u32 {
        /// Something to know.
        Info = 0 "info",
        /// Something to act on.
        Critical = 1 "critical",
    }
}

/// Where in a network something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the application.
    pub application: u8,
    /// Batch.
    pub batch: u32,
    /// Index of the context.
    pub context: u16,
    /// Index of the action.
    pub action: u16,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Ethernet receive error.
    EthernetError {
        /// Which error.
        error: u32,
        /// Which queue.
        queue: u32,
        /// How often.
        count: u32,
    },
    /// Where events go.
    HostInfo {
        /// State of the connection.
        status: u32,
        /// Kind of connection.
        link: u32,
        /// Whether vDMA is active.
        vdma_active: u32,
        /// UDP port.
        port: u32,
        /// IPv4 address.
        address: u32,
    },
    /// It gets hot, or cools.
    Temperature {
        /// How hot.
        zone: Zone,
        /// Which sensor.
        sensor: u32,
        /// Both sensors in degrees Celsius.
        celsius: [f32; 2],
    },
    /// The health monitor closed all streams: it is too hot.
    ClosedStreams {
        /// Both sensors in degrees Celsius.
        celsius: [f32; 2],
    },
    /// Too much current, or no longer.
    Overcurrent {
        /// How much.
        zone: CurrentZone,
        /// Threshold that was exceeded, in mA.
        threshold: f32,
        /// Whether the last violation is over.
        last: bool,
    },
    /// Memory error in compute units.
    LcuEcc {
        /// Which clusters.
        clusters: u16,
        /// Whether it was corrected.
        corrected: bool,
    },
    /// Memory error of a CPU.
    CpuEcc {
        /// Which memories.
        memories: u32,
        /// Whether it was corrected.
        corrected: bool,
    },
    /// A breakpoint was reached.
    Breakpoint(Place),
    /// The neural core's clock changed.
    ClockChanged {
        /// Hz before.
        from: u32,
        /// Hz now.
        to: u32,
    },
    /// The benchmark without the host is done.
    HwInferDone {
        /// Clock cycles it took.
        cycles: u32,
    },
    /// An action failed.
    RunTimeError {
        /// Why.
        status: Status,
        /// Where.
        place: Place,
    },
    /// Checksum error of the neural core.
    CoreCrc,
    /// Up to 5.0.0 the event of that number: an update of the cache begins.
    CacheOffset {
        /// The offset.
        offset: u64,
    },
    /// The throttling state changed.
    Throttling {
        /// The state.
        state: u16,
    },
    /// Any other, or one whose parameters are not as expected.
    Other {
        /// Its number.
        id: u32,
        /// Number of parameters that the header tells.
        count: u32,
        /// What follows the header.
        parameters: Vec<u8>,
    },
}

/// A message of the notification slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Version of the header.
    pub version: u32,
    /// Counts up.
    pub sequence: u32,
    /// How much it matters.
    pub priority: Priority,
    /// Which part of the firmware tells it.
    pub module: u32,
    /// What happened.
    pub event: Event,
}

/// Which form old events have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventForm {
    /// 4.17: with padding.
    Padded,
    /// 4.18 to 4.23: batches of 16 bits.
    Short,
    /// From 5.0.
    Current,
}

/// The bytes are no notification: not even a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("notification of {len} bytes: the header alone has {HEADER}")]
pub struct NotificationError {
    /// Bytes there are.
    pub len: usize,
}

impl Event {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u32 {
        match self {
            Self::EthernetError { .. } => id::ETHERNET_ERROR,
            Self::HostInfo { .. } => id::HOST_INFO,
            Self::Temperature { .. } => id::TEMPERATURE,
            Self::ClosedStreams { .. } => id::CLOSED_STREAMS,
            Self::Overcurrent { .. } => id::OVERCURRENT,
            Self::LcuEcc {
                corrected: true, ..
            } => id::LCU_ECC_CORRECTED,
            Self::LcuEcc { .. } => id::LCU_ECC,
            Self::CpuEcc {
                corrected: true, ..
            } => id::CPU_ECC_CORRECTED,
            Self::CpuEcc { .. } => id::CPU_ECC,
            Self::Breakpoint(_) => id::BREAKPOINT,
            Self::ClockChanged { .. } => id::CLOCK_CHANGED,
            Self::HwInferDone { .. } => id::HW_INFER_DONE,
            Self::RunTimeError { .. } => id::RUN_TIME_ERROR,
            Self::CoreCrc | Self::CacheOffset { .. } => id::CORE_CRC,
            Self::Throttling { .. } => id::THROTTLING,
            Self::Other { id, .. } => *id,
        }
    }
}
