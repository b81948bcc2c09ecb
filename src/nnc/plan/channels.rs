//! Which vDMA channel carries what.
//!
//! Config and boundary channels are taken once. What stays is shared by the contexts: only one runs at a time, so each
//! takes from a copy, the lowest first, and drops it.
//!
//! Source: vendor hailort v5.2.0, `channel_allocator.cpp`.

use super::error::Refusal;
use crate::hef::Direction;
use crate::spec::nnc::context::ChannelId;
use crate::spec::vdma_bar::{CHANNELS, FIRST_FROM_DEVICE};

/// Channels that are free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    free: u32,
}

impl Channels {
    pub(super) fn new() -> Self {
        Self { free: u32::MAX }
    }

    /// Takes the lowest free channel of a direction.
    pub(super) fn take(&mut self, direction: Direction) -> Result<ChannelId, Refusal> {
        let range = match direction {
            Direction::HostToDevice => 0..FIRST_FROM_DEVICE,
            Direction::DeviceToHost => FIRST_FROM_DEVICE..CHANNELS,
        };
        let count = range.len();
        let found = range.clone().find(|index| self.free & 1 << index != 0);
        let channel = found.and_then(|index| {
            self.free &= !(1 << index);
            ChannelId::pcie(u8::try_from(index).ok()?)
        });
        channel.ok_or_else(|| {
            let what = match direction {
                Direction::HostToDevice => "channels to the device",
                Direction::DeviceToHost => "channels from the device",
            };
            Refusal::resource(what, format!("at most {count}"), count + 1)
        })
    }
}
