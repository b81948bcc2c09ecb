//! Operations: what the chip waits for, and what it does then.
//!
//! Names follow the schema; how each becomes an action of the firmware is the business of the network core's code.
//!
//! Source: vendor hailort v5.2.0, `libhailort/hef.proto`, `src/hef/hef.cpp`.

use serde::Serialize;

/// A trigger followed by actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// What is waited for first.
    pub trigger: Trigger,
    /// What is done then, in order.
    pub actions: Vec<Action>,
}

/// What an operation waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// Nothing.
    None,
    /// A layer controller finished.
    Lcu {
        /// Cluster of the controller.
        cluster: u8,
        /// Its number.
        lcu: u8,
    },
    /// An output stream has delivered its data to the host.
    OutputDone {
        /// Stream number.
        stream: u8,
    },
    /// An output stream of variable length is idle.
    DmaIdle {
        /// Stream number.
        stream: u8,
    },
    /// The detection unit is idle.
    NmsIdle(Box<NmsIdle>),
}

/// The units around a detection unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NmsIdle {
    /// Aggregator.
    pub aggregator: u8,
    /// Output buffer that feeds the unit.
    pub pred_buffer: u8,
    /// Cluster of that buffer.
    pub pred_cluster: u8,
    /// Interface of that buffer.
    pub pred_interface: u8,
    /// Output buffer behind the unit.
    pub succ_buffer: u8,
    /// Interface of that buffer.
    pub succ_interface: u8,
}

/// Config words for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigPiece {
    /// Config channel.
    pub channel: u8,
    /// Offset from the zero point of the file in bytes, whatever the container version.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u32,
}

/// Start parameters of a sequencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sequencer {
    /// Cluster.
    pub cluster: u8,
    /// First cut of the L3 memory.
    pub l3_cut: u8,
    /// Offset in that cut in bytes.
    pub l3_offset: u16,
    /// Processing units in use.
    pub apus: u32,
    /// Input aligners in use.
    pub input_aligners: u32,
    /// Subclusters in use.
    pub subclusters: u64,
    /// L2 memories in use.
    pub l2_memories: u64,
    /// The two L2 offsets.
    pub l2_offsets: [u64; 2],
}

/// A register write under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterWrite {
    /// Register address, a multiple of 4.
    pub address: u32,
    /// Where the value comes from.
    pub value: RegisterValue,
    /// Bits to change.
    pub mask: u32,
    /// Left shift of the value.
    pub shift: u8,
    /// Network whose batch size is meant.
    pub network_index: u8,
}

/// Where the value of a register write comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterValue {
    /// The file.
    Constant(u32),
    /// The batch size at run time.
    BatchSize,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Nothing.
    None,
    /// Send config words.
    WriteConfig(ConfigPiece),
    /// Start a sequencer.
    EnableSequencer(Box<Sequencer>),
    /// Wait for a sequencer.
    WaitForSequencer {
        /// Cluster.
        cluster: u8,
    },
    /// Start a layer controller.
    EnableLcu {
        /// Cluster.
        cluster: u8,
        /// Number of the controller.
        lcu: u8,
        /// Network it belongs to.
        network_index: u8,
        /// Kernel-done address.
        done_address: u16,
        /// Kernel-done count.
        done_count: u32,
    },
    /// Stop a layer controller.
    DisableLcu {
        /// Cluster.
        cluster: u8,
        /// Number of the controller.
        lcu: u8,
    },
    /// Re-arm a layer controller for a batch.
    SwitchLcuBatch {
        /// Cluster.
        cluster: u8,
        /// Number of the controller.
        lcu: u8,
        /// Network it belongs to.
        network_index: u8,
    },
    /// Open an input stream.
    AllowInputDataflow {
        /// Stream number.
        stream: u8,
    },
    /// Wait for a module.
    WaitForModule {
        /// Module number.
        module: u8,
    },
    /// Set up the detection unit.
    EnableNms {
        /// Unit.
        unit: u8,
        /// Network it belongs to.
        network_index: u8,
        /// Classes.
        classes: u16,
        /// Boxes in a burst.
        burst: u16,
        /// Chunks, at least 1.
        division_factor: u8,
    },
    /// Write a register.
    WriteRegister(Box<RegisterWrite>),
    /// The place for setting up config channels.
    AllowConfigChannels,
    /// The place for tearing down data channels.
    DisableDataChannels,
    /// Delay.
    Sleep {
        /// Microseconds, at least 1000.
        microseconds: u64,
    },
    /// Stop for a debugger.
    Halt,
}

impl Action {
    /// Short name for trees and statistics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WriteConfig(_) => "write config",
            Self::EnableSequencer(_) => "enable sequencer",
            Self::WaitForSequencer { .. } => "wait for sequencer",
            Self::EnableLcu { .. } => "enable lcu",
            Self::DisableLcu { .. } => "disable lcu",
            Self::SwitchLcuBatch { .. } => "switch lcu batch",
            Self::AllowInputDataflow { .. } => "allow input dataflow",
            Self::WaitForModule { .. } => "wait for module",
            Self::EnableNms { .. } => "enable nms",
            Self::WriteRegister(_) => "write register",
            Self::AllowConfigChannels => "allow config channels",
            Self::DisableDataChannels => "disable data channels",
            Self::Sleep { .. } => "sleep",
            Self::Halt => "halt",
        }
    }
}
