//! What a software chip counts.

use crate::spec::register::Bar;

/// Accesses, data and interrupts since the chip was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Reads of BAR 0, 2 and 4, in words.
    pub mmio_reads: [u64; 3],
    /// Writes of BAR 0, 2 and 4, in words.
    pub mmio_writes: [u64; 3],
    /// Reads of config space.
    pub config_reads: u64,
    /// Writes of config space.
    pub config_writes: u64,
    /// Descriptors of the host side processed.
    pub descriptors: u64,
    /// Bytes of data that DMA took from the host.
    pub bytes_to_device: u64,
    /// Bytes of data that DMA gave to the host.
    pub bytes_from_device: u64,
    /// Stray writes (a fault) that reached the host's memory, and those that the host refused.
    pub stray_writes: [u64; 2],
    /// Interrupt causes that became pending.
    pub interrupts_raised: u64,
    /// Interrupt messages sent.
    pub interrupts_sent: u64,
}

impl Counters {
    pub(super) fn read(&mut self, bar: Bar) {
        self.mmio_reads[usize::from(bar.index() / 2)] += 1;
    }

    pub(super) fn write(&mut self, bar: Bar) {
        self.mmio_writes[usize::from(bar.index() / 2)] += 1;
    }
}
