//! A host without a plan, in NNC mode.

use super::super::host::*;
use super::super::random::Dice;
use super::context::Memory;
use super::host::*;
use super::net::{Net, Upload, noise};
use crate::transport::local::Endpoint;

fn parameter(dice: &mut Dice, length: usize) -> Vec<u8> {
    (0..length).map(|_| dice.word().to_le_bytes()[0]).collect()
}

/// A control that is nearly right, or anything in between.
fn control(dice: &mut Dice) -> Vec<u8> {
    let opcode = dice.roll(82);
    let info = crate::spec::nnc::opcode::Opcode(opcode).info();
    let lengths = info.map_or(&[][..], |info| info.request);
    let mut parameters = Vec::new();
    for length in lengths {
        let most = u32::try_from(length.max - length.min + 1).unwrap();
        let spread = usize::try_from(dice.roll(most)).unwrap();
        parameters.push(parameter(dice, (length.min + spread).min(300)));
    }
    let parameters: Vec<&[u8]> = parameters.iter().map(Vec::as_slice).collect();
    let mut bytes = request(opcode, &parameters);
    if dice.roll(6) == 0 {
        let place = dice.roll(u32::try_from(bytes.len()).unwrap());
        bytes[usize::try_from(place).unwrap()] = dice.word().to_le_bytes()[0];
    }
    bytes.truncate(1500);
    bytes
}

#[test]
fn whatever_a_host_asks_the_firmware_answers_or_is_reset() {
    let mut dice = Dice(0x5deece66d);
    for round in 0..6 {
        let profile = if round % 2 == 0 {
            ",opcodes=full,power=on"
        } else {
            ""
        };
        let mut bench = Bench::nnc(profile, "none");
        for _ in 0..400 {
            let bytes = control(&mut dice);
            match dice.roll(12) {
                0 => bench.write(ACCESS, 4 * dice.roll(0x1000), dice.word()),
                1 => bench.ring(dice.roll(16) & !SOFT_RESET),
                2 => drop(bench.take_notification()),
                _ => {}
            }
            bench.put_request_as(&bytes, digest(&bytes), u32::try_from(bytes.len()).unwrap());
            bench.ring(if dice.roll(2) == 0 { CORE } else { APPLICATION });
            bench.settle();
            bench.handle();
            if bench.read(CONFIG, 0x728) == 0x0020_0000 {
                continue;
            }
            Image::new().upload(&bench);
            bench.wait_for(2, 0);
        }
        bench.chip.reset();
        bench.bring_up();
        Image::new().upload(&bench);
        bench.wait_for(2, 0);
        bench.done(APPLICATION, 0, &[]);
    }
}

/// Bytes of the lists and of the descriptors change at random. A lenient chip takes most of it, and must live with it.
#[test]
fn whatever_a_host_uploads_the_firmware_lives() {
    let mut dice = Dice(0x1234_5678_9abc);
    let mut ran = 0;
    for round in 0..400_u32 {
        let lenient = if round % 4 == 0 { "" } else { ",lenient=on" };
        let mut net = Net::new(lenient, "none");
        let two = round % 2 == 0;
        let (mut memory, mut upload) = if two {
            (Memory::two_contexts(&net), Upload::two_contexts())
        } else {
            (Memory::example(&net), Upload::example())
        };
        for _ in 0..=dice.roll(3) {
            let context = usize::try_from(dice.roll(if two { 6 } else { 5 })).unwrap();
            let bytes = match context.checked_sub(1) {
                Some(context) => &mut upload.contexts[context].1,
                None => &mut upload.header,
            };
            let place = dice.roll(u32::try_from(bytes.len()).unwrap());
            bytes[usize::try_from(place).unwrap()] = dice.word().to_le_bytes()[0];
        }
        if dice.roll(3) == 0 {
            let lists = [0x10_0001_0000, 0x10_0002_0000, 0x10_0003_0000];
            let list = lists[usize::try_from(dice.roll(3)).unwrap()];
            let word = u64::from(dice.roll(20));
            net.poke(list + 4 * word, &dice.word().to_le_bytes());
        }
        let sent = upload.send(&mut net).is_ok();
        if sent && net.enable(0, 0, 0).ok() {
            ran += 1;
            for seed in 0..2 {
                memory.offer(&net, &noise(seed, 8192));
            }
            net.does(72, &[]);
            drop(net.enable(0, 1, 0));
        }
        net.reset();
        net.does(71, &[]);
    }
    assert!(ran > 50, "{ran} rounds ran");
}
