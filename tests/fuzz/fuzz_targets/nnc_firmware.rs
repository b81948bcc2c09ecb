//! Firmware of NNC mode that answers what it likes: responses, notifications and log rings are made from the input.
//!
//! Whatever comes, every question must end with a result, in bounded time and memory, and without a panic. For each
//! doorbell a record of the input is taken: flags, a length, the bytes. When the input is used up the device is gone.

#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hailo_vfio::Device;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::soc::LogSource;
use hailo_vfio::spec::board::{HAILO10H, Mode};
use hailo_vfio::spec::nnc::log::{CHIP_OFFSET, DATA_LEN, HOST_OFFSET, ring};
use hailo_vfio::spec::nnc::message::Message;
use hailo_vfio::spec::nnc::opcode::Opcode;
use hailo_vfio::spec::nnc::switch::{DownloadActions, GetHwConstants, GetMainHeader};
use hailo_vfio::spec::nnc::{Cpu, NOTIFICATION, REQUEST, RESPONSE, slot};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint, Host, LocalTransport};
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};

const IDENTITY: u32 = 0x98;
const STATUS: u32 = 0x18c;
const LOADED: u32 = 0x728;
const CONTROL_DONE: u32 = 4 << 24;
const NOTIFIED: u32 = 2 << 24;
const DRIVER_DOWN: u32 = 8 << 24;

/// What a record does, bit by bit.
mod flag {
    /// The bytes are parameters of the control that was asked, each behind a byte of length; not the whole slot.
    pub const PARAMETERS: u8 = 1;
    /// The digest is right.
    pub const DIGEST: u8 = 2;
    /// The bytes are also a notification.
    pub const NOTIFICATION: u8 = 4;
    /// The bytes are also the offsets of the log rings.
    pub const LOG: u8 = 8;
    /// The header says that it was refused.
    pub const REFUSED: u8 = 16;
    /// The length in the slot is one of the bytes' own.
    pub const LENGTH: u8 = 32;
}

#[derive(Default)]
struct State {
    input: Vec<u8>,
    words: HashMap<(u8, u32), u32>,
    status: u32,
    gone: bool,
    host: Option<Arc<dyn Host>>,
}

struct Firmware(Mutex<State>);

impl std::fmt::Debug for Firmware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Firmware")
    }
}

impl State {
    fn take(&mut self, len: usize) -> Vec<u8> {
        let len = len.min(self.input.len());
        self.input.drain(..len).collect()
    }

    fn put(&mut self, offset: u32, bytes: &[u8]) {
        for (offset, bytes) in (offset..).step_by(4).zip(bytes.chunks(4)) {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            self.words
                .insert((Bar::Access.index(), offset), u32::from_le_bytes(word));
        }
    }

    fn word(&self, bar: Bar, offset: u32) -> u32 {
        self.words.get(&(bar.index(), offset)).copied().unwrap_or(0)
    }

    /// Answers a doorbell by the next record.
    fn answer(&mut self) {
        let &[flags, low, high] = &*self.take(3) else {
            self.gone = true;
            return;
        };
        let len = usize::from(u16::from_le_bytes([low, high]) & 0x7ff);
        let bytes = self.take(len);
        let opcode = self.word(Bar::Access, REQUEST + slot::MESSAGE + 12);
        let opcode = Opcode(opcode.swap_bytes());
        let message = if flags & flag::PARAMETERS != 0 {
            parameters(opcode, flags, &bytes)
        } else {
            bytes.clone()
        };
        let mut digest: [u8; 16] = Md5::digest(&message).into();
        if flags & flag::DIGEST == 0 {
            digest[0] ^= 1;
        }
        let length = match bytes.first_chunk() {
            Some(word) if flags & flag::LENGTH != 0 => u32::from_le_bytes(*word),
            _ => u32::try_from(message.len()).unwrap_or(u32::MAX),
        };
        self.put(RESPONSE + slot::DIGEST, &digest);
        self.put(RESPONSE + slot::LENGTH, &length.to_le_bytes());
        self.put(RESPONSE + slot::MESSAGE, &message);
        self.status |= CONTROL_DONE | DRIVER_DOWN;
        if flags & flag::NOTIFICATION != 0 {
            self.put(NOTIFICATION, &bytes);
            self.status |= NOTIFIED;
        }
        if flags & flag::LOG != 0 {
            for (cpu, offsets) in Cpu::ALL.into_iter().zip(bytes.chunks_exact(4)) {
                let offset = |at: usize| {
                    let offset = u16::from_le_bytes([offsets[at], offsets[at + 1]]);
                    // Mostly within the ring.
                    u32::from(offset) % (DATA_LEN + 32)
                };
                self.put(ring(cpu) + HOST_OFFSET, &offset(0).to_le_bytes());
                self.put(ring(cpu) + CHIP_OFFSET, &offset(2).to_le_bytes());
            }
        }
        if let Some(host) = &self.host {
            host.interrupt();
        }
    }
}

