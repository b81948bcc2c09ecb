//! A descriptor for whoever has an event loop, and no thread that waits.
//!
//! Whoever waits also looks now and then by himself, so that a lost interrupt or a silent device costs him time only.
//! Nobody does so here: the interrupt thread looks in his place ([`Interrupts::attend`]) while something is under way.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Interrupts;

/// An eventfd that is made when somebody asks for it. Until then it costs nothing.
#[derive(Debug, Default)]
pub struct Watch(OnceLock<EventFd>);

impl Watch {
    /// The descriptor; all calls give the same one, duplicated. The first finds it readable, since something may have
    /// ended before.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn fd(&self, interrupts: &Interrupts) -> io::Result<OwnedFd> {
        let fd = match self.0.get() {
            Some(fd) => fd,
            None => {
                let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
                let fd = EventFd::from_value_and_flags(1, flags)?;
                self.0.get_or_init(|| fd)
            }
        };
        self.begin(interrupts);
        fd.as_fd().try_clone_to_owned()
    }

    /// Whether somebody has asked for it.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.0.get().is_some()
    }

    /// Something is under way from now on whose end is told.
    pub fn begin(&self, interrupts: &Interrupts) {
        if self.is_asked_for() {
            interrupts.attend();
        }
    }

    /// Makes the descriptor readable. What it tells of is to be seen already.
    pub fn tell(&self) {
        if let Some(fd) = self.0.get() {
            match fd.write(1) {
                // A full counter is readable already.
                Ok(_) | Err(Errno::EAGAIN) => {}
                Err(errno) => log::warn!("an event was not counted: {errno}"),
            }
        }
    }
}
