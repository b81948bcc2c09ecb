//! Runs for programs with an event loop: no thread of theirs has to wait.

use std::io;
use std::os::fd::OwnedFd;

use super::{Of, Runtime};

impl Runtime {
    /// A descriptor for event loops (epoll, mio, tokio's `AsyncFd`): an eventfd, close-on-exec and non-blocking, that
    /// becomes readable whenever runs of this runtime may have ended, well or not, when the runtime ends, and when the
    /// device is found to be lost. It needs no thread that waits, and there is one for the runtime: clones and later calls give
    /// the same one, duplicated. The first call finds it readable, since runs may have ended before.
    ///
    /// When it is readable,
    ///
    /// 1. read its 8 bytes: a run that ends from here on makes it readable again;
    /// 2. call [`Run::try_wait`](super::Run::try_wait) of *every* run that is out; it may be that none has ended.
    ///
    /// Runs come and go on the library's own threads; [`Run::try_wait`](super::Run::try_wait) costs a lock, and in NNC
    /// mode the conversion of the frame. While runs are out the interrupt thread looks for them every 0.2 s besides,
    /// as [`Run::wait`](super::Run::wait) does, so that a lost interrupt costs time only and a device that is gone is
    /// noticed. [`Runtime::set_polling`] has no effect any more.
    ///
    /// `cargo run --example event_loop` shows it.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        match &self.0 {
            Of::Soc(vdevice) => vdevice.connection().watch(),
            Of::Nnc(nnc) => nnc.runtime.watch(),
        }
    }
}
