//! The chip behind a vfio-user socket: the other end is our own client or QEMU 11.
//!
//! One client at a time. A client that goes, in whatever way, takes its mappings and its interrupt
//! with it and leaves the function without a host but with its state; the next one finds it so. A
//! client that comes while there is one waits [`CHANGEOVER`] (the one before may be about to go) and
//! is then refused with `EBUSY`.
//!
//! DMA goes directly to shared memory where it can, by message otherwise; a message on a map miss
//! is what makes an IOMMU fault real in a guest. A client that asks for twin-socket mode gets it.

mod dispatch;
mod host;
mod maps;
mod regions;
mod session;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use zerocopy::IntoBytes;

use crate::deadline::Deadline;
use crate::transport::frame::{self, FrameReader};
use crate::transport::local::Endpoint;
use session::Session;

pub use session::Ended;

/// How long a new client waits for the one before it to go.
pub const CHANGEOVER: Duration = Duration::from_secs(1);

/// How long the client may take to answer a DMA message, or to read a reply.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// How long a client that is refused may take to say its first message.
const REFUSAL: Duration = Duration::from_secs(1);

/// How long to wait for a descriptor when there is none left.
const RELIEF: Duration = Duration::from_millis(100);

/// Why there is no server at a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another server is alive there.
    #[error("another server is listening at {0}")]
    Live(PathBuf),
    /// Something else has the name.
    #[error("{0} exists and is no socket")]
    NotASocket(PathBuf),
    /// The operating system refuses.
    #[error("no server at {path}: {action} failed")]
    Os {
        /// What was attempted.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Its error.
        #[source]
        source: io::Error,
    },
}

/// A function behind a socket. The socket file is removed on drop.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Device and inode of the socket file, so that nobody else's is removed.
    identity: (u64, u64),
    listener: UnixListener,
    endpoint: Arc<dyn Endpoint>,
    patience: Duration,
}

