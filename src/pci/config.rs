//! A copy of a function's configuration space, as sysfs gives it, and what its registers say.
//!
//! Without root the kernel shows the first 64 bytes only: then the capabilities stay unknown.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::capability;
use crate::spec::config_space::{BAR0, COMMAND, LEN, VENDOR, capability as id, express, power};

/// Bytes that are looked at: the capability lists of all functions here fit into them, and serial
/// numbers lie behind them.
pub(crate) const LOOKED_AT: usize = 256;

/// The first bytes of a configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSpace(Vec<u8>);

/// What the PCI Express capability says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Express {
    /// Kind of function, see [`express::kind`].
    pub kind: u32,
    /// Device capabilities.
    pub device_capabilities: u32,
    /// Device control.
    pub device_control: u32,
    /// Link capabilities.
    pub link_capabilities: u32,
    /// Link control.
    pub link_control: u32,
    /// Link status.
    pub link_status: u32,
    /// Link control 2.
    pub link_control_2: u32,
}

impl ConfigSpace {
    /// Reads the file `config` of the function at `directory`; `None` where it can't be read.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let mut bytes = Vec::with_capacity(LOOKED_AT);
        let limit = u64::try_from(LOOKED_AT).ok()?;
        let file = File::open(directory.join("config")).ok()?;
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Self::new(bytes)
    }

    /// A copy of these bytes; `None` where they don't hold a whole header.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (64..=usize::from(LEN))
            .contains(&bytes.len())
            .then_some(Self(bytes))
    }

    /// The 32-bit word at the aligned `offset`, where the copy reaches that far.
    #[must_use]
    pub fn long(&self, offset: u16) -> Option<u32> {
        let at = usize::from(offset);
        let bytes = self.0.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn word(&self, offset: u16) -> Option<u32> {
        let long = self.long(offset & !3)?;
        Some(long >> (u32::from(offset & 2) * 8) & 0xffff)
    }

    /// Whether the function has left the bus: nobody answers, so every bit reads 1.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.long(VENDOR) == Some(u32::MAX)
    }

    /// The command register.
    #[must_use]
    pub fn command(&self) -> u32 {
        self.word(COMMAND).unwrap_or(0)
    }

    /// The address on the bus that base address register `index` of a device holds.
    #[must_use]
    pub fn bar(&self, index: u16) -> Option<u64> {
        let low = self.long(BAR0 + 4 * index)?;
        let high = if low >> 1 & 3 == 2 {
            self.long(BAR0 + 4 * (index + 1))?
        } else {
            0
        };
        Some(u64::from(high) << 32 | u64::from(low & !0xf))
    }

    /// The power state in the power management capability: 0 to 3.
    #[must_use]
    pub fn power_state(&self) -> Option<u32> {
        let base = self.capability(id::POWER)?;
        Some(self.word(base + power::CONTROL)? & power::STATE_MASK)
    }

    /// The PCI Express capability, where there is one and the copy holds it.
    #[must_use]
    pub fn express(&self) -> Option<Express> {
        let base = self.capability(id::EXPRESS)?;
        let at = |offset: u16| self.word(base + offset);
        Some(Express {
            kind: at(express::FLAGS)? >> 4 & 0xf,
            device_capabilities: self.long(base + express::DEVICE_CAPABILITIES)?,
            device_control: at(express::DEVICE_CONTROL)?,
            link_capabilities: self.long(base + express::LINK_CAPABILITIES)?,
            link_control: at(express::LINK_CONTROL)?,
            link_status: at(express::LINK_STATUS)?,
            link_control_2: at(express::LINK_CONTROL_2).unwrap_or(0),
        })
    }

    fn capability(&self, id: u8) -> Option<u16> {
        let read = |offset| self.long(offset).ok_or(());
        capability::find(read, id).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x00, &[0x60, 0x1e, 0xc4, 0x45, 0x06, 0x00, 0x10, 0x00]);
        put(0x10, &[0x0c, 0x00, 0x00, 0x80, 0x18, 0, 0, 0]);
        put(0x34, &[0x80]);
        put(0x80, &[0x10, 0xf8, 0x02, 0x00, 0x01, 0x80, 0, 0x10]);
        put(
            0x88,
            &[0x30, 0x20, 0, 0, 0x43, 0x0c, 0, 0, 0x02, 0, 0x12, 0],
        );
        put(0xb0, &[0x03]);
        put(0xf8, &[0x01, 0, 0, 0, 0x0b, 0]);
        bytes
    }

    #[test]
    fn registers_are_found_by_the_capability_list() {
        let config = ConfigSpace::new(function()).unwrap();
        assert!(!config.is_gone());
        assert_eq!(config.command(), 6);
        assert_eq!(config.bar(0), Some(0x18_8000_0000));
        assert_eq!(config.power_state(), Some(3));
        let express = config.express().unwrap();
        assert_eq!(express.kind, 0);
        assert_eq!(express.device_control, 0x2030);
        assert_eq!(express.link_status, 0x12);
        assert_eq!(express.link_control, 2);
        assert_eq!(express.link_control_2 & 0xf, 3);
    }

    #[test]
    fn what_the_kernel_hides_from_users_is_unknown_not_zero() {
        let mut bytes = function();
        bytes.truncate(64);
        let config = ConfigSpace::new(bytes).unwrap();
        assert_eq!(config.command(), 6);
        assert_eq!(config.express(), None);
        assert_eq!(config.power_state(), None);
        assert_eq!(ConfigSpace::new(vec![0; 63]), None);
    }

    #[test]
    fn a_function_that_left_the_bus_is_gone_and_has_nothing() {
        let config = ConfigSpace::new(vec![0xff; 256]).unwrap();
        assert!(config.is_gone());
        assert_eq!(config.express(), None);
    }
}
