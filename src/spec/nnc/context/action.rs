//! The 45 actions: number, parameters, whether they may be repeated.
//!
//! Fields that the firmware takes one of a few values for are numbers with names, flags are 0 or 1; any byte decodes, so
//! that whoever checks a list can say what is wrong.
//!
//! Source: vendor hailort v5.2.0, `common/include/context_switch_defs.h`.

use std::fmt;

use serde::Serialize;

use super::parts::{
    BufferInfo, BufferType, ChannelId, CreditType, Direction, Field, LcuId, StreamRegisters,
    WriteKind,
};
use super::table::{actions, meaning, repeats};
use super::{DEFAULT_DONE_COUNT, NOT_RUN};

/// A number that names no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown action: expected 0 to 44, found {0}")]
pub struct UnknownAction(pub u8);

actions! {
    /// Fetches configuration by descriptor count; the older way.
    0 "fetch config descriptors" repeats FetchConfigDescriptors {
        descriptors: u16, channel: ChannelId,
    };
    /// Starts a sequencer.
    1 "trigger sequencer" repeats TriggerSequencer {
        cluster: u8, l3_cut: u8, l3_offset: u16, active_apu: u32, active_ia: u32,
        active_sc: u64, active_l2: u64, l2_offset_0: u64, l2_offset_1: u64,
    };
    /// Lets an input fetch data.
    2 "fetch data" repeats FetchData {
        channel: ChannelId, stream: u8, network: u8, frame_size: u32, credit_type: CreditType,
        buffer_type: BufferType,
    };
    /// Starts a layer controller with the usual kernel-done address and count.
    3 "enable lcu (default)" repeats EnableLcuDefault { lcu: LcuId, network: u8, };
    /// Starts a layer controller.
    4 "enable lcu" repeats EnableLcu {
        lcu: LcuId, network: u8, done_address: u16, done_count: u32,
    };
    /// Stops a layer controller.
    5 "disable lcu" repeats DisableLcu { lcu: LcuId, };
    /// Binds an input of the user to its channel.
    6 "activate boundary input" alone ActivateBoundaryInput {
        channel: ChannelId, stream: u8, registers: StreamRegisters, buffer: BufferInfo,
        initial_credit: u32,
    };
    /// Binds an output to the user to its channel.
    7 "activate boundary output" alone ActivateBoundaryOutput {
        channel: ChannelId, stream: u8, network: u8, registers: StreamRegisters,
        buffer: BufferInfo,
    };
    /// Binds an input from another context to its channel.
    8 "activate inter-context input" alone ActivateInterContextInput {
        channel: ChannelId, stream: u8, network: u8, registers: StreamRegisters,
        buffer: BufferInfo, initial_credit: u32,
    };
    /// Binds an output to another context to its channel.
    9 "activate inter-context output" alone ActivateInterContextOutput {
        channel: ChannelId, stream: u8, network: u8, registers: StreamRegisters,
        buffer: BufferInfo,
    };
    /// Binds the reading end of a DDR ring.
    10 "activate ddr input" alone ActivateDdrInput {
        channel: ChannelId, stream: u8, registers: StreamRegisters, buffer: BufferInfo,
        initial_credit: u32, paired_channel: ChannelId,
    };
    /// Binds the writing end of a DDR ring.
    11 "activate ddr output" alone ActivateDdrOutput {
        channel: ChannelId, stream: u8, registers: StreamRegisters, buffer: BufferInfo,
        buffered_rows: u32,
    };
    /// Closes a channel.
    12 "deactivate channel" alone DeactivateChannel {
        channel: ChannelId, direction: Direction, check_host_empty: u8, buffer_type: BufferType,
        initial_credit: u32,
    };
    /// Connects a channel with a stream.
    13 "change channel to stream mapping" repeats ChangeMapping {
        channel: ChannelId, stream: u8, dummy: u8,
    };
    /// Adds a DDR ring to those whose credits the firmware moves.
    14 "add ddr pair" repeats AddDdrPair {
        input_channel: ChannelId, output_channel: ChannelId, network: u8,
        descriptors_per_frame: u32, programmed_descriptors: u16,
    };
    /// Starts moving credits of DDR rings.
    15 "start ddr buffering" alone StartDdrBuffering;
    /// Waits for a layer controller.
    16 "wait for lcu" alone WaitLcu { lcu: LcuId, };
    /// Waits for a sequencer.
    17 "wait for sequencer" alone WaitSequencer { cluster: u8, };
    /// Waits for an input; hosts do not send it.
    18 "wait for input transfer" alone WaitInputTransfer {
        channel: ChannelId, stream: u8, network: u8, is_inter_context: u8,
        buffer_type: BufferType,
    };
    /// Waits until an output has delivered its data.
    19 "wait for output transfer" alone WaitOutputTransfer {
        channel: ChannelId, stream: u8, network: u8, is_inter_context: u8,
        buffer_type: BufferType,
    };
    /// Waits until a module is configured.
    20 "wait for module configuration" alone WaitModuleConfig { module: u8, };
    /// Waits for another application or batch.
    21 "wait for application change" alone WaitApplicationChange;
    /// Opens a config channel.
    22 "activate config channel" alone ActivateConfigChannel {
        channel: ChannelId, config_stream: u8, buffer: BufferInfo,
    };
    /// Closes a config channel.
    23 "deactivate config channel" alone DeactivateConfigChannel {
        channel: ChannelId, config_stream: u8,
    };
    /// Stands in front of actions of one kind that share its header.
    24 "repeated" alone Repeated { count: u8, last_executed: u8, sub_type: u8, };
    /// Waits until an output of variable length is idle.
    25 "wait for dma idle" alone WaitDmaIdle {
        channel: ChannelId, stream: u8, is_inter_context: u8, buffer_type: BufferType,
    };
    /// Waits for the detection unit.
    26 "wait for nms" alone WaitNms {
        aggregator: u8, pred_buffer: u8, pred_cluster: u8, pred_interface: u8, succ_buffer: u8,
        succ_interface: u8,
    };
    /// Sends config words.
    27 "fetch ccw bursts" alone FetchCcwBursts { bursts: u16, config_stream: u8, };
    /// Checks a channel before it is closed.
    28 "validate channel" alone ValidateChannel {
        channel: ChannelId, direction: Direction, check_host_empty: u8, buffer_type: BufferType,
        initial_credit: u32,
    };
    /// Starts granting credits.
    29 "start burst credits" alone StartBurstCredits;
    /// Forgets granted credits.
    30 "reset burst credits" alone ResetBurstCredits;
    /// Forgets the DDR rings.
    31 "reset ddr buffering" alone ResetDdrBuffering;
    /// Starts the channel of an input of the user.
    32 "open boundary input" alone OpenBoundaryInput {
        channel: ChannelId, buffer: BufferInfo, stream: u8, network: u8, periph_bytes: u16,
        frame_size: u32,
    };
    /// Starts the channel of an output to the user.
    33 "open boundary output" alone OpenBoundaryOutput { channel: ChannelId, buffer: BufferInfo, };
    /// Sets the detection unit up.
    34 "enable nms" repeats EnableNms {
        unit: u8, network: u8, classes: u16, burst: u16, division_factor: u8,
    };
    /// Writes a register.
    35 "write register" alone WriteData {
        address: u32, kind: WriteKind, data: u32, shift: u8, mask: u32, network: u8,
    };
    /// Re-arms a layer controller for a batch.
    36 "switch lcu batch" repeats SwitchLcuBatch { lcu: LcuId, network: u8, done_count: u32, };
    /// Takes over the new batch size on an input.
    37 "change boundary input batch" alone ChangeBoundaryInputBatch { channel: ChannelId, };
    /// Pauses a channel.
    38 "pause channel" alone PauseChannel { channel: ChannelId, direction: Direction, };
    /// Goes on with a channel.
    39 "resume channel" alone ResumeChannel { channel: ChannelId, direction: Direction, };
    /// Binds the reading end of a cache.
    40 "activate cache input" alone ActivateCacheInput {
        channel: ChannelId, stream: u8, network: u8, registers: StreamRegisters,
        buffer: BufferInfo, initial_credit: u32,
    };
    /// Binds the writing end of a cache.
    41 "activate cache output" alone ActivateCacheOutput {
        registers: StreamRegisters, buffer: BufferInfo, batch: u16, channel: ChannelId,
        stream: u8, network: u8,
    };
    /// Waits until the host has moved the caches on.
    42 "wait for cache update" alone WaitCacheUpdated;
    /// Waits.
    43 "sleep" alone Sleep { microseconds: u32, };
    /// Stops until a reset.
    44 "halt" alone Halt;
}

/// Whether people read the field in hexadecimal.
fn is_bits(field: &str) -> bool {
    matches!(
        field,
        "address" | "mask" | "data" | "done_address" | "l2_offset_0" | "l2_offset_1"
    ) || field.starts_with("active_")
}

impl ActionKind {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl TryFrom<u8> for ActionKind {
    type Error = UnknownAction;

    fn try_from(number: u8) -> Result<Self, UnknownAction> {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(UnknownAction(number))
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Action {
    /// Appends header and parameters, as an action that has not run. Of a repeated block this is the header of all.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind().number());
        out.extend(NOT_RUN.to_le_bytes());
        self.encode_parameters(out);
    }

    /// The layer controller that it enables, or switches to another batch: itself, its network, its kernel-done count.
    #[must_use]
    pub fn layer_controller(&self) -> Option<(LcuId, u8, u32)> {
        match *self {
            Self::EnableLcuDefault { lcu, network } => Some((lcu, network, DEFAULT_DONE_COUNT)),
            Self::EnableLcu {
                lcu,
                network,
                done_count,
                ..
            }
            | Self::SwitchLcuBatch {
                lcu,
                network,
                done_count,
            } => Some((lcu, network, done_count)),
            _ => None,
        }
    }
}
