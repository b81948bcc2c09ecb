//! A host without a plan: the chip comes to rest whatever is done to it, and works after a reset.

use super::files::{LISTS, boot_5_1, images_5_1, noise};
use super::host::*;
use super::vdma::trained;
use crate::model::soc::recorded::answers;
use crate::transport::local::{ByteEnables, Endpoint};

/// Numbers that look random and are the same each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % sides
    }

    pub(super) fn word(&mut self) -> u32 {
        // Small numbers and single bits are what registers hold.
        match self.roll(4) {
            0 => self.roll(16),
            1 => 1 << self.roll(32),
            2 => self.roll(1 << 16) << 16 | self.roll(4),
            _ => self.roll(u32::MAX),
        }
    }
}

/// Lists of descriptors that are nearly right, and anything in between.
fn lists(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = noise(0x2_0000, dice.word());
    for entry in bytes.chunks_mut(16) {
        if dice.roll(50) > 0 {
            let size = dice.roll(600) << 8 | 2;
            entry[..4].copy_from_slice(&size.to_le_bytes());
            let device = dice.roll(2) * 6;
            let address = (dice.roll(2) << 31 | dice.roll(1 << 16) << 6) | device;
            entry[4..8].copy_from_slice(&address.to_le_bytes());
            entry[8..].fill(0);
        }
    }
    bytes
}

fn act(bench: &Bench, dice: &mut Dice) {
    let side = 0x10 * dice.roll(64);
    match dice.roll(12) {
        0 => bench.start_side_unwaited(
            side,
            LISTS + 0x1_0000 * u64::from(dice.roll(4)),
            dice.roll(17),
        ),
        1..=4 => bench.write(VDMA, side, dice.word() & 0xffff_0000 | 1),
        5 => bench.write(VDMA, side + 4 * dice.roll(4), dice.word()),
        6 => bench.write(CONFIG, 0x700 + 4 * dice.roll(32), dice.word()),
        7 => bench.write(ACCESS, 4 * dice.roll(0x1000), dice.word()),
        8 => bench.write(CONFIG, 4 * dice.roll(0x1000), dice.word()),
        9 => {
            let offset = u16::try_from(4 * dice.roll(0x400)).unwrap();
            let enables = ByteEnables(u8::try_from(dice.roll(16)).unwrap());
            bench.chip.config_write(offset, dice.word(), enables);
            bench.chip.config_write(4, 6, ByteEnables::ALL);
        }
        10 => bench.write_word_unchecked(u64::from(dice.word()), dice.word()),
        _ => drop(bench.read(VDMA, side)),
    }
}

#[test]
fn whatever_a_host_does_the_chip_comes_to_rest_and_boots_after_a_reset() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for _ in 0..12 {
        let mut bench = trained("none");
        bench.memory.put(LISTS, lists(&mut dice));
        bench.memory.put(LISTS + 0x2_0000, lists(&mut dice));
        bench.memory.put(0, noise(1 << 22, 3));
        for _ in 0..2000 {
            act(&bench, &mut dice);
        }
        bench.settle();
        bench.chip.reset();
        bench.bring_up();
        bench.handle();
        bench.memory.remove(LISTS);
        bench.memory.remove(LISTS + 0x2_0000);
        boot_5_1(&mut bench, &images_5_1(5000));
    }
}

/// Bodies that make sense to some method.
const BODIES: [&[u8]; 9] = [
    &[],
    &[0x0a, 0],
    &[0x0a, 4, 8, 1, 0x12, 0],
    &[0x0a, 0, 0x10, 0x0e, 0x1a, 2, 8, 0x0e],
    &[0x0a, 0, 0x10, 0x80, 0x20, 0x18, 1],
    &[8, 10],
    &[0x0a, 0, 0x10, 40, 0x1a, 1, 0x6d],
    &[
        0x0a, 0, 0x12, 0, 0x1a, 4, 8, 16, 0x10, 1, 0x1a, 4, 8, 16, 0x10, 1,
    ],
    &[0x0a, 0, 0x12, 0, 0x28, 1, 0x38, 3],
];

#[test]
fn whatever_a_client_says_the_rpc_server_answers_in_whole_messages() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..150_u32 {
        let whole = round % 2 == 0;
        let release = if whole { "5.2.0" } else { "5.1.1" };
        let profile = format!("default,loaded={release}").parse().unwrap();
        let mut said = Vec::new();
        for id in 0..dice.roll(30) {
            let choice = usize::try_from(dice.roll(9)).unwrap();
            let mut body = BODIES[choice].to_vec();
            if !body.is_empty() && dice.roll(4) == 0 {
                let at = usize::try_from(dice.roll(u32::try_from(body.len()).unwrap())).unwrap();
                body[at] = dice.word().to_le_bytes()[0];
            }
            // RUN_FOR_DURATION would run for as long as the dice say.
            let action = match dice.roll(40) {
                19 => 18,
                action => action,
            };
            let size = u32::try_from(body.len()).unwrap();
            for word in [0x8a55_4432, size, id, action, 1] {
                said.extend(word.to_le_bytes());
            }
            said.extend(&body);
            if whole {
                said.resize(said.len() + 2048 - body.len(), 0);
            }
            let buffer = noise(usize::try_from(dice.roll(3) * 10).unwrap(), id);
            said.extend(buffer);
        }
        let told = answers(&profile, said);
        if whole && !told.is_empty() {
            assert!(told.len() >= 2068);
        }
        assert!(
            told.is_empty() || told.starts_with(&[0x32, 0x44, 0x55, 0x8a]),
            "{round}"
        );
    }
}

#[test]
fn whatever_a_host_does_to_sessions_the_chip_comes_to_rest() {
    let mut dice = Dice(0x0123_4567_89ab_cdef);
    for round in 0..16 {
        let lenient = if round % 2 == 0 { "off" } else { "on" };
        let bench = Bench::new(
            &format!("default,loaded=5.2.0,echo=7,lenient={lenient}"),
            "none",
        );
        bench.memory.put(LISTS, lists(&mut dice));
        bench.memory.put(LISTS + 0x2_0000, lists(&mut dice));
        bench.memory.put(0, noise(1 << 22, 3));
        for _ in 0..1500 {
            let channel = dice.roll(32);
            let side = 0x20 * channel + if channel < 16 { 0 } else { 0x10 };
            match dice.roll(10) {
                0 => request(&bench, 0x100, if dice.roll(2) == 0 { 7 } else { 12133 }),
                1 => request(&bench, 0x101, 1 << channel | dice.roll(2) << (channel ^ 16)),
                2 => bench.start_side_unwaited(side, LISTS + 0x1_0000 * u64::from(dice.roll(4)), 0),
                3..=6 => {
                    let available = bench.read(VDMA, side) >> 16;
                    let more = available.wrapping_add(1 + dice.roll(6)) & 0xffff;
                    bench.write(VDMA, side, more << 16 | 1);
                }
                7 => bench.write(VDMA, side, dice.word() & 0xffff_0000 | dice.roll(4)),
                _ => act(&bench, &mut dice),
            }
        }
        bench.settle();
        bench.chip.reset();
        bench.settle();
    }
}

/// A request in the mailbox whose answer nobody waits for.
fn request(bench: &Bench, code: u32, first: u32) {
    for (word, value) in (0..).zip([code, first]) {
        bench.write(ACCESS, 4 * word, value);
    }
    bench.write(ACCESS, 0x1754, 8);
    bench.settle();
}
