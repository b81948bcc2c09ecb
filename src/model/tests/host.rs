//! A host for tests: memory, an interrupt counter, and register accesses in exactly the order and
//! width in which the vendor's kernel driver makes them. Written from the specification; it shares
//! nothing with the driver in this library.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::addr::Iova;
use crate::deadline::Deadline;
use crate::model::{Chip, FaultPlan, Profile};
use crate::spec::register::Bar;
use crate::transport::local::{ByteEnables, DmaFault, Endpoint, Host};

/// Longer than anything takes here; a test that runs into it fails.
pub(super) const LONG: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Memory {
    areas: Mutex<BTreeMap<u64, (Vec<u8>, bool)>>,
    interrupts: Mutex<u64>,
    arrived: Condvar,
}

impl Memory {
    pub(super) fn put(&self, address: u64, bytes: Vec<u8>) {
        self.areas.lock().unwrap().insert(address, (bytes, true));
    }

    pub(super) fn put_read_only(&self, address: u64, bytes: Vec<u8>) {
        self.areas.lock().unwrap().insert(address, (bytes, false));
    }

    pub(super) fn remove(&self, address: u64) {
        assert!(self.areas.lock().unwrap().remove(&address).is_some());
    }

    pub(super) fn interrupts(&self) -> u64 {
        *self.interrupts.lock().unwrap()
    }

    /// Waits for more interrupts than `seen`; gives how many there are.
    pub(super) fn wait_interrupt(&self, seen: u64) -> u64 {
        let count = self.interrupts.lock().unwrap();
        let (count, time) = self
            .arrived
            .wait_timeout_while(count, LONG, |count| *count <= seen)
            .unwrap();
        assert!(!time.timed_out(), "no interrupt after {seen}");
        *count
    }

    fn with<T>(
        &self,
        address: Iova,
        len: usize,
        write: bool,
        access: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, DmaFault> {
        let fault = DmaFault {
            address,
            len,
            write,
        };
        let mut areas = self.areas.lock().unwrap();
        let (start, (bytes, writable)) = areas.range_mut(..=address.0).next_back().ok_or(fault)?;
        let offset = usize::try_from(address.0 - start).unwrap();
        let range = bytes
            .get_mut(offset..)
            .and_then(|rest| rest.get_mut(..len))
            .ok_or(fault)?;
        if write && !*writable {
            return Err(fault);
        }
        Ok(access(range))
    }
}

impl Host for Memory {
    fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        self.with(address, into.len(), false, |bytes| {
            into.copy_from_slice(bytes)
        })
    }

    fn write(&self, address: Iova, from: &[u8]) -> Result<(), DmaFault> {
        self.with(address, from.len(), true, |bytes| {
            bytes.copy_from_slice(from)
        })
    }

    fn interrupt(&self) {
        *self.interrupts.lock().unwrap() += 1;
        self.arrived.notify_all();
    }
}

/// A chip with a host that behaves as the vendor's driver does.
pub(super) struct Bench {
    pub(super) chip: Arc<Chip>,
    pub(super) memory: Arc<Memory>,
    interrupts_seen: u64,
}

pub(super) const CONFIG: Bar = Bar::Config;
pub(super) const VDMA: Bar = Bar::Vdma;
pub(super) const ACCESS: Bar = Bar::Access;

impl Bench {
    pub(super) fn new(profile: &str, faults: &str) -> Self {
        let profile: Profile = profile.parse().unwrap();
        let faults: FaultPlan = faults.parse().unwrap();
        let chip = Chip::new(profile, faults).unwrap();
        let memory = Arc::new(Memory::default());
        chip.attach(memory.clone());
        let mut bench = Self {
            chip,
            memory,
            interrupts_seen: 0,
        };
        bench.bring_up();
        bench
    }

    /// D0, memory and bus mastering on, presence, interrupts enabled.
    pub(super) fn bring_up(&mut self) {
        self.chip.config_write(0xfc, 0, ByteEnables(0b0011));
        self.chip.config_write(4, 6, ByteEnables(0b0011));
        assert_eq!(self.read16(CONFIG, 0x98), 0x1e60);
        self.enable_interrupts();
    }

    /// D3hot.
    pub(super) fn sleep(&self) {
        self.chip.config_write(0xfc, 3, ByteEnables(0b0011));
    }

