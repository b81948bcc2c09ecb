//! A chip whose firmware runs and whose sessions are hostile: answers in the mailbox, replies, notifications, closes and
//! counters are made from the input.
//!
//! Descriptors are moved as a sane chip does it, so that the driver gets as far as inference; what is said in between
//! takes bytes of the input. Where the input is used up, or silence is the answer, the device is gone, so that
//! nobody waits. Whatever comes, every operation must end with a result, without a panic.

#![no_main]

#[path = "support/hostile.rs"]
mod hostile;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hailo_vfio::Device;
use hailo_vfio::addr::Iova;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::hef::Hef;
use hailo_vfio::mem::HostMemory;
use hailo_vfio::soc::infer::ConfigureOptions;
use hailo_vfio::soc::{LogSource, Quantity, Soc};
use hailo_vfio::spec::board::HAILO10H;
use hailo_vfio::spec::config_bar::FIRMWARE_LOADED;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::{
    Capabilities, Direction, Placement, Region, Result, Segment, Segments, Transport, Width,
};
use hostile::{CHIP, Config, IDENTITY, STATUS, capabilities, event, gone, part};
use libfuzzer_sys::fuzz_target;
use nix::sys::eventfd::EventFd;

const TO_DEVICE_EVENTS: u32 = 0x400;
const FROM_DEVICE_EVENTS: u32 = 0x500;
/// Entry 1's target, which says that firmware runs.
const LOADED: u32 = 0x728;
const ANSWERED: u32 = 0x1000_0000;
const CLOSED: u32 = 0x2000_0000;
const MAGIC: u32 = 0x8a55_4432;
const HEADER: usize = 20;
const MESSAGE: usize = 2068;

/// One channel's host side.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    done: u32,
}

#[derive(Debug)]
struct State {
    input: Vec<u8>,
    at: usize,
    /// The device is gone as soon as what is pending was seen.
    doomed: bool,
    status: u32,
    words: HashMap<(Bar, u32), u32>,
    config: Config,
    memory: Vec<(u64, Arc<HostMemory>)>,
    next_address: u64,
    rings: [Ring; 32],
    /// Pairs of channels that are connected.
    open: u32,
    whole: bool,
    /// A header whose body follows, by pair.
    header: HashMap<u32, Vec<u8>>,
    /// Messages to the host, by pair.
    out: HashMap<u32, VecDeque<Vec<u8>>>,
    last_id: u32,
}

