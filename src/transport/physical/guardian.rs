//! The guardian: a small process that outlives its owner and switches bus mastering off, however the
//! owner ends.
//!
//! Where no IOMMU confines a device and no kernel driver has it, nothing stops its DMA when the process
//! that started it is killed; the pages would go back to the kernel and the device would write on. So the
//! owner forks a guardian before it lets the device loose. The guardian holds what keeps all pages in
//! place (the ring of [`Pins`](super::pins::Pins)), the lock on the device, and a connection to its owner.
//! When the owner is gone (killed, panicked, or simply done), it
//!
//! 1. switches bus mastering off and reads back that it is (which also flushes what was under way),
//!    trying until it succeeds or the device has left the bus;
//! 2. writes back what the owner had changed ([`Closing`]);
//! 3. lets go of the pins and the lock, and ends.
//!
//! If the guardian is killed the owner sees its connection close, as it sees a lost device.
//!
//! It is forked, not executed: a library has no program of its own to start. After the fork it makes system
//! calls only; it takes no lock, allocates nothing and can't panic. It shares the owner's pages as every fork
//! does: what the owner changes later exists twice until the device is closed. Memory for devices is left
//! out of that (`MADV_DONTFORK`). Who holds gigabytes opens the device first.

// UNSAFETY: fork, and system calls on numbers of descriptors in the child.
#![expect(unsafe_code, reason = "a fork, and what is allowed behind it")]

use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::spec::config_space::{COMMAND, command};

/// How long a guardian may take to start, and to end when its owner closes the device. Ends take longer
/// only while a device does not let go of the bus.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files that can be written back.
const CLOSINGS: usize = 3;
/// Descriptors that a guardian has: connection, owner, configuration space, pins, and what it writes back.
const HELD: usize = 4 + CLOSINGS;

/// Something that is written when the device is closed.
#[derive(Debug)]
pub(in crate::transport) struct Closing {
    /// The file.
    pub(in crate::transport) file: File,
    /// What is written to its beginning.
    pub(in crate::transport) value: &'static [u8],
}

/// A guardian, seen from its owner. Dropping it has the device closed, and waits for that.
#[derive(Debug)]
pub(in crate::transport) struct Guardian {
    connection: UnixStream,
    process: u32,
}

impl Guardian {
    /// Starts a guardian for the device with this configuration space. It keeps `pins` open.
    ///
    /// # Errors
    /// The kernel's: no process or no descriptor left. Nothing is guarded then.
    pub(in crate::transport) fn start(
        config: &File,
        pins: BorrowedFd<'_>,
        closing: &[Closing],
    ) -> io::Result<Self> {
        if closing.len() > CLOSINGS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (connection, theirs) = UnixStream::pair()?;
        let owner = this_process();
        let owner_number = owner.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let mut held = [-1; HELD];
        let fixed = [&theirs as &dyn AsRawFd, &owner_number, config, &pins];
        let wanted = fixed
            .into_iter()
            .chain(closing.iter().map(|one| &one.file as &dyn AsRawFd));
        for (place, fd) in held.iter_mut().zip(wanted) {
            *place = fd.as_raw_fd();
        }
        let mut values: [&[u8]; CLOSINGS] = [&[]; CLOSINGS];
        for (place, one) in values.iter_mut().zip(closing) {
            *place = one.value;
        }
        // SAFETY: the child makes system calls only, until it ends by `_exit`.
        match unsafe { fork() }? {
            ForkResult::Child => {
                // Once more, so that the guardian is nobody's child: its end is no business of a program
                // that waits for children of its own.
                // SAFETY: as above.
                if let Ok(ForkResult::Child) = unsafe { fork() } {
                    guard(&held, &values);
                }
                // SAFETY: it only ends the process.
                unsafe { libc::_exit(0) }
            }
            // A program that ignores its children's ends has none to wait for.
            ForkResult::Parent { child } => while waitpid(child, None) == Err(Errno::EINTR) {},
        }
        drop(theirs);
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut process = [0; 4];
        (&connection).read_exact(&mut process)?;
        Ok(Self {
            connection,
            process: u32::from_ne_bytes(process),
        })
    }

