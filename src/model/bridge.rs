//! BAR 0: identity, interrupt mask and status, channel events, address translation.

use super::complaint::Complaints;
use crate::addr::DeviceAddr;
use crate::spec::config_bar::{
    ATR_TARGET_PARAM, AtrParam, AtrSource, AtrTargetHigh, AtrTargetLow, AtrTargetParam,
    DestinationEvents, FIRMWARE_LOADED, FIRMWARE_WINDOW, HOST_WINDOW, Identity, InterruptMask,
    InterruptStatus, SourceEvents, WINDOW_LEN, atr_param,
};
use crate::spec::register::{Bar, Register};
use crate::spec::vdma_bar::CHANNELS;

const WINDOWS: u32 = 4;
const WORDS: usize = 5;

/// Where the boot ROM leaves its windows. Any value but [`FIRMWARE_LOADED`] in entry 1 would do.
const ROM_TARGETS: [u32; 2] = [0x0008_0000, 0];

/// What the interrupt mask holds after a reset: channel events pass, software interrupts don't.
///
/// Source: inferred from vendor hailort-drivers v4.20.0, `common/pcie_common.c`, which opens the
/// software bits only and still gets the boot's channel interrupts; unconfirmed.
const RESET_MASK: u32 = 0x0000_ffff;

/// The side of a channel that an event belongs to: that of the list which asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventSide {
    Source,
    Destination,
}

/// The bridge's registers.
#[derive(Debug)]
pub(super) struct Bridge {
    identity: u32,
    mask: u32,
    status: u32,
    source: u32,
    destination: u32,
    entries: [[u32; WORDS]; 4],
    /// Whether a cause that the mask lets through is pending: a message goes out when this rises.
    asserted: bool,
    /// Messages that are due.
    message_due: bool,
    /// Causes that became pending, for the counters.
    pub(super) raised: u64,
    /// How often the host has written the last word of entry 0.
    pub(super) host_entry_writes: u64,
    /// Times that a cause still comes back when it is acknowledged (a fault).
    pub(super) storm: u32,
}

impl Bridge {
    pub(super) fn new(identity: u32) -> Self {
        let mut bridge = Self {
            identity,
            mask: RESET_MASK,
            status: 0,
            source: 0,
            destination: 0,
            entries: [[0; WORDS]; 4],
            asserted: false,
            message_due: false,
            raised: 0,
            host_entry_writes: 0,
            storm: 0,
        };
        bridge.restart();
        bridge
    }

    /// The windows as the boot ROM leaves them; interrupts stay as they are.
    pub(super) fn restart(&mut self) {
        self.entries = [[0; WORDS]; 4];
        for (entry, target) in (0..).zip(ROM_TARGETS) {
            self.point(entry, DeviceAddr(target.into()));
        }
    }

    /// Sets an entry, as the firmware does it.
    pub(super) fn point(&mut self, entry: u32, target: DeviceAddr) {
        if let Some(words) = self
            .entries
            .get_mut(usize::try_from(entry).unwrap_or(usize::MAX))
        {
            *words = [
                atr_param(entry).0,
                0,
                target.low(),
                target.high(),
                ATR_TARGET_PARAM,
            ];
        }
    }

    /// Whether an entry shows this address, as the firmware left it.
    pub(super) fn points_at(&self, entry: u32, target: DeviceAddr) -> bool {
        self.translate(entry * WINDOW_LEN) == Some(target)
    }

    /// Whether entry 1 says that firmware runs.
    pub(super) fn says_loaded(&self) -> bool {
        self.entries[1][2] == FIRMWARE_LOADED
    }

    /// The device address behind an offset of BAR 4, where an entry translates it.
    pub(super) fn translate(&self, offset: u32) -> Option<DeviceAddr> {
        let entry = self
            .entries
            .get(usize::try_from(offset / WINDOW_LEN).ok()?)?;
        if AtrParam(entry[0]).enabled() == 0 {
            return None;
        }
        let base = u64::from(entry[3]) << 32 | u64::from(entry[2] & !(WINDOW_LEN - 1));
        DeviceAddr(base).checked_add((offset % WINDOW_LEN).into())
    }

    fn entry_of(offset: u32) -> Option<(usize, usize)> {
        let distance = offset.checked_sub(AtrParam::INFO.offset)?;
        let (entry, word) = (
            distance / AtrParam::INFO.step,
            distance % AtrParam::INFO.step / 4,
        );
        (entry < WINDOWS).then_some(())?;
        let (entry, word) = (usize::try_from(entry).ok()?, usize::try_from(word).ok()?);
        (word < WORDS).then_some((entry, word))
    }