    pub(super) fn enable_interrupts(&mut self) {
        let mask = self.read(CONFIG, 0x188);
        self.write(CONFIG, 0x188, mask | 0xff00_ffff);
        for offset in [0x18c, 0x500, 0x400] {
            self.write(CONFIG, offset, u32::MAX);
        }
    }

    pub(super) fn read(&self, bar: Bar, offset: u32) -> u32 {
        self.chip.read(bar, offset)
    }

    pub(super) fn write(&self, bar: Bar, offset: u32, value: u32) {
        self.chip.write(bar, offset, value, ByteEnables::ALL);
    }

    pub(super) fn read16(&self, bar: Bar, offset: u32) -> u32 {
        self.read(bar, offset & !3) >> (8 * (offset & 3)) & 0xffff
    }

    pub(super) fn write8(&self, bar: Bar, offset: u32, value: u8) {
        let shift = 8 * (offset & 3);
        let word = self.read(bar, offset & !3) & !(0xff << shift);
        self.write(bar, offset & !3, word | u32::from(value) << shift);
    }

    pub(super) fn write16(&self, bar: Bar, offset: u32, value: u32) {
        let shift = 8 * (offset & 3);
        let word = self.read(bar, offset & !3) & !(0xffff << shift);
        self.write(bar, offset & !3, word | value << shift);
    }

    // Windows.

    fn entry(&self) -> [u32; 5] {
        [0, 4, 8, 12, 16].map(|word| self.read(CONFIG, 0x700 + word))
    }

    fn set_entry(&self, target: u64) {
        let low = u32::try_from(target & 0xffff_ffff).unwrap();
        let high = u32::try_from(target >> 32).unwrap();
        for (word, value) in (0..).zip([0x17, 0, low, high, 6]) {
            self.write(CONFIG, 0x700 + 4 * word, value);
            assert_eq!(self.read(CONFIG, 0x700 + 4 * word), value);
        }
    }

    /// Goes chunk by chunk through the window and puts the entry back.
    fn through_window(
        &self,
        address: u64,
        len: usize,
        mut chunk: impl FnMut(u32, std::ops::Range<usize>),
    ) {
        let saved = self.entry();
        let mut done = 0;
        while done < len {
            let at = address + u64::try_from(done).unwrap();
            let offset = u32::try_from(at & 0xfff).unwrap();
            let take = usize::try_from(0x1000 - offset).unwrap().min(len - done);
            self.set_entry(at & !0xfff);
            chunk(offset, done..done + take);
            done += take;
        }
        self.set_entry(u64::from(saved[3]) << 32 | u64::from(saved[2]));
    }

    /// `unaligned` is how far the vendor's host pointer is from a multiple of 4: so many bytes (to
    /// the next multiple) go singly, then words, then the tail singly. All is read back.
    pub(super) fn write_memory(&self, address: u64, bytes: &[u8], unaligned: usize) {
        self.through_window(address, bytes.len(), |offset, range| {
            let bytes = &bytes[range];
            let mut at = 0;
            while at < bytes.len() {
                let offset = offset + u32::try_from(at).unwrap();
                if (at + unaligned).is_multiple_of(4)
                    && bytes.len() - at >= 4
                    && offset.is_multiple_of(4)
                {
                    let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                    self.write(ACCESS, offset, word);
                    self.read(ACCESS, offset);
                    at += 4;
                } else {
                    self.write8(ACCESS, offset, bytes[at]);
                    self.read(ACCESS, offset & !3);
                    at += 1;
                }
            }
        });
    }

    pub(super) fn read_memory(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.through_window(address, len, |offset, range| {
            for (word, place) in (0..).zip(bytes[range].chunks_mut(4)) {
                let value = self.read(ACCESS, offset + 4 * word).to_le_bytes();
                place.copy_from_slice(&value[..place.len()]);
            }
        });
        bytes
    }

