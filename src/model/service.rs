//! What runs behind the ports of the chip's system: threads over streams of transfers.
//!
//! A service sees a [`Stream`]; whether a vDMA session or a socket is below, it never learns.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::boot::ChipState;
use super::chip::Shared;
use super::core::Core;
use super::echo::serve_echo;
use super::session::{Gone, SessionId, TO_CHIP, TO_HOST};
use super::soc::{Server, Settings, System};
use super::spare::Spare;

/// Most transfers that wait for the host to take them; a sender waits for room.
const MOST_PENDING: usize = 128;
/// Most bytes that wait for the host.
const MOST_PENDING_BYTES: usize = 64 << 20;

/// Why a transfer did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side closed, or the chip was reset.
    Closed,
    /// Too long without progress. The stream is out of step and of no more use.
    TimedOut,
}

impl From<Gone> for Ended {
    fn from(Gone: Gone) -> Self {
        Self::Closed
    }
}

/// Two ordered streams of transfers to a client. Nothing delimits them but their sizes.
pub(super) trait Stream: Send + Sync {
    /// Receives one transfer that fills `buffer`, which is not empty. One thread at a time.
    fn receive(&self, buffer: Vec<u8>, limit: Option<Duration>) -> Result<Vec<u8>, Ended>;

    /// Sends transfers, with nothing between them; empty ones are left out. `limit` is for finding room.
    fn send(&self, parts: Vec<Vec<u8>>, limit: Duration) -> Result<(), Ended>;

    /// Waits until all that was sent is with the client.
    fn flush(&self, limit: Duration) -> Result<(), Ended>;

    /// Memory for `len` bytes that are all to be written: what is in it is any.
    fn buffer(&self, len: usize) -> Vec<u8> {
        vec![0; len]
    }

    /// Takes memory of no more use, for the next [`Self::buffer`].
    fn give_back(&self, buffer: Vec<u8>) {
        drop(buffer);
    }

    /// Lets time pass; less where the stream closes meanwhile and that shows.
    fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Closes the stream, be somebody waiting on it or not.
    fn close(&self);
}

/// What listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Test traffic: see [`super::echo`].
    Echo,
    /// The RPC server.
    Rpc,
}

impl Service {
    /// Serves one client until it or the chip closes.
    pub(super) fn run(self, stream: SessionStream) {
        match self {
            Self::Echo => {
                serve_echo(&stream);
                stream.close();
            }
            Self::Rpc => match stream.shared.server() {
                Some(server) => server.serve(Arc::new(stream)),
                None => stream.close(),
            },
        }
    }
}

/// What the RPC server sees of the chip.
struct RestOfChip(Weak<Shared>);

impl RestOfChip {
    fn change<T: Default>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let shared = self.0.upgrade();
        shared.map_or_else(T::default, |shared| shared.change(change))
    }
}

impl System for RestOfChip {
    fn complain(&self, text: String) {
        self.change(|core| core.complaints.add(text));
    }

    fn reboot(&self) {
        self.change(Core::reset_chip);
    }

    fn die(&self, pause: Duration) {
        self.change(|core| core.kill_server(Instant::now() + pause));
    }

    fn control_log(&self) -> Vec<u8> {
        self.change(|core| core.firmware.log.clone().into_bytes())
    }
}

impl Shared {
    /// The RPC server of the system that runs now.
    fn server(self: &Arc<Self>) -> Option<Arc<Server>> {
        let (life, settings, faults) = self.change(|core| {
            let ChipState::Running(version) = core.firmware.state() else {
                return None;
            };
            let settings = Settings::new(&core.profile, version)?;
            Some((core.sessions.life, settings, core.rpc_faults.clone()))
        })?;
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, server)) = server.as_ref()
            && *of == life
        {
            return Some(server.clone());
        }
        let system = Box::new(RestOfChip(Arc::downgrade(self)));
        let fresh = Server::new(settings, system, faults);
        *server = Some((life, fresh.clone()));
        Some(fresh)
    }
}

/// A vDMA session.
pub(super) struct SessionStream {
    pub(super) shared: Arc<Shared>,
    pub(super) id: SessionId,
}