    pub(super) fn read(&self, offset: u32, complaints: &mut Complaints) -> u32 {
        if offset == Identity::INFO.offset {
            self.identity
        } else if offset == InterruptMask::INFO.offset {
            self.mask
        } else if offset == InterruptStatus::INFO.offset {
            self.status
        } else if offset == SourceEvents::INFO.offset {
            self.source
        } else if offset == DestinationEvents::INFO.offset {
            self.destination
        } else if let Some((entry, word)) = Self::entry_of(offset) {
            self.entries[entry][word]
        } else {
            complaints.once("read of an unknown register", Bar::Config, offset);
            0
        }
    }

    pub(super) fn write(
        &mut self,
        offset: u32,
        value: u32,
        mask: u32,
        complaints: &mut Complaints,
    ) {
        let ones = value & mask;
        if offset == InterruptMask::INFO.offset {
            self.mask = self.mask & !mask | ones;
            self.settle();
        } else if offset == InterruptStatus::INFO.offset {
            let acknowledged = self.status & ones;
            self.status &= !ones;
            self.settle();
            if acknowledged != 0 && self.storm > 0 {
                self.storm -= 1;
                self.raise(acknowledged);
            }
        } else if offset == SourceEvents::INFO.offset {
            self.source &= !ones;
        } else if offset == DestinationEvents::INFO.offset {
            self.destination &= !ones;
        } else if let Some((entry, word)) = Self::entry_of(offset) {
            let place = &mut self.entries[entry][word];
            *place = *place & !mask | ones;
            self.check_entry(entry, word, complaints);
        } else if offset == Identity::INFO.offset {
            complaints.once("write to a read-only register", Bar::Config, offset);
        } else {
            complaints.once("write to an unknown register", Bar::Config, offset);
        }
    }

    fn check_entry(&mut self, entry: usize, word: usize, complaints: &mut Complaints) {
        let found = self.entries[entry][word];
        let index = u32::try_from(entry).unwrap_or(0);
        if index != HOST_WINDOW {
            let owner = if index == FIRMWARE_WINDOW {
                "the firmware's"
            } else {
                "not the host's"
            };
            complaints.add(format!("translation entry {index} is {owner}, the host wrote {found:#x} to word {word} of it"));
            return;
        }
        let (name, expected) = match word {
            0 => (AtrParam::INFO.name, atr_param(index).0),
            1 => (AtrSource::INFO.name, 0),
            2 => (AtrTargetLow::INFO.name, found & !(WINDOW_LEN - 1)),
            3 => (AtrTargetHigh::INFO.name, found),
            _ => {
                self.host_entry_writes += 1;
                (AtrTargetParam::INFO.name, ATR_TARGET_PARAM)
            }
        };
        if found != expected {
            complaints.add(format!(
                "{name} of entry {index} was set to {found:#x}, expected {expected:#x}"
            ));
        }
    }

    fn raise(&mut self, causes: u32) {
        let new = causes & !self.status;
        self.raised += u64::from(new.count_ones());
        self.status |= causes;
        self.settle();
    }

    /// Recomputes the line: a message is due where `status & mask` rises from zero, be it that a
    /// cause came up or that the mask was opened over one.
    fn settle(&mut self) {
        let asserted = self.status & self.mask != 0;
        self.message_due |= asserted && !self.asserted;
        self.asserted = asserted;
    }

    /// Software interrupt of the firmware: bits as the host sees them after its shift.
    pub(super) fn raise_software(&mut self, bits: u32) {
        self.raise(bits << 24);
    }

    /// Event of one side of a channel.
    pub(super) fn raise_channel(&mut self, side: EventSide, channel: u32) {
        // Four channels share a summary bit, as the masks say that old drivers open for a channel.
        // Source: vendor hailort-drivers v4.20.0, `common/pcie_common.c`.
        let group = channel / (CHANNELS / 8);
        match side {
            EventSide::Source => {
                self.source |= 1 << channel;
                self.raise(1 << group);
            }
            EventSide::Destination => {
                self.destination |= 1 << channel;
                self.raise(1 << (8 + group));
            }
        }
    }

    /// Makes a message due without a cause (a fault).
    pub(super) fn add_message(&mut self, spurious: bool) {
        self.message_due |= spurious;
    }

    /// Whether a message is due.
    pub(super) fn has_message(&self) -> bool {
        self.message_due
    }

    /// Whether a message is due; asking takes it.
    pub(super) fn take_message(&mut self) -> bool {
        std::mem::take(&mut self.message_due)
    }

    /// Whether channel events wait for the host.
    pub(super) fn has_channel_events(&self) -> bool {
        self.source | self.destination != 0
    }

