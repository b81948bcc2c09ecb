//! What the interrupt thread sleeps on.
//!
//! Where there is an interrupt its descriptor is watched for edges: each interrupt wakes the thread, and nothing needs
//! to be read from the descriptor. That is one system call an interrupt, not two.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;

/// Marks of the descriptors.
const KICK: u64 = 0;
const INTERRUPT: u64 = 1;
const LOST: u64 = 2;

/// Why the thread woke.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Woken {
    pub(super) interrupt: bool,
    pub(super) lost: bool,
    pub(super) kicked: bool,
}

/// The descriptors.
pub(super) struct Sleeper<'a> {
    kick: &'a EventFd,
    lost: Option<BorrowedFd<'a>>,
    /// With an interrupt; without one the thread polls, and its pauses are shorter than a millisecond.
    edges: Option<Epoll>,
}

impl<'a> Sleeper<'a> {
    pub(super) fn new(
        kick: &'a EventFd,
        interrupt: Option<BorrowedFd<'a>>,
        lost: Option<BorrowedFd<'a>>,
    ) -> Result<Self, Errno> {
        let edges = match interrupt {
            None => None,
            Some(interrupt) => {
                let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
                let level = EpollFlags::EPOLLIN;
                epoll.add(kick, EpollEvent::new(level, KICK))?;
                epoll.add(
                    interrupt,
                    EpollEvent::new(level | EpollFlags::EPOLLET, INTERRUPT),
                )?;
                if let Some(lost) = lost {
                    epoll.add(lost, EpollEvent::new(level, LOST))?;
                }
                Some(epoll)
            }
        };
        Ok(Self { kick, lost, edges })
    }

    /// Sleeps until something happens; `pause` at most.
    pub(super) fn sleep(&self, pause: Option<Duration>) -> Result<Woken, Errno> {
        let woken = match &self.edges {
            Some(edges) => wait(edges, pause)?,
            None => self.poll(pause)?,
        };
        if woken.kicked {
            drain(self.kick.as_fd())?;
        }
        Ok(woken)
    }

    fn poll(&self, pause: Option<Duration>) -> Result<Woken, Errno> {
        let wanted = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let kick = self.kick.as_fd();
        let mut fds = [wanted(kick), wanted(self.lost.unwrap_or(kick))];
        match ppoll(&mut fds, pause.map(TimeSpec::from), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let readable = |index: usize| fds[index].any().unwrap_or(true);
        Ok(Woken {
            interrupt: false,
            lost: self.lost.is_some() && readable(1),
            kicked: readable(0),
        })
    }
}

fn wait(edges: &Epoll, pause: Option<Duration>) -> Result<Woken, Errno> {
    let longest = pause.map_or(EpollTimeout::NONE, |pause| {
        EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::MAX)
    });
    let mut events = [EpollEvent::empty(); 3];
    let count = match edges.wait(&mut events, longest) {
        Ok(count) => count,
        Err(Errno::EINTR) => 0,
        Err(errno) => return Err(errno),
    };
    let mut woken = Woken::default();
    for event in events.iter().take(count) {
        match event.data() {
            KICK => woken.kicked = true,
            INTERRUPT => woken.interrupt = true,
            _ => woken.lost = true,
        }
    }
    Ok(woken)
}

/// Reads an eventfd empty.
fn drain(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match nix::unistd::read(fd, &mut [0; 8]) {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
