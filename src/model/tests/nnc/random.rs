//! A host without a plan, in NNC mode.

use super::super::host::*;
use super::super::random::Dice;
use super::host::*;
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
