//! A raw session: two ordered streams of transfers, and somebody who waits for them.
//!
//! Nothing on the wire delimits a transfer: both ends agree on every size in advance. A time-out leaves the
//! transfer where it is.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::pair::{Cause, Pair, Rings, SessionError};
use super::{Hub, SMALL};
use crate::deadline::Deadline;
use crate::dma::{Channel, Completion, DmaBuffer, DmaError, SubmitError, TransferId};
use crate::irq::{Event, Sink, Waited, Watch};
use crate::transport::{Direction, TransportError};

/// How long no sign of a completion is believed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Looks at memory between two offers of the processor to others.
const SPINS: u32 = 1 << 10;

/// A wait that polls memory. A device that is gone does not show there: now and then its registers are to be asked.
#[derive(Debug, Default)]
pub(super) struct Spins {
    count: u32,
    since: Option<Deadline>,
}

impl Spins {
    /// Whether to look at memory once more; else it is time to ask the device.
    pub(super) fn go_on(&mut self, deadline: &Deadline) -> bool {
        if deadline.expired() {
            return false;
        }
        self.count = self.count.wrapping_add(1);
        if self.count.is_multiple_of(SPINS) {
            let since = self
                .since
                .get_or_insert_with(|| Deadline::after(LOOK_AGAIN));
            if since.expired() {
                self.since = None;
                return false;
            }
            std::thread::yield_now();
        }
        std::hint::spin_loop();
        true
    }
}

/// An open session. `Send` and `Sync`; one thread at a time writes, one reads. Dropping it closes it.
///
/// What the peer has not taken when it closes is lost: a protocol that needs its last message delivered waits
/// for a reply.
#[derive(Debug)]
pub struct Session {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    pair: Pair,
    state: Mutex<State>,
    to_device: Event,
    from_device: Event,
    watch: Watch,
    polls: AtomicBool,
}

#[derive(Debug)]
struct State {
    rings: Option<Rings>,
    over: Option<Cause>,
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToDevice,
    FromDevice,
}

impl Rings {
    fn ring(&mut self, way: Way) -> &mut Channel {
        match way {
            Way::ToDevice => &mut self.to_device,
            Way::FromDevice => &mut self.from_device,
        }
    }
}

impl State {
    fn ring(&mut self, way: Way) -> Result<&mut Channel, Cause> {
        if let Some(cause) = &self.over {
            return Err(cause.clone());
        }
        let rings = self.rings.as_mut().ok_or(Cause::Closed)?;
        Ok(rings.ring(way))
    }

    /// The session is over, with what failed in it.
    fn fail(&mut self, error: impl Into<Cause>) -> Cause {
        self.over.get_or_insert_with(|| error.into()).clone()
    }
}

/// A buffer that was not taken, and why.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotTaken {
    /// The buffer, unchanged; `None` where the session broke with it.
    pub buffer: Option<DmaBuffer>,
    /// Why.
    #[source]
    pub reason: Box<dyn std::error::Error + Send + Sync>,
}

impl Session {
    /// Opens a session on `port`, waiting while the device is busy (at most ten tries).
    ///
    /// # Errors
    /// Nobody listens, the device is busy, the mailbox's or the rings' failure.
    pub fn connect(hub: &Arc<Hub>, port: u16, deadline: &Deadline) -> Result<Self, SessionError> {
        let (pair, rings) = Pair::connect(hub, port, deadline)?;
        let core = Arc::new(Core {
            pair,
            state: Mutex::new(State {
                rings: Some(rings),
                over: None,
            }),
            to_device: Event::default(),
            from_device: Event::default(),
            watch: Watch::default(),
            polls: AtomicBool::new(false),
        });
        core.pair.register(core.clone());
        Ok(Self { core })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.core.pair.port()
    }

    /// From the next transfer on, completion shows in memory only and waiting threads look there; `false` goes
    /// back to interrupts. Polling takes a processor while somebody waits, and no register read at all. Beside
    /// [`Self::watch`] it has no effect.
    pub fn set_polling(&self, polls: bool) {
        self.core.polls.store(polls, Ordering::SeqCst);
    }

    /// A buffer for this session's device, mapped once.
    ///
    /// # Errors
    /// No memory, or the transport's.
    pub fn buffer(&self, len: usize, direction: Direction) -> Result<DmaBuffer, TransportError> {
        DmaBuffer::new(self.core.pair.hub().transport(), len, direction)
    }

    /// Sends the first `bytes` of `buffer`. One register write; no wait.
    ///
    /// # Errors
    /// The buffer comes back: it does not fit, or the session is over.
    pub fn write(&self, buffer: DmaBuffer, bytes: usize) -> Result<TransferId, NotTaken> {
        self.core.submit(Way::ToDevice, buffer, bytes)
    }

