//! Hosts that break a rule of the transport: each is answered as the firmware would, and complained about.

use super::super::host::*;
use super::host::*;

#[test]
fn a_moved_window_hides_the_request() {
    let mut bench = Bench::nnc("", "none");
    let before = bench.done(APPLICATION, 46, &[]);
    bench.write(CONFIG, 0x708, 0x2_0000);
    for (word, value) in (0..).zip([1, 2, 3]) {
        bench.write(ACCESS, 4 * word, value);
    }
    bench.ring(APPLICATION);
    bench.wait_for(RESPONSE, 0);
    assert_eq!(bench.read(ACCESS, 0), 1, "memory at 0x20000, not the slot");
    bench.write(CONFIG, 0x708, 0xf_0000);
    assert_eq!(
        bench.response(),
        before,
        "the stale request was carried out again"
    );
    bench.assert_complaint("window 0 moved away");
}

#[test]
fn without_firmware_the_doorbell_does_nothing() {
    let bench = Bench::new("default,mode=nnc", "none");
    bench.ring(APPLICATION);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert!(bench.chip.complaints()[0].contains("no firmware runs"));
    // And where entry 0 is pointed at the block with the doorbell.
    let bench = Bench::new("default,mode=nnc", "none");
    bench.write_word_unchecked(0x20_0754, SOFT_RESET);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    bench.assert_complaint("no firmware runs");
}

#[test]
fn impossible_lengths_are_refused() {
    for (length, status) in [
        (1501, 0x4003_0099),
        (u32::MAX, 0x4003_0099),
        (19, 0x4003_009a),
        (0, 0x4003_009a),
    ] {
        let mut bench = Bench::nnc("", "none");
        let bytes = request(46, &[]);
        bench.put_request_as(&bytes, digest(&bytes), length);
        bench.ring(APPLICATION);
        bench.wait_for(RESPONSE, 0);
        let answer = bench.response();
        assert_eq!(answer.status(), (status, 0));
        assert_eq!(answer.0.len(), 24);
        assert_eq!(answer.word(12), 0, "opcode 0 is echoed");
        bench.assert_complaint(&format!("a request of {length} bytes"));
    }
}

#[test]
fn a_wrong_md5_is_refused_or_met_with_silence() {
    let bytes = request(46, &[]);
    let mut bench = Bench::nnc("", "none");
    bench.put_request_as(&bytes, [0; 16], 20);
    bench.ring(APPLICATION);
    bench.wait_for(RESPONSE, 0);
    assert_eq!(bench.response().status(), (0x400b_0004, 0));
    assert_eq!(bench.response().word(12), 46);
    bench.assert_complaint("MD5");
    let bench = Bench::nnc(",silent=on", "none");
    bench.put_request_as(&bytes, [0; 16], 20);
    bench.ring(APPLICATION);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    bench.assert_complaint("MD5");
}

#[test]
fn one_bit_at_a_time() {
    let bench = Bench::nnc("", "none");
    bench.put_request(&request(46, &[]));
    for bits in [3, 9, 0x10, 0] {
        bench.ring(bits);
    }
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(bench.chip.complaints().len(), 4);
}

#[test]
fn a_second_request_before_the_answer_is_dropped() {
    let mut bench = Bench::nnc(",reply-delay=50", "none");
    bench.put_request(&request(46, &[]));
    bench.ring(APPLICATION);
    bench.ring(CORE);
    bench.wait_for(RESPONSE, 0);
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 1);
    bench.assert_complaint("before the application CPU had answered");
    bench.done(CORE, 42, &[]);
}

#[test]
fn the_other_cpu_does_not_know_the_opcode() {
    for (opcode, cpu, name) in [(46, CORE, "core CPU"), (42, APPLICATION, "application CPU")] {
        let mut bench = Bench::nnc("", "none");
        let answer = bench.control(cpu, opcode, &[]);
        assert_eq!(answer.status(), (0x4003_0007, 0));
        bench.assert_complaint(&format!("went to the {name}"));
    }
}

#[test]
fn requests_that_are_framed_badly_are_refused_in_the_documented_order() {
    let good = request(2, &[&[0; 4], &[0, 0, 0, 8]]);
    let changed = |place: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[place] = value;
        bytes
    };
    let cases: [(Vec<u8>, (u32, u32), &str); 10] = [
        (changed(3, 1), (0x4003_0003, 0), "protocol version 1"),
        (changed(7, 1), (0x4003_0006, 0), "flags"),
        (good[..20].to_vec(), (0x4003_0004, 0), "parameter 0"),
        (good[..30].to_vec(), (0x4003_0005, 0), "parameter 1"),
        ([&good[..], &[0]].concat(), (0x4003_009c, 0), "left over"),
        (request(80, &[]), (0x4003_0007, 0x4003_000f), "no opcode 80"),
        (request(49, &[]), (0x4003_00a6, 0), "obsolete"),
        (request(46, &[&[0]]), (0x4003_0012, 0), "1 parameters"),
        (
            request(2, &[&[0; 3], &[0; 4]]),
            (0x4003_0013, 0),
            "parameter 0",
        ),
        (request(61, &[&[0; 5]]), (0x4003_0055, 0), "5 bytes"),
    ];
    for (bytes, status, part) in cases {
        let mut bench = Bench::nnc("", "none");
        let answer = bench.ask(&bytes, APPLICATION);
        assert_eq!(answer.status(), status, "{part}");
        bench.assert_complaint(part);
        assert!(bench.read_log(0x2000).contains(part));
        bench.done(APPLICATION, 46, &[]);
    }
}

#[test]
fn a_host_that_starts_channels_itself_is_complained_about() {
    let bench = Bench::nnc("", "none");
    bench.start_side(0, 0x1_0000, 8);
    bench.settle();
    bench.assert_complaint("the firmware does");
    let bench = Bench::nnc("", "none");
    bench.feed_side(0x20, 3);
    bench.settle();
    bench.assert_complaint("while it was not started");
}

#[test]
fn a_count_that_crosses_with_a_close_is_no_start() {
    let bench = Bench::nnc("", "none");
    let open = |core: &mut crate::model::core::Core| core.channels.open(16, 0x1_0000, 8);
    bench.chip.change(open);
    let word = bench.read(VDMA, 0x210);
    assert_eq!(word & 3, 1);
    bench.chip.change(|core| core.channels.stop_both_sides(16));
    bench.write(VDMA, 0x210, word | 5 << 16);
    assert_eq!(bench.read(VDMA, 0x210) & 3, 0, "the channel stays closed");
    bench.assert_no_complaints();
}