    pub(super) fn mask(&self) -> u32 {
        self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: u32 = 0x18c;
    const MASK: u32 = 0x188;

    fn bridge() -> (Bridge, Complaints) {
        (Bridge::new(0x45c4_1e60), Complaints::default())
    }

    #[test]
    fn a_status_bit_latches_whatever_the_mask_and_is_cleared_by_a_one() {
        let (mut bridge, mut complaints) = bridge();
        bridge.write(MASK, 0, u32::MAX, &mut complaints);
        bridge.raise_software(2);
        bridge.raise_channel(EventSide::Source, 5);
        bridge.raise_channel(EventSide::Destination, 16);
        assert!(!bridge.take_message(), "the mask is closed");
        let status = bridge.read(STATUS, &mut complaints);
        assert_eq!(status, 0x0200_1002);
        bridge.write(STATUS, 0x0200_0000, u32::MAX, &mut complaints);
        assert_eq!(bridge.read(STATUS, &mut complaints), 0x1002);
        bridge.write(STATUS, u32::MAX, 0xff00, &mut complaints);
        assert_eq!(bridge.read(STATUS, &mut complaints), 2);
        assert_eq!(bridge.read(0x400, &mut complaints), 1 << 5);
        assert_eq!(bridge.read(0x500, &mut complaints), 1 << 16);
        bridge.write(0x400, 1 << 4, u32::MAX, &mut complaints);
        assert_eq!(bridge.read(0x400, &mut complaints), 1 << 5);
        assert_eq!(complaints.list(), [""; 0]);
    }

    #[test]
    fn a_message_goes_out_where_status_and_mask_rises_from_zero() {
        let (mut bridge, mut complaints) = bridge();
        bridge.write(MASK, 0xff00_ffff, u32::MAX, &mut complaints);
        bridge.raise_software(2);
        assert!(bridge.take_message());
        bridge.raise_software(0x10);
        assert!(!bridge.take_message(), "one cause was pending already");
        bridge.write(STATUS, 0x1200_0000, u32::MAX, &mut complaints);
        bridge.raise_software(0x10);
        assert!(bridge.take_message());
        bridge.write(MASK, 0, u32::MAX, &mut complaints);
        assert!(!bridge.take_message());
        bridge.write(MASK, 0xff00_ffff, u32::MAX, &mut complaints);
        assert!(bridge.take_message(), "opened over a pending cause");
    }

    #[test]
    fn a_reset_leaves_the_mask_open_for_channels_alone() {
        let (mut bridge, mut complaints) = bridge();
        let mask = bridge.read(MASK, &mut complaints);
        bridge.raise_software(2);
        assert!(!bridge.take_message());
        // As drivers of release 4.20 open it: the channels' bits are left as found.
        bridge.write(STATUS, u32::MAX, u32::MAX, &mut complaints);
        bridge.write(MASK, mask | 0xff00_0000, u32::MAX, &mut complaints);
        bridge.raise_channel(EventSide::Source, 0);
        assert!(bridge.take_message());
    }

    #[test]
    fn the_window_goes_where_the_entry_points() {
        let (mut bridge, mut complaints) = bridge();
        for (word, value) in [0x17, 0, 0x8030_0000, 0, 6].into_iter().enumerate() {
            let offset = 0x700 + 4 * u32::try_from(word).unwrap();
            bridge.write(offset, value, u32::MAX, &mut complaints);
            assert_eq!(bridge.read(offset, &mut complaints), value);
        }
        assert_eq!(bridge.translate(0x10), Some(DeviceAddr(0x8030_0010)));
        assert_eq!(bridge.translate(0x2000), None);
        assert_eq!(complaints.list(), [""; 0]);
        assert!(!bridge.says_loaded());
        bridge.point(FIRMWARE_WINDOW, DeviceAddr(FIRMWARE_LOADED.into()));
        assert_eq!(bridge.read(0x728, &mut complaints), 0x0020_0000);
        assert_eq!(bridge.translate(0x1754), Some(DeviceAddr(0x20_0754)));
    }

    #[test]
    fn what_no_driver_writes_is_complained_about() {
        let (mut bridge, mut complaints) = bridge();
        bridge.write(0x700, 0x15, u32::MAX, &mut complaints);
        bridge.write(0x728, FIRMWARE_LOADED, u32::MAX, &mut complaints);
        bridge.write(0x4, 1, u32::MAX, &mut complaints);
        bridge.write(0x98, 1, u32::MAX, &mut complaints);
        assert_eq!(bridge.read(0x2000, &mut complaints), 0);
        assert_eq!(complaints.list().len(), 5);
    }
}
