//! A recording in the place of a device: answers as the device did, fails at the first deviation.
//!
//! Each thread must make the accesses that one thread of the recording made; whose turn it is when is
//! the recording's order, and a thread waits for its turn. The interrupt is raised where the recording
//! goes on with a look at the interrupt status by a thread that had seen the last cause.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::record::{Access, Answer, Recording};
use crate::deadline::Deadline;
use crate::mem::HostMemory;
use crate::spec::config_bar::InterruptStatus;
use crate::spec::register::{Bar, Register, RegisterInfo};
use crate::transport::{
    Capabilities, Direction, Placement, Region, Result, Segments, Transport, TransportError, Width,
};

/// Where the program first did something else than the recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replay deviates at line {line}: expected {expected}, found {found}")]
pub struct Deviation {
    /// Line of the recording, from 1.
    pub line: usize,
    /// What the recording has there.
    pub expected: String,
    /// What the program did.
    pub found: String,
}

/// One thread of the recording.
#[derive(Debug)]
struct Lane {
    /// The thread of this program that plays it, once it has appeared.
    player: Option<ThreadId>,
    /// Its lines that are still to come, last first.
    to_come: Vec<usize>,
    /// Whether it waits for an interrupt: it has just armed it, or has found no cause left.
    asleep: bool,
}

#[derive(Debug)]
struct State {
    /// Index of the line whose turn it is.
    next: usize,
    lanes: Vec<Lane>,
    armed: bool,
    deviation: Option<Deviation>,
}

/// A transport that answers from a recording.
///
/// What the device wrote into host memory while it was recorded is not repeated.
pub struct Replay {
    recording: Recording,
    capabilities: Capabilities,
    interrupt: EventFd,
    patience: Duration,
    state: Mutex<State>,
    moved: Condvar,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replay of {}", self.recording.device())
    }
}

impl Replay {
    /// How long a thread waits for its turn unless [`Self::with_patience`] says otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Starts at the recording's first access.
    ///
    /// # Errors
    /// No descriptor for the interrupt.
    pub fn new(recording: Recording) -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let interrupt =
            EventFd::from_value_and_flags(0, flags).map_err(|errno| TransportError::Os {
                action: "creating an eventfd",
                source: errno.into(),
            })?;
        let state = State {
            next: 0,
            lanes: lanes(&recording),
            armed: false,
            deviation: None,
        };
        Ok(Self {
            capabilities: recording.capabilities(),
            recording,
            interrupt,
            patience: Self::PATIENCE,
            state: Mutex::new(state),
            moved: Condvar::new(),
        })
    }

    /// Sets how long a thread waits for the accesses of others that come before its own.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The first deviation, if there was one. Every access after it fails with it.
    #[must_use]
    pub fn deviation(&self) -> Option<Deviation> {
        self.lock().deviation.clone()
    }

    /// Accesses of the recording that were not made yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.recording.len() - self.lock().next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an access: waits for its turn and gives the recorded answer.
    fn play(&self, access: &Access) -> Result<Answer> {
        let mut state = self.lock();
        if let Some(deviation) = &state.deviation {
            return Err(failure(deviation));
        }
        let index = match self.find(&mut state, access) {
            Ok(index) => index,
            Err(deviation) => return Err(self.give_up(&mut state, deviation)),
        };
        let deadline = Deadline::after(self.patience);
        while state.next != index {
            if let Some(deviation) = &state.deviation {
                return Err(failure(deviation));
            }
            if deadline.expired() {
                let waited_for = &self.recording.lines[state.next];
                let deviation = Deviation {
                    line: line_of(state.next),
                    expected: format!("{} by thread {}", waited_for.access, waited_for.thread),
                    found: format!("nothing in {:?}, while {access} waits", self.patience),
                };
                return Err(self.give_up(&mut state, deviation));
            }
            let waited = self.moved.wait_timeout(state, deadline.remaining());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let answer = self.recording.lines[index].answer.clone();
        match access {
            Access::ArmInterrupt => state.armed = true,
            Access::DisarmInterrupt => state.armed = false,
            _ => {}
        }
        self.advance(&mut state);
        match answer.error {
            None => Ok(answer),
            Some(error) => Err(TransportError::Protocol(format!("{error} (as recorded)"))),
        }
    }

    /// The line that `access` of this thread must be.
    fn find(&self, state: &mut State, access: &Access) -> std::result::Result<usize, Deviation> {
        let me = std::thread::current().id();
        let lines = &self.recording.lines;
        let mine = state.lanes.iter().position(|lane| lane.player == Some(me));
        let mine = mine.or_else(|| {
            let fits = |lane: &Lane| {
                let first = lane.to_come.last().map(|&index| &lines[index].access);
                lane.player.is_none() && first == Some(access)
            };
            state.lanes.iter().position(fits)
        });
        let Some(lane) = mine.map(|lane| &mut state.lanes[lane]) else {
            return Err(Deviation {
                line: line_of(state.next),
                expected: lines.get(state.next).map_or_else(
                    || END.to_owned(),
                    |line| format!("{} by thread {}", line.access, line.thread),
                ),
                found: format!("{access} by another thread"),
            });
        };
        lane.player = Some(me);
        match lane.to_come.last() {
            Some(&index) if lines[index].access == *access => Ok(index),
            Some(&index) => Err(Deviation {
                line: line_of(index),
                expected: lines[index].access.to_string(),
                found: access.to_string(),
            }),
            None => Err(Deviation {
                line: line_of(lines.len()),
                expected: END.to_owned(),
                found: access.to_string(),
            }),
        }
    }

    /// Goes on to the next line, and interrupts if that is a look of a thread that sleeps.
    fn advance(&self, state: &mut State) {
        let lines = &self.recording.lines;
        let done = &lines[state.next];
        let lane = &mut state.lanes[done.thread];
        lane.to_come.pop();
        lane.asleep = done.access == Access::ArmInterrupt
            || is_status(&done.access) && done.answer.value == Some(0);
        state.next += 1;
        self.moved.notify_all();
        let due = lines
            .get(state.next)
            .is_some_and(|next| is_status(&next.access) && state.lanes[next.thread].asleep);
        if due
            && state.armed
            && let Err(errno) = self.interrupt.write(1)
        {
            log::debug!("interrupt not counted: {errno}");
        }
    }

    fn give_up(&self, state: &mut State, deviation: Deviation) -> TransportError {
        let error = failure(&deviation);
        state.deviation = Some(deviation);
        self.moved.notify_all();
        error
    }
}

