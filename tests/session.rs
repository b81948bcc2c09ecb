//! Raw sessions against the software chip's echo service: what is sent comes back, whoever closes, however many.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod support;

use std::os::fd::AsFd;
use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::device::Device;
use hailo_vfio::dma::Outcome;
use hailo_vfio::model::Fault;
use hailo_vfio::soc::{Cause, Session, SessionError, Soc};
use hailo_vfio::transport::Direction;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use support::{Bench, Way, each_way};

/// The port of the chip's echo service.
const ECHO: u16 = 7;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn open(way: Way, faults: &str) -> (Bench, Device, Soc) {
    let bench = Bench::new(way, "default,timing=off,loaded=5.2.0,echo=7", faults);
    let device = bench.open();
    let soc = device.soc().unwrap();
    (bench, device, soc)
}

/// How many bytes follow and how many are wanted back.
fn head(sent: usize, wanted: usize) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&u32::try_from(sent).unwrap().to_le_bytes());
    head[4..].copy_from_slice(&u32::try_from(wanted).unwrap().to_le_bytes());
    head
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 7 + seed).to_le_bytes()[0])
        .collect()
}

fn round(session: &Session, len: usize) {
    let data = pattern(len, len);
    session.send(&head(len, len), &soon()).unwrap();
    session.send(&data, &soon()).unwrap();
    let mut back = vec![0; len];
    session.receive(&mut back, &soon()).unwrap();
    assert!(back == data, "{len} bytes");
}

#[test]
fn what_is_sent_comes_back() {
    each_way(|way| {
        let (bench, device, soc) = open(way, "");
        let session = soc.session(ECHO, &soon()).unwrap();
        for len in [1, 8, 20, 511, 512, 513, 2068, 4096, 4097, 150_528] {
            round(&session, len);
        }
        session.close().unwrap();
        drop((soc, device));
        bench.assert_no_complaints();
    });
}

#[test]
fn a_transfer_longer_than_the_ring_is_cut_where_nobody_sees_it() {
    let (bench, _device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    round(&session, 40_000_001);
    session.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn transfers_of_the_caller_s_buffers_are_not_copied_and_come_back_in_order() {
    let (bench, _device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    for (len, seed) in [(100, 1), (70_000, 2), (3, 3)] {
        let mut there = session.buffer(len, Direction::ToDevice).unwrap();
        there.copy_from_slice(&pattern(len, seed));
        let address = there.as_ptr();
        let mut ask = session.buffer(8, Direction::ToDevice).unwrap();
        ask.copy_from_slice(&head(len, len));
        session
            .post_read(session.buffer(len, Direction::FromDevice).unwrap(), len)
            .unwrap();
        session.write(ask, 8).unwrap();
        session.write(there, len).unwrap();
        assert_eq!(session.wait_written(&soon()).unwrap().bytes, 8);
        assert_eq!(
            session.wait_written(&soon()).unwrap().buffer.as_ptr(),
            address
        );
        let back = session.wait_read(&soon()).unwrap();
        assert_eq!(&back.buffer[..], pattern(len, seed));
    }
    drop(session);
    bench.assert_no_complaints();
}

#[test]
fn sixteen_sessions_at_once_and_no_more() {
    let (bench, _device, soc) = open(Way::Local, "");
    let sessions: Vec<_> = (0..16)
        .map(|_| soc.session(ECHO, &soon()).unwrap())
        .collect();
    let refused = soc
        .session(ECHO, &Deadline::after(Duration::ZERO))
        .unwrap_err();
    assert!(
        matches!(refused, SessionError::Busy { port: ECHO, .. }),
        "{refused}"
    );
    std::thread::scope(|scope| {
        for (number, session) in sessions.iter().enumerate() {
            scope.spawn(move || {
                for step in 0..20 {
                    round(session, 1 + number * 977 + step * 131);
                }
            });
        }
    });
    for session in sessions {
        session.close().unwrap();
    }
    round(&soc.session(ECHO, &soon()).unwrap(), 100);
    bench.assert_no_complaints();
}

#[test]
fn nobody_listens_on_another_port() {
    let (_bench, _device, soc) = open(Way::Local, "");
    let refused = soc.session(9, &soon()).unwrap_err();
    assert!(matches!(refused, SessionError::Refused(9)), "{refused}");
}

#[test]
fn a_busy_port_is_tried_again() {
    let (_bench, _device, soc) = open(Way::Local, "connect-status=-11:3");
    round(&soc.session(ECHO, &soon()).unwrap(), 10);
}

#[test]
fn a_close_by_the_chip_wakes_who_reads_and_gives_the_buffers_back() {
    each_way(|way| {
        let (bench, _device, soc) = open(way, "");
        let session = soc.session(ECHO, &soon()).unwrap();
        let buffer = session.buffer(64, Direction::FromDevice).unwrap();
        session.post_read(buffer, 64).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| session.wait_read(&soon()).unwrap_err());
            // All ones ask the chip to hang up.
            session.send(&[0xff; 8], &soon()).unwrap();
            let error = reader.join().unwrap();
            assert!(
                matches!(error, SessionError::Over(Cause::ClosedByPeer)),
                "{error}"
            );
        });
        assert_eq!(session.over(), Some(Cause::ClosedByPeer));
        let [_, read] = session.close().unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].outcome, Outcome::Stopped);
        bench.assert_no_complaints();
    });
}

