//! Sessions: pairs of channels over which transfers go both ways, with rings made by hand.

use std::time::Instant;

use super::files::noise;
use super::host::*;
use crate::addr::Iova;
use crate::model::ChipState;
use crate::transport::local::Host;

const ECHO: &str = "default,loaded=5.2.0,echo=7";
pub(super) const ECHO_PORT: u32 = 7;
/// Where the lists lie: one MiB for each channel.
const RINGS: u64 = 0x4000_0000;
/// Where the data of a channel lies.
const DATA: u64 = 0x10_0000_0000;
const DATA_LEN: usize = 1 << 16;

/// An open session of the raw host.
pub(super) struct Session {
    pub(super) channels: [u32; 2],
    next: [u32; 2],
    data: [u64; 2],
    page: usize,
}

fn host_side(channel: u32) -> u32 {
    0x20 * channel + if channel < 16 { 0 } else { 0x10 }
}

impl Bench {
    /// CONNECT, then both lists and both channels, as the vendor's driver does it.
    pub(super) fn connect(&mut self, port: u32) -> Session {
        self.connect_with(port, DATA_LEN)
    }

    pub(super) fn connect_with(&mut self, port: u32, room: usize) -> Session {
        let answer = self.exchange(0x100, port);
        assert_eq!(answer[..8], [0, 1, 0, 0, 0, 0, 0, 0]);
        let channels = [answer[8], answer[9]].map(u32::from);
        assert!(
            channels[0] < 16 && (16..32).contains(&channels[1]),
            "{channels:?}"
        );
        let data = channels.map(|channel| DATA + (u64::from(channel) << 32));
        for (channel, data) in channels.into_iter().zip(data) {
            let list = RINGS + 0x10_0000 * u64::from(channel);
            self.memory.put(list, vec![0; 0x10_0000]);
            self.memory.put(data, vec![0; room]);
            self.start_side(host_side(channel), list, 16);
        }
        Session {
            channels,
            next: [0; 2],
            data,
            page: 512,
        }
    }

    /// Programs one transfer and launches it; several launches where `cut` is shorter.
    pub(super) fn launch_cut(&mut self, session: &mut Session, way: usize, len: usize, cut: usize) {
        let channel = session.channels[way];
        let list = RINGS + 0x10_0000 * u64::from(channel);
        for part in (0..len).step_by(cut) {
            let end = len.min(part + cut);
            for at in (part..end).step_by(session.page) {
                let size = (end - at).min(session.page);
                let control = if at + size == end { 0x2e } else { 2 };
                let word = u32::try_from(size << 8 | control).unwrap();
                let address = session.data[way] + u64::try_from(at).unwrap();
                self.put_descriptor(list, session.next[way], word, address);
                session.next[way] = (session.next[way] + 1) % 0x1_0000;
            }
            self.feed_side(host_side(channel), session.next[way]);
            if len > cut {
                self.wait_processed(session, way);
            }
        }
    }

