//! What a host of context switching can do wrong: each is refused where it is uploaded or asked for, with the reason in
//! the firmware's log and among the chip's complaints.

use super::context::Memory;
use super::net::{Net, Upload};
use crate::spec::nnc::context::Walk;

/// Numbers of contexts in an upload.
pub(super) const ACTIVATION: usize = 0;
pub(super) const SWITCHING: usize = 1;
pub(super) const PRELIMINARY: usize = 2;
pub(super) const FIRST: usize = 3;
pub(super) const SECOND: usize = 4;

/// Bytes to change: context, number of the action (those of a block count), offset in its parameters, bytes.
pub(super) struct Patch<'a>(
    pub(super) usize,
    pub(super) usize,
    pub(super) usize,
    pub(super) &'a [u8],
);

impl Patch<'_> {
    pub(super) fn apply(&self, upload: &mut Upload) {
        let Self(context, action, offset, bytes) = *self;
        let list = &mut upload.contexts[context].1;
        let step = Walk::new(list).nth(action).unwrap().unwrap();
        let header = if step.repeated.is_some() { 0 } else { 5 };
        let at = step.offset + header + offset;
        list[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// The mistake is refused with this code, for this reason.
pub(super) fn assert_refused(net: &mut Net, upload: &Upload, code: u32, reason: &str) {
    net.core_log();
    let refused = upload.send(net).expect_err(reason);
    assert_eq!(
        refused.code(),
        code,
        "{reason}: {refused:x?}, {:?}",
        net.complaints()
    );
    net.assert_said(reason);
    // An application with a mistake never runs.
    assert!(!net.enable(0, 0, 0).ok(), "{reason}");
}

pub(super) fn refused(patches: &[Patch<'_>], code: u32, reason: &str) {
    let mut net = Net::new("", "none");
    let _memory = Memory::two_contexts(&net);
    let mut upload = Upload::two_contexts();
    for patch in patches {
        patch.apply(&mut upload);
    }
    assert_refused(&mut net, &upload, code, reason);
}

#[test]
fn headers() {
    let table: [(usize, &[u8], u32, &str); 15] = [
        (0, &[0, 0], 0x4013_006f, "0 dynamic contexts"),
        (0, &[0xfe, 3], 0x4013_006f, "1022 dynamic contexts"),
        (7, &[0], 0x4013_005b, "0 networks"),
        (7, &[9], 0x4013_005b, "9 networks"),
        (8, &[0xf4, 1], 0x402b_000a, "CSM buffer of 500"),
        (8, &[32, 0], 0x402b_000a, "CSM buffer of 32"),
        (8, &[0, 0x20], 0x402b_000a, "CSM buffer of 8192"),
        (8, &[0, 0], 0x402b_000a, "CSM buffer of 0"),
        (10, &[0], 0x4013_003f, "batch of 0"),
        (10, &[64], 0x4013_003f, "batch of 64"),
        (12, &[1], 0x4013_0076, "action list at 0x1"),
        (28, &[25], 0x4013_0065, "25 config channels"),
        (28, &[1, 16], 0x4003_00c2, "config channel 16"),
        (28, &[2, 5, 5], 0x4003_00c2, "config channel 5"),
        (28, &[1, 0x41], 0x4003_00c2, "config channel 1@1"),
    ];
    for (offset, bytes, code, reason) in table {
        let mut net = Net::new("", "none");
        let mut upload = Upload::example();
        upload.header[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert_refused(&mut net, &upload, code, reason);
    }
}

#[test]
fn order_of_controls() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let upload = Upload::example();
    let list = |place: usize| upload.contexts[place].1.as_slice();
    let chunk = |net: &mut Net, first: u8, last: u8, kind: u8, data: &[u8]| {
        net.control(33, &[&[first], &[last], &[kind], data]).major
    };
    assert_eq!(chunk(&mut net, 1, 1, 3, list(0)), 0x4013_0006);
    net.does(32, &[&upload.header]);
    assert_eq!(chunk(&mut net, 1, 1, 1, list(3)), 0x4013_006e);
    // The application is broken by that.
    assert_eq!(chunk(&mut net, 1, 1, 3, list(0)), 0x4013_0006);
    assert_eq!(net.control(32, &[&upload.header]).code(), 0x4013_004a);
    assert_eq!(net.enable(0, 0, 0).code(), 0x4013_0037);
    for (first, last, kind, code) in [(0, 1, 3, 0x4013_006e), (1, 1, 4, 0x4013_006d)] {
        net.does(71, &[]);
        net.does(32, &[&upload.header]);
        assert_eq!(chunk(&mut net, first, last, kind, list(0)), code);
    }
    net.does(71, &[]);
    net.does(32, &[&upload.header]);
    assert_eq!(chunk(&mut net, 1, 0, 3, &list(0)[..7]), 0);
    assert_eq!(chunk(&mut net, 1, 1, 3, list(0)), 0x4013_006e);
    net.does(71, &[]);
    upload.send(&mut net).unwrap();
    assert_eq!(chunk(&mut net, 1, 1, 1, list(3)), 0x4013_0007);
    assert_eq!(net.enable(1, 0, 0).code(), 0x4013_0037);
    assert_eq!(net.enable(0, 2, 0).code(), 0x4013_003f);
    assert_eq!(net.control(79, &[]).code(), 0x4013_0077);
    assert_eq!(
        net.control(37, &[&[2], &[0], &[0, 0], &[0, 0]]).code(),
        0x4013_0019
    );
    assert!(net.enable(0, 0, 0).ok());
    assert_eq!(net.control(32, &[&upload.header]).code(), 0x4013_0056);
    assert_eq!(net.control(71, &[]).code(), 0x4013_006c);
    net.reset();
    net.does(71, &[]);
}

#[test]
fn parameters_of_other_lengths() {
    let header = [0; 52];
    let table: [(u32, &[&[u8]], u32); 11] = [
        (32, &[&header], 0x4003_0060),
        (33, &[&[], &[1], &[3], &[]], 0x4003_0091),
        (33, &[&[1], &[1, 1], &[3], &[]], 0x4003_0092),
        (33, &[&[1], &[1], &[3, 0], &[]], 0x4003_00c4),
        (36, &[&[0; 3], &[1], &[0, 0], &[0, 0]], 0x4003_00c5),
        (37, &[&[], &[0], &[0, 0], &[0, 0]], 0x4003_006b),
        (37, &[&[0], &[0, 0], &[0, 0], &[0, 0]], 0x4003_0082),
        (37, &[&[0], &[0], &[0], &[0, 0]], 0x4003_00c0),
        (52, &[&[0; 3], &[0], &[0; 13]], 0x4003_008e),
        (59, &[&[0; 3], &[1]], 0x4003_00a7),
        (72, &[&[0]], 0x4003_0012),
    ];
    for (opcode, parameters, code) in table {
        let mut net = Net::new("", "none");
        let answer = net.control(opcode, parameters);
        assert_eq!(answer.major, code, "{opcode}: {answer:x?}");
        assert_eq!(net.complaints().len(), 1, "{:?}", net.complaints());
    }
    // The longest chunk makes the longest message.
    let mut net = Net::new("", "none");
    let longer = net.control(33, &[&[1], &[1], &[3], &[0; 1461]]);
    assert_eq!(longer.major, 0x4013_0006);
}

#[test]
fn a_chunk_of_another_kind() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let upload = Upload::example();
    let list = &upload.contexts[ACTIVATION].1;
    net.does(32, &[&upload.header]);
    net.does(33, &[&[1], &[0], &[3], &list[..7]]);
    let other = net.control(33, &[&[0], &[1], &[2], &list[7..]]);
    assert_eq!(other.major, 0x4013_006e);
}

#[test]
fn a_reset_always_succeeds() {
    let mut net = Net::new("", "none");
    for application in [0, 7, 255] {
        net.does(37, &[&[0], &[application], &[9, 9], &[1, 0]]);
    }
    assert_eq!(net.complaints(), [""; 0]);
}

#[test]
fn inference_without_the_host_that_cannot_be() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let start = |net: &mut Net, patch: &[(usize, u8)], batch: u8, mode: u8| {
        let mut table = vec![0; 481];
        table[..8].copy_from_slice(&[1, 0, 16, 0, 16, 0, 2, 0]);
        table[480] = 2;
        for &(at, value) in patch {
            table[at] = value;
        }
        net.control(74, &[&[0], &[0], &[batch, 0], &[1, 0], &table, &[mode]])
            .code()
    };
    assert_eq!(start(&mut net, &[], 1, 0), 0x4037_0001);
    Upload::example().send(&mut net).unwrap();
    for (patch, batch, mode, code) in [
        (&[][..], 1, 1, 0x4037_0005),
        (&[], 0, 0, 0x4013_003f),
        (&[], 2, 0, 0x4013_003f),
        (&[(480, 1)], 1, 0, 0x4037_0004),
        (&[(0, 2)], 1, 0, 0x4037_0004),
        (&[(5, 1)], 1, 0, 0x4037_0004),
        (&[(6, 1)], 1, 0, 0x402d_001f),
        (&[(6, 128)], 1, 0, 0x402d_001f),
    ] {
        assert_eq!(start(&mut net, patch, batch, mode), code, "{patch:?}");
    }
    let state = net.control(74, &[&[2], &[0], &[1, 0], &[1, 0], &[0; 481], &[0]]);
    assert_eq!(state.code(), 0x4037_0004);
    assert!(net.enable(0, 0, 0).ok());
    assert_eq!(start(&mut net, &[], 1, 0), 0x4037_0002);
}

#[test]
fn breakpoints_and_lists_that_are_not_there() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    Upload::example().send(&mut net).unwrap();
    let breakpoint = |net: &mut Net, id: u8, control: u8| {
        net.control(52, &[&[id, 0, 0, 0], &[control], &[0; 13]])
            .code()
    };
    for id in 0..16 {
        assert_eq!(breakpoint(&mut net, id, 0), 0);
    }
    assert_eq!(breakpoint(&mut net, 16, 0), 0x4013_0042);
    assert_eq!(breakpoint(&mut net, 3, 0), 0x4013_0045);
    assert_eq!(breakpoint(&mut net, 3, 1), 0x4013_0045);
    assert_eq!(breakpoint(&mut net, 3, 3), 0x4013_0044);
    assert_eq!(breakpoint(&mut net, 3, 2), 0);
    assert_eq!(breakpoint(&mut net, 3, 2), 0x4013_0045);
    let list = |net: &mut Net, application: u8, kind: u8| {
        net.control(36, &[&[0, 0, 0, application], &[kind], &[0, 0], &[0, 0]])
            .code()
    };
    assert_eq!(list(&mut net, 1, 1), 0x4013_0037);
    assert_eq!(list(&mut net, 0, 4), 0x4013_0013);
}

