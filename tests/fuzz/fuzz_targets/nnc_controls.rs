//! A host of NNC mode that asks for what it likes: whatever the controls and action lists are, the firmware answers with a
//! whole message or is silent for a reason, and comes to rest.
//!
//! The first byte chooses the build. Then each control is: opcode, doorbell, length of what follows. Under an opcode that
//! the table knows, what follows is cut into parameters of the right lengths; else it is the message itself.

#![no_main]

#[path = "support/garbage.rs"]
mod garbage;

use std::sync::Arc;
use std::time::Duration;

use garbage::Garbage;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::model::{Chip, FaultPlan};
use hailo_vfio::spec::nnc::message::{Message, Response};
use hailo_vfio::spec::nnc::opcode::Opcode;
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint};
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};

const REST: Duration = Duration::from_secs(10);

fn write(chip: &Chip, offset: u32, word: u32) {
    chip.write(Bar::Access, offset, word, ByteEnables::ALL);
}

fn put(chip: &Chip, message: &[u8]) {
    let mut image = Md5::digest(message).to_vec();
    image.extend(u32::try_from(message.len()).unwrap().to_le_bytes());
    image.extend_from_slice(message);
    image.resize(image.len().next_multiple_of(4), 0);
    for (offset, word) in (0..).step_by(4).zip(image.as_chunks::<4>().0) {
        write(chip, offset, u32::from_le_bytes(*word));
    }
}

fn message(opcode: Opcode, mut bytes: &[u8]) -> Vec<u8> {
    let Some(info) = opcode.info() else {
        return bytes.to_vec();
    };
    let mut message = Message::request(0, opcode);
    for (index, length) in info.request.iter().enumerate() {
        let last = index + 1 == info.request.len();
        let wanted = if last { bytes.len().min(length.max) } else { length.min };
        let (parameter, rest) = bytes.split_at(wanted.min(bytes.len()));
        let mut parameter = parameter.to_vec();
        parameter.resize(parameter.len().max(length.min), 0);
        message.param(&parameter).unwrap();
        bytes = rest;
    }
    message.bytes().to_vec()
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else {
        return;
    };
    let builds = ["", ",opcodes=full,power=on", ",lenient=on", ",fw-memory=4000"];
    let build = builds[usize::from(first & 3)];
    let profile = format!("default,mode=nnc,loaded=5.2.0{build}");
    let Ok(chip) = Chip::new(profile.parse().unwrap(), FaultPlan::default()) else {
        return;
    };
    // Descriptors and data are the input, too.
    chip.attach(Arc::new(Garbage {
        bytes: rest.to_vec(),
        bits: 40,
    }));
    chip.config_write(4, 6, ByteEnables::ALL);
    while let [opcode, doorbell, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high]) % 1461);
        let (bytes, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        if opcode & 0x80 != 0 {
            // Channels: descriptors that the host makes available.
            let channel = u32::from(opcode & 31);
            let side = 0x20 * channel + if channel < 16 { 0 } else { 0x10 };
            let old = chip.read(Bar::Vdma, side);
            let word = old & 0xffff | u32::from(*doorbell) << 16;
            chip.write(Bar::Vdma, side, word, ByteEnables::ALL);
            continue;
        }
        let number = u32::from(*opcode);
        put(&chip, &message(Opcode(number), bytes));
        let right = Opcode(number).info().map_or(1, |info| info.cpu.doorbell());
        // A reset would end the run.
        let bits = if doorbell & 0xf0 == 0 { u32::from(*doorbell) & 7 } else { right };
        write(&chip, 0x640, 0);
        write(&chip, 0x1754, bits);
        assert!(chip.wait_idle(Deadline::after(REST)), "{chip:?} does not come to rest");
        let status = chip.read(Bar::Config, 0x18c);
        chip.write(Bar::Config, 0x18c, status, ByteEnables::ALL);
        if status >> 24 & 4 != 0 {
            let len = usize::try_from(chip.read(Bar::Access, 0x650)).unwrap();
            let words = (0x654..).step_by(4).take(len.div_ceil(4));
            let words = words.map(|offset| chip.read(Bar::Access, offset));
            let mut answer: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
            answer.truncate(len);
            assert!(Response::parse(&answer).is_ok(), "{answer:02x?}");
        }
        if chip.read(Bar::Config, 0x728) != 0x0020_0000 {
            return; // A reset was asked for.
        }
        write(&chip, 0xc80, chip.read(Bar::Access, 0xc80) & 0xffff_0000);
    }
});
