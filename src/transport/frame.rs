//! Messages of the vfio-user protocol on a stream socket, for both ends.
//!
//! A reader takes what the socket holds in one call and gives out message after message, so a burst
//! of posted writes costs one system call, not two each. The kernel ends a read behind the bytes
//! that descriptors came with; so descriptors belong to the message that holds the last byte of
//! their read.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

use zerocopy::{FromBytes, IntoBytes};

use super::fd::{self, ControlBuffer};
use crate::deadline::Deadline;
use crate::spec::vfio_user::{DEFAULT_TRANSFER, DmaAccess, Header};

/// Most descriptors that either end takes with one message.
pub const MOST_DESCRIPTORS: usize = 8;

/// Longest message that either end takes: the largest transfer with its headers.
pub const LONGEST: usize = DEFAULT_TRANSFER as usize + Header::LEN + DmaAccess::LEN;

/// A message up to this size is skipped where it is too long, so that the stream stays in step.
/// Beyond it the size is taken for garbage.
const LONGEST_SKIPPED: usize = 16 << 20;

/// First size of the buffer; it grows to the longest message seen.
const FIRST_BUFFER: usize = 64 << 10;

/// Room that is made behind the data before a read.
const LEAST_ROOM: usize = 4096;

/// Batches of descriptors that may wait for the rest of their message.
const MOST_BATCHES: usize = 8;

/// Why no further message can be had from a connection.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer has closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer has closed the connection within a message.
    #[error("the peer closed the connection after {found} bytes of a message")]
    Cut {
        /// Bytes of the message that arrived.
        found: usize,
    },
    /// A size that no message has: the stream is not in step.
    #[error("a message of {found} bytes, expected 16 to {LONGEST}")]
    BadSize {
        /// The size in the header.
        found: u32,
    },
    /// Neither command nor reply: the stream is not in step.
    #[error("a message with flags {found:#x}, expected a command (0) or a reply (1) in bits 3..0")]
    BadType {
        /// The flags in the header.
        found: u32,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A message without its payload.
#[derive(Debug)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// More descriptors came than are taken, or some got lost. None is kept then.
    pub too_many: bool,
    /// The message was longer than [`LONGEST`]; its payload is skipped.
    pub too_long: bool,
}

#[derive(Debug)]
struct Batch {
    /// Stream position of the last byte of the read that brought them.
    position: u64,
    descriptors: Vec<OwnedFd>,
    lost: bool,
}

/// Cuts a stream into messages.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Stream position of `buffer[start]`.
    position: u64,
    /// Bytes still to come of a message that was too long.
    skip: usize,
    batches: VecDeque<Batch>,
    control: ControlBuffer,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            buffer: vec![0; FIRST_BUFFER],
            start: 0,
            end: 0,
            position: 0,
            skip: 0,
            batches: VecDeque::new(),
            control: ControlBuffer::default(),
        }
    }
}

