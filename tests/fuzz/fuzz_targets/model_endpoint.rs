//! A host that does what it likes to the software chip: accesses of any kind, garbage in the lists.
//!
//! The chip must neither panic nor hang: whatever came before, it comes to rest and answers again
//! after a reset. The first byte says how far the chip has booted; then each access takes eight bytes,
//! and what is left is the memory that the chip's DMA finds.

#![no_main]

#[path = "support/garbage.rs"]
mod garbage;

use std::sync::Arc;
use std::time::Duration;

use garbage::Garbage;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::model::{Chip, ChipState, FaultPlan, Profile};
use hailo_vfio::spec::register::Bar;
use hailo_vfio::transport::local::{ByteEnables, Endpoint};
use libfuzzer_sys::fuzz_target;

/// Accesses of one input.
const MOST: usize = 4096;
const REST: Duration = Duration::from_secs(10);

fn show(chip: &Chip, target: u32) {
    for (offset, word) in (0x700..).step_by(4).zip([0x17, 0, target & !0xfff, 0, 6]) {
        chip.write(Bar::Config, offset, word, ByteEnables::ALL);
    }
}

fn store(chip: &Chip, target: u32, words: &[u32]) {
    show(chip, target);
    for (offset, &word) in (target & 0xfff..).step_by(4).zip(words) {
        chip.write(Bar::Access, offset, word, ByteEnables::ALL);
    }
}

/// The least that makes stages 1 and 2 succeed.
fn boot(chip: &Chip, stages: u8) {
    let steps: [(u32, &[u32]); 8] = [
        (0x20_09dc, &[0x14]),
        (0xa_0000, &[1]),
        (0x8_8000, &[0xe905_daab, 0, 5, 2, 0, 80, 1]),
        (0x2_0000, &[1; 20]),
        (0x8_86a8, &[1]),
        (0x8_8c98, &[1]),
        (0xa_8004, &[1]),
        (0xd_eff8, &[1]),
    ];
    let count = if stages == 1 { 6 } else { 8 };
    for (target, words) in &steps[..count] {
        store(chip, *target, words);
        if words == &[1] {
            assert!(chip.wait_idle(Deadline::after(REST)));
        }
    }
    assert_eq!(chip.state(), ChipState::Stage(stages.into()));
}

fn access(chip: &Chip, bytes: &[u8; 8]) {
    let [kind, bar, low, high, value @ ..] = *bytes;
    let value = u32::from_le_bytes(value);
    let bar = Bar::ALL[usize::from(bar % 3)];
    let offset = u32::from_le_bytes([low, high, 0, 0]) % chip.bar_len(bar) & !3;
    let config = u16::from_le_bytes([low, high]) & 0xffc;
    let enables = ByteEnables(kind >> 4);
    match kind & 0xf {
        0..=2 => drop(chip.read(bar, offset)),
        3 => drop(chip.config_read(config)),
        4 => chip.config_write(config, value, enables),
        5 => show(chip, value),
        // The registers of the channels are few among all offsets.
        6..=9 => chip.write(Bar::Vdma, offset & 0x3fc, value, ByteEnables::ALL),
        10 => chip.write(bar, offset, value, enables),
        _ => chip.write(bar, offset, value, ByteEnables::ALL),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    let text = if first & 3 == 3 { "default,loaded=5.2.0" } else { "default" };
    let profile: Profile = text.parse().unwrap_or_default();
    let Ok(chip) = Chip::new(profile, FaultPlan::default()) else {
        return;
    };
    let (accesses, _) = rest.as_chunks::<8>();
    let accesses = &accesses[..accesses.len().min(MOST) * 3 / 4];
    let memory = rest[accesses.len() * 8..].to_vec();
    chip.attach(Arc::new(Garbage {
        bytes: memory,
        bits: 63,
    }));
    chip.config_write(4, 6, ByteEnables::ALL);
    if matches!(first & 3, 1 | 2) {
        boot(&chip, first & 3);
    }
    for bytes in accesses {
        access(&chip, bytes);
    }
    assert!(chip.wait_idle(Deadline::after(REST)), "{chip:?} does not come to rest");
    chip.reset();
    chip.config_write(4, 6, ByteEnables::ALL);
    assert_eq!(chip.read(Bar::Config, 0x98), 0x45c4_1e60);
    assert_eq!(chip.state(), ChipState::Rom);
});