    pub(super) fn read_word(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.read_memory(address, 4).try_into().unwrap())
    }

    pub(super) fn write_word(&self, address: u64, value: u32) {
        self.write_memory(address, &value.to_le_bytes(), 0);
    }

    // Interrupts.

    /// One run of the vendor's handler: software bits, channel bits.
    pub(super) fn handle(&self) -> (u32, u32) {
        let (mut software, mut channels) = (0, 0);
        loop {
            assert_eq!(self.read16(CONFIG, 0x98), 0x1e60);
            let status = self.read(CONFIG, 0x18c);
            if status == 0 {
                return (software, channels);
            }
            self.write(CONFIG, 0x18c, status);
            software |= status >> 24;
            for (group, offset) in [(0xff, 0x400), (0xff00, 0x500)] {
                if status & group != 0 {
                    let events = self.read(CONFIG, offset);
                    self.write(CONFIG, offset, events);
                    channels |= events;
                }
            }
        }
    }

    /// Waits for an interrupt message and handles it.
    pub(super) fn interrupt(&mut self) -> (u32, u32) {
        self.interrupts_seen = self.memory.wait_interrupt(self.interrupts_seen);
        self.handle()
    }

    /// Handles interrupts until all of these bits have come; gives what else came.
    pub(super) fn wait_for(&mut self, software: u32, channels: u32) -> (u32, u32) {
        let deadline = Instant::now() + LONG;
        let (mut seen_software, mut seen_channels) = (0, 0);
        while seen_software & software != software || seen_channels & channels != channels {
            assert!(
                Instant::now() < deadline,
                "got {seen_software:#x} and {seen_channels:#x}"
            );
            let (more_software, more_channels) = self.interrupt();
            seen_software |= more_software;
            seen_channels |= more_channels;
        }
        (seen_software & !software, seen_channels & !channels)
    }

    // Channels.

    pub(super) fn stop_side(&self, side: u32) {
        if self.read(VDMA, side) & 3 == 2 {
            return;
        }
        self.write8(VDMA, side, self.read(VDMA, side).to_le_bytes()[0] & !3 | 3);
        let deadline = Instant::now() + LONG;
        while self.read16(VDMA, side + 4) != self.read16(VDMA, side + 6) {
            assert!(Instant::now() < deadline, "channel never idle");
        }
        self.write8(VDMA, side, self.read(VDMA, side).to_le_bytes()[0] & !3);
    }

    pub(super) fn start_side(&self, side: u32, list: u64, depth: u32) {
        self.stop_side(side);
        self.write16(
            VDMA,
            side + 0xa,
            u32::try_from(list >> 16 & 0xffff).unwrap(),
        );
        self.write(VDMA, side + 0xc, u32::try_from(list >> 32).unwrap());
        self.write(VDMA, side, (depth & 0xf) << 11);
        self.write8(VDMA, side, self.read(VDMA, side).to_le_bytes()[0] | 1);
    }

    /// A start that waits for nothing and checks nothing.
    pub(super) fn start_side_unwaited(&self, side: u32, list: u64, depth: u32) {
        self.write(VDMA, side, 0);
        self.write(VDMA, side + 8, u32::try_from(list & 0xffff_0000).unwrap());
        self.write(VDMA, side + 0xc, u32::try_from(list >> 32).unwrap());
        self.write(VDMA, side, (depth & 0xf) << 11 | 1);
    }

    /// A write through the window that checks nothing.
    pub(super) fn write_word_unchecked(&self, address: u64, value: u32) {
        let low = u32::try_from(address & 0xffff_f000).unwrap();
        for (word, entry) in (0..).zip([0x17, 0, low, 0, 6]) {
            self.write(CONFIG, 0x700 + 4 * word, entry);
        }
        self.write(ACCESS, u32::try_from(address & 0xffc).unwrap(), value);
    }

    pub(super) fn feed_side(&self, side: u32, available: u32) {
        self.write16(VDMA, side + 2, available);
    }

    /// Waits until the chip does nothing by itself any more.
    pub(super) fn settle(&self) {
        assert!(
            self.chip.wait_idle(Deadline::after(LONG)),
            "{:?}",
            self.chip
        );
    }

    /// The one complaint there is contains this.
    pub(super) fn assert_complaint(&self, part: &str) {
        let complaints = self.chip.complaints();
        assert!(
            complaints.len() == 1 && complaints[0].contains(part),
            "{part}: {complaints:?}"
        );
    }

    /// Function level reset by Device Control, then bring-up as after any.
    pub(super) fn reset(&mut self) {
        let control = self.chip.config_read(0x88);
        self.chip
            .config_write(0x88, control | 1 << 15, ByteEnables(0b0011));
        assert_eq!(self.chip.config_read(0x88) >> 15 & 1, 0);
        self.bring_up();
    }

    pub(super) fn assert_no_complaints(&self) {
        assert_eq!(self.chip.complaints(), [""; 0]);
    }
}
