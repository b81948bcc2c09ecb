//! Sixteen sessions at once, each with its own mix of sizes, closed at random from both sides: within a session nothing
//! is lost, duplicated or reordered.
//!
//! Every message names its session, its place in it and its length, and carries a checksum over all of it; the chip's
//! echo service sends it back. What comes back must be the messages in the order they were sent: all of them where
//! the session was drained before its end, the first ones where it was cut off.
//!
//! `tools/soak sessions [N]` is the long form: `HAILO_SOAK_MESSAGES` says how many messages, `HAILO_SOAK_SEED` makes
//! another run of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hailo_vfio::deadline::Deadline;
use hailo_vfio::dma::{Completion, DmaBuffer};
use hailo_vfio::soc::{Cause, Session, SessionError, Soc};
use hailo_vfio::spec::session::MAX_SESSIONS;
use hailo_vfio::transport::Direction;
use support::{Bench, Way};

/// The port of the chip's echo service.
const ECHO: u16 = 7;
/// Messages where nobody asks for more.
const USUAL: usize = 20_000;
/// Session, place, length and checksum, four bytes each.
const HEAD: usize = 16;
/// Messages on their way in one session.
const DEEPEST: usize = 8;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end
    }

    /// A length of the mix of a client: most are short, each client's longest is another.
    fn length(&mut self, longest: usize) -> usize {
        let page = 512 * (1 + self.below(8));
        let length = match self.below(8) {
            0 => HEAD,
            1 => 2068,
            2 => page,
            3 => page + 1,
            4 => page - 1,
            5 => 1 + self.below(longest),
            _ => 1 + self.below(700),
        };
        length.clamp(HEAD, longest)
    }
}

/// The longest message of a client: from one page to a megabyte.
fn longest(client: usize) -> usize {
    [
        512,
        600,
        1000,
        2068,
        2500,
        3000,
        4096,
        4097,
        5000,
        8000,
        12_000,
        20_000,
        40_000,
        70_000,
        200_000,
        1 << 20,
    ][client]
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closed here when everything is back.
    Drained,
    /// Closed here with messages on their way.
    Cut,
    /// Closed by the chip when everything is back.
    DrainedByChip,
    /// Closed by the chip with messages on their way.
    CutByChip,
}

const ENDS: [End; 4] = [End::Drained, End::Cut, End::DrainedByChip, End::CutByChip];

/// What happened, over all sessions.
#[derive(Default)]
struct Tally {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    cut_off: AtomicUsize,
    ends: [AtomicUsize; 4],
}

/// A client: one session after the other.
struct Client<'a> {
    soc: &'a Soc,
    number: usize,
    random: Random,
    lives: usize,
    /// Buffers that nobody uses: of heads, to the device, from it.
    idle: [Vec<DmaBuffer>; 3],
    tally: &'a Tally,
}

/// A session of a client.
struct Life<'a, 'b> {
    client: &'a mut Client<'b>,
    session: Session,
    /// Names the session in its messages.
    name: u32,
    sent: u32,
    /// Lengths of the messages that are to come back.
    under_way: VecDeque<usize>,
    back: u32,
}

fn closed_by_peer(error: &SessionError) -> bool {
    matches!(error, SessionError::Over(Cause::ClosedByPeer))
}