#[derive(Debug)]
struct Hostile {
    capabilities: Capabilities,
    interrupt: EventFd,
    state: Mutex<State>,
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

impl State {
    fn byte(&mut self) -> u8 {
        let byte = self.input.get(self.at).copied();
        self.at += 1;
        self.doomed |= byte.is_none();
        byte.unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    fn word(&mut self) -> u32 {
        word_at(&self.bytes(4), 0)
    }

    fn vdma(&self, offset: u32) -> u32 {
        self.words.get(&(Bar::Vdma, offset)).copied().unwrap_or(0)
    }

    /// Memory behind a bus address.
    fn find(&self, address: u64) -> Option<(&Arc<HostMemory>, usize)> {
        let (start, memory) = self.memory.iter().rev().find(|(start, _)| *start <= address)?;
        Some((memory, usize::try_from(address - start).ok()?))
    }

    fn load(&self, address: u64, into: &mut [u8]) {
        // After a lie about counters old descriptors are moved again, whose memory may be gone.
        if let Some((memory, offset)) = self.find(address)
            && memory.read(offset, into).is_err()
        {
            into.fill(0xff);
        }
    }

    fn store(&self, address: u64, from: &[u8]) {
        if let Some((memory, offset)) = self.find(address) {
            drop(memory.write(offset, from));
        }
    }

    /// Answers what lies in the mailbox.
    fn mailbox(&mut self) {
        let word = |this: &Self, at| this.words.get(&(Bar::Access, at)).copied().unwrap_or(0);
        let request = word(self, 0);
        let mut response = [request, 0, 0, 0, 0, 0];
        match request {
            0x100 => {
                let pair = self.open.trailing_ones() & 15;
                self.open |= 1 << pair;
                response[2] = pair | (pair + 16) << 8;
                for channel in [pair, pair + 16] {
                    let device = 0x20 * channel + if channel < 16 { 0x10 } else { 0 };
                    self.words.insert((Bar::Vdma, device), 1);
                }
                self.out.remove(&pair);
                self.header.remove(&pair);
            }
            0x101 => self.open &= !(word(self, 4) & 0xffff),
            _ => {
                let version = [[5, 2, 0], [5, 1, 1], [5, 1, 0], [5, 0, 0]][usize::from(self.byte() & 3)];
                response[2..5].copy_from_slice(&version);
                self.whole = version == [5, 2, 0];
            }
        }
        match self.byte() {
            0..0xd0 => {}
            0xd0..0xe0 => response[1] = u32::from_le_bytes([self.byte(), 0xff, 0xff, 0xff]),
            0xe0..0xf0 => response[2] = self.word(),
            0xf0..0xf8 => response = [0; 6].map(|_: u32| self.word()),
            _ => {
                self.doomed = true;
                return;
            }
        }
        for (at, word) in (0..).step_by(4).zip(response) {
            self.words.insert((Bar::Access, at), word);
        }
        self.status |= ANSWERED;
    }

    /// Moves what a channel was given.
    fn run(&mut self, channel: u32) {
        let host = 0x20 * channel + if channel < 16 { 0 } else { 0x10 };
        while let Some((count, transfer)) = self.next_transfer(channel, host) {
            if channel < 16 {
                self.take(channel, &transfer);
            } else if !self.give(channel - 16, &transfer) {
                return;
            }
            let ring = &mut self.rings[channel as usize];
            ring.done = ring.done.wrapping_add(count) & 0xffff;
            if channel < 16 {
                self.run(channel + 16);
            }
        }
    }

    /// The descriptors of the next transfer: how many, and their addresses in the list.
    fn next_transfer(&self, channel: u32, host: u32) -> Option<(u32, Vec<u64>)> {
        let control = self.vdma(host);
        let list = u64::from(self.vdma(host + 0xc)) << 32 | u64::from(self.vdma(host + 8) & 0xffff_0000);
        let waiting = (control >> 16).wrapping_sub(self.rings[channel as usize].done) & 0xffff;
        if control & 3 != 1 || waiting == 0 {
            return None;
        }
        let mut transfer = Vec::new();
        for index in 0..waiting {
            let index = self.rings[channel as usize].done.wrapping_add(index) & 0xffff;
            let address = list + u64::from(index) * 16;
            transfer.push(address);
            let mut word = [0; 4];
            self.load(address, &mut word);
            // The last one of a buffer is short, or asks for something.
            if u32::from_le_bytes(word) != 512 << 8 | 2 {
                break;
            }
        }
        Some((u32::try_from(transfer.len()).ok()?, transfer))
    }

    fn descriptor(&self, at: u64) -> (u64, usize, u32) {
        let mut bytes = [0; 16];
        self.load(at, &mut bytes);
        let address = u64::from(word_at(&bytes, 8)) << 32 | u64::from(word_at(&bytes, 4) & !0x3f);
        let first = word_at(&bytes, 0);
        (address, (first >> 8) as usize, first & 0xff)
    }

    /// A descriptor is done: status and interrupt as it asks.
    fn finish(&mut self, channel: u32, at: u64, control: u32) {
        if control & 1 != 0 {
            self.store(at + 12, &1_u32.to_le_bytes());
        }
        if control & 0x24 == 0x24 {
            let (bit, events) = match channel {
                0..16 => (1, TO_DEVICE_EVENTS),
                _ => (0x100, FROM_DEVICE_EVENTS),
            };
            self.status |= bit;
            *self.words.entry((Bar::Config, events)).or_default() |= 1 << channel;
        }
    }

    /// A transfer from the host.
    fn take(&mut self, channel: u32, transfer: &[u64]) {
        let mut data = Vec::new();
        for &at in transfer {
            let (address, len, control) = self.descriptor(at);
            let mut page = vec![0; len];
            self.load(address, &mut page);
            data.extend(page);
            self.finish(channel, at, control);
        }
        if let Some(header) = self.header.remove(&channel) {
            self.answer(channel, &header);
        } else if word_at(&data, 0) == MAGIC && data.len() == if self.whole { MESSAGE } else { HEADER } {
            if self.whole || word_at(&data, 4) == 0 {
                self.answer(channel, &data);
            } else {
                self.header.insert(channel, data);
            }
        }
    }

    /// A transfer to the host; false where there is nothing for it yet.
    fn give(&mut self, pair: u32, transfer: &[u64]) -> bool {
        let lens = transfer.iter().map(|&at| self.descriptor(at).1);
        let len: usize = lens.sum();
        let queue = self.out.entry(pair).or_default();
        let mut data = match queue.front() {
            Some(front) if front.len() == len => queue.pop_front().unwrap_or_default(),
            // A buffer behind a reply: anything will do.
            _ if len != MESSAGE && len != HEADER => vec![0x5a; len],
            _ => return false,
        };
        for &at in transfer {
            let (address, len, control) = self.descriptor(at);
            let rest = data.split_off(len.min(data.len()));
            self.store(address, &data);
            data = rest;
            self.finish(pair + 16, at, control);
        }
        true
    }

    fn queue(&mut self, pair: u32, header: [u32; 5], body: &[u8]) {
        let mut message: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        let queue = self.out.entry(pair).or_default();
        if self.whole {
            message.extend(body);
            message.resize(MESSAGE, 0);
            queue.push_back(message);
        } else {
            queue.push_back(message);
            if !body.is_empty() {
                queue.push_back(body.to_vec());
            }
        }
    }

    fn answer(&mut self, pair: u32, request: &[u8]) {
        let (id, action) = (word_at(request, 8), word_at(request, 12));
        let what = self.byte();
        let body = match what {
            // What fits most requests: handle 0 and a number behind it.
            0..0x60 => vec![0x0a, 0, 0x10, 4],
            0x60..0x78 => Vec::new(),
            _ => {
                let len = self.byte();
                self.bytes(usize::from(len % 96))
            }
        };
        // A registration whose reply has a body is taken for a notification there, and waited for in vain.
        let registers = !self.whole && [27, 31].contains(&action);
        let body = if registers { Vec::new() } else { body };
        let mut header = [MAGIC, body.len() as u32, id, action, 0];
        match what {
            0..0xa0 => {}
            0xa0..0xb0 => {
                header[1] = 0;
                header[4] = u32::from(self.byte());
                self.queue(pair, header, &[]);
                return;
            }
            0xb0..0xb8 => {
                let len = self.byte();
                let notice = self.bytes(usize::from(len % 64));
                let action = [37, 34, 30, action][usize::from(self.byte() & 3)];
                self.queue(pair, [MAGIC, notice.len() as u32, id, action, 0], &notice);
            }
            0xb8..0xc0 => self.queue(pair, [MAGIC, 0, self.last_id, action, 1], &[]),
            0xc0..0xc8 => {
                header[4] = 5;
                header[1] = 0;
                self.queue(pair, header, &[]);
                self.queue(pair, header, &[]);
                return;
            }
            0xc8..0xd8 => {
                let field = usize::from(self.byte() % 5);
                header[field] = self.word();
                self.doomed = true;
            }
            0xd8..0xe8 => {
                // Closed, with or without clearing the host's sides; before the reply or behind it.
                let how = self.byte();
                for channel in [pair, pair + 16] {
                    for side in [0, 0x10] {
                        if how & 1 != 0 || (side == 0) == (channel >= 16) {
                            self.words.insert((Bar::Vdma, 0x20 * channel + side), 0);
                        }
                    }
                }
                self.status |= CLOSED;
                self.doomed |= how & 2 != 0;
            }
            0xe8..0xf0 => self.status |= CLOSED,
            0xf0..0xf8 => {
                // Counts that nobody gave.
                self.rings[pair as usize + 16].done = self.word() & 0xffff;
                self.doomed = true;
            }
            _ => {
                self.doomed = true;
                return;
            }
        }
        self.last_id = id;
        self.queue(pair, header, &body);
    }
}

impl Hostile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }
}