    /// Readable when the guardian is gone.
    pub(in crate::transport) fn connection(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// Its process id.
    pub(in crate::transport) fn process(&self) -> u32 {
        self.process
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let ended = self.connection.shutdown(Shutdown::Write);
        let ended = ended.and_then(|()| (&self.connection).read(&mut [0]));
        if let Err(error) = ended {
            log::warn!(
                "guardian process {} still holds the device and its memory: {error}",
                self.process
            );
        }
    }
}

/// A descriptor that becomes readable when this process has ended; none before Linux 5.3.
fn this_process() -> Option<OwnedFd> {
    let process = std::process::id();
    // SAFETY: it takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The places of the descriptors in the guardian.
const CONNECTION: RawFd = 0;
const OWNER: RawFd = 1;
const CONFIG: RawFd = 2;
const WRITE_BACK: RawFd = 4;

/// The guardian's whole life.
fn guard(held: &[RawFd; HELD], values: &[&[u8]; CLOSINGS]) -> ! {
    detach();
    if take(held) {
        let process = std::process::id().to_ne_bytes();
        write(CONNECTION, &process);
        wait_for_end();
        switch_off();
        for (place, value) in (WRITE_BACK..).zip(values) {
            if !value.is_empty() {
                write(place, value);
            }
        }
        // The connection is the last: who sees it closed finds the lock free.
        for place in (CONNECTION + 1..WRITE_BACK).rev() {
            // SAFETY: numbers only; nothing in this process uses them any more.
            unsafe { libc::close(place) };
        }
    }
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(0) }
}

/// Leaves the session (Ctrl-C is not for the guardian), ignores signals that can be ignored, asks not to
/// be killed for memory, and takes a name. What of this fails is no reason not to guard.
fn detach() {
    // SAFETY: no operands.
    unsafe { libc::setsid() };
    // SAFETY: plain data, all of whose bit patterns are valid.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives over the call.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: as above; the old set is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const all, null_mut()) };
    // SAFETY: the string has its end.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"hailo-guardian".as_ptr()) };
    // SAFETY: as above.
    unsafe { libc::chdir(c"/".as_ptr()) };
    let path = c"/proc/self/oom_score_adj".as_ptr();
    // SAFETY: the string has its end.
    let file = unsafe { libc::open(path, libc::O_WRONLY | libc::O_CLOEXEC) };
    if file >= 0 {
        write(file, b"-1000");
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(file) };
    }
}

