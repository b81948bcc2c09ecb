//! The two log rings.

use super::super::host::*;
use super::host::*;
use crate::model::{Fault, NncFault, NncWrong};

const APPLICATION_LOG: u32 = 0x2000;
const CORE_LOG: u32 = 0x3000;

#[test]
fn both_cpus_tell_what_happens_and_why_something_was_refused() {
    let mut bench = Bench::nnc("", "none");
    assert_eq!(
        bench.read_log(APPLICATION_LOG),
        "info: application CPU: firmware 5.2.0 runs\n"
    );
    assert_eq!(
        bench.read_log(CORE_LOG),
        "info: core CPU: firmware 5.2.0 runs\n"
    );
    assert_eq!(bench.read_log(CORE_LOG), "");
    bench.control(APPLICATION, 55, &[&[6], &[1]]);
    bench.control(APPLICATION, 55, &[&[0], &[4]]);
    assert_eq!(
        bench.read_log(APPLICATION_LOG),
        "error: SET_FW_LOGGER (55) refused: level 0x6 of the logger\n\
         error: SET_FW_LOGGER (55) refused: targets 0x4 of the logger\n"
    );
    bench.assert_no_complaints();
}

#[test]
fn level_and_target_are_the_hosts_choice() {
    let mut bench = Bench::nnc("", "none");
    bench.read_log(APPLICATION_LOG);
    bench.done(APPLICATION, 55, &[&[5], &[1]]);
    assert_eq!(
        bench.read_log(APPLICATION_LOG),
        "fatal: application CPU: logs from fatal on\n"
    );
    bench.control(APPLICATION, 55, &[&[9], &[1]]);
    assert_eq!(
        bench.read_log(APPLICATION_LOG),
        "",
        "an error is below that"
    );
    bench.done(APPLICATION, 55, &[&[0], &[2]]);
    bench.control(APPLICATION, 55, &[&[9], &[1]]);
    assert_eq!(
        bench.read_log(APPLICATION_LOG),
        "",
        "to the serial line only"
    );
}

#[test]
fn a_ring_goes_round() {
    let mut bench = Bench::nnc("", "none");
    for round in 0..200 {
        bench.control(APPLICATION, 55, &[&[6], &[1]]);
        let text = bench.read_log(APPLICATION_LOG);
        assert!(
            text.ends_with("refused: level 0x6 of the logger\n"),
            "{round}: {text:?}"
        );
    }
    bench.assert_no_complaints();
}

#[test]
fn the_firmware_overtakes_a_host_that_does_not_read() {
    let bench = Bench::nnc("", "none");
    let fault = |what| {
        Fault::Nnc(NncFault {
            what,
            opcode: None,
            skip: 0,
        })
    };
    bench.chip.add_fault(fault(NncWrong::LogFlood(5000)));
    bench.settle();
    let chip = bench.read(ACCESS, CORE_LOG + 4);
    let before = u32::try_from("info: core CPU: firmware 5.2.0 runs\n".len()).unwrap();
    assert_eq!(chip, before + 5000 - 4088);
    assert!(bench.read_log(CORE_LOG).contains("0123456789abcde\n"));
    bench.chip.add_fault(fault(NncWrong::LogOffset(9999)));
    bench.settle();
    assert_eq!(bench.read(ACCESS, CORE_LOG + 4), 9999);
}

#[test]
fn what_the_host_must_not_write_is_complained_about() {
    for (offset, value, part) in [
        (
            CORE_LOG,
            4088,
            "the host's offset in a log ring became 4088",
        ),
        (CORE_LOG + 4, 1, "wrote into a log ring"),
        (APPLICATION_LOG + 100, 1, "wrote into a log ring"),
        (0x640, 1, "wrote into the response slot"),
    ] {
        let bench = Bench::nnc("", "none");
        bench.write(ACCESS, offset, value);
        bench.assert_complaint(part);
    }
}