#[test]
fn the_firmware_s_memory_ends() {
    let mut net = Net::new(",fw-memory=1000", "none");
    let _memory = Memory::two_contexts(&net);
    let refused = Upload::two_contexts().send(&mut net);
    assert!(refused.is_ok(), "{refused:x?}");
    let refused = Upload::two_contexts().send(&mut net).unwrap_err();
    assert_eq!((refused.major, refused.minor), (0x4013_007a, 0));
    // Nobody's mistake.
    assert_eq!(net.complaints(), [""; 0]);
    net.does(71, &[]);
    Upload::two_contexts().send(&mut net).unwrap();
}

#[test]
fn more_applications_than_there_is_room_for() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let upload = Upload::example();
    for _ in 0..26 {
        upload.send(&mut net).unwrap();
    }
    assert_eq!(net.control(32, &[&upload.header]).code(), 0x4013_0014);
}

#[test]
fn lists_that_lose_step() {
    let mut net = Net::new("", "none");
    let _memory = Memory::example(&net);
    let table: [(&[u8], u32, &str); 6] = [
        (&[45, 255, 255, 255, 255], 0x4013_000a, "unknown action 45"),
        (&[30, 255, 255], 0x4013_0016, "list ends in the header"),
        (
            &[33, 255, 255, 255, 255, 16],
            0x4013_0016,
            "list ends in the parameters",
        ),
        (&[30, 0, 0, 0, 0], 0x4013_0016, "time stamp 0x0"),
        (
            &[24, 255, 255, 255, 255, 1, 0, 6],
            0x4013_005d,
            "cannot be repeated",
        ),
        (&[], 0x4013_0004, "no action"),
    ];
    for (list, code, reason) in table {
        let mut upload = Upload::example();
        upload.contexts[ACTIVATION].1 = list.to_vec();
        assert_refused(&mut net, &upload, code, reason);
        net.does(71, &[]);
    }
    refused(
        &[Patch(SWITCHING, 0, 0, &[0])],
        0x4013_005e,
        "a block of no actions",
    );
    refused(
        &[Patch(SWITCHING, 0, 1, &[1])],
        0x4013_005c,
        "1 of it executed already",
    );
}

