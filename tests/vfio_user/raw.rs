//! One end of a connection with nothing between the test and the bytes.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hailo_vfio::deadline::Deadline;
use hailo_vfio::spec::vfio_user::{Command, Header, flags};
use hailo_vfio::transport::frame::{self, FrameError, FrameReader};
use nix::errno::Errno;
use zerocopy::IntoBytes;

pub(crate) struct Raw {
    pub(crate) stream: UnixStream,
    reader: FrameReader,
    next_id: u16,
}

pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Message {
    pub(crate) fn command(&self) -> Command {
        Command::try_from(self.header.command.get()).unwrap()
    }
}

impl Raw {
    pub(crate) fn new(stream: UnixStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            stream,
            reader: FrameReader::default(),
            next_id: 0x700,
        }
    }

    pub(crate) fn write(&self, bytes: &[&[u8]], descriptors: &[BorrowedFd<'_>]) {
        let deadline = Deadline::after(Duration::from_secs(10));
        frame::send(self.stream.as_fd(), bytes, descriptors, &deadline).unwrap();
    }

    /// Sends a command; gives its id.
    pub(crate) fn command(
        &mut self,
        command: u16,
        bits: u32,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        let header = frame::header(id, command, bits, payload.len());
        self.write(&[header.as_bytes(), payload], descriptors);
        id
    }

    pub(crate) fn reply(&self, to: &Header, payload: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let header = frame::header(to.id.get(), to.command.get(), flags::REPLY, payload.len());
        self.write(&[header.as_bytes(), payload], descriptors);
    }

    /// The next message; nothing when the peer has closed the connection.
    pub(crate) fn try_next(&mut self) -> Option<Message> {
        let mut payload = Vec::new();
        loop {
            if let Some(frame) = self.reader.take(&mut payload).unwrap() {
                return Some(Message {
                    header: frame.header,
                    payload,
                    descriptors: frame.descriptors,
                });
            }
            match self.reader.fill(self.stream.as_fd(), true) {
                Ok(true) => {}
                Ok(false) => panic!("the peer says nothing"),
                Err(FrameError::Closed) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn next(&mut self) -> Message {
        self.try_next().expect("the peer is there")
    }

    /// Sends a command and takes its reply.
    pub(crate) fn ask(
        &mut self,
        command: u16,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Message, Errno> {
        let id = self.command(command, 0, payload, descriptors);
        let reply = self.next();
        assert!(reply.header.is_reply());
        assert_eq!(
            (reply.header.id.get(), reply.header.command.get()),
            (id, command)
        );
        if reply.header.is_error() {
            assert!(reply.payload.is_empty(), "an error reply is a header only");
            return Err(Errno::from_raw(
                i32::try_from(reply.header.error.get()).unwrap(),
            ));
        }
        Ok(reply)
    }

    /// Waits until the peer has closed the connection; what it sent before is dropped.
    pub(crate) fn closed(mut self) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}
