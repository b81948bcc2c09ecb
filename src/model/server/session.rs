//! One client's connection: takes its messages, sends replies, and is the host of the function.
//!
//! The thread that runs the session answers the client. The function may call its host from that
//! thread (inside a register access) or from one of its own: DMA that needs a message then waits for
//! the reply, in the first case by answering the client further on in a nested loop (a virtual
//! machine may hold its big lock until its own request is answered), in the second by sleeping until
//! the session's thread brings the reply. So a function must not hold, while it calls its host from
//! a thread of its own, a lock that its register accesses need.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread::ThreadId;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zerocopy::IntoBytes;

use super::dispatch::Reply;
use super::maps::MapTable;
use crate::deadline::Deadline;
use crate::spec::vfio_user::{DEFAULT_TRANSFER, Header, flags};
use crate::transport::frame::{self, Frame, FrameError, FrameReader};
use crate::transport::local::Endpoint;

/// How a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client closed the connection.
    #[error("the client has left")]
    Left,
    /// The server was told to stop.
    #[error("the server was stopped")]
    Stopped,
    /// The client's bytes are no messages, or the connection failed.
    #[error("the client broke the protocol")]
    Broken(#[source] FrameError),
    /// The client does not read its replies.
    #[error("a reply could not be sent")]
    Unsent(#[source] io::Error),
}

/// The reply to a command of ours.
#[derive(Debug)]
pub(super) enum Answer {
    Awaited,
    Here { header: Header, payload: Vec<u8> },
}

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    pub(super) next_id: u16,
    pub(super) answers: HashMap<u16, Answer>,
    /// The connection is over: nothing will be answered any more.
    pub(super) closed: bool,
}

/// What is read from, by the session's thread only; the lock is held while looking, not while acting.
#[derive(Debug, Default)]
struct Readers {
    main: FrameReader,
    twin: FrameReader,
    /// The second socket is closed or broken. The main one may still hold commands.
    twin_over: bool,
}

/// The interrupt line to the client.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) event: OwnedFd,
    /// The descriptor never blocks; otherwise it is asked first.
    pub(super) nonblocking: bool,
}

/// One client.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) endpoint: Arc<dyn Endpoint>,
    pub(super) maps: MapTable,
    pub(super) signal: RwLock<Option<Signal>>,
    /// Set by the version message: what the client takes in one DMA message, in bytes.
    pub(super) transfer: AtomicU32,
    /// The socket for our commands, where the client wanted one.
    pub(super) twin: OnceLock<UnixStream>,
    /// The version message came.
    pub(super) agreed: OnceLock<()>,
    pub(super) main: UnixStream,
    stop: OwnedFd,
    pub(super) sending: Mutex<()>,
    readers: Mutex<Readers>,
    pub(super) outstanding: Mutex<Outstanding>,
    pub(super) answered: Condvar,
    pub(super) thread: OnceLock<ThreadId>,
    this: Weak<Self>,
    pub(super) depth: AtomicUsize,
    pub(super) patience: Duration,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

pub(super) enum Step {
    Handled,
    TimedOut,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub(super) fn new(
        name: String,
        main: UnixStream,
        endpoint: Arc<dyn Endpoint>,
        stop: OwnedFd,
        patience: Duration,
    ) -> io::Result<Arc<Self>> {
        main.set_write_timeout(Some(patience))?;
        Ok(Arc::new_cyclic(|this| Self {
            name,
            endpoint,
            maps: MapTable::default(),
            signal: RwLock::new(None),
            transfer: AtomicU32::new(DEFAULT_TRANSFER),
            twin: OnceLock::new(),
            agreed: OnceLock::new(),
            main,
            stop,
            sending: Mutex::new(()),
            readers: Mutex::default(),
            outstanding: Mutex::default(),
            answered: Condvar::new(),
            thread: OnceLock::new(),
            depth: AtomicUsize::new(0),
            this: this.clone(),
            patience,
        }))
    }

    /// Serves the client until it leaves. Mappings and interrupt are gone after that, the function
    /// has no host and keeps its state.
    pub(super) fn run(&self) -> Ended {
        self.thread.get_or_init(|| std::thread::current().id());
        let ended = loop {
            if let Err(ended) = self.step(None) {
                break ended;
            }
        };
        self.close();
        if self.agreed.get().is_some() {
            self.endpoint.detach();
        }
        self.maps.clear();
        *self.signal.write().unwrap_or_else(PoisonError::into_inner) = None;
        ended
    }

    /// The client has introduced itself: the function gets its host.
    pub(super) fn start(&self) {
        log::debug!("{}: a client has come", self.name);
        if let Some(this) = self.this.upgrade() {
            self.endpoint.attach(this);
        }
    }

    /// Lets everything fail that waits for the client.
    pub(super) fn close(&self) {
        lock(&self.outstanding).closed = true;
        self.answered.notify_all();
    }

