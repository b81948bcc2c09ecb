//! Requests and their replies on the main socket, one at a time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use zerocopy::IntoBytes;

use super::answer::answer;
use super::{Options, os};
use crate::deadline::Deadline;
use crate::spec::vfio_user::{Command, flags};
use crate::transport::frame::{self, Frame, FrameError, FrameReader};
use crate::transport::mapped::MappedMemory;
use crate::transport::{Result, TransportError};

/// Why a connection was given up.
#[derive(Clone, Debug)]
enum Failure {
    Closed(String),
    Protocol(String),
    TimedOut { action: String, waited: Duration },
}

impl From<Failure> for TransportError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed(why) => Self::Closed(why),
            Failure::Protocol(what) => Self::Protocol(what),
            Failure::TimedOut { action, waited } => Self::TimedOut { action, waited },
        }
    }
}

/// A reply that belongs to its request and reports no error.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) payload: &'a [u8],
    pub(super) descriptors: Vec<OwnedFd>,
}

#[derive(Debug, Default)]
struct State {
    reader: FrameReader,
    payload: Vec<u8>,
    next_id: u16,
    failure: Option<Failure>,
}

/// The main socket.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    socket: UnixStream,
    state: Mutex<State>,
    patience: Duration,
    posted: bool,
    memory: OnceLock<Arc<MappedMemory>>,
}

impl Link {
    pub(super) fn new(socket: UnixStream, name: String, options: &Options) -> Result<Self> {
        let set =
            |result: io::Result<()>| result.map_err(|source| os("setting a time-out", source));
        set(socket.set_read_timeout(Some(options.request)))?;
        set(socket.set_write_timeout(Some(options.request)))?;
        Ok(Self {
            name,
            socket,
            state: Mutex::default(),
            patience: options.request,
            posted: options.posted_writes,
            memory: OnceLock::new(),
        })
    }

    /// Where the server's requests for memory are answered from.
    pub(super) fn answers_from(&self, memory: Arc<MappedMemory>) {
        self.memory.get_or_init(|| memory);
    }

    /// Whether writes may go without a reply.
    pub(super) fn posts(&self) -> bool {
        self.posted
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Lets all later requests fail because the peer is gone.
    pub(super) fn give_up(&self, why: &str) {
        self.lock()
            .failure
            .get_or_insert_with(|| Failure::Closed(why.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and waits for its reply. `read` takes what is wanted from it; `None` means
    /// that the reply makes no sense.
    ///
    /// # Errors
    /// `Refused` with the peer's errno, or the reason why the connection was given up.
    pub(super) fn exchange<T>(
        &self,
        command: Command,
        parts: [&[u8]; 2],
        descriptors: &[BorrowedFd<'_>],
        what: &str,
        read: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone().into());
        }
        let deadline = Deadline::after(self.patience);
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        let result = self
            .send(command, flags::COMMAND, id, parts, descriptors, &deadline)
            .and_then(|()| self.reply(&mut state, id, command, &deadline));
        let frame = result.map_err(|error| self.fail(&mut state, error, what, &deadline))?;
        if frame.header.is_error() {
            let errno = frame.header.error.get();
            let errno = i32::try_from(errno).map_or(Errno::EIO, Errno::from_raw);
            return Err(TransportError::Refused {
                action: what.to_owned(),
                errno: if errno == Errno::UnknownErrno {
                    Errno::EIO
                } else {
                    errno
                },
            });
        }
        let descriptors = frame.descriptors;
        let payload = std::mem::take(&mut state.payload);
        let value = read(Reply {
            payload: &payload,
            descriptors,
        });
        state.payload = payload;
        value.ok_or_else(|| {
            let what = format!(
                "{}: a reply to {command:?} of {} bytes that does not fit the request",
                self.name,
                state.payload.len()
            );
            state.failure = Some(Failure::Protocol(what.clone()));
            TransportError::Protocol(what)
        })
    }

    /// Sends a request that has no reply.
    ///
    /// # Errors
    /// The reason why the connection was given up.
    pub(super) fn post(&self, command: Command, parts: [&[u8]; 2]) -> Result<()> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone().into());
        }
        let deadline = Deadline::after(self.patience);
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        self.send(command, flags::NO_REPLY, id, parts, &[], &deadline)
            .map_err(|error| self.fail(&mut state, error, "a posted write", &deadline))
    }

    fn send(
        &self,
        command: Command,
        flags: u32,
        id: u16,
        parts: [&[u8]; 2],
        descriptors: &[BorrowedFd<'_>],
        deadline: &Deadline,
    ) -> std::result::Result<(), Wrong> {
        let head = frame::header(id, command.code(), flags, parts[0].len() + parts[1].len());
        let parts = [head.as_bytes(), parts[0], parts[1]];
        frame::send(self.socket.as_fd(), &parts, descriptors, deadline).map_err(Wrong::Socket)
    }

    /// Waits for the reply `id`, answering the peer's own requests meanwhile.
    fn reply(
        &self,
        state: &mut State,
        id: u16,
        command: Command,
        deadline: &Deadline,
    ) -> std::result::Result<Frame, Wrong> {
        loop {
            let State {
                reader, payload, ..
            } = &mut *state;
            let Some(frame) = reader.take(payload).map_err(Wrong::Frame)? else {
                if deadline.expired() {
                    return Err(Wrong::Late);
                }
                reader
                    .fill(self.socket.as_fd(), true)
                    .map_err(Wrong::Frame)?;
                continue;
            };
            if frame.header.is_command() {
                let memory = self.memory.get();
                let memory = memory.map(Arc::as_ref);
                answer(self.socket.as_fd(), &frame, payload, memory, deadline)
                    .map_err(Wrong::Socket)?;
                continue;
            }
            let (found, code) = (frame.header.id.get(), frame.header.command.get());
            if found != id || code != command.code() {
                let told = format!(
                    "a reply to command {code} with id {found:#x}, expected {} with id {id:#x}",
                    command.code()
                );
                return Err(Wrong::Told(told));
            }
            if frame.too_many || frame.too_long {
                let told =
                    format!("a reply to {command:?} that is too long or has too many descriptors");
                return Err(Wrong::Told(told));
            }
            return Ok(frame);
        }
    }

    /// Gives the connection up and says why.
    fn fail(
        &self,
        state: &mut State,
        wrong: Wrong,
        what: &str,
        deadline: &Deadline,
    ) -> TransportError {
        let name = &self.name;
        let closed = |why: String| Failure::Closed(format!("{name}: {why}"));
        let late = || Failure::TimedOut {
            action: what.to_owned(),
            waited: deadline.waited(),
        };
        let failure = match wrong {
            Wrong::Late => late(),
            Wrong::Told(told) => Failure::Protocol(format!("{name}: {told}")),
            Wrong::Frame(error @ (FrameError::Closed | FrameError::Cut { .. })) => {
                closed(error.to_string())
            }
            Wrong::Frame(FrameError::Io(error)) => closed(error.to_string()),
            Wrong::Frame(error) => Failure::Protocol(format!("{name}: {error}")),
            Wrong::Socket(error) if error.kind() == io::ErrorKind::TimedOut => late(),
            Wrong::Socket(error) => closed(error.to_string()),
        };
        state.failure.get_or_insert(failure).clone().into()
    }
}

/// What went wrong with the connection itself.
#[derive(Debug)]
enum Wrong {
    Socket(io::Error),
    Frame(FrameError),
    Told(String),
    Late,
}
