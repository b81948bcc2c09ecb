//! Loading and running networks: opcodes 32, 33, 36, 37, 52 to 54, 59, 71, 72, 74, 79.
//!
//! What the application header and the context data hold is not this module's business.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control_protocol.cpp`, `control.cpp`.

use super::command::{bodies, commands};
use super::context::{ApplicationHeader, MAX_APPLICATIONS};
use super::message::{Message, TooLong};
use super::open::open_enum;
use super::wire::{Be, Flag, Le, Raw, Wire};

/// Bytes of the main header: a count, then all application headers.
pub const MAIN_HEADER: usize = 1 + MAX_APPLICATIONS * ApplicationHeader::BYTES;

/// Channels in the table of [`ChangeHwInfer`].
pub const TABLE_CHANNELS: usize = 120;

/// Bytes of that table: four for each channel, and a count.
pub const CHANNEL_TABLE: usize = 4 * TABLE_CHANNELS + 1;

open_enum! {
    /// What the core CPU does with an application.
    pub enum SwitchState: u8 {
        /// Nothing runs.
        Reset = 0 "reset",
        /// The application runs.
        Enabled = 1 "enabled",
    }

    /// What a breakpoint is told.
    pub enum BreakpointControl: u8 {
        /// Stop there.
        Set = 0 "set",
        /// Go on.
        Continue = 1 "continue",
        /// Forget it.
        Clear = 2 "clear",
    }

    /// Where a breakpoint stands.
    pub enum BreakpointState: u8 {
        /// It is not set.
        Cleared = 0 "cleared",
        /// It was not reached.
        Waiting = 1 "waiting",
        /// The core CPU stands at it.
        Reached = 2 "reached",
    }

    /// Whether the core infers on its own.
    pub enum HwInferState: u8 {
        /// It starts.
        Start = 0 "start",
        /// It ends.
        Stop = 1 "stop",
    }

    /// What boundary channels read and write.
    pub enum BoundaryMode: u8 {
        /// Descriptor lists.
        Descriptors = 0 "descriptors",
        /// Continuous buffers.
        Continuous = 1 "continuous buffers",
    }
}

/// Where a breakpoint lies; `None` matches any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakpoint {
    /// Index of the application.
    pub application: Option<u8>,
    /// Batch.
    pub batch: Option<u32>,
    /// Index of the context.
    pub context: Option<u16>,
    /// Index of the action.
    pub action: Option<u16>,
}

impl Wire<Breakpoint> for Le {
    fn put(value: &Breakpoint, message: &mut Message) -> Result<(), TooLong> {
        let mut bytes = [0; 13];
        bytes[0] = u8::from(value.application.is_none());
        bytes[1] = value.application.unwrap_or(0);
        bytes[2] = u8::from(value.batch.is_none());
        bytes[3..7].copy_from_slice(&value.batch.unwrap_or(0).to_le_bytes());
        bytes[7] = u8::from(value.context.is_none());
        bytes[8..10].copy_from_slice(&value.context.unwrap_or(0).to_le_bytes());
        bytes[10] = u8::from(value.action.is_none());
        bytes[11..].copy_from_slice(&value.action.unwrap_or(0).to_le_bytes());
        message.param(&bytes)
    }

    fn take(bytes: &[u8]) -> Option<Breakpoint> {
        let b: &[u8; 13] = bytes.try_into().ok()?;
        let word = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        Some(Breakpoint {
            application: (b[0] == 0).then_some(b[1]),
            batch: (b[2] == 0).then_some(u32::from_le_bytes([b[3], b[4], b[5], b[6]])),
            context: (b[7] == 0).then(|| word(8)),
            action: (b[10] == 0).then(|| word(11)),
        })
    }
}

/// One boundary channel in the table of [`ChangeHwInfer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableChannel {
    /// Its number.
    pub channel: u8,
    /// Its engine.
    pub engine: u8,
    /// Descriptors that are programmed.
    pub descriptors: u16,
}

/// At most [`TABLE_CHANNELS`] channels; more are an error in neither direction, they are left out.
impl Wire<Vec<TableChannel>> for Le {
    fn put(value: &Vec<TableChannel>, message: &mut Message) -> Result<(), TooLong> {
        let mut bytes = [0; CHANNEL_TABLE];
        let mut count = 0;
        for (place, channel) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(value) {
            let [low, high] = channel.descriptors.to_le_bytes();
            *place = [channel.channel, channel.engine, low, high];
            count += 1;
        }
        bytes[CHANNEL_TABLE - 1] = count;
        message.param(&bytes)
    }

