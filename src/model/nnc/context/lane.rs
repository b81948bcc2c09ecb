//! An open channel, and the frame that is on its way through it.

use super::layers::{Layer, Role};
use crate::model::nnc::access::Access;
use crate::spec::nnc::context::BufferInfo;

/// Buffers of one transfer.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
const BUFFERS: u32 = 8;

/// An open channel with the frame that is on its way.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) open: bool,
    pub(super) role: Role,
    pub(super) life: u32,
    /// The list; its pattern is the bytes of a transfer.
    list: Option<BufferInfo>,
    pub(super) stream: u8,
    /// A stream is bound to it.
    pub(super) bound: bool,
    pub(super) frame: Vec<u8>,
    /// Bytes of the frame that count.
    pub(super) payload: usize,
    pub(super) at: usize,
    /// An input holds a whole frame; an output has one to send.
    pub(super) ready: bool,
    /// Frames received or sent in this context.
    pub(super) frames: u64,
    /// Frames it may receive in this context.
    pub(super) granted: u64,
    /// Descriptors that the firmware makes available and that are not processed.
    pub(super) left: u32,
    /// Where in a frame it stops for good (a fault), and whether it has.
    pub(super) stops_at: Option<usize>,
    pub(super) stuck: bool,
    /// It was said that the host's transfer ends before its frame does.
    pub(super) short: bool,
}

impl Lane {
    pub(super) fn address(&self) -> u64 {
        self.list.map_or(0, |list| list.address)
    }

    pub(super) fn list(&self) -> BufferInfo {
        self.list.unwrap_or(EMPTY)
    }

    /// Descriptors that the rest of the frame can take: whole pages, and parts of pages where buffers end.
    pub(super) fn wants(&self) -> u32 {
        if self.role == Role::Config {
            return u32::MAX;
        }
        let left = u32::try_from(self.frame.len().saturating_sub(self.at)).unwrap_or(u32::MAX);
        left.div_ceil(self.list().page.max(1).into()) + BUFFERS
    }

    /// Bytes of configuration that have arrived.
    pub(super) fn moved(&self) -> usize {
        self.at
    }

    /// Opens the channel on its list. Boundary lists are fed by the host.
    pub(super) fn open(&mut self, chip: &Access<'_>, channel: u8, role: Role, list: BufferInfo) {
        let number = u32::from(channel);
        let depth = list.descriptors.next_power_of_two().trailing_zeros();
        let life = chip.open(number, list.address, depth);
        let frame = std::mem::take(&mut self.frame);
        *self = Self {
            open: true,
            role,
            life,
            list: Some(list),
            frame,
            ..Self::default()
        };
    }

    /// Makes frames of a layer's size.
    pub(super) fn bind(&mut self, layer: &Layer) {
        self.stream = layer.stream;
        self.role = layer.role;
        self.bound = true;
        self.payload = layer.payload_bytes();
        if self.frame.len() != layer.frame_bytes() {
            self.frame = vec![0; layer.frame_bytes()];
        }
    }

    pub(super) fn close(&mut self, chip: &Access<'_>, channel: u8) {
        if std::mem::take(&mut self.open) {
            chip.close(channel.into());
        }
        self.bound = false;
    }

    /// The firmware makes more descriptors of a list available.
    pub(super) fn feed(&mut self, chip: &Access<'_>, channel: u8, count: u32) {
        self.left = self.left.saturating_add(count);
        chip.feed(channel.into(), count);
    }

    /// Whether all that the firmware made available is done.
    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }

    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// A new context begins to use it.
    pub(super) fn restart(&mut self) {
        self.frames = 0;
        self.granted = 0;
    }

    /// Bytes of a frame that arrived before its end.
    pub(super) fn partial(&self) -> Option<(usize, usize)> {
        (self.role == Role::BoundaryInput && !self.ready && self.at > 0)
            .then_some((self.at, self.frame.len()))
    }

    /// A host makes whole transfers available, so one without descriptors has none that is begun.
    pub(super) fn note_short(&mut self, chip: &Access<'_>, channel: u8) {
        if self.role.is_boundary() && self.at > 0 && !std::mem::replace(&mut self.short, true) {
            chip.complain(format!(
                "channel {channel}: the host offered {} bytes of a transfer of {}: sizes that do not add up",
                self.at,
                self.frame.len()
            ));
        }
    }

    /// Whether the core may be given the next frame, or has one on its way.
    pub(super) fn is_between_frames(&self) -> bool {
        !self.ready && self.at == 0
    }

    /// An output begins to send the frame that was put into it.
    pub(super) fn send(&mut self) {
        self.ready = true;
        self.at = 0;
    }

    /// The frame of an input was used.
    pub(super) fn consume(&mut self) {
        self.ready = false;
        self.at = 0;
    }
}

const EMPTY: BufferInfo = BufferInfo {
    buffer_type: crate::spec::nnc::context::BufferType::DESCRIPTORS,
    address: 0,
    page: 0,
    descriptors: 0,
    pattern: 0,
};
