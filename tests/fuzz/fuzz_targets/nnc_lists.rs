//! A host of NNC mode that uploads what it likes: application headers, action lists, controls.
//!
//! The chip must neither panic nor hang: whatever it runs, it answers a reset. The first byte says whether the chip is
//! lenient, which lets more of the lists run, and how the rest is read: as lists of whole actions, or as plain bytes.

#![no_main]

#[path = "support/garbage.rs"]
mod garbage;

use std::sync::Arc;
use std::time::Duration;

use garbage::Garbage;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::model::{Chip, FaultPlan, Profile};
use hailo_vfio::spec::nnc::context::{ActionKind, NOT_RUN};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint};
use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};

const REST: Duration = Duration::from_secs(10);

fn put(chip: &Chip, offset: u32, bytes: &[u8]) {
    for (offset, chunk) in (offset..).step_by(4).zip(bytes.chunks(4)) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        chip.write(
            Bar::Access,
            offset,
            u32::from_le_bytes(word),
            ByteEnables::ALL,
        );
    }
}

/// Sends a control; its major status.
fn control(chip: &Chip, opcode: u32, parameters: &[&[u8]]) -> u32 {
    let count = u32::try_from(parameters.len()).unwrap_or(0);
    let mut bytes: Vec<u8> = [2, 0, 0, opcode, count]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    for parameter in parameters {
        bytes.extend(u32::try_from(parameter.len()).unwrap_or(0).to_be_bytes());
        bytes.extend(*parameter);
    }
    put(chip, 0, &Md5::digest(&bytes));
    put(
        chip,
        0x10,
        &u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes(),
    );
    put(chip, 0x14, &bytes);
    chip.write(Bar::Config, 0x18c, u32::MAX, ByteEnables::ALL);
    chip.write(Bar::Access, 0x1754, 2, ByteEnables::ALL);
    let deadline = Deadline::after(REST);
    while chip.read(Bar::Config, 0x18c) >> 24 & 4 == 0 {
        assert!(
            !deadline.remaining().is_zero(),
            "no answer to {opcode}: {chip:?}"
        );
        std::thread::yield_now();
    }
    chip.read(Bar::Access, 0x654 + 16).swap_bytes()
}

/// Bytes as a list: each kind followed by parameters of its size.
fn list(bytes: &[u8], whole: bool) -> Vec<u8> {
    if !whole {
        return bytes.to_vec();
    }
    let (mut rest, mut list) = (bytes, Vec::new());
    while let Some((&kind, more)) = rest.split_first() {
        let kind = ActionKind::ALL[usize::from(kind) % ActionKind::ALL.len()];
        let len = kind.parameter_bytes().min(more.len());
        let (parameters, more) = more.split_at(len);
        // Those would keep a chip from its answer, or are read from what follows.
        if !matches!(kind, ActionKind::Sleep | ActionKind::Repeated) {
            list.push(kind.number());
            list.extend(NOT_RUN.to_le_bytes());
            list.extend(parameters);
            list.resize(list.len() + kind.parameter_bytes() - len, 0);
        }
        rest = more;
    }
    list
}

fuzz_target!(|input: &[u8]| {
    let Some((&[first, contexts, batch], rest)) = input.split_first_chunk::<3>() else {
        return;
    };
    let lenient = if first & 1 == 0 { "off" } else { "on" };
    let text = format!("default,mode=nnc,loaded=5.2.0,lenient={lenient}");
    let profile: Profile = text.parse().unwrap_or_default();
    let Ok(chip) = Chip::new(profile, FaultPlan::default()) else {
        return;
    };
    chip.attach(Arc::new(Garbage {
        // A descriptor that makes sense wherever a list is read.
        bytes: vec![2, 0, 2, 0, 0, 0, 1, 0],
        bits: 48,
    }));
    chip.config_write(4, 6, ByteEnables::ALL);
    let mut header = [0; 53];
    let dynamic = 1 + contexts % 3;
    header[0] = dynamic;
    header[2] = first >> 1 & 1;
    header[4] = first >> 2 & 1;
    header[5] = first >> 3 & 1;
    header[7] = 1 + first % 2;
    header[9] = 2;
    header[10] = 1 + batch % 4;
    header[28] = 2;
    header[30] = 1;
    control(&chip, 32, &[&header]);
    let kinds = [3, 2, 0].into_iter().chain((0..dynamic).map(|_| 1));
    let each = rest.len() / (usize::from(dynamic) + 3);
    let mut parts = rest.chunks(each.max(1));
    for kind in kinds {
        let data = list(parts.next().unwrap_or_default(), first & 16 == 0);
        let data = &data[..data.len().min(1461)];
        control(&chip, 33, &[&[1], &[1], &[kind], data]);
    }
    control(&chip, 37, &[&[1], &[0], &[0, 0], &[0, 0]]);
    for channel in 0..32u32 {
        let side = channel * 0x20 + if channel < 16 { 0 } else { 0x10 };
        let word = chip.read(Bar::Vdma, side);
        if word & 3 == 1 {
            chip.write(Bar::Vdma, side, word & 0xffff | 3 << 16, ByteEnables::ALL);
        }
    }
    control(&chip, 36, &[&[0; 4], &[1], &[0, 0], &[0, 0]]);
    control(&chip, 37, &[&[1], &[0], &[1, 0], &[2, 0]]);
    control(&chip, 79, &[]);
    assert_eq!(control(&chip, 37, &[&[0], &[255], &[0, 0], &[0, 0]]), 0);
    assert_eq!(control(&chip, 71, &[]), 0);
    assert!(
        chip.wait_idle(Deadline::after(REST)),
        "{chip:?} does not come to rest"
    );
});
