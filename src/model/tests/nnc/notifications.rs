//! The notification slot and the queue behind it.

use super::super::host::*;
use super::host::*;
use crate::model::{Fault, NncFault, NncWrong};

fn add(bench: &Bench, what: NncWrong) {
    let fault = NncFault {
        what,
        opcode: None,
        skip: 0,
    };
    bench.chip.add_fault(Fault::Nnc(fault));
    bench.settle();
}

fn id(event: &[u8]) -> u32 {
    u32::from_le_bytes(event[16..20].try_into().unwrap())
}

fn sequence(event: &[u8]) -> u32 {
    u32::from_le_bytes(event[4..8].try_into().unwrap())
}

#[test]
fn every_event_can_be_asked_for() {
    let mut bench = Bench::nnc("", "none");
    for number in (0..=14).chain([15, 99]) {
        add(&bench, NncWrong::Event(number));
        bench.wait_for(NOTIFICATION, 0);
        let event = bench.take_notification().unwrap();
        assert_eq!(id(&event), number);
        assert_eq!(
            usize::try_from(u32::from_le_bytes(event[24..28].try_into().unwrap())),
            Ok(event.len() - 28)
        );
    }
    bench.assert_no_complaints();
}

#[test]
fn events_wait_for_the_slot_and_keep_their_order() {
    let mut bench = Bench::nnc("", "none");
    for number in [2, 10, 14] {
        add(&bench, NncWrong::Event(number));
    }
    for (number, count) in [(2, 1), (10, 2), (14, 3)] {
        bench.wait_for(NOTIFICATION, 0);
        let event = bench.take_notification().unwrap();
        assert_eq!((id(&event), sequence(&event)), (number, count));
    }
    assert_eq!(bench.take_notification(), None);
}

#[test]
fn a_full_queue_loses_what_is_only_good_to_know() {
    let bench = Bench::nnc("", "none");
    add(&bench, NncWrong::Event(14)); // Into the slot.
    add(&bench, NncWrong::Event(2));
    for _ in 0..17 {
        add(&bench, NncWrong::Event(12));
    }
    let mut seen = Vec::new();
    while let Some(event) = bench.take_notification() {
        seen.push(id(&event));
    }
    assert_eq!(seen, [&[14][..], &[12; 16]].concat());
}

#[test]
fn nonsense_in_the_slot_is_told_as_it_is() {
    let bench = Bench::nnc("", "none");
    add(&bench, NncWrong::EventCount(2));
    assert_eq!(bench.take_notification().unwrap()[20..24], [5, 0, 0, 0]);
    add(&bench, NncWrong::EventSize(49));
    assert_eq!(bench.take_notification().unwrap().len(), 49);
    add(&bench, NncWrong::EventSize(1501));
    assert_eq!(bench.read(ACCESS, 0xc80), 1501 << 16 | 1);
    assert_eq!(bench.take_notification(), None, "not even acknowledged");
}

#[test]
fn the_host_hears_of_itself_on_request() {
    let mut bench = Bench::nnc("", "none");
    bench.done(APPLICATION, 43, &[&[1], &[1, 2, 3, 4], &[0, 80]]);
    bench.done(APPLICATION, 44, &[&[1]]);
    let event = bench.take_notification().unwrap();
    assert_eq!(event[8..12], [1, 0, 0, 0], "the priority asked for");
    assert_eq!(
        event[28..],
        [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 80, 0, 0, 0, 4, 3, 2, 1]
    );
}

#[test]
fn a_slot_that_is_cleared_with_its_length_is_complained_about() {
    let bench = Bench::nnc("", "none");
    add(&bench, NncWrong::Event(2));
    bench.write(ACCESS, 0xc80, 0);
    bench.assert_complaint("its length changed from 44 to 0");
}

#[test]
fn a_flag_that_the_host_sets_is_complained_about() {
    let bench = Bench::nnc("", "none");
    bench.write(ACCESS, 0xc80, 1);
    bench.assert_complaint("only clears it");
}

#[test]
fn an_event_that_nobody_heard_of_is_told_again_with_the_next() {
    let mut bench = Bench::nnc("", "none");
    bench.write(CONFIG, 0x188, 0);
    add(&bench, NncWrong::Event(2));
    bench.enable_interrupts(); // Drops what was pending, as the vendor's driver does when it is opened.
    assert_eq!(bench.handle(), (0, 0));
    add(&bench, NncWrong::Event(14));
    bench.wait_for(NOTIFICATION, 0);
    assert_eq!(id(&bench.take_notification().unwrap()), 2);
    bench.wait_for(NOTIFICATION, 0);
    assert_eq!(id(&bench.take_notification().unwrap()), 14);
}
