//! PCI configuration space of the card: contents, write masks, and what a write sets off.
//!
//! Ids, BARs and the express capability are a Hailo-10H's as far as they are published; what is not
//! (places of the capabilities, error reporting) is a Hailo-8L's, from the same family.

use super::profile::Profile;
use crate::spec::board::VENDOR_ID;
use crate::spec::config_space::{
    BAR0, CAPABILITIES, COMMAND, EXTENDED_CAPABILITIES, LEN, REVISION, STATUS_CAPABILITIES,
    SUBSYSTEM_VENDOR, VENDOR, capability, command, express, msi, power,
};
use crate::spec::register::Bar;

const WORDS: usize = LEN as usize / 4;

/// Class 0b40 (co-processor), revision 1. Source: published `lspci` output of a Hailo-10H.
const CLASS_AND_REVISION: u32 = 0x0b40_0001;
/// A memory BAR of 64 bits, prefetchable.
const BAR_KIND: u32 = 0b1100;

// Places of the capabilities, as in a published dump of a Hailo-8L.
const EXPRESS: u16 = 0x80;
const MSI: u16 = 0xe0;
const POWER: u16 = 0xf8;
const AER: u16 = EXTENDED_CAPABILITIES;

// Registers of the express capability that only the card itself needs to know.
const DEVICE_CAPABILITIES_2: u16 = 0x24;
const DEVICE_CONTROL_2: u16 = 0x28;
const LINK_CAPABILITIES_2: u16 = 0x2c;
const LINK_CONTROL_2: u16 = 0x30;

/// Bits of Device Control that a function level reset leaves: the payload size belongs to the link.
const KEPT_DEVICE_CONTROL: u32 = 7 << 5;
/// Power management control: the state survives the way back from D3hot.
const NO_SOFT_RESET: u32 = 1 << 3;

/// What a config write set off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing but stored bits.
    None,
    /// A function level reset.
    Reset,
}

/// The 4 KiB and who may write which bit of them.
#[derive(Debug)]
pub(super) struct ConfigSpace {
    words: Box<[u32; WORDS]>,
    writable: Box<[u32; WORDS]>,
    /// Bits that a written one clears; none is ever set here.
    clearable: Box<[u32; WORDS]>,
}

fn index(offset: u16) -> usize {
    usize::from(offset / 4)
}

impl ConfigSpace {
    pub(super) fn new(profile: &Profile) -> Self {
        let mut space = Self {
            words: Box::new([0; WORDS]),
            writable: Box::new([0; WORDS]),
            clearable: Box::new([0; WORDS]),
        };
        space.header(profile);
        space.express(profile);
        space.others();
        space
    }

    fn put(&mut self, offset: u16, value: u32, writable: u32) {
        self.words[index(offset)] = value;
        self.writable[index(offset)] = writable;
    }

    fn header(&mut self, profile: &Profile) {
        let id = u32::from(profile.chip().device_id()) << 16 | u32::from(VENDOR_ID);
        self.put(VENDOR, id, 0);
        // Parity response, SERR and INTx disable are storage without effect here.
        let stored =
            command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE | 1 << 6 | 1 << 8;
        self.put(COMMAND, STATUS_CAPABILITIES << 16, stored);
        self.clearable[index(COMMAND)] = 0xf900 << 16;
        self.put(REVISION, CLASS_AND_REVISION, 0);
        self.put(0x0c, 0, 0xff); // Cache line size: storage.
        for bar in Bar::ALL {
            let place = BAR0 + 4 * u16::from(bar.index());
            self.put(place, BAR_KIND, !(bar.usual_len() - 1));
            self.put(place + 4, 0, u32::MAX);
        }
        self.put(SUBSYSTEM_VENDOR, id, 0);
        self.put(CAPABILITIES, u32::from(EXPRESS), 0);
        self.put(0x3c, 0, 0xff); // Interrupt line: storage. No pin: the card signals by MSI only.
    }