/// Puts the descriptors into their places and closes all others: whoever waits for the owner's output to
/// end must not wait for the guardian.
fn take(held: &[RawFd; HELD]) -> bool {
    let mut aside = [-1; HELD];
    let above = libc::c_int::try_from(HELD).unwrap_or(libc::c_int::MAX);
    for (place, fd) in aside.iter_mut().zip(held) {
        if *fd >= 0 {
            // SAFETY: numbers only; out of the way of the places.
            *place = unsafe { libc::fcntl(*fd, libc::F_DUPFD, above) };
            if *place < 0 {
                return false;
            }
        }
    }
    for (place, fd) in (0..above).zip(aside) {
        // SAFETY: numbers only; nothing in this process relies on what had the place before.
        unsafe { libc::close(place) };
        // SAFETY: as above.
        if fd >= 0 && unsafe { libc::dup2(fd, place) } < 0 {
            return false;
        }
    }
    // SAFETY: numbers only.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, above, libc::c_uint::MAX, 0) };
    if closed != 0 {
        // Before Linux 5.9.
        for fd in above..4096 {
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
    true
}

fn write(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the bytes live over the call. What comes of it is seen by reading back, where it matters.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// Waits until the owner closes the connection, or ends with a copy of it left in some other process.
fn wait_for_end() {
    let event = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut both = [event(CONNECTION), event(OWNER)];
    loop {
        // SAFETY: the two structures live over the call.
        let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
        // A pidfd that the kernel did not have is a place without descriptor: no reason to end.
        let [connection, owner] = both.map(|one| one.revents & !libc::POLLNVAL);
        if ready > 0 && (connection != 0 || owner != 0) {
            return;
        }
        if ready > 0 {
            both[1].fd = -1;
        }
    }
}

/// The byte of the command register that has bus mastering in it, and its bit there.
const MASTER: u8 = command::BUS_MASTER.to_le_bytes()[0];

/// The low byte of the command register while the device may reach memory; `None` when it may not, or has
/// left the bus: then config space reads all ones, or is no more.
fn still_on() -> Option<u8> {
    let mut bytes = [0_u8; 2];
    // SAFETY: the bytes live over the call.
    let read = unsafe { libc::pread(CONFIG, bytes.as_mut_ptr().cast(), 2, COMMAND.into()) };
    match read {
        2 if bytes == [0xff; 2] || bytes[0] & MASTER == 0 => None,
        -1 if Errno::last() == Errno::ENODEV => None,
        _ => Some(bytes[0]),
    }
}

/// Switches bus mastering off, however long that takes: memory is not given back to a kernel that would
/// hand it out under a device that writes it.
fn switch_off() {
    let mut pause = 1_000_000;
    while let Some(found) = still_on() {
        let wanted = [found & !MASTER];
        // SAFETY: the byte lives over the call; the next look tells what came of it.
        unsafe { libc::pwrite(CONFIG, wanted.as_ptr().cast(), 1, COMMAND.into()) };
        if still_on().is_none() {
            return;
        }
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: pause,
        };
        // SAFETY: the structure lives over the call; what is left of the time is not asked for.
        unsafe { libc::nanosleep(&raw const time, null_mut()) };
        pause = (pause * 2).min(999_999_999);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::{Backoff, Deadline};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::os::unix::fs::FileExt;

    const ON: [u8; 4] = [0x60, 0x1e, 0xc4, 0x45];

    fn config() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&ON, 0).unwrap();
        file.as_file().write_all_at(&[0x06, 0x04], 4).unwrap();
        file
    }

    fn command_of(config: &tempfile::NamedTempFile) -> u16 {
        let mut bytes = [0; 2];
        config.as_file().read_exact_at(&mut bytes, 4).unwrap();
        u16::from_le_bytes(bytes)
    }

    fn soon(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Deadline::after(Duration::from_secs(20));
        let mut backoff = Backoff::default();
        while !done() {
            assert!(!deadline.expired(), "{what}");
            backoff.pause(&deadline);
        }
    }

    fn lives(process: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{process}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn an_owner_that_is_done_leaves_a_quiet_device() {
        let config = config();
        let enable = tempfile::NamedTempFile::new().unwrap();
        enable.as_file().write_all_at(b"1", 0).unwrap();
        let pins = tempfile::tempfile().unwrap();
        let closing = [Closing {
            file: enable.reopen().unwrap(),
            value: b"0",
        }];
        let guardian = Guardian::start(&config.reopen().unwrap(), pins.as_fd(), &closing).unwrap();
        let process = guardian.process();
        assert!(lives(process));
        assert_eq!(command_of(&config), 0x0406, "nothing is switched off early");
        drop(guardian);
        // Only bus mastering: what else is on stays on. The drop has waited for all of it.
        assert_eq!(command_of(&config), 0x0402);
        assert_eq!(std::fs::read(enable.path()).unwrap(), b"0");
        soon("the guardian ends", || !lives(process));
    }

    #[test]
    fn an_owner_that_is_killed_leaves_a_quiet_device() {
        let config = config();
        let pins = tempfile::tempfile().unwrap();
        let (mut report, theirs) = UnixStream::pair().unwrap();
        let file = config.reopen().unwrap();
        // SAFETY: the C library lets a forked child allocate; it touches nothing else of the parent's.
        let owner = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let guardian = Guardian::start(&file, pins.as_fd(), &[]).unwrap();
                io::Write::write_all(&mut &theirs, &guardian.process().to_ne_bytes()).unwrap();
                loop {
                    nix::unistd::pause();
                }
            }
            ForkResult::Parent { child } => child,
        };
        let mut process = [0; 4];
        report.read_exact(&mut process).unwrap();
        let process = u32::from_ne_bytes(process);
        kill(owner, Signal::SIGKILL).unwrap();
        waitpid(owner, None).unwrap();
        soon("bus mastering is switched off", || {
            command_of(&config) == 0x0402
        });
        soon("the guardian ends", || !lives(process));
    }

    #[test]
    fn memory_is_held_until_bus_mastering_is_off() {
        let config = config();
        let pins = tempfile::NamedTempFile::new().unwrap();
        // The guardian can't write: the device goes on, and so does the guardian.
        let read_only = File::open(config.path()).unwrap();
        let guardian = Guardian::start(&read_only, pins.as_file().as_fd(), &[]).unwrap();
        let process = guardian.process();
        let holds = || {
            std::fs::read_link(format!("/proc/{process}/fd/3"))
                .is_ok_and(|held| held == pins.path())
        };
        guardian.connection.shutdown(Shutdown::Write).unwrap();
        guardian
            .connection
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let answer = (&guardian.connection).read(&mut [0]).unwrap_err();
        assert_eq!(answer.kind(), io::ErrorKind::WouldBlock);
        assert!(holds() && command_of(&config) == 0x0406);
        config.as_file().write_all_at(&[0x02, 0x04], 4).unwrap();
        soon("the guardian ends", || !lives(process));
        drop(guardian);
    }

    #[test]
    fn a_guardian_that_is_killed_is_missed() {
        let config = config();
        let pins = tempfile::tempfile().unwrap();
        let guardian = Guardian::start(&config.reopen().unwrap(), pins.as_fd(), &[]).unwrap();
        let process = i32::try_from(guardian.process()).unwrap();
        // It survives what ends the programs of a terminal or a service.
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            kill(Pid::from_raw(process), signal).unwrap();
        }
        assert!(lives(guardian.process()));
        kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
        let mut fds = [nix::poll::PollFd::new(
            guardian.connection(),
            nix::poll::PollFlags::POLLIN,
        )];
        let ready = nix::poll::poll(&mut fds, 20_000_u16).unwrap();
        assert_eq!(ready, 1);
    }
}
