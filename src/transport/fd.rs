//! Descriptors over a UNIX socket: sending them beside a message, and adopting received ones.
//!
//! The control buffer has room for more descriptors than the kernel lets anyone send at once, so
//! nothing is cut off for lack of room, and whatever arrives is owned (closed on drop) before anyone
//! looks at it.

// UNSAFETY: a received descriptor is a number that nobody owns yet; it gets its owner here.
#![expect(
    unsafe_code,
    reason = "descriptors arrive as numbers and need an owner"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{SCM_RIGHTS, SOL_SOCKET};
use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};

/// Most descriptors that the kernel passes in one message.
///
/// Source: Linux `include/net/scm.h` (`SCM_MAX_FD`).
const KERNEL_MOST: usize = 253;

/// Bytes of a control message's header: length (one word), level, type.
const CONTROL_HEADER: usize =
    (size_of::<usize>() + 2 * size_of::<i32>()).next_multiple_of(align_of::<usize>());

const CONTROL_SPACE: usize =
    (CONTROL_HEADER + KERNEL_MOST * size_of::<RawFd>()).next_multiple_of(align_of::<usize>());

/// Room for the descriptors that come with a message; kept from one call to the next.
#[derive(Debug)]
pub struct ControlBuffer(Box<[usize]>);

impl Default for ControlBuffer {
    fn default() -> Self {
        Self(vec![0; CONTROL_SPACE / size_of::<usize>()].into_boxed_slice())
    }
}

/// What one [`receive`] brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes; 0 when the peer has closed the connection.
    pub bytes: usize,
    /// Descriptors that came with the last of those bytes.
    pub descriptors: Vec<OwnedFd>,
    /// Descriptors were lost: this process has no room for more.
    pub lost: bool,
}

/// Receives bytes and the descriptors that come with them, close-on-exec. `wait` says whether to
/// wait for the first byte (as long as the socket's receive time-out).
///
/// # Errors
/// The kernel's; `WouldBlock` when there is nothing, or the time is over.
pub fn receive(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
    control: &mut ControlBuffer,
    wait: bool,
) -> io::Result<Received> {
    use zerocopy::IntoBytes;
    let flags = if wait {
        MsgFlags::MSG_CMSG_CLOEXEC
    } else {
        MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT
    };
    // The length of the first control message is all that tells whether there is one.
    control.0[0] = 0;
    let bytes = control.0.as_mut_bytes();
    let mut parts = [IoSliceMut::new(into)];
    let (count, result) = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut *bytes), flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(message) => break (message.bytes, message.flags),
        }
    };
    Ok(Received {
        bytes: count,
        descriptors: adopt(bytes),
        lost: result.contains(MsgFlags::MSG_CTRUNC),
    })
}

/// Takes ownership of the descriptors in the first control message. There is one at most: the only
/// kind that a UNIX socket sends without being asked for it.
fn adopt(control: &[u8]) -> Vec<OwnedFd> {
    let (length, rest) = control.split_at(size_of::<usize>());
    let length = length.try_into().map_or(0, usize::from_ne_bytes);
    let number = |bytes: &[u8]| bytes.try_into().map_or(-1, i32::from_ne_bytes);
    if length <= CONTROL_HEADER
        || number(&rest[..4]) != SOL_SOCKET
        || number(&rest[4..8]) != SCM_RIGHTS
    {
        return Vec::new();
    }
    let numbers = &control[CONTROL_HEADER..length.min(control.len())];
    numbers
        .chunks_exact(size_of::<RawFd>())
        .map(number)
        // SAFETY: the kernel has just made these descriptors for this process and nobody else knows
        // their numbers; each is adopted once, since the length is cleared before every call.
        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
        .collect()
}

/// Sends bytes with descriptors beside the first of them; the number of bytes that went, at least 1
/// where there are any. Waits as long as the socket's send time-out.
///
/// # Errors
/// The kernel's; `WouldBlock` when the peer does not read.
pub fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(socket.as_raw_fd(), parts, control, flags, None) {
            Err(Errno::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_its_bytes_and_is_the_same_file() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"here").unwrap();
        let sent = send(
            near.as_fd(),
            &[IoSlice::new(b"ab"), IoSlice::new(b"c")],
            &[file.as_fd()],
        );
        assert_eq!(sent.unwrap(), 3);
        let mut bytes = [0; 16];
        let mut control = ControlBuffer::default();
        let mut got = receive(far.as_fd(), &mut bytes, &mut control, true).unwrap();
        assert_eq!((got.bytes, got.lost), (3, false));
        let mut twin = File::from(got.descriptors.remove(0));
        twin.rewind().unwrap();
        let mut text = String::new();
        twin.read_to_string(&mut text).unwrap();
        assert_eq!(text, "here");

        // Without descriptors the buffer's old contents are not adopted again.
        send(near.as_fd(), &[IoSlice::new(b"d")], &[]).unwrap();
        let got = receive(far.as_fd(), &mut bytes, &mut control, true).unwrap();
        assert!(got.descriptors.is_empty());
        let nothing = receive(far.as_fd(), &mut bytes, &mut control, false).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_passes_all_have_an_owner() {
        let (near, far) = UnixStream::pair().unwrap();
        let one = tempfile::tempfile().unwrap();
        let many = vec![one.as_fd(); KERNEL_MOST];
        send(near.as_fd(), &[IoSlice::new(b"x")], &many).unwrap();
        let mut control = ControlBuffer::default();
        let got = receive(far.as_fd(), &mut [0; 4], &mut control, true).unwrap();
        assert_eq!((got.descriptors.len(), got.lost), (KERNEL_MOST, false));
    }

    #[test]
    fn a_closed_peer_reads_as_no_bytes_and_writes_as_a_broken_pipe() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(near);
        let mut control = ControlBuffer::default();
        let got = receive(far.as_fd(), &mut [0; 4], &mut control, true).unwrap();
        assert_eq!(got.bytes, 0);
        let refused = send(far.as_fd(), &[IoSlice::new(b"x")], &[]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    }
}
