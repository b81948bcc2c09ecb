//! What goes wrong with the firmware on request.

use super::super::host::*;
use super::host::*;
use crate::model::ChipState;

fn asked(faults: &str) -> Bench {
    let bench = Bench::nnc("", faults);
    bench.put_request(&request(46, &[]));
    bench.ring(APPLICATION);
    bench
}

#[test]
fn a_lost_response_stays_lost() {
    let mut bench = asked("nnc-drop@46");
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(bench.bytes(0x640, 20), [0; 20]);
    bench.done(APPLICATION, 46, &[]);
}

#[test]
fn a_lost_interrupt_leaves_the_response() {
    let bench = asked("nnc-lose-irq");
    bench.settle();
    assert_eq!(bench.memory.interrupts(), 0);
    assert_eq!(bench.response().word(12), 46);
}

#[test]
fn a_late_answer_comes_while_another_request_is_asked() {
    // The event tells that the request was taken.
    let mut bench = asked("nnc-late=1500@46,nnc-event=14@46");
    bench.wait_for(NOTIFICATION, 0);
    bench.done(APPLICATION, 64, &[]);
    bench.wait_for(RESPONSE, 0);
    assert_eq!(bench.response().word(12), 46);
    bench.assert_no_complaints();
}

#[test]
fn damaged_responses_are_as_the_plan_says() {
    let raw = |faults| {
        let mut bench = asked(faults);
        bench.wait_for(RESPONSE, 0);
        let length = bench.read(ACCESS, 0x650);
        let bytes = bench.bytes(0x654, usize::try_from(length).unwrap());
        let sound = bench.bytes(0x640, 16) == digest(&bytes);
        bench.done(APPLICATION, 46, &[]);
        (bytes, sound)
    };
    assert!(!raw("nnc-bad-md5").1);
    assert_eq!(raw("nnc-bad-size").0.len(), 1501);
    assert_eq!(raw("nnc-wrong-opcode").0[12..16], [0, 0, 0, 47]);
    assert_eq!(raw("nnc-no-ack").0[4..8], [0; 4]);
    assert_eq!(raw("nnc-bad-version").0[..4], [0, 0, 0, 1]);
    let (long, sound) = raw("nnc-long");
    assert_eq!((long.len(), sound), (43, true));
}

#[test]
fn a_status_of_the_plan_refuses_without_carrying_out() {
    let mut bench = Bench::nnc("", "nnc-status=0x4013007a@63+1");
    bench.done(APPLICATION, 63, &[&[1]]);
    let refused = bench.control(APPLICATION, 63, &[&[0]]);
    assert_eq!(refused.status(), (0x4013_007a, 0));
    assert_eq!(bench.done(APPLICATION, 64, &[]).only(), [1]);
}

#[test]
fn firmware_that_falls_back_does_not_answer() {
    let mut bench = asked("nnc-reset");
    bench.wait_for(1, 0);
    assert_eq!(bench.chip.state(), ChipState::Rom);
    Image::new().upload(&bench);
    bench.wait_for(2, 0);
    bench.done(APPLICATION, 46, &[]);
}

#[test]
fn a_storm_of_notifications_comes_in_front_of_a_response() {
    let mut bench = Bench::nnc("", "nnc-storm=500@46");
    bench.done(APPLICATION, 46, &[]);
    let mut events = 0;
    while bench.take_notification().is_some() {
        events += 1;
    }
    assert_eq!(events, 17, "the slot and the queue; the others are lost");
    assert!(bench.read_log(0x2000).contains("256 notifications lost"));
}

#[test]
fn an_event_comes_after_the_control_that_the_plan_names() {
    let mut bench = Bench::nnc("", "nnc-event=13@46+1");
    bench.done(APPLICATION, 46, &[]);
    assert_eq!(bench.take_notification(), None);
    bench.done(APPLICATION, 46, &[]);
    bench.settle();
    assert_eq!(bench.take_notification().unwrap().len(), 28);
}

#[test]
fn driver_down_and_soft_reset_can_be_ignored() {
    for (faults, bits) in [
        ("nnc-no-driver-down", DRIVER_DOWN),
        ("nnc-no-reset", SOFT_RESET),
    ] {
        let mut bench = Bench::nnc("", faults);
        bench.ring(bits);
        bench.settle();
        assert_eq!(bench.memory.interrupts(), 0);
        bench.done(APPLICATION, 46, &[]);
    }
}