const END: &str = "the end of the recording";

fn failure(deviation: &Deviation) -> TransportError {
    TransportError::Protocol(deviation.to_string())
}

/// Line number of an access: they begin in line 2.
fn line_of(index: usize) -> usize {
    index + 2
}

fn is_status(access: &Access) -> bool {
    let RegisterInfo { bar, offset, .. } = InterruptStatus::INFO;
    *access == Access::Read { bar, offset }
}

fn lanes(recording: &Recording) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for (index, line) in recording.lines.iter().enumerate().rev() {
        while lanes.len() <= line.thread {
            lanes.push(Lane {
                player: None,
                to_come: Vec::new(),
                asleep: false,
            });
        }
        lanes[line.thread].to_come.push(index);
    }
    lanes
}

impl Transport for Replay {
    fn name(&self) -> &str {
        self.recording.device()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn region(&self, bar: Bar) -> Region {
        self.recording.region(bar)
    }

    fn read32(&self, bar: Bar, offset: u32) -> Result<u32> {
        let answer = self.play(&Access::Read { bar, offset })?;
        Ok(answer.value.unwrap_or(u32::MAX))
    }

    fn write32(&self, bar: Bar, offset: u32, value: u32) -> Result<()> {
        self.play(&Access::Write { bar, offset, value }).map(drop)
    }

    fn config_read(&self, offset: u16, width: Width) -> Result<u32> {
        let width = width.bytes();
        let answer = self.play(&Access::ConfigRead { offset, width })?;
        Ok(answer.value.unwrap_or(u32::MAX))
    }

    fn config_write(&self, offset: u16, width: Width, value: u32) -> Result<()> {
        let width = width.bytes();
        self.play(&Access::ConfigWrite {
            offset,
            width,
            value,
        })
        .map(drop)
    }

    fn arm_interrupt(&self) -> Result<Option<BorrowedFd<'_>>> {
        let answer = self.play(&Access::ArmInterrupt)?;
        Ok((answer.value == Some(1)).then(|| self.interrupt.as_fd()))
    }

    fn disarm_interrupt(&self) -> Result<()> {
        self.play(&Access::DisarmInterrupt).map(drop)
    }

    fn map(
        &self,
        memory: &Arc<HostMemory>,
        placement: Placement,
        direction: Direction,
    ) -> Result<Segments> {
        let answer = self.play(&Access::Map {
            len: memory.len(),
            placement,
            direction,
        })?;
        Ok(answer.segments.unwrap_or(Segments(Vec::new())))
    }

    fn unmap(&self, segments: &Segments) -> Result<()> {
        let segments = segments.clone();
        self.play(&Access::Unmap { segments }).map(drop)
    }

    fn reset(&self) -> Result<()> {
        self.play(&Access::Reset).map(drop)
    }

    fn enable(&self) -> Result<()> {
        self.play(&Access::Enable).map(drop)
    }

    fn quiesce(&self) -> Result<()> {
        self.play(&Access::Quiesce).map(drop)
    }
}
