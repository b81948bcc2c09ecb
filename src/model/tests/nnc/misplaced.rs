//! Mistakes in the streams of a network: set up, fetched and ended wrongly, or in the wrong place.

use super::context::Memory;
use super::mistakes::{
    ACTIVATION, FIRST, PRELIMINARY, Patch, SECOND, SWITCHING, assert_refused, refused,
};
use super::net::{Net, Upload};
use crate::spec::nnc::context::Walk;

#[test]
fn streams() {
    let between = |offset, bytes| Patch(FIRST, 3, offset, bytes);
    let input = |offset, bytes| Patch(FIRST, 4, offset, bytes);
    let consumer = |offset, bytes| Patch(SECOND, 4, offset, bytes);
    let table = [
        (between(0, &[1]), 0x4013_003c, "channel 1 does not carry"),
        (between(2, &[1]), 0x4013_005b, "network 1 of 1"),
        (between(7, &[0, 0]), 0x4013_0026, "0 at the interface"),
        (between(9, &[0, 0]), 0x4013_0030, "0 at the interface"),
        (
            between(9, &[15, 0]),
            0x402d_001a,
            "make frames of 5760 bytes",
        ),
        (input(0, &[3]), 0x4013_0036, "does not open channel 3"),
        (
            input(1, &[7]),
            0x4032_0006,
            "channel 1 was opened for stream 0, found 7",
        ),
        (
            input(24, &[0x77]),
            0x4013_0038,
            "the activation context has 0x1000020000",
        ),
        (
            input(30, &[0, 1]),
            0x4013_0054,
            "page of 256 bytes, the activation context has 512",
        ),
        (
            input(32, &[0, 2]),
            0x4013_0035,
            "list of 512 descriptors, the activation context has 1024",
        ),
        (consumer(25, &[0x77]), 0x4013_0038, "its list can't be read"),
        (
            consumer(25, &[2]),
            0x4013_0038,
            "no context before writes the list",
        ),
        (
            consumer(31, &[0, 4]),
            0x4013_0054,
            "page of 1024 bytes, its producer has 512",
        ),
        (
            consumer(33, &[24]),
            0x4013_0035,
            "list of 24 descriptors, its producer has 25",
        ),
        (
            consumer(37, &[0, 0x17]),
            0x402d_001a,
            "its producer has 6144",
        ),
    ];
    for (patch, code, reason) in table {
        refused(&[patch], code, reason);
    }
}

#[test]
fn what_streams_fetch_and_when_they_end() {
    let table = [
        (
            Patch(FIRST, 6, 1, &[31]),
            0x4013_0049,
            "stream 31 with dummy 0",
        ),
        (
            Patch(FIRST, 6, 0, &[3]),
            0x4013_0036,
            "does not open channel 3",
        ),
        (
            Patch(FIRST, 6, 1, &[2]),
            0x4032_0006,
            "channel 1 was opened for stream 0, found 2",
        ),
        (
            Patch(FIRST, 7, 1, &[4]),
            0x4013_0049,
            "stream 4 with dummy 1",
        ),
        (
            Patch(FIRST, 8, 0, &[3]),
            0x4013_0036,
            "channel 3 is not set up",
        ),
        (
            Patch(FIRST, 8, 1, &[2]),
            0x4013_003c,
            "channel 1 does not carry data device to host",
        ),
        (Patch(FIRST, 8, 1, &[3]), 0x4013_0039, "direction 3"),
        (
            Patch(FIRST, 9, 0, &[2]),
            0x4013_0036,
            "channel 2 is not set up",
        ),
        (
            Patch(FIRST, 9, 1, &[1]),
            0x4032_0006,
            "channel 1 carries stream 0, found 1",
        ),
        (Patch(FIRST, 9, 2, &[1]), 0x4013_005b, "network 1 of 1"),
        (Patch(FIRST, 9, 3, &[1]), 0x4013_0027, "frames of 8193"),
        (
            Patch(FIRST, 9, 7, &[2]),
            0x4032_0007,
            "credits in descriptors, expected bytes",
        ),
        (
            Patch(FIRST, 9, 8, &[1]),
            0x4032_0008,
            "buffer of type continuous",
        ),
        (
            Patch(FIRST, 11, 0, &[16]),
            0x4013_0036,
            "channel 16 is not set up",
        ),
        (
            Patch(FIRST, 11, 1, &[6]),
            0x4032_0006,
            "channel 17 carries stream 5, found 6",
        ),
        (
            Patch(FIRST, 11, 3, &[0]),
            0x4013_0019,
            "is inter-context 0, expected 1",
        ),
        (Patch(FIRST, 12, 0, &[0x80]), 0x4013_001d, "bit 7"),
        (
            Patch(FIRST, 14, 0, &[18]),
            0x4013_0036,
            "channel 18 is not set up",
        ),
        (
            Patch(FIRST, 14, 2, &[2]),
            0x4013_0019,
            "check of the host's list 2",
        ),
        (
            Patch(FIRST, 14, 0, &[1, 1]),
            0x4013_0019,
            "check of the host's list 1",
        ),
        (
            Patch(FIRST, 15, 0, &[4]),
            0x4013_0036,
            "channel 4 is not set up",
        ),
        (
            Patch(SECOND, 8, 3, &[11]),
            0x4013_0027,
            "frames of 11 descriptors, expected 12",
        ),
        (
            Patch(SECOND, 8, 7, &[1]),
            0x4032_0007,
            "credits in bytes, expected descriptors",
        ),
        (
            Patch(SWITCHING, 3, 0, &[19]),
            0x4013_0036,
            "channel 19 is not set up by dynamic context 0",
        ),
        (
            Patch(SWITCHING, 6, 0, &[2]),
            0x4013_0036,
            "does not open channel 2",
        ),
        (Patch(PRELIMINARY, 2, 0, &[99]), 0x4013_002b, "module 99"),
    ];
    for (patch, code, reason) in table {
        refused(&[patch], code, reason);
    }
}