impl SessionStream {
    /// Gives a buffer to the engine, to be filled or to be sent.
    pub(super) fn post(&self, way: usize, buffer: Vec<u8>) -> Result<(), Ended> {
        let posted = self.shared.change(|core| core.post(self.id, way, buffer));
        posted.map_err(Ended::from)
    }

    /// Waits for the oldest buffer that was posted to be filled.
    pub(super) fn filled(&self, limit: Option<Duration>) -> Result<Vec<u8>, Ended> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        self.shared.wait_session(self.id.pair, deadline, |core| {
            core.take_done(self.id, TO_CHIP).transpose()
        })
    }

    /// Waits until no more than `count` of the transfers that were sent are not with the host.
    pub(super) fn sent_but(&self, count: usize, limit: Duration) -> Result<(), Ended> {
        let deadline = Some(Instant::now() + limit);
        self.shared.wait_session(self.id.pair, deadline, |core| {
            match core.pending(self.id, TO_HOST) {
                Err(gone) => Some(Err(gone)),
                Ok((pending, _)) => (pending <= count).then_some(Ok(())),
            }
        })
    }

    /// Frees what is kept for [`Stream::buffer`].
    pub(super) fn forget_buffers(&self) {
        let gone = self.shared.change(|core| core.clear_spare(self.id));
        drop(gone); // Not under the chip's lock.
    }
}

impl Stream for SessionStream {
    fn receive(&self, buffer: Vec<u8>, limit: Option<Duration>) -> Result<Vec<u8>, Ended> {
        self.post(TO_CHIP, buffer)?;
        self.filled(limit)
    }

    fn send(&self, parts: Vec<Vec<u8>>, limit: Duration) -> Result<(), Ended> {
        let deadline = Some(Instant::now() + limit);
        let mut parts = Some(parts);
        self.shared.wait_session(self.id.pair, deadline, |core| {
            match core.pending(self.id, TO_HOST) {
                Err(gone) => return Some(Err(gone)),
                Ok((count, bytes)) if count >= MOST_PENDING || bytes >= MOST_PENDING_BYTES => {
                    return None;
                }
                Ok(_) => {}
            }
            for part in parts.take().into_iter().flatten() {
                if !part.is_empty()
                    && let Err(gone) = core.post(self.id, TO_HOST, part)
                {
                    return Some(Err(gone));
                }
            }
            Some(Ok(()))
        })
    }

    fn flush(&self, limit: Duration) -> Result<(), Ended> {
        self.sent_but(0, limit)
    }

    fn buffer(&self, len: usize) -> Vec<u8> {
        let spare = || self.shared.change(|core| core.take_spare(self.id, len));
        match Spare::keeps(len).then(spare).flatten() {
            Some(mut buffer) => {
                buffer.resize(len, 0);
                buffer
            }
            None => vec![0; len],
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        if Spare::keeps(buffer.capacity()) {
            let gone = self.shared.change(|core| core.put_spare(self.id, buffer));
            drop(gone); // Not under the chip's lock.
        }
    }

    fn rest(&self, time: Duration) {
        let deadline = Some(Instant::now() + time);
        let gone = |core: &mut Core| core.pending(self.id, TO_HOST).err().map(Err);
        let rested: Result<(), Ended> = self.shared.wait_session(self.id.pair, deadline, gone);
        debug_assert!(rested.is_err(), "only time and the end end it");
    }

    fn close(&self) {
        self.shared.change(|core| core.drop_session(self.id));
    }
}

impl Shared {
    /// Tries `attempt` under the lock until it gives something, at every sign of life of the session.
    fn wait_session<T>(
        &self,
        pair: usize,
        deadline: Option<Instant>,
        mut attempt: impl FnMut(&mut Core) -> Option<Result<T, Gone>>,
    ) -> Result<T, Ended> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = attempt(&mut state.core) {
                self.unlock(state);
                return outcome.map_err(Ended::from);
            }
            let wake = &self.session_wakes[pair];
            state = match deadline {
                None => wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.unlock(state);
                        return Err(Ended::TimedOut);
                    }
                    let woken = wake.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
