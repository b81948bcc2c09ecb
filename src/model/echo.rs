//! Test traffic on the port that a profile names: what comes goes back, or one way only.
//!
//! The host sends a transfer of 8 bytes, two little-endian `u32`: how many bytes it will send (0: none) and how many it
//! wants back (0: none). Then it sends those bytes as one transfer, and gets one transfer made of them, repeated or cut
//! to the length it asked for; zeros where it sent nothing. A first number of all ones asks the chip to close the
//! session; lengths above 256 MiB do the same.
//!
//! Bytes that go one way only travel through a few buffers of the chip, as a stream does: a cut at a multiple of the
//! page size does not show at the other end.

use std::time::Duration;

use super::service::{Ended, SessionStream, Stream};
use super::session::{TO_CHIP, TO_HOST};

/// The value of an echo's request length that asks the chip to close the session.
const HANG_UP: u32 = u32::MAX;
/// Longest echo: what a test could want.
const LONGEST: u32 = 256 << 20;
/// A test that stalls is over.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of a piece of a stream: a multiple of every page size.
const PIECE: usize = 1 << 20;
/// Pieces that the engine has at a time.
const AHEAD: usize = 4;

/// Serves a client until it closes or asks to be closed.
pub(super) fn serve_echo(stream: &SessionStream) {
    let mut head = vec![0; 8];
    // Whether what is kept for transfers is zero.
    let mut zeros = false;
    loop {
        head = match stream.receive(head, None) {
            Ok(head) => head,
            Err(_) => return,
        };
        let number = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(HANG_UP, u32::from_le_bytes)
        };
        let (sent, wanted) = (number(0), number(4));
        if sent > LONGEST || wanted > LONGEST {
            return;
        }
        let len = |count: u32| usize::try_from(count).unwrap_or(0);
        let done = match (len(sent), len(wanted)) {
            (0, wanted) => supply(stream, wanted, std::mem::replace(&mut zeros, true)),
            (sent, wanted) => {
                zeros = false;
                if wanted == 0 {
                    swallow(stream, sent)
                } else {
                    echo(stream, sent, wanted)
                }
            }
        };
        if done.is_err() {
            return;
        }
    }
}

/// Receives `left` bytes and forgets them.
fn swallow(stream: &SessionStream, mut left: usize) -> Result<(), Ended> {
    let mut posted = 0;
    loop {
        while left > 0 && posted < AHEAD {
            let piece = left.min(PIECE);
            stream.post(TO_CHIP, stream.buffer(piece))?;
            (left, posted) = (left - piece, posted + 1);
        }
        if posted == 0 {
            return Ok(());
        }
        stream.give_back(stream.filled(Some(LIMIT))?);
        posted -= 1;
    }
}

/// Sends `left` zeros; `zeros` is whether all that is kept for transfers is zero, as it is from now on.
fn supply(stream: &SessionStream, mut left: usize, zeros: bool) -> Result<(), Ended> {
    if !zeros {
        stream.sent_but(0, LIMIT)?;
        stream.forget_buffers();
    }
    while left > 0 {
        stream.sent_but(AHEAD - 1, LIMIT)?;
        let piece = left.min(PIECE);
        stream.post(TO_HOST, stream.buffer(piece))?;
        left -= piece;
    }
    Ok(())
}

/// Receives `sent` bytes and sends `wanted` made of them.
fn echo(stream: &SessionStream, sent: usize, wanted: usize) -> Result<(), Ended> {
    let mut data = stream.buffer(sent);
    data = stream.receive(data, Some(LIMIT))?;
    data.resize(wanted, 0);
    for at in sent..wanted {
        data[at] = data[at % sent];
    }
    stream.send(vec![data], LIMIT)
}