impl Server {
    /// Creates a socket at `path` that its owner alone may connect to (mode 0600). A socket that a
    /// killed server left behind is replaced.
    ///
    /// # Errors
    /// A live server, or something that is no socket, has the name; or the system's error.
    pub fn bind(path: &Path, endpoint: Arc<dyn Endpoint>) -> Result<Self, BindError> {
        let os = |action| {
            move |source: io::Error| BindError::Os {
                action,
                path: path.to_owned(),
                source,
            }
        };
        remove_stale(path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .map_err(io::Error::from)
            .map_err(os("creating a socket"))?;
        // The file gets the mode of the socket, so there is no moment at which others may connect.
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(io::Error::from)
            .map_err(os("setting the mode"))?;
        let address = UnixAddr::new(path)
            .map_err(io::Error::from)
            .map_err(os("using the path"))?;
        bind(listener.as_raw_fd(), &address)
            .map_err(io::Error::from)
            .map_err(os("binding"))?;
        let backlog = Backlog::new(BACKLOG).map_err(io::Error::from);
        backlog
            .and_then(|backlog| listen(&listener, backlog).map_err(io::Error::from))
            .map_err(os("listening"))?;
        let found = fs::symlink_metadata(path).map_err(os("looking at the socket"))?;
        Ok(Self {
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
            listener: UnixListener::from(listener),
            endpoint,
            patience: PATIENCE,
        })
    }

    /// The same server, which waits so long for a client's answers. The default is [`PATIENCE`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Serves one client after the other until `stop` is readable.
    ///
    /// # Errors
    /// The listening socket failed.
    pub fn serve(&self, stop: BorrowedFd<'_>) -> io::Result<()> {
        // Counts sessions that have ended, to be taken back by those who saw it.
        let over = EventFd::from_value_and_flags(
            0,
            EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_SEMAPHORE,
        )?;
        std::thread::scope(|scope| {
            let mut busy = false;
            loop {
                if readable([stop, self.listener.as_fd()], None)?[0] {
                    return Ok(());
                }
                let client = match self.listener.accept() {
                    Ok((client, _)) => client,
                    Err(error) if passing(&error) => continue,
                    Err(error) if exhausted(&error) => {
                        log::warn!("{}: no client accepted: {error}", self.path.display());
                        readable([stop, stop], Some(&Deadline::after(RELIEF)))?;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let wait = Deadline::after(CHANGEOVER);
                if busy {
                    let ready = readable([stop, over.as_fd()], Some(&wait))?;
                    if ready[0] {
                        return Ok(());
                    }
                    if !ready[1] {
                        self.refuse(&client);
                        continue;
                    }
                    nix::unistd::read(&over, &mut [0; 8])?;
                }
                busy = true;
                let stop = stop.try_clone_to_owned()?;
                let session = self.session(client, stop)?;
                let over = &over;
                std::thread::Builder::new()
                    .name("vfio-user".to_owned())
                    .spawn_scoped(scope, move || {
                        report(&session.name, &session.run());
                        if let Err(errno) = over.write(1) {
                            log::error!("{}: the next client is locked out: {errno}", session.name);
                        }
                    })?;
            }
        })
    }

    fn session(&self, client: UnixStream, stop: std::os::fd::OwnedFd) -> io::Result<Arc<Session>> {
        let name = self.path.display().to_string();
        Session::new(name, client, self.endpoint.clone(), stop, self.patience)
    }

    /// Tells a client that another one has the device.
    fn refuse(&self, client: &UnixStream) {
        let name = self.path.display();
        let deadline = Deadline::after(REFUSAL);
        let answer = || -> Result<(), frame::FrameError> {
            client.set_read_timeout(Some(REFUSAL))?;
            client.set_write_timeout(Some(REFUSAL))?;
            let mut reader = FrameReader::default();
            let mut payload = Vec::new();
            while !deadline.expired() && reader.fill(client.as_fd(), true)? {
                if let Some(frame) = reader.take(&mut payload)? {
                    let reply = frame::error_reply(&frame.header, Errno::EBUSY);
                    frame::send(client.as_fd(), &[reply.as_bytes()], &[], &deadline)?;
                    break;
                }
            }
            Ok(())
        };
        match answer() {
            Ok(()) => log::warn!("{name}: a second client was refused: one at a time"),
            Err(error) => log::debug!("{name}: a second client went away: {error}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!(
                "{}: the socket could not be removed: {error}",
                self.path.display()
            );
        }
    }
}

/// Serves one connection on the calling thread until it ends.
///
/// # Errors
/// The socket can't be set up.
pub fn serve_stream(
    name: &str,
    stream: UnixStream,
    endpoint: Arc<dyn Endpoint>,
    stop: BorrowedFd<'_>,
    patience: Duration,
) -> io::Result<Ended> {
    let stop = stop.try_clone_to_owned()?;
    let session = Session::new(name.to_owned(), stream, endpoint, stop, patience)?;
    Ok(session.run())
}

fn report(name: &str, ended: &Ended) {
    match ended {
        Ended::Left | Ended::Stopped => log::debug!("{name}: {ended}"),
        Ended::Broken(why) => log::warn!("{name}: connection closed: {why}"),
        Ended::Unsent(why) => log::warn!("{name}: connection closed, {ended}: {why}"),
    }
}

/// Which of two descriptors can be read; none of them when the time is over.
fn readable(sources: [BorrowedFd<'_>; 2], deadline: Option<&Deadline>) -> io::Result<[bool; 2]> {
    let mut sources = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
    loop {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            PollTimeout::try_from(deadline.remaining()).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut sources, timeout) {
            Err(Errno::EINTR) => {}
            other => {
                other?;
                return Ok(sources.map(|source| source.any().unwrap_or(true)));
            }
        }
    }
}

/// Whether a failed accept says nothing about the next one.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// Whether this process or the system has no descriptor left, which may pass.
fn exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
}

/// Removes a socket that nobody listens at.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let os = |action, source| BindError::Os {
        action,
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(os("looking at the path", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Without waiting: a live server with many clients may not accept for a while.
    let asked = UnixAddr::new(path).and_then(|address| {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(probe.as_raw_fd(), &address)
    });
    match asked {
        Err(Errno::ECONNREFUSED) => {
            log::info!(
                "{}: replacing the socket of a server that is gone",
                path.display()
            );
            fs::remove_file(path).map_err(|error| os("removing a stale socket", error))
        }
        Ok(()) | Err(Errno::EAGAIN) => Err(BindError::Live(path.to_owned())),
        Err(errno) => Err(os("asking who listens there", errno.into())),
    }
}