impl Client<'_> {
    fn open(&mut self) -> Session {
        loop {
            match self.soc.session(ECHO, &soon()) {
                // Every try fell together with the end of another session.
                Err(SessionError::Busy { .. }) => {}
                opened => return opened.unwrap(),
            }
        }
    }

    fn buffer(&mut self, session: &Session, kind: usize) -> DmaBuffer {
        self.idle[kind].pop().unwrap_or_else(|| {
            let (len, direction) = match kind {
                0 => (8, Direction::ToDevice),
                1 => (longest(self.number), Direction::ToDevice),
                _ => (longest(self.number), Direction::FromDevice),
            };
            session.buffer(len, direction).unwrap()
        })
    }

    fn keep(&mut self, kind: usize, completion: Completion) {
        let kind = if completion.buffer.len() == 8 {
            0
        } else {
            kind
        };
        self.idle[kind].push(completion.buffer);
    }

    fn run(mut self, share: usize) {
        let mut done = 0;
        while done < share {
            let session = self.open();
            self.lives += 1;
            let messages = self.random.below(400).min(share - done);
            let end = ENDS[self.random.below(ENDS.len())];
            session.set_polling(self.random.below(8) == 0);
            let name = u32::try_from(self.number << 24 | self.lives).unwrap();
            let life = Life {
                client: &mut self,
                session,
                name,
                sent: 0,
                under_way: VecDeque::new(),
                back: 0,
            };
            done += life.run(messages, end);
            self.tally.ends[ENDS.iter().position(|one| *one == end).unwrap()]
                .fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Life<'_, '_> {
    /// Sends `messages` and checks what comes back; how many did.
    fn run(mut self, messages: usize, end: End) -> usize {
        let depth = 1 + self.client.random.below(DEEPEST);
        let cut = matches!(end, End::Cut | End::CutByChip);
        while (self.sent as usize) < messages {
            self.send();
            while self.under_way.len() >= depth {
                self.receive().unwrap();
            }
        }
        if !cut {
            while !self.under_way.is_empty() {
                self.receive().unwrap();
            }
            assert_eq!(self.back, self.sent, "{end:?}");
        }
        let by_chip = matches!(end, End::DrainedByChip | End::CutByChip);
        if by_chip {
            self.hang_up(cut);
        }
        // The first ones, and none that was not sent.
        assert!(self.back <= self.sent);
        let Self {
            client,
            session,
            back,
            under_way,
            ..
        } = self;
        client
            .tally
            .cut_off
            .fetch_add(under_way.len(), Ordering::Relaxed);
        let [to_device, from_device] = session.close().unwrap();
        for completion in to_device {
            client.keep(1, completion);
        }
        for completion in from_device {
            client.keep(2, completion);
        }
        back as usize
    }

    /// Asks the chip to close, with more behind it where the session is `cut` off.
    fn hang_up(&mut self, cut: bool) {
        let mut head = self.client.buffer(&self.session, 0);
        head.fill(0xff);
        self.session.write(head, 8).unwrap();
        if cut {
            let buffer = self.client.buffer(&self.session, 1);
            let len = buffer.len();
            match self.session.write(buffer, len) {
                Ok(_) => {}
                Err(not_taken) => self.client.idle[1].extend(not_taken.buffer),
            }
        }
        let buffer = self.client.buffer(&self.session, 2);
        match self.session.post_read(buffer, HEAD) {
            Ok(_) => {}
            Err(not_taken) => self.client.idle[2].extend(not_taken.buffer),
        }
        let error = loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(closed_by_peer(&error), "{error}");
        assert_eq!(self.session.over(), Some(Cause::ClosedByPeer));
    }

    fn send(&mut self) {
        let len = self.client.random.length(longest(self.client.number));
        let size = u32::try_from(len).unwrap();
        let mut head = self.client.buffer(&self.session, 0);
        for at in [0, 4] {
            head[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }
        let mut message = self.client.buffer(&self.session, 1);
        self.client.fill(&mut message[..len], self.name, self.sent);
        let read = self.client.buffer(&self.session, 2);
        self.session.post_read(read, len).unwrap();
        self.session.write(head, 8).unwrap();
        self.session.write(message, len).unwrap();
        self.under_way.push_back(len);
        self.sent += 1;
    }

    /// Takes back the oldest message and checks it.
    fn receive(&mut self) -> Result<(), SessionError> {
        let done = self.session.wait_read(&soon())?;
        let len = self.under_way.pop_front().expect("a message that was sent");
        assert_eq!(done.bytes, len);
        check(&done.buffer[..len], self.name, self.back);
        self.back += 1;
        self.client.keep(2, done);
        self.client.tally.messages.fetch_add(1, Ordering::Relaxed);
        self.client.tally.bytes.fetch_add(len, Ordering::Relaxed);
        // Head and message are with the chip, or nothing could have come back.
        for _ in 0..2 {
            let written = self.session.wait_written(&soon())?;
            self.client.keep(1, written);
        }
        Ok(())
    }
}

impl Client<'_> {
    fn fill(&mut self, message: &mut [u8], name: u32, place: u32) {
        let (head, body) = message.split_at_mut(HEAD);
        let mut word = self.random.next();
        for chunk in body.chunks_mut(8) {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        let size = u32::try_from(HEAD + body.len()).unwrap();
        head[..4].copy_from_slice(&name.to_le_bytes());
        head[4..8].copy_from_slice(&place.to_le_bytes());
        head[8..12].copy_from_slice(&size.to_le_bytes());
        let checksum = checksum(head, body);
        head[12..].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..12]);
    hasher.update(body);
    hasher.finalize()
}

fn check(message: &[u8], name: u32, place: u32) {
    let (head, body) = message.split_at(HEAD);
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
    let found = (word(0), word(4), word(8) as usize, word(12));
    let expected = (name, place, message.len(), checksum(head, body));
    assert_eq!(found, expected, "session, place, length, checksum");
}

#[test]
fn sixteen_sessions_lose_duplicate_and_reorder_nothing() {
    let messages = setting("HAILO_SOAK_MESSAGES", USUAL);
    let seed = setting("HAILO_SOAK_SEED", 1);
    let bench = Bench::new(Way::Local, "default,timing=off,loaded=5.2.0,echo=7", "");
    let device = bench.open();
    let soc = device.soc().unwrap();
    let tally = Tally::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..MAX_SESSIONS {
            let (soc, tally) = (&soc, &tally);
            scope.spawn(move || {
                let start = u64::try_from(seed * 1000 + number + 1).unwrap();
                let client = Client {
                    soc,
                    number,
                    random: Random(start.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    lives: 0,
                    idle: Default::default(),
                    tally,
                };
                client.run(messages.div_ceil(MAX_SESSIONS));
            });
        }
    });
    let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
    assert!(count(&tally.messages) >= messages);
    println!(
        "{} messages, {} bytes each way, in {:.1} s (seed {seed}); sessions ended {} by this side, {} by the chip, {} of \
         these {} with messages on their way ({} of them cut off)",
        count(&tally.messages),
        count(&tally.bytes),
        began.elapsed().as_secs_f64(),
        count(&tally.ends[0]) + count(&tally.ends[1]),
        count(&tally.ends[2]) + count(&tally.ends[3]),
        tally.ends.iter().map(count).sum::<usize>(),
        count(&tally.ends[1]) + count(&tally.ends[3]),
        count(&tally.cut_off),
    );
    drop((soc, device));
    bench.assert_no_complaints();
}