    fn express(&mut self, profile: &Profile) {
        let speed = profile.speed.max(3); // The card can do Gen 3; the link may be slower.
        let header = u32::from(MSI) << 8 | u32::from(capability::EXPRESS);
        self.put(EXPRESS, 2 << 16 | header, 0); // Version 2, endpoint.
        // 256-byte payload, 8-bit tags, any L0s and L1 latency, role-based errors, FLR.
        let device = 1 | 1 << 5 | 7 << 6 | 7 << 9 | 1 << 15 | express::FLR_CAPABLE;
        self.put(EXPRESS + express::DEVICE_CAPABILITIES, device, 0);
        let request = (profile.max_read_request / 128).trailing_zeros();
        let control = express::with_max_read_request(1 << 8 | 1 << 11, request);
        self.put(EXPRESS + express::DEVICE_CONTROL, control, 0x7fff);
        self.clearable[index(EXPRESS + express::DEVICE_CONTROL)] = 0xf << 16;
        // x4, L0s and L1, exit latencies below 1 us and below 64 us.
        let link = speed | 4 << 4 | 3 << 10 | 4 << 12 | 6 << 15 | 1 << 22;
        self.put(EXPRESS + express::LINK_CAPABILITIES, link, 0);
        let status = profile.speed | profile.width << 4 | 1 << 12;
        self.put(EXPRESS + express::LINK_CONTROL, status << 16, 0x01db);
        self.put(EXPRESS + DEVICE_CAPABILITIES_2, 0x1f, 0);
        self.put(EXPRESS + DEVICE_CONTROL_2, 0, 0x1f);
        let speeds = (0..speed).map(|bit| 2 << bit).sum();
        self.put(EXPRESS + LINK_CAPABILITIES_2, speeds, 0);
        self.put(EXPRESS + LINK_CONTROL_2, speed, 0xffff);
    }

    fn others(&mut self) {
        let control = msi::ADDRESS_64 << 16;
        let header = u32::from(POWER) << 8 | u32::from(capability::MSI);
        self.put(MSI, control | header, msi::ENABLE << 16);
        self.put(MSI + 4, 0, !3);
        self.put(MSI + 8, 0, u32::MAX);
        self.put(MSI + 12, 0, 0xffff);
        // Version 3, PME from D3hot.
        self.put(POWER, 0x4003 << 16 | u32::from(capability::POWER), 0);
        self.put(
            POWER + power::CONTROL,
            NO_SOFT_RESET,
            power::STATE_MASK | 1 << 8,
        );
        self.clearable[index(POWER + power::CONTROL)] = 1 << 15;
        // Error reporting, version 2, last in its list; no error ever happens.
        self.put(AER, 2 << 16 | u32::from(capability::AER), 0);
        self.put(AER + 8, 0, 0x07ff_f030);
        self.put(AER + 12, 0x0006_2030, 0x07ff_f030);
        self.put(AER + 20, 0x2000, 0xf1c1);
        self.put(AER + 24, 0, 0x140);
    }

    pub(super) fn read(&self, offset: u16) -> u32 {
        self.words[index(offset)]
    }

    /// Writes the bits of `mask`.
    pub(super) fn write(&mut self, offset: u16, value: u32, mask: u32) -> Effect {
        let place = index(offset);
        let mut taken = mask & self.writable[place];
        if offset == POWER + power::CONTROL && matches!(value & power::STATE_MASK, 1 | 2) {
            taken &= !power::STATE_MASK; // D1 and D2 don't exist: the write is dropped.
        }
        let word = &mut self.words[place];
        *word = *word & !taken | value & taken;
        *word &= !(value & mask & self.clearable[place]);
        let starts_reset =
            offset == EXPRESS + express::DEVICE_CONTROL && value & mask & express::START_FLR != 0;
        if starts_reset {
            Effect::Reset
        } else {
            Effect::None
        }
    }

    /// Back to what power-on leaves. After a function level reset the link's own settings stay.
    pub(super) fn reset(&mut self, profile: &Profile, function_level: bool) {
        let old = std::mem::replace(self, Self::new(profile));
        if function_level {
            for (offset, kept) in [
                (EXPRESS + express::DEVICE_CONTROL, KEPT_DEVICE_CONTROL),
                (EXPRESS + express::LINK_CONTROL, u32::MAX),
                (EXPRESS + LINK_CONTROL_2, u32::MAX),
            ] {
                let word = &mut self.words[index(offset)];
                *word = *word & !kept | old.read(offset) & kept;
            }
        }
    }

    /// Bus mastering goes off, as it does when a host lets go of a function.
    pub(super) fn clear_master(&mut self) {
        self.words[index(COMMAND)] &= !command::BUS_MASTER;
    }

    fn command(&self) -> u32 {
        self.read(COMMAND)
    }

    /// Most bytes that the function asks for in one read request.
    pub(super) fn max_read_request(&self) -> u32 {
        express::max_read_request(self.read(EXPRESS + express::DEVICE_CONTROL))
    }

    /// Whether the function is awake.
    pub(super) fn in_d0(&self) -> bool {
        self.read(POWER + power::CONTROL) & power::STATE_MASK == 0
    }

