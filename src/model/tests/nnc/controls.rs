//! What controls do and how the state that they change shows.

use super::super::host::*;
use super::host::*;

const EXECUTION: u32 = 0x4003_0051;

fn be(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

#[test]
fn both_cpus_say_who_they_are() {
    let mut bench = Bench::nnc(",serial=HLSIM0001,extended=on", "none");
    let answer = bench.done(APPLICATION, 0, &[]);
    assert_eq!(answer.0[40..52], [5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x10]);
    assert_eq!(answer.0[108..117], *b"HLSIM0001");
    let core = bench.done(CORE, 42, &[]);
    assert_eq!(core.only(), [5, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0x18]);
    bench.assert_no_complaints();
}

#[test]
fn what_is_set_is_told() {
    let mut bench = Bench::nnc("", "none");
    for (set, get) in [(63, 64), (66, 67)] {
        for on in [0, 1] {
            bench.done(APPLICATION, set, &[&[on]]);
            assert_eq!(bench.done(APPLICATION, get, &[]).only(), [on]);
        }
    }
    bench.done(APPLICATION, 73, &[&[1]]);
    let longer = bench.control(APPLICATION, 73, &[&[0, 0]]);
    assert_eq!(longer.status(), (0x4003_00c7, 0));
    bench.assert_complaint("2 bytes of parameter 0");
    let mut bench = Bench::nnc("", "none");
    let bad = bench.control(APPLICATION, 73, &[&[2]]);
    assert_eq!(bad.status(), (EXECUTION, 0x4003_00c8));
    bench.assert_no_complaints();
}

#[test]
fn a_sleeping_chip_runs_nothing() {
    let mut bench = Bench::nnc("", "none");
    let enable: [&[u8]; 4] = [&[1], &[0], &[0, 0], &[0, 0]];
    let asleep = (EXECUTION, 0x4013_003e);
    bench.done(APPLICATION, 73, &[&[0]]);
    assert_eq!(bench.control(CORE, 37, &enable).status(), asleep);
    bench.done(APPLICATION, 73, &[&[1]]);
    assert_ne!(bench.control(CORE, 37, &enable).status(), asleep);
}

#[test]
fn a_clock_that_changes_is_told_by_an_event() {
    let mut bench = Bench::nnc("", "none");
    bench.done(APPLICATION, 61, &[&be(200_000_000)]);
    let event = bench.take_notification().unwrap();
    assert_eq!(event[16..20], 10_u32.to_le_bytes());
    assert_eq!(event[28..32], 400_000_000_u32.to_le_bytes());
    assert_eq!(event[32..36], 200_000_000_u32.to_le_bytes());
    bench.done(APPLICATION, 61, &[&be(200_000_000)]);
    assert_eq!(bench.take_notification(), None);
    for hertz in [0, 999_999, 400_000_001] {
        let refused = bench.control(APPLICATION, 61, &[&be(hertz)]);
        assert_eq!(refused.status().0, EXECUTION);
    }
}

#[test]
fn a_hot_chip_shows_it() {
    let mut bench = Bench::nnc(",temperature=110", "none");
    let degrees = bench.done(APPLICATION, 46, &[]);
    assert_eq!(degrees.only()[..4], 110.5_f32.to_le_bytes());
    let health = bench.done(APPLICATION, 62, &[]);
    assert_eq!(health.0[55], 1, "throttles");
    assert_eq!(health.0[60], 1, "orange");
    assert_eq!(health.0[65], 2, "level");
    assert_eq!(health.word(162), 200_000_000);
}

#[test]
fn memory_keeps_what_is_written() {
    let mut bench = Bench::nnc("", "none");
    let data: Vec<u8> = (0..=255).cycle().take(1024).collect();
    for address in [0x1_0000, 0x20_0000, 0x8000_0ffc] {
        bench.done(APPLICATION, 1, &[&be(address), &data]);
        let read = bench.done(APPLICATION, 2, &[&be(address), &be(1024)]);
        assert_eq!(read.only(), data);
    }
    for address in [0xf_0000, 0xf_3ffc, u32::MAX - 3] {
        let refused = bench.control(APPLICATION, 2, &[&be(address), &be(8)]);
        assert_eq!(refused.status(), (EXECUTION, 0x4003_0098), "{address:#x}");
    }
    for count in [0, 1025] {
        let refused = bench.control(APPLICATION, 2, &[&be(0), &be(count)]);
        assert_eq!(refused.status(), (EXECUTION, 0x4003_0014));
    }
    let longer = bench.control(APPLICATION, 1, &[&be(0), &[0; 1025]]);
    assert_eq!(longer.status(), (0x4003_004e, 0));
    // Ranges of its own that a firmware keeps to itself.
    let mut bench = Bench::nnc(",restricted=0x20000+256", "none");
    for (address, status) in [
        (0x2_0000, 0x4003_0098),
        (0x2_00ff, 0x4003_0098),
        (0x1_fffd, 0x4003_0098),
        (0x1_fffc, 0),
        (0x2_0100, 0),
    ] {
        let written = bench.control(APPLICATION, 1, &[&be(address), &[7; 4]]);
        assert_eq!(written.status().1, status, "{address:#x}");
        let read = bench.control(APPLICATION, 2, &[&be(address), &be(4)]);
        assert_eq!(read.status().1, status, "{address:#x}");
    }
}

#[test]
fn an_update_goes_through_its_four_steps_in_order() {
    let mut bench = Bench::nnc("", "none");
    let image: Vec<u8> = (0..1500_u32).map(|at| at.to_le_bytes()[0]).collect();
    let size = be(1500);
    let sum = digest(&image);
    let minor = |bench: &mut Bench, opcode, parameters: &[&[u8]]| {
        let answer = bench.control(APPLICATION, opcode, parameters);
        assert!(matches!(answer.status().0, 0 | EXECUTION));
        answer.status().1
    };
    assert_eq!(
        minor(&mut bench, 15, &[&be(0), &image[..1024]]),
        0x400c_0004
    );
    assert_eq!(minor(&mut bench, 16, &[&sum, &size]), 0x400c_0004);
    assert_eq!(minor(&mut bench, 17, &[]), 0x400c_0005);
    assert_eq!(minor(&mut bench, 14, &[]), 0);
    assert_eq!(minor(&mut bench, 15, &[&be(0), &image[..1024]]), 0);
    assert_eq!(
        minor(&mut bench, 15, &[&be(1025), &image[1025..]]),
        0x400c_0009
    );
    assert_eq!(minor(&mut bench, 15, &[&be(1024), &image[1024..]]), 0);
    assert_eq!(minor(&mut bench, 16, &[&sum, &be(1501)]), 0x400c_0009);
    assert_eq!(minor(&mut bench, 16, &[&[0; 16], &size]), 0x400c_0007);
    assert_eq!(minor(&mut bench, 16, &[&sum, &size]), 0);
    assert_eq!(minor(&mut bench, 17, &[]), 0);
    assert_eq!(minor(&mut bench, 17, &[]), 0x400c_0005);
}

#[test]
fn configurations_are_stored_over_a_reset() {
    let mut bench = Bench::nnc("", "none");
    let missing = bench.control(APPLICATION, 18, &[]);
    assert_eq!(missing.status(), (0x4003_003b, 0x401a_0004));
    let user: Vec<u8> = [0x1234_5678_u32, 1, 3]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .chain([7; 64])
        .collect();
    bench.done(APPLICATION, 21, &[&be(0), &user]);
    bench.done(APPLICATION, 48, &[&be(3), b"board"]);
    bench.ring(SOFT_RESET);
    bench.wait_for(1, 0);
    Image::new().upload(&bench);
    bench.wait_for(2, 0);
    let examined = bench.done(APPLICATION, 18, &[]);
    assert_eq!([32, 40, 48].map(|at| examined.word(at)), [1, 3, 76]);
    let read = bench.done(APPLICATION, 19, &[&be(12), &be(1024)]);
    assert_eq!(read.only(), [7; 64]);
    let board = bench.done(APPLICATION, 47, &[&be(0), &be(500)]);
    assert_eq!(
        board.only()[..10],
        [0, 1, 2, b'b', b'o', b'a', b'r', b'd', 8, 9]
    );
    let beyond = bench.control(APPLICATION, 47, &[&be(1), &be(500)]);
    assert_eq!(beyond.status(), (EXECUTION, 0x401a_0005));
    let beyond = bench.control(APPLICATION, 48, &[&be(498), b"abc"]);
    assert_eq!(beyond.status(), (EXECUTION, 0x401a_0005));
    bench.done(APPLICATION, 20, &[]);
    assert_eq!(bench.control(APPLICATION, 18, &[]).status().0, 0x4003_003b);
    bench.assert_no_complaints();
}

#[test]
fn power_is_measured_where_there_is_a_sensor() {
    let mut bench = Bench::nnc("", "none");
    let auto = be(0x7fff_ffff);
    let none = bench.control(APPLICATION, 9, &[&auto, &auto]);
    assert_eq!(none.status(), (EXECUTION, 0x4003_0081));
    let mut bench = Bench::nnc(",power=on", "none");
    let start: [&[u8]; 3] = [&be(1), &[0, 0], &[0, 4]];
    assert_eq!(bench.control(APPLICATION, 12, &start).status().0, EXECUTION);
    bench.done(APPLICATION, 10, &[&be(0), &auto, &auto]);
    let early = bench.done(APPLICATION, 11, &[&be(0), &[1]]);
    assert_eq!(early.word(32), 0, "no samples before the start");
    bench.done(APPLICATION, 12, &start);
    let told = bench.done(APPLICATION, 11, &[&be(0), &[1]]);
    assert_eq!(told.0[56..60], 3.75_f32.to_le_bytes());
    for index in [1, 4] {
        assert_eq!(
            bench
                .control(APPLICATION, 11, &[&be(index), &[0]])
                .status()
                .0,
            EXECUTION
        );
    }
    // The vendor's tool stops first and reads then.
    let mut samples = 0;
    while samples == 0 {
        samples = bench.done(APPLICATION, 11, &[&be(0), &[0]]).word(32);
    }
    bench.done(APPLICATION, 13, &[]);
    let stopped = bench.done(APPLICATION, 11, &[&be(0), &[1]]).word(32);
    assert!(stopped >= samples);
    let cleared = bench.done(APPLICATION, 11, &[&be(0), &[0]]);
    assert_eq!(cleared.word(32), 0, "nothing is measured any more");
    let board = bench.control(APPLICATION, 9, &[&be(0x7fff_fffe), &be(3)]);
    assert_eq!(board.status().1, 0x4003_00b3);
}

#[test]
fn opcodes_for_cameras_exist_in_the_full_build_only() {
    let reads: [&[u8]; 7] = [&[0], &[0, 1], &[1], &[0], &[0], &be(0), &be(4)];
    let mut bench = Bench::nnc("", "none");
    assert_eq!(
        bench.control(APPLICATION, 23, &reads).status(),
        (0x4003_00bc, 0)
    );
    bench.assert_no_complaints();
    let mut bench = Bench::nnc(",opcodes=full", "none");
    assert_eq!(bench.done(APPLICATION, 23, &reads).only(), [0; 4]);
    assert_eq!(bench.done(APPLICATION, 31, &[]).only(), [0; 960]);
    bench.done(APPLICATION, 65, &[&be(0), &be(1)]);
    // The header tells a parameter more than there are.
    let parts: [&[u8]; 6] = [&[0], &[1], &be(2), &[0], &[0; 19], &[0, 0]];
    let mut stream = request(3, &parts);
    stream[19] = 7;
    assert_eq!(bench.ask(&stream, APPLICATION).only(), [0]);
    bench.assert_no_complaints();
}

#[test]
fn every_opcode_of_the_table_is_answered() {
    let mut bench = Bench::nnc(",opcodes=full,power=on", "none");
    for opcode in (0..80_u32).filter(|opcode| *opcode != 7) {
        let info = crate::spec::nnc::opcode::Opcode(opcode).info().unwrap();
        let parameters: Vec<Vec<u8>> = info.request.iter().map(|len| vec![0; len.min]).collect();
        let parameters: Vec<&[u8]> = parameters.iter().map(Vec::as_slice).collect();
        let answer = bench.control(info.cpu.doorbell(), opcode, &parameters);
        if answer.status() == (0, 0) {
            assert_eq!(
                usize::try_from(answer.word(24)),
                Ok(info.response.len()),
                "{opcode}"
            );
        } else {
            assert_eq!(answer.0.len(), 24, "{opcode}");
        }
    }
    // A core that is reset answers.
    bench.done(APPLICATION, 7, &[&be(1)]);
    assert_eq!(
        bench.control(APPLICATION, 7, &[&be(0)]).status(),
        (0x4003_0022, 0)
    );
}

#[test]
fn a_repeated_sequence_number_is_answered_without_carrying_out() {
    let mut bench = Bench::nnc("", "none");
    let mut bytes = request(61, &[&be(200_000_000)]);
    bytes[11] = 9;
    let first = bench.ask(&bytes, APPLICATION);
    assert_eq!(first.word(8), 9, "echoed");
    assert!(bench.take_notification().is_some());
    let mut other = request(61, &[&be(300_000_000)]);
    other[11] = 9;
    assert_eq!(bench.ask(&other, APPLICATION), first);
    assert_eq!(bench.take_notification(), None);
    assert!(bench.read_log(0x2000).contains("sequence number 9 again"));
}