    /// Takes all messages that there are, or waits for one.
    pub(super) fn step(&self, deadline: Option<&Deadline>) -> Result<Step, Ended> {
        let mut payload = Vec::new();
        let mut reply = Reply::default();
        let mut handled = false;
        loop {
            let frame = self.next(&mut payload).map_err(ended)?;
            if let Some(frame) = frame {
                self.handle(frame, &payload, &mut reply)?;
                handled = true;
            } else if handled {
                return Ok(Step::Handled);
            } else if !self.wait(deadline)? {
                return Ok(Step::TimedOut);
            }
        }
    }

    fn next(&self, payload: &mut Vec<u8>) -> Result<Option<Frame>, FrameError> {
        let mut readers = lock(&self.readers);
        match readers.main.take(payload)? {
            Some(frame) => Ok(Some(frame)),
            None if self.twin.get().is_some() && !readers.twin_over => readers.twin.take(payload),
            None => Ok(None),
        }
    }

    /// Waits for bytes and takes them in; false when the time is over.
    fn wait(&self, deadline: Option<&Deadline>) -> Result<bool, Ended> {
        let failed = |errno: Errno| Ended::Broken(FrameError::Io(errno.into()));
        let twin = self.twin.get().filter(|_| !lock(&self.readers).twin_over);
        let watched = PollFlags::POLLIN;
        let mut sources = [
            PollFd::new(self.stop.as_fd(), watched),
            PollFd::new(self.main.as_fd(), watched),
            PollFd::new(twin.unwrap_or(&self.main).as_fd(), watched),
        ];
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.remaining() + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let count = if twin.is_some() { 3 } else { 2 };
        match poll(&mut sources[..count], timeout) {
            Err(Errno::EINTR) => return Ok(true),
            Ok(0) => return Ok(false),
            other => other.map_err(failed)?,
        };
        let ready = sources.map(|source| source.any().unwrap_or(true));
        if ready[0] {
            return Err(Ended::Stopped);
        }
        let mut readers = lock(&self.readers);
        if ready[1] {
            readers.main.fill(self.main.as_fd(), false).map_err(ended)?;
        }
        if let Some(twin) = twin.filter(|_| ready[2])
            && let Err(error) = readers.twin.fill(twin.as_fd(), false)
        {
            log::debug!("{}: second socket: {error}", self.name);
            readers.twin_over = true;
        }
        Ok(true)
    }

    fn handle(&self, frame: Frame, payload: &[u8], reply: &mut Reply) -> Result<(), Ended> {
        let header = frame.header;
        if header.is_reply() {
            self.bring(&header, payload);
            return Ok(());
        }
        reply.clear();
        let result = self.dispatch(frame, payload, reply);
        if let Err(errno) = result {
            let command = header.command.get();
            log::debug!("{}: command {command} refused: {errno}", self.name);
        }
        if header.no_reply() {
            return Ok(());
        }
        let descriptors: Vec<_> = reply.descriptors.iter().map(AsFd::as_fd).collect();
        let head = match result {
            Ok(()) => {
                let (id, command) = (header.id.get(), header.command.get());
                frame::header(id, command, flags::REPLY, reply.payload.len())
            }
            Err(errno) => frame::error_reply(&header, errno),
        };
        let (payload, descriptors) = match result {
            Ok(()) => (reply.payload.as_slice(), descriptors.as_slice()),
            Err(_) => (&[][..], &[][..]),
        };
        let deadline = Deadline::after(self.patience);
        let _sending = lock(&self.sending);
        frame::send(
            self.main.as_fd(),
            &[head.as_bytes(), payload],
            descriptors,
            &deadline,
        )
        .map_err(unsent)
    }

    /// Gives a reply to whoever awaits it.
    fn bring(&self, header: &Header, payload: &[u8]) {
        let id = header.id.get();
        let mut outstanding = lock(&self.outstanding);
        match outstanding.answers.get_mut(&id) {
            Some(answer @ Answer::Awaited) => {
                *answer = Answer::Here {
                    header: *header,
                    payload: payload.to_vec(),
                };
                self.answered.notify_all();
            }
            // It may have come too late.
            _ => log::warn!("{}: a reply that nobody awaits (id {id:#x})", self.name),
        }
    }
}

fn ended(error: FrameError) -> Ended {
    match error {
        FrameError::Closed => Ended::Left,
        error => Ended::Broken(error),
    }
}

fn unsent(error: io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ended::Left,
        _ => Ended::Unsent(error),
    }
}

impl Signal {
    pub(super) fn send(&self, name: &str) {
        if !self.nonblocking {
            let mut room = [PollFd::new(self.event.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut room, PollTimeout::ZERO) != Ok(1) {
                log::debug!("{name}: the interrupt is pending already");
                return;
            }
        }
        if let Err(errno) = nix::unistd::write(&self.event, &1_u64.to_ne_bytes()) {
            log::debug!("{name}: interrupt not counted: {errno}");
        }
    }
}