    fn put_descriptor(&self, list: u64, index: u32, word: u32, address: u64) {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&word.to_le_bytes());
        bytes[4..12].copy_from_slice(&address.to_le_bytes());
        self.memory
            .write(Iova(list + 16 * u64::from(index)), &bytes)
            .unwrap();
    }

    /// Launches one descriptor with this first word.
    pub(super) fn launch_word(&mut self, session: &mut Session, way: usize, word: u32) {
        let channel = session.channels[way];
        let list = RINGS + 0x10_0000 * u64::from(channel);
        self.put_descriptor(list, session.next[way], word, session.data[way]);
        session.next[way] += 1;
        self.feed_side(host_side(channel), session.next[way]);
    }

    pub(super) fn launch(&mut self, session: &mut Session, way: usize, len: usize) {
        self.launch_cut(session, way, len, usize::MAX);
    }

    /// Waits until everything launched is processed, by interrupts.
    pub(super) fn wait_processed(&mut self, session: &Session, way: usize) {
        let side = host_side(session.channels[way]);
        while self.read16(VDMA, side + 4) != session.next[way] {
            self.interrupt();
        }
    }

    /// Waits for a progress word without looking at interrupts.
    pub(super) fn wait_moved(&self, offset: u32, word: u32) {
        let deadline = Instant::now() + LONG;
        while self.read(VDMA, offset) != word {
            assert!(Instant::now() < deadline, "{:#x}", self.read(VDMA, offset));
            std::thread::yield_now();
        }
    }

    /// Sends bytes as one transfer and waits.
    pub(super) fn send(&mut self, session: &mut Session, bytes: &[u8]) {
        self.memory.write(Iova(session.data[0]), bytes).unwrap();
        self.launch(session, 0, bytes.len());
        self.wait_processed(session, 0);
    }

    /// Receives one transfer.
    pub(super) fn receive(&mut self, session: &mut Session, len: usize) -> Vec<u8> {
        self.launch(session, 1, len);
        self.wait_processed(session, 1);
        self.received(session, len)
    }

    pub(super) fn received(&self, session: &Session, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(Iova(session.data[1]), &mut bytes).unwrap();
        bytes
    }

    /// Stops the host's sides, then CLOSE.
    pub(super) fn close(&mut self, session: &Session) {
        for channel in session.channels {
            self.stop_side(host_side(channel));
        }
        let bitmap = 1 << session.channels[0] | 1 << session.channels[1];
        let answer = self.exchange(0x101, bitmap);
        assert_eq!(answer[..9], [1, 1, 0, 0, 0, 0, 0, 0, 0]);
        for (channel, data) in session.channels.into_iter().zip(session.data) {
            self.memory.remove(RINGS + 0x10_0000 * u64::from(channel));
            self.memory.remove(data);
        }
    }

    pub(super) fn put_data(&self, session: &Session, bytes: &[u8]) {
        self.memory.write(Iova(session.data[0]), bytes).unwrap();
    }

    pub(super) fn is_active(&self, session: &Session, way: usize) -> bool {
        self.read(VDMA, host_side(session.channels[way])) & 1 != 0
    }
}

/// The head of an echo.
pub(super) fn head(sent: usize, wanted: usize) -> [u8; 8] {
    let numbers = [sent, wanted].map(|len| u32::try_from(len).unwrap());
    let mut head = [0; 8];
    head[..4].copy_from_slice(&numbers[0].to_le_bytes());
    head[4..].copy_from_slice(&numbers[1].to_le_bytes());
    head
}

fn echo(bench: &mut Bench, session: &mut Session, bytes: &[u8]) {
    bench.send(session, &head(bytes.len(), bytes.len()));
    bench.send(session, bytes);
    assert_eq!(bench.receive(session, bytes.len()), bytes);
}

#[test]
fn connect_and_close_are_answered_as_in_the_worked_bytes() {
    let mut bench = Bench::new("default,loaded=5.2.0", "none");
    let mut connected = [0; 24];
    connected[1] = 1;
    connected[9] = 0x10;
    assert_eq!(bench.exchange(0x100, 12133), connected);
    let refused = bench.exchange(0x100, 12134);
    assert_eq!(refused[..8], [0, 1, 0, 0, 0x91, 0xff, 0xff, 0xff]);
    let mut closed = [0; 24];
    closed[..2].copy_from_slice(&[1, 1]);
    assert_eq!(bench.exchange(0x101, 0x0001_0001), closed);
    bench.assert_no_complaints();
}

#[test]
fn sixteen_sessions_fit_and_a_closed_pair_is_given_again() {
    let mut bench = Bench::new(ECHO, "none");
    let sessions: Vec<Session> = (0..16).map(|_| bench.connect(ECHO_PORT)).collect();
    let again = bench.exchange(0x100, ECHO_PORT);
    assert_eq!(again[..8], [0, 1, 0, 0, 0xf5, 0xff, 0xff, 0xff]);
    bench.close(&sessions[5]);
    let mut fresh = bench.connect(ECHO_PORT);
    assert_eq!(fresh.channels, sessions[5].channels);
    echo(&mut bench, &mut fresh, &noise(700, 1));
    bench.assert_no_complaints();
}

