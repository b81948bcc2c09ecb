//! One side of a channel: its registers as values, and the arithmetic of its list.

use crate::addr::Iova;
use crate::spec::descriptor;
use crate::spec::vdma_bar::{ChannelControl, control};

/// Values of the error byte. Its meaning is unknown, only that it is not zero; these are our own.
pub(super) mod error {
    /// The list or the data could not be reached.
    pub(in crate::model) const BUS: u8 = 1;
    /// A descriptor, or the count of them, makes no sense.
    pub(in crate::model) const DESCRIPTOR: u8 = 2;
}

/// One side of a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) control: u32,
    pub(super) depth: u32,
    pub(super) data_id: u32,
    pub(super) available: u16,
    pub(super) processed: u16,
    pub(super) ongoing: u16,
    pub(super) error: u8,
    pub(super) list: u64,
}

impl Side {
    /// Descriptors of the list.
    pub(super) fn len(&self) -> u32 {
        1 << if self.depth == 0 { 16 } else { self.depth }
    }

    fn mask(&self) -> u32 {
        self.len() - 1
    }

    /// Whether new descriptors may be fetched.
    pub(super) fn runs(&self) -> bool {
        self.control == control::START
    }

    /// Started, be it paused.
    pub(super) fn is_active(&self) -> bool {
        self.control & control::ACTIVE != 0
    }

    /// Index of the next descriptor.
    pub(super) fn next(&self) -> u32 {
        u32::from(self.processed) & self.mask()
    }

    /// Descriptors made available and not yet processed.
    pub(super) fn waiting(&self) -> u32 {
        self.distance_to(self.available)
    }

    pub(super) fn distance_to(&self, available: u16) -> u32 {
        u32::from(available).wrapping_sub(u32::from(self.processed)) & self.mask()
    }

    /// Which memory holds the list.
    pub(super) fn list_data_id(&self) -> u32 {
        self.data_id
    }

    /// Bus address of a descriptor.
    pub(super) fn descriptor(&self, index: u32) -> Iova {
        let len = u64::try_from(descriptor::LEN).unwrap_or(0);
        Iova(self.list.wrapping_add(u64::from(index) * len))
    }

    /// So many more descriptors are available.
    pub(super) fn feed(&mut self, count: u32) {
        let available = u32::from(self.available).wrapping_add(count) & self.mask();
        self.available = u16::try_from(available).unwrap_or(0);
    }

    /// So many descriptors are about to be fetched.
    pub(super) fn fetch(&mut self, count: u32) {
        self.ongoing = self.index_after(count);
    }

    /// So many descriptors are done.
    pub(super) fn finish(&mut self, count: u32) {
        self.processed = self.index_after(count);
    }

    fn index_after(&self, count: u32) -> u16 {
        // Shorter lists count 1..=length, as the hardware does: zero is seen only before the first.
        let next = self.next() + count;
        let index = if next == self.len() {
            next
        } else {
            next & self.mask()
        };
        u16::try_from(index).unwrap_or(0) // 65,536 wraps to 0: the counters have 16 bits.
    }

    /// Nothing that was fetched is left: after a failure.
    pub(super) fn drop_fetched(&mut self) {
        self.ongoing = self.processed;
    }

    pub(super) fn control_word(&self) -> u32 {
        ChannelControl::default()
            .with_control(self.control)
            .with_data_id(self.data_id)
            .with_depth(self.depth)
            .with_available(self.available.into())
            .0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_count_to_their_length() {
        let mut side = Side {
            depth: 2,
            ..Side::default()
        };
        side.finish(4);
        assert_eq!((side.processed, side.next()), (4, 0));
        side.finish(1);
        assert_eq!((side.processed, side.next()), (1, 1));
        let mut long = Side::default();
        long.finish(65_535);
        long.finish(1);
        assert_eq!(long.processed, 0);
    }
}
