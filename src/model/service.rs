//! What runs behind the ports of the chip's system: threads over streams of transfers.
//!
//! A service sees a [`Stream`]; whether a vDMA session or a socket is below, it never learns.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::boot::ChipState;
use super::chip::Shared;
use super::core::Core;
use super::session::{Gone, SessionId, TO_CHIP, TO_HOST};
use super::soc::{Server, Settings, System};

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
    /// Test traffic: see [`echo`].
    Echo,
    /// The RPC server.
    Rpc,
}

impl Service {
    /// Serves one client until it or the chip closes.
    pub(super) fn run(self, stream: SessionStream) {
        match self {
            Self::Echo => {
                echo(&stream);
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

impl Stream for SessionStream {
    fn receive(&self, buffer: Vec<u8>, limit: Option<Duration>) -> Result<Vec<u8>, Ended> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        self.shared
            .change(|core| core.post(self.id, TO_CHIP, buffer))?;
        self.shared.wait_session(self.id.pair, deadline, |core| {
            core.take_done(self.id, TO_CHIP).transpose()
        })
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
        let deadline = Some(Instant::now() + limit);
        self.shared.wait_session(self.id.pair, deadline, |core| {
            match core.pending(self.id, TO_HOST) {
                Err(gone) => Some(Err(gone)),
                Ok((0, _)) => Some(Ok(())),
                Ok(_) => None,
            }
        })
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

/// The value of an echo's request length that asks the chip to close the session.
const HANG_UP: u32 = u32::MAX;
/// Longest echo: what a test could want.
const LONGEST_ECHO: u32 = 256 << 20;
/// A test that stalls is over.
const ECHO_LIMIT: Duration = Duration::from_secs(60);

/// Test traffic: the host sends a transfer of 8 bytes, two little-endian `u32`: how many bytes it will send (0: none)
/// and how many it wants back (0: none). Then it sends those bytes as one transfer, and gets one transfer made of
/// them, repeated or cut to the length it asked for; zeros where it sent nothing. A first number of all ones asks the
/// chip to close the session; lengths above 256 MiB do the same.
fn echo(stream: &dyn Stream) {
    let mut head = vec![0; 8];
    loop {
        head = match stream.receive(head, None) {
            Ok(head) => head,
            Err(_) => return,
        };
        let number = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(HANG_UP, u32::from_le_bytes)
        };
        let (sent, wanted) = (number(0), number(4));
        if sent > LONGEST_ECHO || wanted > LONGEST_ECHO {
            return;
        }
        let len = |count: u32| usize::try_from(count).unwrap_or(0);
        let mut data = Vec::new();
        if sent > 0 {
            data = match stream.receive(vec![0; len(sent)], Some(ECHO_LIMIT)) {
                Ok(data) => data,
                Err(_) => return,
            };
        }
        let mut reply = data;
        let have = reply.len();
        reply.resize(len(wanted), 0);
        for at in have..if have == 0 { 0 } else { reply.len() } {
            reply[at] = reply[at % have];
        }
        if stream.send(vec![reply], ECHO_LIMIT).is_err() {
            return;
        }
    }
}
