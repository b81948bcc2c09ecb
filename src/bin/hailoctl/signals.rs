//! Ctrl-C and its relatives: the first one asks for a quiet end, the second ends at once.
//!
//! The signals are blocked and read from a descriptor, so no code ever runs inside a handler.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::process;
use std::thread;

use hailo_vfio::{Error, ErrorKind};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::exit::{Exit, Result};
use crate::screen;

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// The signals that end the process, as a descriptor that becomes readable.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Takes the signals over. To be called before the first thread starts: each thread inherits
    /// that they are blocked. What the parent process told us to ignore (`nohup`) stays ignored.
    pub(crate) fn take() -> Result<Self> {
        let ignored = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| ignored(&status))
            .unwrap_or(0);
        let set: SigSet = SIGNALS
            .into_iter()
            .filter(|signal| ignored >> (*signal as u32 - 1) & 1 == 0)
            .collect();
        set.thread_block()
            .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
            .map(Self)
            .map_err(|errno| {
                let action = "signals can't be taken over";
                Error::new(ErrorKind::Io, "", action).because(errno).into()
            })
    }

    /// Calls `stop` at the first signal and leaves the process at the second.
    pub(crate) fn on_first(self, stop: impl FnOnce() + Send + 'static) -> Result<()> {
        let watch = move || {
            let mut stop = Some(stop);
            while let Ok(Some(_)) = self.0.read_signal() {
                screen::give_back();
                match stop.take() {
                    Some(stop) => {
                        stop();
                        anstream::eprintln!(
                            "stopping the device first; once more to leave at once"
                        );
                    }
                    None => process::exit(i32::from(Exit::Interrupted as u8)),
                }
            }
        };
        thread::Builder::new()
            .name("h10-signals".to_owned())
            .spawn(watch)
            .map(drop)
            .map_err(|error| {
                let action = "the thread that waits for signals can't be started";
                Error::new(ErrorKind::Io, "", action).because(error).into()
            })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The mask of ignored signals in `/proc/self/status`, signal 1 in bit 0.
fn ignored(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert_eq!(ignored(status), Some(0x1001));
        assert_eq!(ignored("Name:\tx\n"), None);
    }
}