    fn take(bytes: &[u8]) -> Option<Vec<TableChannel>> {
        let bytes: &[u8; CHANNEL_TABLE] = bytes.try_into().ok()?;
        let (table, count) = bytes.as_chunks::<4>();
        let count = count.first().copied().map_or(0, usize::from);
        let channels = table.get(..count)?.iter();
        let entry = |&[channel, engine, low, high]: &[u8; 4]| TableChannel {
            channel,
            engine,
            descriptors: u16::from_le_bytes([low, high]),
        };
        Some(channels.map(entry).collect())
    }
}

/// What [`ChangeHwInfer`] brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HwInferResult {
    /// Whether it is done.
    pub done: bool,
    /// Clock cycles it took.
    pub cycles: u32,
}

impl Wire<HwInferResult> for Le {
    fn put(value: &HwInferResult, message: &mut Message) -> Result<(), TooLong> {
        let [a, b, c, d] = value.cycles.to_le_bytes();
        message.param(&[u8::from(value.done), a, b, c, d])
    }

    fn take(bytes: &[u8]) -> Option<HwInferResult> {
        let &[done, a, b, c, d] = bytes else {
            return None;
        };
        Some(HwInferResult {
            done: done != 0,
            cycles: u32::from_le_bytes([a, b, c, d]),
        })
    }
}

/// What the host has to know of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HwConstants {
    /// Bytes of a word of the FIFOs.
    pub fifo_word: u32,
    /// Most periph buffers of a frame.
    pub max_periph_buffers: u16,
    /// Most bytes of a periph buffer.
    pub max_periph_bytes: u16,
    /// Most bytes of a buffer that the core takes.
    pub max_acceptable_bytes: u16,
    /// Whether credits are optimised; told up to 5.0 only.
    pub optimise_credits: Option<u8>,
    /// Bytes of the stream to the host.
    pub outbound_stream: u32,
    /// Initial credit of a stream whose HEF names no FIFO size.
    pub default_credit: u32,
}

/// 18 bytes; 19 up to 5.0.
impl Wire<HwConstants> for Le {
    fn put(value: &HwConstants, message: &mut Message) -> Result<(), TooLong> {
        let mut bytes = [0; 19];
        bytes[..4].copy_from_slice(&value.fifo_word.to_le_bytes());
        bytes[4..6].copy_from_slice(&value.max_periph_buffers.to_le_bytes());
        bytes[6..8].copy_from_slice(&value.max_periph_bytes.to_le_bytes());
        bytes[8..10].copy_from_slice(&value.max_acceptable_bytes.to_le_bytes());
        bytes[10..14].copy_from_slice(&value.outbound_stream.to_le_bytes());
        let last = match value.optimise_credits {
            Some(flag) => {
                bytes[14] = flag;
                15
            }
            None => 14,
        };
        bytes[last..last + 4].copy_from_slice(&value.default_credit.to_le_bytes());
        message.param(&bytes[..last + 4])
    }

    fn take(bytes: &[u8]) -> Option<HwConstants> {
        let short = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (optimise_credits, last) = match bytes.len() {
            18 => (None, 14),
            19 => (bytes.get(14).copied(), 15),
            _ => return None,
        };
        Some(HwConstants {
            fifo_word: long(0)?,
            max_periph_buffers: short(4)?,
            max_periph_bytes: short(6)?,
            max_acceptable_bytes: short(8)?,
            optimise_credits,
            outbound_stream: long(10)?,
            default_credit: long(last)?,
        })
    }
}

/// A number of 16 bits in the first half of four bytes, big-endian.
#[derive(Debug)]
pub struct HighHalf;

impl Wire<u16> for HighHalf {
    fn put(value: &u16, message: &mut Message) -> Result<(), TooLong> {
        let [high, low] = value.to_be_bytes();
        message.param(&[high, low, 0, 0])
    }

    fn take(bytes: &[u8]) -> Option<u16> {
        let &[high, low, _, _] = bytes else {
            return None;
        };
        Some(u16::from_be_bytes([high, low]))
    }
}