#[test]
fn a_message_moves_as_in_the_worked_bytes() {
    let mut bench = Bench::new(ECHO, "none");
    let mut session = bench.connect(ECHO_PORT);
    bench.send(&mut session, &head(2068, 2068));
    assert_eq!(bench.read(VDMA, 4), 0x0001_0001);
    let message = noise(2068, 3);
    bench.memory.write(Iova(session.data[0]), &message).unwrap();
    bench.launch(&mut session, 0, 2068);
    assert_eq!(bench.read(VDMA, 0), 0x0006_0001);
    bench.wait_moved(4, 0x0006_0006);
    // One event of channel 0, in the register and the summary of the sources.
    assert_eq!(bench.read(CONFIG, 0x400), 1);
    assert_eq!(bench.read(CONFIG, 0x18c), 1);
    bench.handle();
    bench.launch(&mut session, 1, 2068);
    bench.wait_moved(0x214, 0x0005_0005);
    assert_eq!(bench.read(CONFIG, 0x500), 0x0001_0000);
    assert_eq!(bench.read(CONFIG, 0x18c), 1 << 12);
    bench.handle();
    assert_eq!(bench.received(&session, 2068), message);
    let counters = bench.chip.counters();
    assert_eq!(
        (counters.bytes_to_device, counters.bytes_from_device),
        (2076, 2068)
    );
    bench.close(&session);
    bench.assert_no_complaints();
}

#[test]
fn transfers_of_any_size_pass_both_ways_in_order() {
    let mut bench = Bench::new(ECHO, "none");
    let mut session = bench.connect(ECHO_PORT);
    for (seed, len) in (0..).zip([1, 8, 20, 511, 512, 513, 1000, 2068, 50_000, 65_536]) {
        echo(&mut bench, &mut session, &noise(len, seed));
    }
    // What is asked for may be longer or shorter than what was sent, or all there is.
    bench.send(&mut session, &head(3, 7));
    bench.send(&mut session, b"abc");
    assert_eq!(bench.receive(&mut session, 7), b"abcabca");
    bench.send(&mut session, &head(0, 600));
    assert_eq!(bench.receive(&mut session, 600), [0; 600]);
    bench.close(&session);
    bench.assert_no_complaints();
}

#[test]
fn the_host_may_run_ahead_of_the_chip_and_post_reads_before_it_writes() {
    let mut bench = Bench::new(ECHO, "none");
    let mut session = bench.connect(ECHO_PORT);
    bench.launch(&mut session, 1, 900);
    bench.settle();
    assert_eq!(bench.read(VDMA, 0x214), 0);
    let bytes = [&head(900, 900)[..], &[9; 504], &noise(900, 5)].concat();
    bench.memory.write(Iova(session.data[0]), &bytes).unwrap();
    bench.launch(&mut session, 0, 8);
    session.data[0] += 512;
    bench.launch(&mut session, 0, 900);
    session.data[0] -= 512;
    bench.wait_processed(&session, 1);
    assert_eq!(bench.received(&session, 900), noise(900, 5));
    bench.close(&session);
    bench.assert_no_complaints();
}

#[test]
fn a_buffer_longer_than_the_ring_passes_in_launches() {
    let mut bench = Bench::new(ECHO, "none");
    let len = (34 << 20) + 100;
    let mut session = bench.connect_with(ECHO_PORT, len);
    let bytes = noise(len, 8);
    bench.send(&mut session, &head(len, len));
    bench.memory.write(Iova(session.data[0]), &bytes).unwrap();
    bench.launch_cut(&mut session, 0, len, 8 << 20);
    bench.launch_cut(&mut session, 1, len, 8 << 20);
    assert!(bench.received(&session, len) == bytes);
    bench.close(&session);
    bench.assert_no_complaints();
}

#[test]
fn small_read_requests_make_small_pages_at_both_ends() {
    let mut bench = Bench::new("default,loaded=5.2.0,echo=7,mrrs=128", "none");
    let mut session = bench.connect(ECHO_PORT);
    session.page = 128;
    echo(&mut bench, &mut session, &noise(1000, 4));
    assert_eq!(session.next, [9, 8]);
    bench.send(&mut session, &head(1000, 0));
    session.page = 512;
    bench.launch(&mut session, 0, 1000);
    bench.wait_for(0x20, 0);
    bench.assert_complaint("has 512 bytes where the other end has 128");
}