#[test]
fn actions_in_the_wrong_place() {
    // The type of an action is five bytes in front of its parameters; these have none.
    let kind = |context: usize, action: usize, kind: u8| {
        let net = Net::new("", "none");
        let _memory = Memory::two_contexts(&net);
        let mut upload = Upload::two_contexts();
        let list = &mut upload.contexts[context].1;
        let at = Walk::new(list).nth(action).unwrap().unwrap().offset;
        list[at] = kind;
        (net, upload)
    };
    let table = [
        (
            ACTIVATION,
            0,
            29,
            0x4013_0063,
            "not in a context of this kind",
        ),
        (
            SWITCHING,
            7,
            21,
            0x4013_0063,
            "not in a context of this kind",
        ),
        (SWITCHING, 4, 15, 0x4025_0003, "no rings"),
        (FIRST, 10, 30, 0x4033_0007, "burst credits are not started"),
        (FIRST, 10, 42, 0x4013_0077, "no caches"),
    ];
    for (context, action, number, code, reason) in table {
        let (mut net, upload) = kind(context, action, number);
        assert_refused(&mut net, &upload, code, reason);
    }
    let wait = [21, 255, 255, 255, 255];
    let mut net = Net::new("", "none");
    let _memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    upload.contexts[SECOND].1.extend(wait);
    assert_refused(
        &mut net,
        &upload,
        0x4013_006f,
        "ends with `wait for application change`",
    );
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let mut upload = Upload::example();
    let list = &mut upload.contexts[FIRST].1;
    list.truncate(list.len() - wait.len());
    assert_refused(
        &mut net,
        &upload,
        0x4013_006f,
        "ends without `wait for application change`",
    );
}

#[test]
fn a_lenient_chip_complains_and_goes_on() {
    let mut net = Net::new(",lenient=on", "none");
    let mut memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    // The null stream is another on this chip, and a direction has no name.
    Patch(FIRST, 7, 1, &[15]).apply(&mut upload);
    Patch(FIRST, 15, 1, &[1]).apply(&mut upload);
    upload.send(&mut net).unwrap();
    assert!(
        net.complaints()[0].contains("stream 15 with dummy 1"),
        "{:?}",
        net.complaints()
    );
    assert!(net.enable(0, 0, 0).ok());
    memory.infer(&mut net, 4, 2);
}

#[test]
fn a_lenient_chip_refuses_lists_that_it_can_do_nothing_with() {
    let mut net = Net::new(",lenient=on", "none");
    let _memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    // A config stream that the header does not have, which it lets pass, on a list of 2^32 - 1 descriptors.
    Patch(PRELIMINARY, 0, 1, &[9]).apply(&mut upload);
    Patch(PRELIMINARY, 0, 13, &[0xff; 4]).apply(&mut upload);
    assert_refused(
        &mut net,
        &upload,
        0x402d_0005,
        "list of 4294967295 descriptors",
    );
}
