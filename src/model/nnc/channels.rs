//! What the firmware does to channels: it opens, holds and feeds the host's side.

use crate::model::channel::Channels;
use crate::model::side::Side;
use crate::spec::descriptor::data_id;
use crate::spec::vdma_bar::{control, device_side, host_side};

impl Channels {
    /// The firmware of NNC mode opens both sides: the host's on a list in its memory, its own as it pleases.
    pub(in crate::model) fn open(&mut self, channel: u32, list: u64, depth: u32) {
        let started = Side {
            control: control::START,
            depth: depth & 0xf,
            data_id: data_id::HOST,
            list,
            ..Side::default()
        };
        self.change(host_side(channel), |side| *side = started);
        self.start_device_side(channel, 0);
        if let Some(channel) = self.get_mut(channel) {
            channel.dropped = false;
            channel.stuck = false;
            channel.moved = false;
        }
    }

    /// The firmware holds a channel that is open, or lets it go on. By its own side: the host writes the word of its
    /// side's control each time that it offers descriptors, with what it read there before.
    pub(in crate::model) fn pause(&mut self, channel: u32, pause: bool) {
        let new = if pause {
            control::START_PAUSE
        } else {
            control::START
        };
        self.change(device_side(channel), |side| {
            if side.is_active() {
                side.control = new;
            }
        });
    }

    /// The firmware makes `count` more descriptors of the host's list available.
    pub(in crate::model) fn feed_host_side(&mut self, channel: u32, count: u32) {
        self.change(host_side(channel), |side| side.feed(count));
    }
}