impl Transport for Hostile {
    fn name(&self) -> &str {
        "hostile"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn region(&self, bar: Bar) -> Region {
        Region {
            len: bar.usual_len(),
            mapped: true,
        }
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        let state = self.state();
        match (bar, offset) {
            (Bar::Config, IDENTITY) if state.doomed => Ok(u32::MAX),
            (Bar::Config, IDENTITY) => Ok(CHIP),
            (Bar::Config, LOADED) => Ok(FIRMWARE_LOADED),
            (Bar::Config, STATUS) if state.status == 0 && state.doomed => Err(gone()),
            (Bar::Config, STATUS) => Ok(state.status),
            (Bar::Vdma, _) if offset % 16 == 4 => {
                let done = state.rings.get(offset as usize / 0x20).map_or(0, |ring| ring.done);
                Ok(done << 16 | done)
            }
            _ => Ok(state.words.get(&(bar, offset)).copied().unwrap_or(0)),
        }
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        let mut state = self.state();
        match (bar, offset) {
            (Bar::Config, STATUS) => state.status &= !value,
            (Bar::Config, TO_DEVICE_EVENTS | FROM_DEVICE_EVENTS) => {
                *state.words.entry((bar, offset)).or_default() &= !value;
            }
            (Bar::Access, _) if offset == HAILO10H.doorbell => state.mailbox(),
            (Bar::Vdma, _) if offset % 16 == 0 => {
                let channel = offset / 0x20;
                if state.vdma(offset) & 1 == 0 && value & 1 != 0 {
                    if let Some(ring) = state.rings.get_mut(channel as usize) {
                        ring.done = 0;
                    }
                }
                state.words.insert((bar, offset), value);
                state.run(channel);
            }
            _ => {
                state.words.insert((bar, offset), value);
            }
        }
        if state.status != 0 || state.doomed {
            self.interrupt.write(1).expect("a small counter");
        }
        Ok(())
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        Ok(part(self.state().config.word(offset), offset, width))
    }

    fn config_write(&self, offset: u16, _: Width, value: u32) -> Result<()> {
        self.state().config.write(offset, value);
        Ok(())
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        Ok(Some(self.interrupt.as_fd()))
    }

    fn disarm_interrupt(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, memory: &Arc<HostMemory>, _: Placement, _: Direction) -> Result<Segments> {
        let mut state = self.state();
        let address = state.next_address;
        let len = u64::try_from(memory.len()).expect("64 bits");
        state.next_address += len.next_multiple_of(0x1_0000);
        state.memory.push((address, memory.clone()));
        Ok(Segments(vec![Segment {
            address: Iova(address),
            len: memory.len(),
        }]))
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        let mut state = self.state();
        for segment in &segments.0 {
            state.memory.retain(|(start, _)| *start != segment.address.0);
        }
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        self.state().words.clear();
        Ok(())
    }
}

/// Results of any kind will do: what counts is that there is one.
fn use_it(soc: &Soc, flags: u8) {
    let short = || Deadline::after(Duration::from_millis(2));
    match flags & 3 {
        0 => {
            let Ok(session) = soc.session(7, &Deadline::after(Duration::ZERO)) else {
                return;
            };
            session.set_polling(flags & 4 != 0);
            drop(session.send(&[1; 100], &short()));
            let mut back = [0; 700];
            drop(session.receive(&mut back, &short()));
            drop(session.close());
        }
        1 => {
            let Ok(hef) = Hef::from_bytes(&include_bytes!("../../golden/hef/v3_minimal.hef")[..]) else {
                return;
            };
            let Ok(model) = soc.load(&hef) else {
                return;
            };
            model.vdevice().connection().set_polling(flags & 4 != 0);
            let Ok(configured) = model.configure(&ConfigureOptions::default()) else {
                return;
            };
            let runs: Vec<_> = (0..3)
                .filter_map(|_| configured.submit(configured.frame().ok()?).ok())
                .collect();
            for run in runs {
                drop(run.wait(&Deadline::after(Duration::from_secs(1))));
            }
            drop((configured.latency(), configured.cancel(), configured.close()));
        }
        _ => {
            let Ok(mut telemetry) = soc.telemetry() else {
                return;
            };
            telemetry.connection().set_polling(flags & 4 != 0);
            drop((telemetry.identify(), telemetry.extended(), telemetry.temperature()));
            drop((telemetry.measure(Quantity::Power), telemetry.health()));
            drop((telemetry.performance(), telemetry.architecture()));
            drop((telemetry.log(LogSource::NnCore), telemetry.echo(&[7; 1000])));
            drop((telemetry.subscribe(), telemetry.notice(&short())));
            drop(telemetry.close());
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [flags, input @ ..] = input else {
        return;
    };
    let transport = Arc::new(Hostile {
        // Without statuses and interrupts nothing would tell where a transfer ends.
        capabilities: capabilities(true, flags & 12 != 8, flags & 16 == 0),
        interrupt: event(),
        state: Mutex::new(State {
            input: input.to_vec(),
            at: 0,
            doomed: false,
            status: 0,
            words: HashMap::new(),
            config: Config::default(),
            memory: Vec::new(),
            next_address: 0x10_0000,
            rings: [Ring::default(); 32],
            open: 0,
            whole: true,
            header: HashMap::new(),
            out: HashMap::new(),
            last_id: 0,
        }),
    });
    let Ok(device) = Device::new(transport) else {
        return;
    };
    let Ok(soc) = device.soc() else {
        return;
    };
    use_it(&soc, *flags);
    use_it(&soc, flags >> 5);
});
