//! The one stage of NNC mode, the second load after a soft reset, driver-down.

use super::super::host::*;
use super::host::*;
use crate::model::ChipState;
use crate::model::tests::files::sha256;
use crate::spec::firmware::Version;

const RUNNING: ChipState = ChipState::Running(Version::new(5, 2, 0));

#[test]
fn an_image_with_its_core_part_boots_in_one_stage() {
    let mut bench = Bench::new("default,mode=nnc", "none");
    assert_eq!(bench.read(CONFIG, 0x98), 0x45c4_1e60);
    assert_ne!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(bench.read_word(0x8_0000), 1);
    let image = Image::new();
    image.upload(&bench);
    assert_eq!(bench.wait_for(2, 0), (0, 0));
    assert_eq!(bench.chip.state(), RUNNING);
    assert_eq!(bench.read(CONFIG, 0x728), 0x0020_0000);
    let answer = bench.done(APPLICATION, 0, &[]);
    assert_eq!(answer.0.len(), 190);
    let files = bench.chip.received();
    assert_eq!(files[0].name, "hailo15_fw.bin");
    assert_eq!(files[0].sha256, sha256(&image.file()));
    assert_eq!(files.len(), 7);
    bench.assert_no_complaints();
}

#[test]
fn a_hailo_15l_has_its_own_magic_and_doorbell() {
    let mut bench = Bench::new("hailo15l", "none");
    assert_eq!(bench.read(CONFIG, 0x98), 0x43a2_1e60);
    let image = Image {
        magic: 0xf947_39ab,
        core_magic: 0xf947_39ab,
        ..Image::new()
    };
    image.upload(&bench);
    bench.wait_for(2, 0);
    bench.put_request(&request(0, &[]));
    bench.write(ACCESS, 0x174c, APPLICATION);
    bench.wait_for(RESPONSE, 0);
    let answer = bench.response();
    assert_eq!(answer.0[64..73], *b"Hailo-15L");
    assert_eq!(answer.word(100), 4);
    bench.assert_no_complaints();
    assert_eq!(bench.chip.received()[0].name, "hailo15l_fw.bin");
}

#[test]
fn a_hailo_15h_is_a_10h_to_the_bus_and_says_its_name() {
    let mut bench = Bench::new("hailo15h,loaded=5.1.1", "none");
    assert_eq!(bench.read(CONFIG, 0x98), 0x45c4_1e60);
    let answer = bench.done(APPLICATION, 0, &[]);
    assert_eq!(answer.0[64..74], *b"Hailo-15H\0");
    assert_eq!(answer.0[40..52], [5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn a_damaged_image_is_diagnosed_in_the_boot_status() {
    let whole = Image::new();
    let damaged = [
        (
            0xe002,
            Image {
                magic: 0xf947_39ab,
                ..whole.clone()
            },
        ),
        (
            0xe002,
            Image {
                core_magic: 0x1234_5678,
                ..whole.clone()
            },
        ),
        (
            0xe004,
            Image {
                core_size: 79,
                ..whole.clone()
            },
        ),
        (
            0xe004,
            Image {
                core_size: 0x2_0001,
                ..whole.clone()
            },
        ),
        (
            0xe005,
            Image {
                core_size: 3005,
                ..whole.clone()
            },
        ),
        (
            0xe006,
            Image {
                key: Vec::new(),
                ..whole
            },
        ),
    ];
    for (status, image) in damaged {
        let bench = Bench::new("default,mode=nnc", "none");
        image.upload(&bench);
        bench.settle();
        assert_eq!(bench.read_word(0x8_0000), status);
        assert_eq!(bench.chip.state(), ChipState::Rom);
        assert_eq!(bench.memory.interrupts(), 0);
    }
}

#[test]
fn after_a_soft_reset_the_image_is_loaded_again() {
    let mut bench = Bench::nnc("", "none");
    let clock = 200_000_000_u32;
    bench.done(APPLICATION, 61, &[&clock.to_be_bytes()]);
    bench.ring(SOFT_RESET);
    bench.wait_for(1, 0);
    assert_ne!(bench.read(CONFIG, 0x728), 0x0020_0000);
    assert_eq!(bench.read_word(0x8_0000), 1);
    assert_eq!(bench.chip.state(), ChipState::Rom);
    bench.handle();
    Image::new().upload(&bench);
    bench.wait_for(2, 0);
    let health = bench.done(APPLICATION, 62, &[]);
    assert_eq!(health.word(162), 400_000_000, "the clock was forgotten");
    assert_eq!(bench.take_notification(), None, "so was its event");
    bench.assert_no_complaints();
}

#[test]
fn a_reset_by_control_has_no_answer() {
    for kind in [2_u32, 3] {
        let mut bench = Bench::nnc("", "none");
        bench.put_request(&request(7, &[&kind.to_be_bytes()]));
        bench.ring(APPLICATION);
        assert_eq!(bench.wait_for(1, 0), (0, 0));
        bench.settle();
        assert_eq!(bench.handle().0 & RESPONSE, 0);
        assert_eq!(bench.read_word(0x8_0000), 1);
        Image::new().upload(&bench);
        bench.wait_for(2, 0);
        bench.done(CORE, 42, &[]);
        bench.assert_no_complaints();
    }
}

#[test]
fn driver_down_is_acknowledged() {
    let mut bench = Bench::nnc("", "none");
    bench.ring(DRIVER_DOWN);
    assert_eq!(bench.wait_for(8, 0), (0, 0));
    bench.done(APPLICATION, 46, &[]);
    bench.assert_no_complaints();
}

#[test]
fn a_function_reset_leads_back_to_the_boot_rom() {
    let mut bench = Bench::nnc("", "none");
    bench.done(APPLICATION, 0, &[]);
    bench.reset();
    assert_eq!(bench.chip.state(), ChipState::Rom);
    Image::new().upload(&bench);
    bench.wait_for(2, 0);
    bench.done(APPLICATION, 0, &[]);
    bench.assert_no_complaints();
}