#[test]
fn a_close_here_gives_back_what_was_in_flight() {
    let (bench, _device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    for len in [64, 4096, 1] {
        let buffer = session.buffer(len, Direction::FromDevice).unwrap();
        session.post_read(buffer, len).unwrap();
    }
    let waited = session.wait_read(&Deadline::after(Duration::from_millis(1)));
    assert!(matches!(waited, Err(SessionError::TimedOut { .. })));
    let [_, read] = session.close().unwrap();
    let lens: Vec<_> = read.iter().map(|completion| completion.bytes).collect();
    assert_eq!(lens, [64, 4096, 1]);
    bench.assert_no_complaints();
}

#[test]
fn a_session_that_the_chip_drops_while_it_is_opened_is_opened_again() {
    let (bench, _device, soc) = open(Way::Local, "drop-session:1");
    let session = soc.session(ECHO, &soon()).unwrap();
    match session.send(&head(0, 0), &soon()) {
        // Dropped before this end was up, and opened again; or dropped afterwards, and known to be.
        Ok(()) => round(&session, 100),
        Err(error) => assert!(
            matches!(error, SessionError::Over(Cause::ClosedByPeer)),
            "{error}"
        ),
    }
    drop(session);
    bench.assert_no_complaints();
}

#[test]
fn a_reset_ends_every_session_and_the_device_goes_on() {
    let (bench, device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    let buffer = session.buffer(64, Direction::FromDevice).unwrap();
    session.post_read(buffer, 64).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| session.wait_read(&soon()).unwrap_err());
        device.reset().unwrap();
        let error = reader.join().unwrap();
        assert!(
            matches!(error, SessionError::Over(Cause::Lost(_))),
            "{error}"
        );
    });
    let [_, read] = session.close().unwrap();
    assert_eq!(read.len(), 1);
    bench.assert_no_complaints();
}

#[test]
fn an_event_loop_sees_what_arrives() {
    for (polls, loses) in [(false, false), (true, false), (false, true)] {
        let (bench, _device, soc) = open(Way::Local, "");
        let session = soc.session(ECHO, &soon()).unwrap();
        session.set_polling(polls);
        let buffer = session.buffer(16, Direction::FromDevice).unwrap();
        session.post_read(buffer, 16).unwrap();
        let watch = session.watch().unwrap();
        if loses {
            bench.chip.add_fault(Fault::LoseInterrupt);
        }
        let head = head(0, 16);
        let mut buffer = session.buffer(head.len(), Direction::ToDevice).unwrap();
        buffer[..head.len()].copy_from_slice(&head);
        session.write(buffer, head.len()).unwrap();
        let done = loop {
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut fds, PollTimeout::from(20_000_u16)).unwrap();
            assert_ne!(ready, 0, "nothing came: {polls}, {loses}");
            nix::unistd::read(&watch, &mut [0; 8]).unwrap();
            if let Some(done) = session.try_read().unwrap() {
                break done;
            }
        };
        assert_eq!(&done.buffer[..], [0; 16]);
    }
}

#[test]
fn launches_that_cross_with_a_close_do_not_hide_it() {
    let deadline = soon();
    for polls in [false, true] {
        while !crosses_with_a_close(polls) {
            assert!(!deadline.expired(), "the close was always known first");
        }
    }
}