#[test]
fn boundary_channels() {
    let output = |offset, bytes| Patch(ACTIVATION, 1, offset, bytes);
    let input = |offset, bytes| Patch(ACTIVATION, 2, offset, bytes);
    let table = [
        (
            output(0, &[1]),
            0x4013_003c,
            "channel 1 does not carry data device to host",
        ),
        (output(0, &[0x50]), 0x4013_001e, "channel 16 of engine 1"),
        (output(0, &[40]), 0x4013_001e, "channel 40 of engine 0"),
        (output(1, &[1]), 0x402d_0016, "a continuous buffer"),
        (output(1, &[2]), 0x4013_0066, "buffer of type 2"),
        (
            output(2, &[0, 1]),
            0x4013_0038,
            "expected a multiple of 64 KiB",
        ),
        (output(4, &[0x33]), 0x4013_0038, "its list can't be read"),
        (output(10, &[0, 3]), 0x402d_0014, "page of 768 bytes"),
        (output(10, &[32, 0]), 0x402d_0014, "page of 32 bytes"),
        (output(10, &[0, 0x20]), 0x402d_0014, "page of 8192 bytes"),
        (output(12, &[1, 0]), 0x402d_0005, "list of 1 descriptors"),
        (
            output(12, &[1, 0, 1]),
            0x402d_0005,
            "list of 65537 descriptors",
        ),
        (output(12, &[100, 0]), 0x402d_0011, "circular list of 100"),
        (output(16, &[0, 0]), 0x402d_001f, "a transfer of 0 bytes"),
        (output(16, &[0, 0, 1]), 0x402d_001f, "takes 128 descriptors"),
        (
            output(16, &[0xe9]),
            0x402d_001a,
            "transfers of 1000 bytes, the activation context has 1001",
        ),
        (input(0, &[0]), 0x4013_0028, "channel 0 is in use"),
        (
            input(0, &[17]),
            0x4013_003c,
            "channel 17 does not carry data host to device",
        ),
        (
            input(16, &[0, 0x10]),
            0x402d_001a,
            "transfers of 4096 bytes, frames of 8192",
        ),
        (input(21, &[1]), 0x4013_005b, "network 1 of 1"),
        (input(22, &[0xff]), 0x4013_0027, "in buffers of 511"),
    ];
    for (patch, code, reason) in table {
        refused(&[patch], code, reason);
    }
}

#[test]
fn config_channels() {
    let open = |offset, bytes| Patch(PRELIMINARY, 0, offset, bytes);
    let table = [
        (
            open(0, &[1]),
            0x4013_0069,
            "config stream 0 is on channel 1, the header says 0",
        ),
        (
            open(1, &[1]),
            0x4013_0069,
            "config stream 1, the header has 1",
        ),
        (
            open(11, &[0, 4]),
            0x402b_000a,
            "page of 1024 bytes, the header says 512",
        ),
        (
            open(17, &[0xff, 5]),
            0x402b_000b,
            "1535 bytes, not a multiple",
        ),
        (open(17, &[0, 0x10]), 0x402d_001f, "takes 8 descriptors"),
        (Patch(PRELIMINARY, 1, 0, &[0, 0]), 0x402b_0007, "no bursts"),
        (
            Patch(PRELIMINARY, 1, 2, &[3]),
            0x402b_0002,
            "config stream 3 is not open",
        ),
        (
            Patch(PRELIMINARY, 6, 0, &[2]),
            0x4013_0036,
            "channel 2 is not open for config stream 0",
        ),
    ];
    for (patch, code, reason) in table {
        refused(&[patch], code, reason);
    }
}
