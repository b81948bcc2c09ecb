//! The server's requests for our memory, and the thread that answers them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use zerocopy::{FromBytes, IntoBytes};

use super::link::Link;
use super::os;
use crate::addr::Iova;
use crate::deadline::Deadline;
use crate::spec::vfio_user::{Command, DEFAULT_TRANSFER, DmaAccess, flags};
use crate::transport::Result;
use crate::transport::frame::{self, Frame, FrameError, FrameReader};
use crate::transport::mapped::{MappedMemory, Refusal};

/// Answers one request of the server.
///
/// # Errors
/// The reply can't be sent.
pub(super) fn answer(
    socket: BorrowedFd<'_>,
    frame: &Frame,
    payload: &[u8],
    memory: Option<&MappedMemory>,
    deadline: &Deadline,
) -> io::Result<()> {
    let mut data = Vec::new();
    let result = serve(frame, payload, memory, &mut data);
    if frame.header.no_reply() {
        return Ok(());
    }
    match result {
        Ok(access) => {
            let (id, command) = (frame.header.id.get(), frame.header.command.get());
            let head = frame::header(id, command, flags::REPLY, DmaAccess::LEN + data.len());
            let parts = [head.as_bytes(), access.as_bytes(), &data];
            frame::send(socket, &parts, &[], deadline)
        }
        Err(errno) => {
            let head = frame::error_reply(&frame.header, errno);
            frame::send(socket, &[head.as_bytes()], &[], deadline)
        }
    }
}

fn serve(
    frame: &Frame,
    payload: &[u8],
    memory: Option<&MappedMemory>,
    data: &mut Vec<u8>,
) -> std::result::Result<DmaAccess, Errno> {
    if frame.too_long || frame.too_many || !frame.descriptors.is_empty() {
        return Err(Errno::EINVAL);
    }
    let command = Command::try_from(frame.header.command.get()).map_err(|_| Errno::ENOSYS)?;
    if !matches!(command, Command::DmaRead | Command::DmaWrite) {
        return Err(Errno::ENOSYS);
    }
    let memory = memory.ok_or(Errno::EFAULT)?;
    let (access, rest) = DmaAccess::read_from_prefix(payload).map_err(|_| Errno::EINVAL)?;
    let (address, count) = (Iova(access.address.get()), access.count.get());
    if count > u64::from(DEFAULT_TRANSFER) {
        return Err(Errno::E2BIG);
    }
    let count = usize::try_from(count).map_err(|_| Errno::E2BIG)?;
    if command == Command::DmaRead {
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        data.resize(count, 0);
        memory.read(address, data).map_err(errno)?;
    } else {
        if rest.len() != count {
            return Err(Errno::EINVAL);
        }
        memory.write(address, rest).map_err(errno)?;
    }
    Ok(access)
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Unmapped => Errno::EFAULT,
        Refusal::Direction => Errno::EPERM,
    }
}

/// The thread that answers on the second socket and watches whether the server is alive.
#[derive(Debug)]
pub(super) struct Answerer {
    stop: Arc<EventFd>,
    lost: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    pub(super) fn start(
        link: Arc<Link>,
        twin: Option<UnixStream>,
        memory: Arc<MappedMemory>,
    ) -> Result<Self> {
        let event = || {
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map(Arc::new)
                .map_err(|errno| os("creating an eventfd", errno.into()))
        };
        let (stop, lost) = (event()?, event()?);
        if let Some(twin) = &twin {
            twin.set_write_timeout(Some(link.patience()))
                .map_err(|source| os("setting a time-out", source))?;
        }
        let thread = std::thread::Builder::new().name("h10-vfio-user".to_owned());
        let (stop2, lost2) = (stop.clone(), lost.clone());
        let thread = thread
            .spawn(move || {
                if let Some(why) = watch(&link, twin.as_ref(), &memory, &stop2) {
                    log::debug!("{}: {why}", link.name);
                    link.give_up(&format!("{}: {why}", link.name));
                    if let Err(errno) = lost2.write(1) {
                        log::error!("{}: nobody will hear of it: {errno}", link.name);
                    }
                }
            })
            .map_err(|source| os("starting a thread", source))?;
        Ok(Self {
            stop,
            lost,
            thread: Some(thread),
        })
    }

    /// Readable when the server is gone.
    pub(super) fn lost(&self) -> BorrowedFd<'_> {
        self.lost.as_fd()
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        if let Err(errno) = self.stop.write(1) {
            log::error!("a vfio-user thread can't be stopped: {errno}");
        } else if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("a vfio-user thread panicked");
        }
    }
}

/// Answers until told to stop; says why it ended otherwise.
fn watch(
    link: &Link,
    twin: Option<&UnixStream>,
    memory: &MappedMemory,
    stop: &EventFd,
) -> Option<String> {
    let mut reader = FrameReader::default();
    let mut payload = Vec::new();
    loop {
        let mut sources = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            // Only hang-up is reported: replies are read by whoever awaits them.
            PollFd::new(link.socket(), PollFlags::empty()),
            PollFd::new(twin.map_or(stop.as_fd(), AsFd::as_fd), PollFlags::POLLIN),
        ];
        match poll(&mut sources, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Some(errno.to_string()),
            Ok(_) => {}
        }
        let [stopped, hung, asked] = sources.map(|source| source.any().unwrap_or(true));
        if stopped {
            return None;
        }
        if hung {
            return Some(FrameError::Closed.to_string());
        }
        if let Some(twin) = twin.filter(|_| asked)
            && let Err(error) = answer_all(link, twin, memory, &mut reader, &mut payload)
        {
            return Some(error.to_string());
        }
    }
}

fn answer_all(
    link: &Link,
    twin: &UnixStream,
    memory: &MappedMemory,
    reader: &mut FrameReader,
    payload: &mut Vec<u8>,
) -> std::result::Result<(), FrameError> {
    reader.fill(twin.as_fd(), false)?;
    while let Some(frame) = reader.take(payload)? {
        if frame.header.is_reply() {
            log::warn!("{}: a reply on the server's own socket", link.name);
            continue;
        }
        let deadline = Deadline::after(link.patience());
        answer(twin.as_fd(), &frame, payload, Some(memory), &deadline)?;
    }
    Ok(())
}