#[test]
fn transfers_of_different_sizes_end_the_session_and_no_other() {
    let mut bench = Bench::new(ECHO, "none");
    let mut other = bench.connect(ECHO_PORT);
    let mut session = bench.connect(ECHO_PORT);
    bench.launch(&mut session, 1, 1);
    bench.memory.write(Iova(session.data[0]), &[0; 20]).unwrap();
    bench.launch(&mut session, 0, 20);
    bench.wait_for(0x20, 0);
    bench.assert_complaint("has 20 bytes where the other end has 8");
    assert!(!bench.is_active(&session, 0) && !bench.is_active(&session, 1));
    assert_eq!(bench.read16(VDMA, host_side(session.channels[0]) + 4), 0);
    // What the host still launches, before it looks, is nothing to complain about.
    bench.feed_side(host_side(session.channels[0]), 2);
    echo(&mut bench, &mut other, &noise(3000, 2));
    bench.close(&session);
    let mut fresh = bench.connect(ECHO_PORT);
    assert_eq!(fresh.channels, session.channels);
    echo(&mut bench, &mut fresh, &noise(3000, 3));
    let complaints = bench.chip.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
}

#[test]
fn the_chip_can_close_and_its_pair_is_free_after_the_hosts_close() {
    let mut bench = Bench::new(ECHO, "none");
    let mut session = bench.connect(ECHO_PORT);
    bench.launch(&mut session, 1, 4000);
    bench.send(&mut session, &[0xff; 8]);
    while bench.is_active(&session, 0) || bench.is_active(&session, 1) {
        bench.interrupt();
    }
    let second = bench.connect(ECHO_PORT);
    assert_ne!(second.channels, session.channels);
    bench.close(&session);
    assert_eq!(bench.connect(ECHO_PORT).channels, session.channels);
    bench.assert_no_complaints();
}

#[test]
fn a_session_dropped_at_accept_is_noticed_once_both_channels_are_started() {
    let mut bench = Bench::new(ECHO, "drop-session");
    let answer = bench.exchange(0x100, ECHO_PORT);
    assert_eq!(answer[8..10], [0, 16]);
    bench.start_side(0, RINGS, 0);
    bench.settle();
    assert_eq!(bench.read(VDMA, 0) & 1, 1);
    bench.start_side(0x210, RINGS + 0x10_0000, 0);
    assert_eq!(bench.wait_for(0x20, 0), (0, 0));
    assert_eq!([0, 0x210].map(|side| bench.read(VDMA, side) & 1), [0, 0]);
    bench.exchange(0x101, 0x0001_0001);
    bench.assert_no_complaints();
}

#[test]
fn a_bad_descriptor_ends_the_session_with_an_error() {
    for (word, address, complaint) in [
        (8 << 8 | 0x2c, 0, "lacks control bit 1"),
        (8 << 8 | 0x6e, 0, "unknown control bits"),
        (8 << 8 | 0x2e, 6, "wrong data id"),
        (0x2e, 0, "no size of a page"),
        (0x1001 << 8 | 0x2e, 0, "no size of a page"),
        (8 << 8 | 0x2e, 1 << 40, "its data can't be reached"),
    ] {
        let mut bench = Bench::new(ECHO, "none");
        let session = bench.connect(ECHO_PORT);
        bench.put_descriptor(RINGS, 0, word, session.data[0] + address);
        bench.feed_side(0, 1);
        bench.wait_for(0x20, 0);
        bench.assert_complaint(complaint);
        assert_ne!(bench.read(VDMA, 8) & 0xff, 0, "{complaint}");
        assert!(!bench.is_active(&session, 0) && !bench.is_active(&session, 1));
    }
}

#[test]
fn a_count_back_or_over_the_free_room_ends_the_session() {
    let mut bench = Bench::new(ECHO, "none");
    let session = bench.connect(ECHO_PORT);
    let side = host_side(session.channels[1]);
    bench.feed_side(side, 5);
    bench.feed_side(side, 3);
    bench.wait_for(0x20, 0);
    bench.assert_complaint("the available count of the host side of channel 16 went from 5 to 3");
    assert_ne!(bench.read(VDMA, side + 8) & 0xff, 0);
    assert!(!bench.is_active(&session, 0));
}

