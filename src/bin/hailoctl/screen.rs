//! The whole terminal for one view, given back whatever happens: at the end, at a signal, at a panic.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, Once, PoisonError};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, read, tcgetpgrp};
use terminal_size::{Height, Width, terminal_size_of};

use crate::exit::{Failure, Result};

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The cursor, and the screen that was there.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Columns and rows where the terminal does not tell.
const USUAL: (usize, usize) = (80, 24);

/// What is to be restored; `None` while nobody has the terminal. Held while something is drawn, so that nothing is
/// drawn after it was given back.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

#[derive(Debug)]
struct Taken {
    /// How the keyboard was, where it is one.
    keys: Option<Termios>,
}

/// The terminal, until it is dropped.
#[derive(Debug)]
pub(crate) struct Screen(());

/// Whether a view would be seen: standard output is a terminal that knows how, and this process has it.
pub(crate) fn is_possible() -> bool {
    let (stdout, stdin) = (io::stdout(), io::stdin());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    // `hailoctl monitor &` must not take the terminal from the shell.
    let background = tcgetpgrp(stdin).is_ok_and(|group| group != getpgrp());
    stdout.is_terminal() && !dumb && !background
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn take() -> Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let tell = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                tell(panic);
            }));
        });
        let keys = quiet_keys();
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = Some(Taken { keys });
        put(ENTER).map_err(Failure::Stream)?;
        Ok(Self(()))
    }

    /// Columns and rows, as they are now.
    pub(crate) fn size(&self) -> (usize, usize) {
        match terminal_size_of(io::stdout()) {
            Some((Width(columns), Height(rows))) if columns > 0 && rows > 0 => {
                (columns.into(), rows.into())
            }
            _ => USUAL,
        }
    }

    /// Shows these lines, none longer than the terminal is wide, no more than it is high.
    pub(crate) fn draw(&self, lines: &[String]) -> Result<()> {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_none() {
            return Ok(());
        }
        // In place, without a cleared screen between, which would flicker.
        let text = lines.join("\x1b[K\r\n");
        put(&format!("\x1b[H{text}\x1b[K\x1b[J")).map_err(Failure::Stream)
    }

    /// Whether somebody pressed `q` since the last look.
    pub(crate) fn is_left(&self) -> bool {
        let stdin = io::stdin();
        let mut keys = [0; 64];
        let waits = || {
            let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            matches!(poll(&mut fds, 0_u8), Ok(1..)) && stdin.is_terminal()
        };
        while waits() {
            match read(&stdin, &mut keys) {
                Ok(0) | Err(_) => break,
                Ok(count) if keys[..count].iter().any(|key| b"qQ".contains(key)) => return true,
                Ok(_) => {}
            }
        }
        false
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, if it is taken. To be called before anything else is told to a person.
pub(crate) fn give_back() {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Taken { keys }) = taken.take() else {
        return;
    };
    let left = put(LEAVE);
    let restored = keys.map_or(Ok(()), |keys| {
        tcsetattr(io::stdin(), SetArg::TCSANOW, &keys).map_err(io::Error::from)
    });
    // A terminal that is gone needs nothing any more.
    if let Err(error) = left.and(restored) {
        log::debug!("the terminal can't be restored: {error}");
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Keys come at once and are not echoed; how they came before. Ctrl-C stays what it is; Ctrl-Z, which would leave the
/// view on the shell's screen, does nothing.
fn quiet_keys() -> Option<Termios> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).ok()?;
    let mut quiet = before.clone();
    quiet
        .local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO);
    quiet.control_chars[SpecialCharacterIndices::VSUSP as usize] = 0;
    quiet.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    quiet.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    tcsetattr(&stdin, SetArg::TCSANOW, &quiet).ok()?;
    Some(before)
}
