//! A host without a plan: the chip comes to rest whatever is done to it, and works after a reset.

use super::files::{LISTS, boot_5_1, images_5_1, noise};
use super::host::*;
use super::vdma::trained;
use crate::transport::local::{ByteEnables, Endpoint};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % sides
    }

    fn word(&mut self) -> u32 {
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