    /// Whether the BARs answer.
    pub(super) fn answers_memory(&self) -> bool {
        self.in_d0() && self.command() & command::MEMORY != 0
    }

    /// Whether the function may start accesses of its own.
    pub(super) fn is_master(&self) -> bool {
        self.in_d0() && self.command() & command::BUS_MASTER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::capability as walk;
    use std::convert::Infallible;

    fn space() -> ConfigSpace {
        ConfigSpace::new(&Profile::default())
    }

    #[test]
    fn it_is_a_hailo_10h() {
        let space = space();
        assert_eq!(space.read(0), 0x45c4_1e60);
        assert_eq!(space.read(8), 0x0b40_0001);
        assert_eq!(space.read(0x2c), 0x45c4_1e60);
        let twelve = ConfigSpace::new(&"hailo12l".parse().unwrap());
        assert_eq!(twelve.read(0), 0x26a2_1e60);
    }

    #[test]
    fn writing_ones_to_the_bars_tells_their_sizes() {
        let mut space = space();
        for (offset, low) in [
            (0x10, 0xffff_c00c),
            (0x18, 0xffff_f00c),
            (0x20, 0xffff_c00c),
        ] {
            space.write(offset, u32::MAX, u32::MAX);
            space.write(offset + 4, u32::MAX, u32::MAX);
            assert_eq!(space.read(offset), low);
            assert_eq!(space.read(offset + 4), u32::MAX);
        }
        space.write(0x30, u32::MAX, u32::MAX);
        assert_eq!(space.read(0x30), 0, "no expansion rom");
    }

    #[test]
    fn all_capabilities_are_found_by_walking_the_lists() {
        let space = space();
        let read = |offset| Ok::<_, Infallible>(space.read(offset));
        for (id, place) in [
            (capability::EXPRESS, EXPRESS),
            (capability::MSI, MSI),
            (capability::POWER, POWER),
        ] {
            assert_eq!(walk::find(read, id), Ok(Some(place)));
        }
        assert_eq!(walk::find_extended(read, capability::AER), Ok(Some(AER)));
        assert_eq!(walk::find_extended(read, 0x10), Ok(None));
    }

    #[test]
    fn the_link_is_that_of_the_profile() {
        let space = ConfigSpace::new(&"pi5-gen2-x1,mrrs=256".parse().unwrap());
        assert_eq!(space.read(0x8c) & 0x3ff, 0x43);
        assert_eq!(space.read(0x90) >> 16 & 0x3ff, 0x12);
        assert_eq!(express::max_read_request(space.read(0x88)), 256);
        assert_eq!(space.read(0xac), 0b1110);
    }

    #[test]
    fn read_only_bits_stay_and_a_function_reset_keeps_the_links_settings() {
        let mut space = space();
        for offset in (0..LEN).step_by(4) {
            if offset != EXPRESS + express::DEVICE_CONTROL {
                space.write(offset, u32::MAX, u32::MAX);
            }
        }
        assert_eq!(space.read(0), 0x45c4_1e60);
        assert_eq!(space.read(4), 0x0010_0546);
        assert_eq!(space.read(MSI), 0x0081_f805);
        let control = EXPRESS + express::DEVICE_CONTROL;
        assert_eq!(space.write(control, 1 << 5 | 5 << 12, 0xffff), Effect::None);
        let reset = space.write(control, 1 << 15 | 1 << 5 | 5 << 12, 0xffff);
        assert_eq!(reset, Effect::Reset);
        assert_eq!(space.read(control) & 1 << 15, 0);
        space.reset(&Profile::default(), true);
        assert_eq!(space.read(4), 0x0010_0000);
        assert_eq!(space.read(control), 0x2920);
        assert_ne!(space.read(EXPRESS + express::LINK_CONTROL) & 3, 0);
        space.reset(&Profile::default(), false);
        assert_eq!(space.read(control), 0x2900);
    }

    #[test]
    fn sleep_and_the_command_register_decide_what_the_function_does() {
        let mut space = space();
        assert!(!space.answers_memory() && !space.is_master());
        space.write(COMMAND, 6, 0xffff);
        assert!(space.answers_memory() && space.is_master());
        space.write(POWER + power::CONTROL, 1, 0xffff);
        assert!(space.answers_memory(), "there is no D1");
        space.write(POWER + power::CONTROL, 3, 0xffff);
        assert!(!space.answers_memory() && !space.is_master());
        space.write(POWER + power::CONTROL, 0, 0xffff);
        assert!(space.answers_memory() && space.is_master());
    }
}
