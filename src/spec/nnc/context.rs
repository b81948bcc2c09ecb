//! Context switching: what the host uploads so that the firmware of the neural core can run a network by itself.
//!
//! Layout only: identifiers, registers, the application header, the 45 actions and how they follow each other in a list.
//! Whether a list makes sense is for driver and model to decide, each by its own rules. Everything is little-endian,
//! packed, without padding, unlike the control message around it.
//!
//! Source: vendor hailort v5.2.0, `common/include/control_protocol.h`, `common/include/context_switch_defs.h`.

mod action;
mod header;
mod parts;
mod table;
mod walk;

pub use action::{Action, ActionKind, UnknownAction};
pub use header::ApplicationHeader;
pub use parts::{
    BufferInfo, BufferType, ChannelId, CreditType, Direction, LcuId, StreamRegisters, WriteKind,
};
pub use walk::{Repeated, Step, Walk, WalkError};

pub use crate::spec::descriptor::{MAX_PAGE, MIN_PAGE};
pub use crate::spec::vdma_bar::{LIST_ALIGNMENT, MAX_DESCRIPTORS, MIN_DESCRIPTORS};

/// Applications configured at a time; firmware may be built with 8.
pub const MAX_APPLICATIONS: usize = 26;
/// Contexts of an application, the fixed ones included.
pub const MAX_CONTEXTS: u16 = 1024;
/// Contexts every application has: activation, batch switching, preliminary.
pub const FIXED_CONTEXTS: u16 = 3;
/// Contexts of an application that run in turn.
pub const MAX_DYNAMIC_CONTEXTS: u16 = MAX_CONTEXTS - FIXED_CONTEXTS;
/// Bytes of action list in one control.
pub const MAX_CHUNK: usize = 1461;
/// Networks in an application.
pub const MAX_NETWORKS: u8 = 8;
/// Config channels that the application header has room for.
pub const MAX_CONFIG_CHANNELS: usize = 24;
/// Frames of a batch.
///
/// Source: vendor hailort v5.2.0, `resource_manager_builder.cpp` (half of 128, less one).
pub const MAX_BATCH: u16 = 63;
/// Bytes of firmware memory for all action lists, about.
///
/// Source: vendor hailort v5.2.0, `context_switch_defs.h`; the host does not count over PCIe.
pub const ACTION_MEMORY: usize = 80 << 10;
/// Actions in one repeated block.
pub const MAX_REPEATED: usize = 255;
/// Time stamp of an action that has not run.
pub const NOT_RUN: u32 = u32::MAX;
/// Kernel-done address of a layer controller that is enabled by the short action.
pub const DEFAULT_DONE_ADDRESS: u16 = 1;
/// Kernel-done count of a layer controller that is enabled by the short action.
pub const DEFAULT_DONE_COUNT: u32 = 2;

/// Descriptor page size the host starts from in bytes, where the link allows it.
///
/// Source: vendor hailort v5.2.0, `hailort_driver.cpp`.
pub const DEFAULT_PAGE: u32 = 512;
/// Stream number that stands for "none" in a change of mapping, by the architecture number of the HEF.
///
/// Source: vendor hailort v5.2.0, `resource_manager_builder.cpp`.
#[must_use]
pub fn null_stream(architecture: u32) -> Option<u8> {
    match architecture {
        103 | 4 => Some(31),
        6 => Some(15),
        108 => Some(63),
        _ => None,
    }
}

/// What a context is for; the number is the type in a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ContextKind {
    /// Runs once, after activation.
    Preliminary = 0,
    /// Runs in turn with the others of its kind.
    Dynamic = 1,
    /// Runs when the batch size changes.
    BatchSwitching = 2,
    /// Runs first when the application is switched on.
    Activation = 3,
}

impl ContextKind {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preliminary => "preliminary",
            Self::Dynamic => "dynamic",
            Self::BatchSwitching => "batch switching",
            Self::Activation => "activation",
        }
    }
}

/// A number that names no kind of context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of context: expected 0 to 3, found {0}")]
pub struct UnknownContext(pub u8);

impl TryFrom<u8> for ContextKind {
    type Error = UnknownContext;

    fn try_from(number: u8) -> Result<Self, UnknownContext> {
        Ok(match number {
            0 => Self::Preliminary,
            1 => Self::Dynamic,
            2 => Self::BatchSwitching,
            3 => Self::Activation,
            other => return Err(UnknownContext(other)),
        })
    }
}
