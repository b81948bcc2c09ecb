//! What the lists of an application say about channels: which stream each carries, through which list.

use crate::spec::nnc::context::{Action, BufferInfo, Direction, StreamRegisters};

/// Channels of the one engine.
pub(super) const CHANNELS: usize = 32;
/// The first channel that carries data from the device.
pub(super) const FIRST_FROM_DEVICE: u8 = 16;

/// What a channel is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// Carries configuration words.
    #[default]
    Config,
    /// Between the user and the core.
    BoundaryInput,
    BoundaryOutput,
    /// Between contexts.
    InterContextInput,
    InterContextOutput,
    /// The ends of a ring inside a context.
    DdrInput,
    DdrOutput,
    /// The ends of a cache.
    CacheInput,
    CacheOutput,
}

impl Role {
    pub(super) fn is_input(self) -> bool {
        matches!(
            self,
            Self::Config
                | Self::BoundaryInput
                | Self::InterContextInput
                | Self::DdrInput
                | Self::CacheInput
        )
    }

    pub(super) fn is_boundary(self) -> bool {
        matches!(self, Self::BoundaryInput | Self::BoundaryOutput)
    }

    pub(super) fn is_ddr(self) -> bool {
        matches!(self, Self::DdrInput | Self::DdrOutput)
    }

    /// Whether its list wraps around.
    pub(super) fn is_circular(self) -> bool {
        self.is_boundary() || self.is_ddr()
    }

    pub(super) fn direction(self) -> Direction {
        if self.is_input() {
            Direction::HOST_TO_DEVICE
        } else {
            Direction::DEVICE_TO_HOST
        }
    }
}

/// A stream bound to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) role: Role,
    /// The packed channel, engine included.
    pub(super) channel: u8,
    pub(super) stream: u8,
    /// 0 where the action does not say.
    pub(super) network: u8,
    pub(super) registers: StreamRegisters,
    pub(super) buffer: BufferInfo,
    /// Entries of a cache's output list.
    pub(super) entries: u16,
    /// The other end of a DDR ring, for its reading end.
    pub(super) paired: u8,
}

impl Layer {
    /// The layer that an action sets up.
    pub(super) fn of(action: &Action) -> Option<Self> {
        let (Action::ActivateBoundaryInput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateBoundaryOutput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateInterContextInput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateInterContextOutput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateDdrInput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateDdrOutput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateCacheInput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }
        | Action::ActivateCacheOutput {
            channel,
            stream,
            registers,
            buffer,
            ..
        }) = *action
        else {
            return None;
        };
        let (role, network, entries, paired) = match *action {
            Action::ActivateBoundaryInput { .. } => (Role::BoundaryInput, 0, 0, 0),
            Action::ActivateBoundaryOutput { network, .. } => (Role::BoundaryOutput, network, 0, 0),
            Action::ActivateInterContextInput { network, .. } => {
                (Role::InterContextInput, network, 0, 0)
            }
            Action::ActivateInterContextOutput { network, .. } => {
                (Role::InterContextOutput, network, 0, 0)
            }
            Action::ActivateDdrInput { paired_channel, .. } => {
                (Role::DdrInput, 0, 0, paired_channel.raw())
            }
            Action::ActivateDdrOutput { .. } => (Role::DdrOutput, 0, 0, 0),
            Action::ActivateCacheInput { network, .. } => (Role::CacheInput, network, 0, 0),
            Action::ActivateCacheOutput { network, batch, .. } => {
                (Role::CacheOutput, network, batch, 0)
            }
            _ => return None,
        };
        Some(Self {
            role,
            channel: channel.raw(),
            stream,
            network,
            registers,
            buffer,
            entries,
            paired,
        })
    }

    /// Descriptors of one transfer.
    pub(super) fn descriptors_per_transfer(&self) -> u32 {
        self.buffer
            .pattern
            .div_ceil(u32::from(self.buffer.page.max(1)))
    }

    /// Transfers that its list holds.
    pub(super) fn entries(&self) -> u32 {
        match self.role {
            Role::CacheInput => {
                (self.buffer.descriptors.saturating_sub(1)) / self.descriptors_per_transfer().max(1)
            }
            Role::CacheOutput => self.entries.into(),
            _ => 1,
        }
    }

    /// Bytes of a frame.
    pub(super) fn frame_bytes(&self) -> usize {
        usize::try_from(u64::from(self.buffer.pattern) * u64::from(self.entries()))
            .unwrap_or(usize::MAX)
    }

    /// Bytes of a frame that count: without padding where the registers tell.
    pub(super) fn payload_bytes(&self) -> usize {
        let payload = usize::try_from(self.registers.buffer_padding_payload).unwrap_or(0);
        let frame = self.frame_bytes();
        if payload == 0 {
            frame
        } else {
            payload.min(frame)
        }
    }
}

/// A DDR ring whose credits the firmware moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) input: u8,
    pub(super) output: u8,
    pub(super) network: u8,
    pub(super) descriptors_per_frame: u32,
}

/// What belongs together in a context: a frame of all inputs makes a frame of all outputs. Channels are in the order
/// of their streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) network: u8,
    pub(super) inputs: Vec<u8>,
    pub(super) outputs: Vec<u8>,
    pub(super) pairs: Vec<Pair>,
}
