//! The two log rings: lines of text, written without a look at how far the host has read.
//!
//! What the vendor's firmware writes there is unknown; text is the model's own choice.

use super::super::core::Core;
use crate::addr::DeviceAddr;
use crate::spec::nnc::Cpu;
use crate::spec::nnc::log::{CHIP_OFFSET, DATA, DATA_LEN};
use crate::spec::nnc::state::{LogLevel, LogTargets};

/// What is logged, and where to.
#[derive(Debug)]
pub(super) struct Logger {
    pub(super) level: LogLevel,
    pub(super) targets: LogTargets,
}

/// Until the host sets something else. Source: any plausible choice will do; unconfirmed.
impl Default for Logger {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            targets: LogTargets::RING,
        }
    }
}

impl Core {
    /// A line of the firmware of `cpu`.
    pub(in crate::model) fn firmware_says(&mut self, cpu: Cpu, level: LogLevel, text: &str) {
        ::log::debug!("sim: {cpu}: {level}: {text}");
        let logger = &self.nnc.logger;
        if logger.targets.contains(LogTargets::RING) && level.raw() >= logger.level.raw() {
            self.write_ring(cpu, format!("{level}: {text}\n").as_bytes());
        }
    }

    /// Appends bytes to a ring; what the host has not read yet may be overwritten.
    pub(super) fn write_ring(&mut self, cpu: Cpu, bytes: &[u8]) {
        let ring = Self::ring_of(cpu);
        let mut at = self.chip_offset(ring) % DATA_LEN;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(DATA_LEN - at).unwrap_or(0);
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.memory
                .copy_in(DeviceAddr(ring.0 + u64::from(DATA + at)), now);
            at = (at + u32::try_from(now.len()).unwrap_or(0)) % DATA_LEN;
            rest = later;
        }
        self.set_chip_offset(cpu, at);
    }

    fn chip_offset(&self, ring: DeviceAddr) -> u32 {
        let mut word = [0; 4];
        let place = DeviceAddr(ring.0 + u64::from(CHIP_OFFSET));
        self.memory.copy_out(place, &mut word);
        u32::from_le_bytes(word)
    }

    pub(super) fn set_chip_offset(&mut self, cpu: Cpu, offset: u32) {
        let place = DeviceAddr(Self::ring_of(cpu).0 + u64::from(CHIP_OFFSET));
        self.memory.copy_in(place, &offset.to_le_bytes());
    }
}