#[test]
fn close_in_any_state_is_answered_and_what_is_wrong_with_it_is_told() {
    let mut bench = Bench::new(ECHO, "none");
    // With transfers in flight at both ends.
    let mut session = bench.connect(ECHO_PORT);
    bench.send(&mut session, &head(0, 5000));
    bench.launch(&mut session, 0, 8);
    bench.launch(&mut session, 1, 512);
    bench.close(&session);
    bench.settle();
    bench.handle();
    let before = bench.chip.complaints();
    // One half, then the other: the pair is free after both.
    let session = bench.connect(ECHO_PORT);
    for channel in session.channels {
        bench.stop_side(host_side(channel));
    }
    bench.exchange(0x101, 1);
    assert_eq!(bench.exchange(0x100, ECHO_PORT)[8..10], [1, 17]);
    bench.exchange(0x101, 0x0001_0000);
    assert_eq!(bench.exchange(0x100, ECHO_PORT)[8..10], [0, 16]);
    bench.exchange(0x101, 0x0003_0003);
    assert_eq!(bench.chip.complaints(), before);
    // While it still runs, and again.
    assert_eq!(bench.connect(ECHO_PORT).channels, [0, 16]);
    bench.exchange(0x101, 0x0001_0001);
    bench.exchange(0x101, 0x0001_0001);
    let complaints = bench.chip.complaints();
    for part in [
        "CLOSE of channel 0, whose host side still runs",
        "CLOSE of channels 0x00010001, which are not open",
    ] {
        assert!(
            complaints.iter().any(|text| text.contains(part)),
            "{complaints:?}"
        );
    }
}

#[test]
fn switching_off_and_resets_end_all_sessions() {
    let mut bench = Bench::new(ECHO, "none");
    let first = bench.connect(ECHO_PORT);
    bench.exchange(0x103, 0);
    assert!(!bench.is_active(&first, 0));
    bench.settle();
    assert_eq!(bench.chip.state(), ChipState::Off);
    bench.assert_no_complaints();

    let mut bench = Bench::new(ECHO, "none");
    let mut session = bench.connect(ECHO_PORT);
    bench.launch(&mut session, 1, 512);
    bench.reset();
    assert_eq!(bench.chip.state(), ChipState::Rom);
    assert_eq!(bench.read(VDMA, 0x210), 0);
    bench.settle();
    bench.assert_no_complaints();
}

#[test]
fn sixteen_sessions_with_their_own_sizes_lose_nothing() {
    let mut bench = Bench::new(ECHO, "none");
    let mut sessions: Vec<Session> = (0..16).map(|_| bench.connect(ECHO_PORT)).collect();
    for round in 0..20 {
        let len = |place: usize| 1 + (place * 977 + round * 331) % 9000;
        for (place, session) in sessions.iter_mut().enumerate() {
            let bytes = noise(len(place), u32::try_from(place + round).unwrap());
            bench
                .memory
                .write(Iova(session.data[0]), &head(bytes.len(), bytes.len()))
                .unwrap();
            bench.launch(session, 1, bytes.len());
            bench.launch(session, 0, 8);
            bench.wait_processed(session, 0);
            bench.memory.write(Iova(session.data[0]), &bytes).unwrap();
            bench.launch(session, 0, bytes.len());
        }
        for (place, session) in sessions.iter_mut().enumerate() {
            bench.wait_processed(session, 1);
            let bytes = noise(len(place), u32::try_from(place + round).unwrap());
            assert!(
                bench.received(session, bytes.len()) == bytes,
                "{place} {round}"
            );
        }
        let place = round % sessions.len();
        if round % 2 == 0 {
            // This one is closed by the chip.
            bench.send(&mut sessions[place], &[0xff; 8]);
            while bench.is_active(&sessions[place], 1) {
                bench.interrupt();
            }
        }
        bench.close(&sessions[place]);
        sessions[place] = bench.connect(ECHO_PORT);
    }
    bench.assert_no_complaints();
}