impl FrameReader {
    /// Receives once; false when there is nothing (yet). Take all messages before the next call.
    ///
    /// # Errors
    /// The peer is gone, or the socket failed.
    pub fn fill(&mut self, socket: BorrowedFd<'_>, wait: bool) -> Result<bool, FrameError> {
        if self.buffer.len() - self.end < LEAST_ROOM {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = &mut self.buffer[self.end..];
        let received = match fd::receive(socket, room, &mut self.control, wait) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(FrameError::Closed);
            }
            other => other?,
        };
        if received.bytes == 0 {
            return Err(match self.end - self.start {
                0 => FrameError::Closed,
                found => FrameError::Cut { found },
            });
        }
        self.end += received.bytes;
        if !received.descriptors.is_empty() || received.lost {
            self.keep(received.descriptors, received.lost);
        }
        Ok(true)
    }

    fn keep(&mut self, descriptors: Vec<OwnedFd>, lost: bool) {
        let position = self.position + length(self.end - self.start) - 1;
        if self.batches.len() < MOST_BATCHES {
            self.batches.push_back(Batch {
                position,
                descriptors,
                lost,
            });
        } else if let Some(last) = self.batches.back_mut() {
            // Only one message trickling in with descriptors at each byte can come here.
            last.position = position;
            last.lost = true;
        }
    }

    /// The next message that is complete; its payload goes to `payload`.
    ///
    /// # Errors
    /// The stream is not in step.
    pub fn take(&mut self, payload: &mut Vec<u8>) -> Result<Option<Frame>, FrameError> {
        payload.clear();
        let skipped = self.skip.min(self.end - self.start);
        self.advance(skipped);
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let available = &self.buffer[self.start..self.end];
        let Ok((header, rest)) = Header::read_from_prefix(available) else {
            return Ok(None);
        };
        if !header.is_command() && !header.is_reply() {
            let found = header.flags.get();
            return Err(FrameError::BadType { found });
        }
        let found = header.size.get();
        let size = usize::try_from(found).unwrap_or(usize::MAX);
        if !(Header::LEN..=LONGEST_SKIPPED).contains(&size) {
            return Err(FrameError::BadSize { found });
        }
        let too_long = size > LONGEST;
        if too_long {
            self.skip = size - Header::LEN;
        } else if let Some(body) = rest.get(..size - Header::LEN) {
            payload.extend_from_slice(body);
        } else {
            self.make_room(size);
            return Ok(None);
        }
        self.advance(if too_long { Header::LEN } else { size });
        let (descriptors, lost) = self.descriptors_so_far();
        let too_many = lost || descriptors.len() > MOST_DESCRIPTORS;
        Ok(Some(Frame {
            header,
            descriptors: if too_many { Vec::new() } else { descriptors },
            too_many,
            too_long,
        }))
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.position += length(bytes);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn make_room(&mut self, size: usize) {
        if self.buffer.len() < size + LEAST_ROOM {
            self.buffer.resize(size + LEAST_ROOM, 0);
        }
        if self.start > 0 && self.buffer.len() - self.start < size + LEAST_ROOM {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// The descriptors of everything before the current position.
    fn descriptors_so_far(&mut self) -> (Vec<OwnedFd>, bool) {
        let mut descriptors = Vec::new();
        let mut lost = false;
        while self
            .batches
            .front()
            .is_some_and(|batch| batch.position < self.position)
        {
            let Some(batch) = self.batches.pop_front() else {
                break;
            };
            descriptors.extend(batch.descriptors);
            lost |= batch.lost;
        }
        (descriptors, lost)
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a buffer is shorter than 2^64 bytes")
}

/// Sends one message whole, in one system call where the socket takes it.
///
/// # Errors
/// `TimedOut` when the peer does not read it before the deadline (part of it may be sent: the
/// stream is out of step), or the socket's error.
pub fn send(
    socket: BorrowedFd<'_>,
    parts: &[&[u8]],
    descriptors: &[BorrowedFd<'_>],
    deadline: &Deadline,
) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); 4];
    let count = parts.len().min(slices.len());
    debug_assert_eq!(
        count,
        parts.len(),
        "a message has header, structure and data"
    );
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
    }
    let mut rest = &mut slices[..count];
    let mut descriptors = descriptors;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match fd::send(socket, rest, descriptors) {
            Ok(sent) => {
                descriptors = &[];
                IoSlice::advance_slices(&mut rest, sent);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if !rest.is_empty() && deadline.expired() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// The header of a message with `payload` bytes behind it.
///
/// # Panics
/// Where the payload is longer than any message: a bug in the caller.
#[must_use]
pub fn header(id: u16, command: u16, flags: u32, payload: usize) -> Header {
    let size = u32::try_from(Header::LEN + payload).expect("a payload is shorter than 4 GiB");
    Header {
        id: id.into(),
        command: command.into(),
        size: size.into(),
        flags: flags.into(),
        error: 0.into(),
    }
}

/// The bytes of a reply that reports `errno`.
#[must_use]
pub fn error_reply(request: &Header, errno: nix::errno::Errno) -> Header {
    use crate::spec::vfio_user::flags::{ERROR, REPLY};
    let mut reply = header(request.id.get(), request.command.get(), REPLY | ERROR, 0);
    let code = u32::try_from(errno as i32).unwrap_or_default();
    reply.error.set(code);
    debug_assert_eq!(reply.as_bytes().len(), Header::LEN);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::vfio_user::flags;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn message(id: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(id, 2, flags::COMMAND, payload.len())
            .as_bytes()
            .to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut stream = message(1, b"one");
        stream.extend(message(2, b""));
        stream.extend(message(3, b"three"));
        let mut reader = FrameReader::default();
        let mut payload = Vec::new();
        let mut seen = Vec::new();
        for byte in &stream {
            send(near.as_fd(), &[&[*byte]], &[], &soon()).unwrap();
            assert!(reader.fill(far.as_fd(), true).unwrap());
            while let Some(frame) = reader.take(&mut payload).unwrap() {
                seen.push((frame.header.id.get(), payload.clone()));
            }
        }
        send(near.as_fd(), &[&stream], &[], &soon()).unwrap();
        assert!(reader.fill(far.as_fd(), true).unwrap());
        while let Some(frame) = reader.take(&mut payload).unwrap() {
            seen.push((frame.header.id.get(), payload.clone()));
        }
        let once = [
            (1, b"one".to_vec()),
            (2, Vec::new()),
            (3, b"three".to_vec()),
        ];
        assert_eq!(seen, [once.clone(), once].concat());
        assert!(!reader.fill(far.as_fd(), false).unwrap());
    }

    #[test]
    fn descriptors_go_to_the_message_that_they_came_with() {
        let (near, far) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(near.as_fd(), &[&message(1, b"x")], &[], &soon()).unwrap();
        send(near.as_fd(), &[&message(2, b"x")], &[file.as_fd()], &soon()).unwrap();
        send(near.as_fd(), &[&message(3, b"x")], &[], &soon()).unwrap();
        let both = [file.as_fd(), file.as_fd()];
        send(near.as_fd(), &[&message(4, b"x")], &both, &soon()).unwrap();
        let many = vec![file.as_fd(); MOST_DESCRIPTORS + 1];
        send(near.as_fd(), &[&message(5, b"x")], &many, &soon()).unwrap();
        let mut reader = FrameReader::default();
        let mut payload = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < 5 {
            reader.fill(far.as_fd(), true).unwrap();
            while let Some(frame) = reader.take(&mut payload).unwrap() {
                let id = frame.header.id.get();
                seen.push((id, frame.descriptors.len(), frame.too_many));
            }
        }
        let wanted = [
            (1, 0, false),
            (2, 1, false),
            (3, 0, false),
            (4, 2, false),
            (5, 0, true),
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_message_that_is_too_long_is_skipped_and_the_next_one_read() {
        let (near, far) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let long = message(1, &vec![7; LONGEST]);
            send(near.as_fd(), &[&long], &[], &soon()).unwrap();
            send(near.as_fd(), &[&message(2, b"y")], &[], &soon()).unwrap();
            near
        });
        let mut reader = FrameReader::default();
        let mut payload = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            reader.fill(far.as_fd(), true).unwrap();
            while let Some(frame) = reader.take(&mut payload).unwrap() {
                seen.push((frame.header.id.get(), frame.too_long, payload.len()));
            }
        }
        assert_eq!(seen, [(1, true, 0), (2, false, 1)]);
        drop(writer.join().unwrap());
    }

    #[test]
    fn the_longest_message_is_read() {
        let (near, far) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            let longest = vec![9; LONGEST - Header::LEN];
            send(near.as_fd(), &[&message(1, b"z")], &[], &soon()).unwrap();
            send(near.as_fd(), &[&message(2, &longest)], &[], &soon()).unwrap();
        });
        let mut reader = FrameReader::default();
        let mut payload = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            reader.fill(far.as_fd(), true).unwrap();
            while reader.take(&mut payload).unwrap().is_some() {
                seen.push(payload.len());
            }
        }
        assert_eq!(seen, [1, LONGEST - Header::LEN]);
        writer.join().unwrap();
    }

    #[test]
    fn a_stream_out_of_step_and_a_cut_one_are_errors() {
        let read = |bytes: &[u8]| {
            let (near, far) = UnixStream::pair().unwrap();
            send(near.as_fd(), &[bytes], &[], &soon()).unwrap();
            drop(near);
            let mut reader = FrameReader::default();
            let mut payload = Vec::new();
            loop {
                match reader.take(&mut payload) {
                    Ok(_) => {}
                    Err(error) => break error,
                }
                if let Err(error) = reader.fill(far.as_fd(), true) {
                    break error;
                }
            }
        };
        let mut short = header(1, 2, flags::COMMAND, 0);
        short.size.set(15);
        assert!(matches!(
            read(short.as_bytes()),
            FrameError::BadSize { found: 15 }
        ));
        assert!(matches!(read(&[0xff; 32]), FrameError::BadType { .. }));
        let cut = header(1, 2, flags::COMMAND, 100);
        assert!(matches!(
            read(cut.as_bytes()),
            FrameError::Cut { found: 16 }
        ));
        assert!(matches!(read(&[]), FrameError::Closed));
    }
}