    /// Has the next `bytes` received into `buffer`: exactly what the peer sends as one transfer.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn post_read(&self, buffer: DmaBuffer, bytes: usize) -> Result<TransferId, NotTaken> {
        self.core.submit(Way::FromDevice, buffer, bytes)
    }

    /// Takes back the oldest buffer that was sent, if the peer has it. Memory reads only.
    ///
    /// # Errors
    /// The session is over.
    pub fn try_written(&self) -> Result<Option<Completion>, SessionError> {
        self.core.reap(Way::ToDevice)
    }

    /// Takes back the oldest buffer that was posted for reading, if it is full. Memory reads only.
    ///
    /// # Errors
    /// The session is over.
    pub fn try_read(&self) -> Result<Option<Completion>, SessionError> {
        self.core.reap(Way::FromDevice)
    }

    /// Waits until the oldest buffer that was sent is with the peer.
    ///
    /// # Errors
    /// [`SessionError::TimedOut`], which leaves it in flight; the session is over.
    pub fn wait_written(&self, deadline: &Deadline) -> Result<Completion, SessionError> {
        self.core.wait(Way::ToDevice, deadline)
    }

    /// Waits until the oldest buffer that was posted for reading is full.
    ///
    /// # Errors
    /// As [`Self::wait_written`].
    pub fn wait_read(&self, deadline: &Deadline) -> Result<Completion, SessionError> {
        self.core.wait(Way::FromDevice, deadline)
    }

    /// Sends a copy of `bytes` and waits until the peer has it. No other write may be in flight. Nothing is
    /// sent where there is nothing: transfers of no bytes do not exist.
    ///
    /// # Errors
    /// The session is over; a time-out ends it, since the bytes can't be taken back.
    pub fn send(&self, bytes: &[u8], deadline: &Deadline) -> Result<(), SessionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut buffer = self.scratch(bytes.len(), Direction::ToDevice)?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.round(Way::ToDevice, buffer, bytes.len(), deadline)
            .map(|buffer| self.core.pair.hub().put_small([buffer]))
    }

    /// Receives one transfer of exactly `bytes.len()` bytes. No other read may be in flight.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn receive(&self, bytes: &mut [u8], deadline: &Deadline) -> Result<(), SessionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let buffer = self.scratch(bytes.len(), Direction::FromDevice)?;
        let buffer = self.round(Way::FromDevice, buffer, bytes.len(), deadline)?;
        bytes.copy_from_slice(&buffer[..bytes.len()]);
        self.core.pair.hub().put_small([buffer]);
        Ok(())
    }

    fn scratch(&self, len: usize, direction: Direction) -> Result<DmaBuffer, SessionError> {
        let hub = self.core.pair.hub();
        let buffer = if len <= SMALL {
            hub.small()
        } else {
            DmaBuffer::new(hub.transport(), len, direction)
        };
        Ok(buffer.map_err(DmaError::from)?)
    }

    fn round(
        &self,
        way: Way,
        buffer: DmaBuffer,
        bytes: usize,
        deadline: &Deadline,
    ) -> Result<DmaBuffer, SessionError> {
        if let Err(not_taken) = self.core.submit(way, buffer, bytes) {
            let failed = || Cause::Failed(not_taken.to_string());
            return Err(self.over().unwrap_or_else(failed).into());
        }
        match self.core.wait(way, deadline) {
            Ok(done) => Ok(done.buffer),
            Err(SessionError::TimedOut { what, waited }) => {
                let cause = Cause::TimedOut { what, waited };
                Err(self.core.state().fail(cause).into())
            }
            Err(error) => Err(error),
        }
    }

    /// Why the session is over, once it is.
    #[must_use]
    pub fn over(&self) -> Option<Cause> {
        self.core.state().over.clone()
    }

    /// A descriptor for event loops: it becomes readable (an eventfd: 8 bytes) whenever transfers may be
    /// complete, or the session over, and at the first call. Read it, then the `try_` methods tell.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn watch(&self) -> std::io::Result<OwnedFd> {
        self.core.watch.fd(self.core.pair.hub().interrupts())
    }

    /// Closes the session and gives back what was in flight: to the device, and from it.
    ///
    /// # Errors
    /// The rings did not stop, or the device did not confirm.
    pub fn close(self) -> Result<[Vec<Completion>; 2], SessionError> {
        self.core.close()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = self.core.close() {
            let transport = self.core.pair.hub().transport();
            log::warn!("{}: closing a session on drop: {error}", transport.name());
        }
    }
}