/// Whether this side launched before it knew of the close.
fn crosses_with_a_close(polls: bool) -> bool {
    let (bench, _device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    round(&session, 100);
    session.set_polling(true);
    // The close's interrupt, so that this side knows only if it still looks for what was before.
    bench.chip.add_fault(Fault::LoseInterrupt);
    let before = bench.chip.counters().interrupts_raised;
    session.send(&[0xff; 8], &soon()).unwrap();
    let deadline = soon();
    while bench.chip.counters().interrupts_raised == before {
        assert!(!deadline.expired(), "the chip did not close");
        std::thread::yield_now();
    }
    session.set_polling(polls);
    let buffer = session.buffer(64, Direction::FromDevice).unwrap();
    let posted = session.post_read(buffer, 64);
    let buffer = session.buffer(64, Direction::ToDevice).unwrap();
    if let Err(refused) = posted.and_then(|_| session.write(buffer, 64)) {
        let reason = refused.reason.downcast_ref();
        assert!(matches!(reason, Some(Cause::ClosedByPeer)), "{refused}");
        return false;
    }
    let error = session.wait_read(&soon()).unwrap_err();
    assert!(
        matches!(error, SessionError::Over(Cause::ClosedByPeer)),
        "polls: {polls}: {error}"
    );
    let [written, read] = session.close().unwrap();
    assert_eq!([written.len(), read.len()], [1, 1]);
    bench.assert_no_complaints();
    true
}

#[test]
fn a_wait_that_polls_notices_that_the_device_is_gone() {
    let (bench, _device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    session.set_polling(true);
    let buffer = session.buffer(64, Direction::FromDevice).unwrap();
    session.post_read(buffer, 64).unwrap();
    bench.chip.add_fault(Fault::AllOnesAfter(1));
    let error = session.wait_read(&soon()).unwrap_err();
    assert!(
        matches!(error, SessionError::Over(Cause::Lost(_))),
        "{error}"
    );
}

#[test]
fn bytes_stream_one_way_through_buffers_of_another_cut() {
    const CHUNK: usize = 1 << 20;
    let (bench, _device, soc) = open(Way::Local, "");
    let session = soc.session(ECHO, &soon()).unwrap();
    let len = 6 * CHUNK + 777;
    for _ in 0..2 {
        session.send(&head(len, 0), &soon()).unwrap();
        for at in (0..len).step_by(CHUNK / 4) {
            let bytes = (len - at).min(CHUNK / 4);
            let mut buffer = session.buffer(bytes, Direction::ToDevice).unwrap();
            buffer.fill(0xa5);
            session.write(buffer, bytes).unwrap();
        }
        while session.wait_written(&soon()).unwrap().bytes != 777 {}
        // What came before is in no way what is sent now.
        session.send(&head(0, len), &soon()).unwrap();
        for at in (0..len).step_by(2 * CHUNK) {
            let bytes = (len - at).min(2 * CHUNK);
            let mut buffer = session.buffer(bytes, Direction::FromDevice).unwrap();
            buffer.fill(0x5a);
            session.post_read(buffer, bytes).unwrap();
        }
        let mut left = len;
        while left > 0 {
            let done = session.wait_read(&soon()).unwrap();
            assert!(done.buffer.iter().all(|byte| *byte == 0));
            left -= done.bytes;
        }
        round(&session, 70_000);
    }
    session.close().unwrap();
    bench.assert_no_complaints();
}

#[test]
fn mailbox_answers_that_make_no_sense_cost_one_session_at_most() {
    for (fault, opens) in [
        ("mailbox-status=-5@connect", false),
        ("mailbox-status=5@connect", false),
        ("mailbox-channels=3/4", false),
        ("mailbox-channels=20/20", false),
        ("mailbox-channels=0/40", false),
        ("mailbox-again", true),
        ("mailbox-stray-close@connect", true),
    ] {
        let (bench, _device, soc) = open(Way::Local, fault);
        let first = soc.session(ECHO, &soon());
        assert_eq!(first.is_ok(), opens, "{fault}: {first:?}");
        if let Ok(session) = &first {
            round(session, 3000);
        }
        round(&soc.session(ECHO, &soon()).unwrap(), 3000);
        drop(first);
        bench.assert_no_complaints();
    }
}