/// A response with the right header around parameters of the input.
fn parameters(opcode: Opcode, flags: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = Message::response(0, opcode);
    let mut rest = bytes;
    // Those of the table's lengths, as long as the input lasts; then as the input says.
    let mut lengths = opcode.info().map_or(&[][..], |info| info.response).iter();
    while !rest.is_empty() {
        let len = match lengths.next() {
            Some(len) => len.max.min(rest.len()),
            None if flags & 64 != 0 => usize::from(rest[0]).min(rest.len()),
            None => break,
        };
        let (parameter, after) = rest.split_at(len);
        if message.param(parameter).is_err() || len == 0 {
            break;
        }
        rest = after;
    }
    let mut message = message.bytes().to_vec();
    if flags & flag::REFUSED != 0 {
        message[16..20].copy_from_slice(&[0x40, 0x03, 0, 0xbc]);
    }
    message
}

impl Firmware {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint for Firmware {
    fn bar_len(&self, bar: Bar) -> u32 {
        bar.usual_len()
    }

    fn read(&self, bar: Bar, offset: u32) -> u32 {
        let state = self.state();
        match (bar, offset) {
            _ if state.gone => u32::MAX,
            (Bar::Config, IDENTITY) => 0x45c4_1e60,
            (Bar::Config, LOADED) => 0x0020_0000,
            (Bar::Config, STATUS) => state.status,
            (Bar::Config, 0x400 | 0x500) => 0,
            _ => state.word(bar, offset),
        }
    }

    fn write(&self, bar: Bar, offset: u32, value: u32, _: ByteEnables) {
        let mut state = self.state();
        match (bar, offset) {
            (Bar::Config, STATUS) => state.status &= !value,
            (Bar::Access, doorbell) if doorbell == HAILO10H.doorbell => state.answer(),
            _ => drop(state.words.insert((bar.index(), offset), value)),
        }
    }

    fn config_read(&self, offset: u16) -> u32 {
        match offset {
            0 => 0x45c4_1e60,
            0x04 => 0x0010_0006,
            _ => 0,
        }
    }

    fn config_write(&self, _: u16, _: u32, _: ByteEnables) {}

    fn attach(&self, host: Arc<dyn Host>) {
        self.state().host = Some(host);
    }

    fn detach(&self) {
        self.state().host = None;
    }

    fn reset(&self) {}
}

fuzz_target!(|input: &[u8]| {
    let state = State {
        input: input.to_vec(),
        ..State::default()
    };
    let endpoint = Arc::new(Firmware(Mutex::new(state)));
    let transport = LocalTransport::open("hostile", endpoint).expect("an eventfd");
    let Ok(device) = Device::with_mode(Arc::new(transport), Some(Mode::Nnc)) else {
        return;
    };
    let (Ok(nnc), Ok(mut telemetry)) = (device.nnc(), device.telemetry()) else {
        return;
    };
    // Results of any kind will do: what counts is that there is one.
    let soon = || Deadline::after(Duration::ZERO);
    let notices = nnc.subscribe();
    drop((
        telemetry.about(),
        telemetry.temperature(),
        telemetry.power(),
        telemetry.throttling(),
        nnc.read_memory(0, 3000),
        nnc.read_user_config(),
        nnc.read_board_config(),
        nnc.overcurrent(),
    ));
    drop((
        nnc.send(&GetHwConstants {}),
        nnc.send(&GetMainHeader {}),
        nnc.send(&DownloadActions {
            application: 0,
            context: 1,
            index: 0,
            offset: 0,
        }),
        telemetry.log(LogSource::Runtime),
        telemetry.log(LogSource::NnCore),
        notices.next(&soon()),
        nnc.hub().driver_down(),
    ));
});
