//! How many accesses of each kind went through the seam: data for tests and `--stats`.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Access;
use crate::spec::register::Bar;

/// Accesses to one BAR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BarCounts {
    /// 32-bit reads.
    pub reads: u64,
    /// 32-bit writes.
    pub writes: u64,
}

/// What has gone through the seam. Failed accesses count like others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Accesses to BAR 0, [`Bar::Config`].
    pub bar0: BarCounts,
    /// Accesses to BAR 2, [`Bar::Vdma`].
    pub bar2: BarCounts,
    /// Accesses to BAR 4, [`Bar::Access`].
    pub bar4: BarCounts,
    /// Reads of config space.
    pub config_reads: u64,
    /// Writes of config space; switching bus mastering on or off is one of these.
    pub config_writes: u64,
    /// Memories mapped for the device.
    pub maps: u64,
    /// Mappings undone.
    pub unmaps: u64,
    /// Resets asked for.
    pub resets: u64,
    /// Times that the interrupt was armed.
    pub interrupts_armed: u64,
}

impl Counts {
    /// The accesses to `bar`.
    #[must_use]
    pub fn of(&self, bar: Bar) -> BarCounts {
        match bar {
            Bar::Config => self.bar0,
            Bar::Vdma => self.bar2,
            Bar::Access => self.bar4,
        }
    }

    /// Reads of all BARs.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.bar0.reads + self.bar2.reads + self.bar4.reads
    }

    /// Writes of all BARs.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.bar0.writes + self.bar2.writes + self.bar4.writes
    }
}

impl Sub for BarCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
        }
    }
}

/// What happened between two looks: `after - before`.
impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            bar0: self.bar0 - earlier.bar0,
            bar2: self.bar2 - earlier.bar2,
            bar4: self.bar4 - earlier.bar4,
            config_reads: self.config_reads - earlier.config_reads,
            config_writes: self.config_writes - earlier.config_writes,
            maps: self.maps - earlier.maps,
            unmaps: self.unmaps - earlier.unmaps,
            resets: self.resets - earlier.resets,
            interrupts_armed: self.interrupts_armed - earlier.interrupts_armed,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    reads: [AtomicU64; 3],
    writes: [AtomicU64; 3],
    config_reads: AtomicU64,
    config_writes: AtomicU64,
    maps: AtomicU64,
    unmaps: AtomicU64,
    resets: AtomicU64,
    interrupts_armed: AtomicU64,
}

impl Counters {
    /// Counts one access.
    pub(super) fn count(&self, access: &Access) {
        let counter = match access {
            Access::Read { bar, .. } => &self.reads[bar.position()],
            Access::Write { bar, .. } => &self.writes[bar.position()],
            Access::ConfigRead { .. } => &self.config_reads,
            Access::ConfigWrite { .. } | Access::Enable | Access::Quiesce => &self.config_writes,
            Access::Map { .. } => &self.maps,
            Access::Unmap { .. } => &self.unmaps,
            Access::Reset => &self.resets,
            Access::ArmInterrupt => &self.interrupts_armed,
            Access::DisarmInterrupt => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let bar = |bar: Bar| BarCounts {
            reads: get(&self.reads[bar.position()]),
            writes: get(&self.writes[bar.position()]),
        };
        Counts {
            bar0: bar(Bar::Config),
            bar2: bar(Bar::Vdma),
            bar4: bar(Bar::Access),
            config_reads: get(&self.config_reads),
            config_writes: get(&self.config_writes),
            maps: get(&self.maps),
            unmaps: get(&self.unmaps),
            resets: get(&self.resets),
            interrupts_armed: get(&self.interrupts_armed),
        }
    }
}
