//! A host of sessions that is nearly right: the chip must neither panic nor hang, whatever it opens, moves and closes.
//!
//! Each step takes four bytes: what to do, with which session, and two more. Rings and descriptors are whole unless a
//! step damages them, so that data gets moved.

#![no_main]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hailo_vfio::addr::Iova;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::model::{Chip, ChipState, FaultPlan};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, DmaFault, Endpoint, Host};
use libfuzzer_sys::fuzz_target;

const MOST: usize = 512;
const REST: Duration = Duration::from_secs(10);
/// Bytes of a list: 1024 descriptors, more than the steps use up.
const LIST: u64 = 0x4000;
/// Where data lies, behind the lists.
const DATA: u64 = 0x40_0000;
const LEN: usize = 0x42_0000;

/// Memory from 0 on: a list for each channel at 64 KiB steps, then data.
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn with<T>(
        &self,
        address: Iova,
        len: usize,
        write: bool,
        access: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, DmaFault> {
        let mut bytes = self.0.lock().unwrap();
        let start = usize::try_from(address.0).unwrap_or(usize::MAX);
        let range = bytes.get_mut(start..).and_then(|rest| rest.get_mut(..len));
        range.map(access).ok_or(DmaFault { address, len, write })
    }
}

impl Host for Memory {
    fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        self.with(address, into.len(), false, |bytes| into.copy_from_slice(bytes))
    }

    fn write(&self, address: Iova, from: &[u8]) -> Result<(), DmaFault> {
        self.with(address, from.len(), true, |bytes| bytes.copy_from_slice(from))
    }

    fn interrupt(&self) {}
}

struct Raw {
    chip: Arc<Chip>,
    memory: Arc<Memory>,
    next: [u32; 32],
}

impl Raw {
    fn write(&self, bar: Bar, offset: u32, value: u32) {
        self.chip.write(bar, offset, value, ByteEnables::ALL);
    }

    fn exchange(&self, code: u32, first: u32) {
        for (offset, word) in (0..).step_by(4).zip([code, first, 0, 0, 0]) {
            self.write(Bar::Access, offset, word);
        }
        self.write(Bar::Access, 0x1754, 8);
        assert!(self.chip.wait_idle(Deadline::after(REST)));
    }

    fn side(channel: u32) -> u32 {
        0x20 * channel + if channel < 16 { 0 } else { 0x10 }
    }

    fn start(&mut self, channel: u32) {
        let side = Self::side(channel);
        self.write(Bar::Vdma, side, 0);
        self.write(Bar::Vdma, side + 8, channel << 16);
        self.write(Bar::Vdma, side + 12, 0);
        self.write(Bar::Vdma, side, 10 << 11);
        self.write(Bar::Vdma, side, 10 << 11 | 1);
        self.next[usize::try_from(channel).unwrap()] = 0;
    }

    /// Launches `len` bytes with pages of `page`; the last descriptor's control is `control`.
    fn launch(&mut self, channel: u32, len: u32, page: u32, control: u32) {
        let index = usize::try_from(channel).unwrap();
        let mut at = 0;
        while at < len {
            let size = page.min(len - at);
            let control = if at + size == len { control } else { 2 };
            let address = u32::try_from(DATA).unwrap() + at;
            let mut descriptor = [0; 16];
            descriptor[..4].copy_from_slice(&(size << 8 | control).to_le_bytes());
            descriptor[4..8].copy_from_slice(&address.to_le_bytes());
            let place = u64::from(channel) << 16 | u64::from(self.next[index] % 1024) * 16;
            assert!(place % 0x1_0000 < LIST);
            self.memory.write(Iova(place), &descriptor).unwrap();
            self.next[index] = (self.next[index] + 1) % 1024;
            at += size;
        }
        let word = self.next[index] << 16 | 10 << 11 | 1;
        self.write(Bar::Vdma, Self::side(channel), word);
    }

    fn step(&mut self, [what, which, low, high]: [u8; 4]) {
        let pair = u32::from(which & 15);
        let channel = pair + u32::from(which & 16);
        let number = u32::from(u16::from_le_bytes([low, high]));
        match what % 12 {
            0 => {
                self.exchange(0x100, if low & 1 == 0 { 7 } else { 12133 });
                self.start(pair);
                self.start(pair + 16);
            }
            1 => self.exchange(0x101, 0x0001_0001 << pair),
            2 => self.exchange(0x101, number << 16 | number),
            3 => self.exchange(0x100 | number & 7, u32::from(which)),
            // A head of an echo, and its data.
            4 | 5 => {
                let mut head = [0; 8];
                head[0] = low;
                head[4] = high;
                self.memory.write(Iova(DATA), &head).unwrap();
                self.launch(pair, 8, 512, 0x2e);
                self.launch(pair, low.into(), 512, 0x2e);
                self.launch(pair + 16, high.into(), 512, 0x2e);
            }
            6 => self.launch(channel, number & 0x3ff, 512, 0x2e),
            7 => self.launch(channel, 2068, 512, 0x2f),
            8 => self.launch(channel, number & 0xff, 1 + u32::from(high), low.into()),
            9 => self.start(channel),
            10 => self.write(Bar::Vdma, Self::side(channel), number << 16 | u32::from(low & 3)),
            _ => assert!(self.chip.wait_idle(Deadline::after(REST))),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    // A lenient chip goes on where the two ends of a session are out of step.
    let lenient = if input.first().is_some_and(|first| first & 0x80 != 0) {
        "on"
    } else {
        "off"
    };
    let profile = format!("default,loaded=5.2.0,echo=7,lenient={lenient}");
    let Ok(chip) = Chip::new(profile.parse().unwrap(), FaultPlan::default()) else {
        return;
    };
    let memory = Arc::new(Memory(Mutex::new(vec![0; LEN])));
    chip.attach(memory.clone());
    chip.config_write(4, 6, ByteEnables::ALL);
    let mut raw = Raw {
        chip,
        memory,
        next: [0; 32],
    };
    for step in input.as_chunks::<4>().0.iter().take(MOST) {
        raw.step(*step);
    }
    assert!(raw.chip.wait_idle(Deadline::after(REST)));
    raw.chip.reset();
    raw.chip.config_write(4, 6, ByteEnables::ALL);
    assert_eq!(raw.chip.read(Bar::Config, 0x98), 0x45c4_1e60);
    assert_eq!(raw.chip.state(), ChipState::Rom);
});