bodies! {
    /// Begins an application: it gets the next free index.
    pub struct SetNetworkGroupHeader {
        /// The header.
        header: [u8; ApplicationHeader::BYTES] as Raw,
    }

    /// Sends a part of a context's action list.
    pub struct SetContextInfo {
        /// Whether it is the first part.
        first: bool as Flag,
        /// Whether it is the last part.
        last: bool as Flag,
        /// Number of the [`ContextKind`](super::context::ContextKind).
        context: u8 as Be,
        /// The part, up to [`MAX_CHUNK`](super::context::MAX_CHUNK) bytes.
        data: Vec<u8> as Raw,
    }

    /// Reads an action list back.
    pub struct DownloadActions {
        /// Index of the application.
        application: u32 as Be,
        /// Number of the [`ContextKind`](super::context::ContextKind).
        context: u8 as Be,
        /// Which of its kind.
        index: u16 as Le,
        /// Bytes received so far.
        offset: u16 as Be,
    }

    /// A part of an action list.
    pub struct Actions {
        /// Where the list lies in the core's memory; never 0.
        address: u32 as Be,
        /// Whether it is the last part.
        end: bool as Flag,
        /// Batches so far.
        batches: u32 as Be,
        /// Idle time.
        idle: u32 as Be,
        /// The part.
        data: Vec<u8> as Raw,
    }

    /// Starts an application, or stops whatever runs.
    pub struct ChangeStatus {
        /// Which of both.
        state: SwitchState as Be,
        /// Index of the application.
        application: u8 as Be,
        /// Frames of a batch, 0 for the application's own.
        dynamic_batch: u16 as Le,
        /// Batches until it stops, 0 for never.
        batch_count: u16 as Le,
    }

    /// Sets, passes or clears a breakpoint.
    pub struct ConfigureBreakpoint {
        /// Number of the breakpoint.
        id: u32 as Le,
        /// What to do.
        control: BreakpointControl as Be,
        /// Where it lies.
        place: Breakpoint as Le,
    }

    /// Asks where a breakpoint stands.
    pub struct GetBreakpoint {
        /// Number of the breakpoint.
        id: u32 as Le,
    }

    /// Where a breakpoint stands.
    pub struct BreakpointStatus {
        /// The state.
        state: BreakpointState as Be,
    }

    /// Asks for the headers of all applications.
    pub struct GetMainHeader {}

    /// The headers of all applications.
    pub struct MainHeader {
        /// Count, then headers.
        bytes: [u8; MAIN_HEADER] as Raw,
    }

    /// Chooses the batch whose actions get time stamps.
    pub struct ConfigureTimestamp {
        /// The batch.
        batch: u16 as HighHalf,
        /// Whether stamps are made.
        enable: bool as Flag,
    }

    /// Forgets all applications.
    pub struct ClearApplications {}

    /// Asks for the core's constants.
    pub struct GetHwConstants {}

    /// The core's constants.
    pub struct HwConstantsReply {
        /// The constants.
        constants: HwConstants as Le,
    }

    /// Has the core infer without the host, for a benchmark.
    pub struct ChangeHwInfer {
        /// Start or stop.
        state: HwInferState as Be,
        /// Index of the application.
        application: u8 as Be,
        /// Frames of a batch.
        batch: u16 as Le,
        /// How many batches.
        batch_count: u16 as Le,
        /// Boundary channels; at most [`TABLE_CHANNELS`].
        channels: Vec<TableChannel> as Le,
        /// What the channels read and write.
        mode: BoundaryMode as Be,
    }

    /// How far the benchmark is.
    pub struct HwInfer {
        /// The result.
        result: HwInferResult as Le,
    }

    /// Tells that the host has updated a cache.
    pub struct SignalCacheUpdated {}
}

commands! {
    SetNetworkGroupHeader = 32 -> (),
    SetContextInfo = 33 -> (),
    DownloadActions = 36 -> Actions,
    ChangeStatus = 37 -> (),
    ConfigureBreakpoint = 52 -> (),
    GetBreakpoint = 53 -> BreakpointStatus,
    GetMainHeader = 54 -> MainHeader,
    ConfigureTimestamp = 59 -> (),
    ClearApplications = 71 -> (),
    GetHwConstants = 72 -> HwConstantsReply,
    ChangeHwInfer = 74 -> HwInfer,
    SignalCacheUpdated = 79 -> (),
}