/// How long to wait for an interrupt: not at all where the wait polls, which then only has the interrupt thread look.
pub(super) fn look(polls: bool, deadline: &Deadline) -> Deadline {
    let longest = if polls { Duration::ZERO } else { LOOK_AGAIN };
    Deadline::after(deadline.remaining().min(longest))
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, way: Way, buffer: DmaBuffer, bytes: usize) -> Result<TransferId, NotTaken> {
        let mut state = self.state();
        let ring = match state.ring(way) {
            Ok(ring) => ring,
            Err(cause) => {
                return Err(NotTaken {
                    buffer: Some(buffer),
                    reason: cause.into(),
                });
            }
        };
        let id = ring.queue(buffer, bytes, !self.polls());
        let id = id.map_err(|SubmitError { buffer, reason }| NotTaken {
            buffer: Some(buffer),
            reason: reason.into(),
        })?;
        if let Err(error) = ring.launch() {
            return Err(NotTaken {
                buffer: None,
                reason: state.fail(error).into(),
            });
        }
        drop(state);
        self.watch.begin(self.pair.hub().interrupts());
        Ok(id)
    }

    fn reap(&self, way: Way) -> Result<Option<Completion>, SessionError> {
        let mut state = self.state();
        let state = &mut *state;
        // What was complete before the end counts.
        let readable = !matches!(state.over, Some(Cause::Lost(_)));
        if let Some(rings) = state.rings.as_mut().filter(|_| readable) {
            match rings.ring(way).reap() {
                Ok(Some(done)) => return Ok(Some(done)),
                Ok(None) => {}
                Err(error) => return Err(state.fail(error).into()),
            }
        }
        state.ring(way).map(|_| None).map_err(SessionError::from)
    }

    fn polls(&self) -> bool {
        self.polls.load(Ordering::Relaxed) && !self.watch.is_asked_for()
    }

    fn wait(&self, way: Way, deadline: &Deadline) -> Result<Completion, SessionError> {
        let (event, what) = match way {
            Way::ToDevice => (&self.to_device, "a write"),
            Way::FromDevice => (&self.from_device, "a read"),
        };
        let mut spins = Spins::default();
        loop {
            if let Some(done) = self.reap(way)? {
                return Ok(done);
            }
            let polls = self.polls();
            if polls && spins.go_on(deadline) {
                continue;
            }
            let look = look(polls, deadline);
            if self.pair.hub().interrupts().wait(event, &look) != Waited::Fired {
                let mut state = self.state();
                let seen = state.ring(way)?.look_at_counter();
                match seen {
                    Ok(true) => {}
                    Ok(false) if deadline.expired() => {
                        let waited = deadline.waited();
                        return Err(SessionError::TimedOut { what, waited });
                    }
                    Ok(false) => {}
                    Err(error) => return Err(state.fail(error).into()),
                }
            }
        }
    }

    fn wake(&self) {
        self.to_device.signal();
        self.from_device.signal();
        self.watch.tell();
    }

    fn close(&self) -> Result<[Vec<Completion>; 2], SessionError> {
        let mut state = self.state();
        let cause = state.fail(Cause::Closed);
        let rings = state.rings.take();
        drop(state);
        self.wake();
        let Some(rings) = rings else {
            return Ok(Default::default());
        };
        self.pair.unregister();
        let (back, said) = self.pair.close(rings, &cause);
        said.map(|()| back)
    }
}

impl Sink for Core {
    fn completed(&self) {
        self.wake();
    }

    fn closed(&self) {
        let mut state = self.state();
        let closed = match &mut state.rings {
            // The lock keeps launches away meanwhile: what is active now was not meant.
            Some(Rings {
                to_device,
                from_device,
            }) => to_device.diagnose().and_then(|()| from_device.diagnose()),
            None => Ok(()),
        };
        if let Err(error) = closed {
            state.fail(error);
        }
        drop(state);
        self.wake();
    }

    fn lost(&self, reason: &str) {
        self.state().fail(Cause::Lost(reason.to_owned()));
        self.wake();
    }

    fn attend(&self) -> bool {
        let mut state = self.state();
        let usable = self.watch.is_asked_for() && state.over.is_none();
        let Some(rings) = state.rings.as_mut().filter(|_| usable) else {
            return false;
        };
        let Rings {
            to_device,
            from_device,
        } = rings;
        let seen = to_device
            .look_at_counter()
            .and_then(|sent| Ok(from_device.look_at_counter()? | sent));
        let more = to_device.in_flight() + from_device.in_flight() > 0;
        let told = seen.unwrap_or_else(|error| {
            state.fail(error);
            true
        });
        drop(state);
        if told {
            self.wake();
        }
        more
    }
}
