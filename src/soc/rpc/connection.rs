//! A connection: requests go out in order, replies come back as they please.
//!
//! The interrupt thread itself takes in what arrives ([`super::receive`]): it files replies under their requests,
//! posts the buffers that follow, and wakes whoever waits. A connection that polls does the same on the thread
//! that waits, and needs no interrupt.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;

use super::method::{is_exclusive, is_pipelined};
use super::receive::Posted;
use super::send::Sent;
use super::slot::{Buffers, QueuePlace, Reply, SLOTS};
use super::state::{Locked, State};
use super::{Notice, Request, RpcError, Ticket};
use crate::deadline::Deadline;
use crate::dma::Completion;
use crate::irq::{Event, Sink, Waited, Watch};
use crate::soc::Hub;
use crate::soc::pair::{Cause, Pair};
use crate::soc::session::{Spins, look};
use crate::spec::rpc::{Dialect, LONG_REQUEST_TIMEOUT, Method, REQUEST_TIMEOUT, Status};
use crate::spec::session::port;

/// A connection to the RPC server. Clones share it; the last one closes it. `Send` and `Sync`.
#[derive(Clone, Debug)]
pub struct Connection {
    handle: Arc<Handle>,
}

/// Closes the connection when it goes.
#[derive(Debug)]
struct Handle(Arc<Core>);

#[derive(Debug)]
pub(super) struct Core {
    pub(super) pair: Pair,
    pub(super) dialect: Dialect,
    pub(super) state: Mutex<State>,
    /// One for each slot.
    pub(super) events: Box<[Event]>,
    /// Room for another ordinary request.
    gate: Event,
    news: Event,
    pub(super) watch: Watch,
    polls: AtomicBool,
}

impl Connection {
    /// Opens a connection in `dialect`.
    ///
    /// # Errors
    /// The session's.
    pub fn open(hub: &Arc<Hub>, dialect: Dialect, deadline: &Deadline) -> Result<Self, RpcError> {
        let (pair, rings) = Pair::connect(hub, port::RPC, deadline)?;
        let core = Arc::new(Core {
            pair,
            dialect,
            state: Mutex::new(State::new(rings)),
            events: (0..SLOTS).map(|_| Event::default()).collect(),
            gate: Event::default(),
            news: Event::default(),
            watch: Watch::default(),
            polls: AtomicBool::new(false),
        });
        core.pair.register(core.clone());
        let connection = Self {
            handle: Arc::new(Handle(core)),
        };
        let core = connection.core();
        core.with(Core::post_first)?;
        Ok(connection)
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.0
    }

    /// The dialect it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.core().dialect
    }

    /// What it was opened on.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        self.core().pair.hub()
    }

    /// From the next request on, completion shows in memory only and waiting threads look there; `false` goes
    /// back to interrupts. Polling takes a processor while somebody waits, and no register read at all. Beside
    /// [`Self::watch`] it has no effect.
    pub fn set_polling(&self, polls: bool) {
        self.core().polls.store(polls, Ordering::SeqCst);
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// A status other than 0, no reply in time, a connection that is over.
    pub fn call<R: Request>(&self, body: &R::Body) -> Result<R::Response, RpcError> {
        self.call_with::<R>(body, Buffers::default())
            .map(|(response, _)| response)
    }

    /// As [`Self::call`], with buffers behind the request and its reply.
    ///
    /// # Errors
    /// As [`Self::call`]; the buffers are then gone.
    pub fn call_with<R: Request>(
        &self,
        body: &R::Body,
        buffers: Buffers,
    ) -> Result<(R::Response, Buffers), RpcError> {
        let deadline = Deadline::after(time_limit(R::METHOD));
        let ticket = self.start::<R>(body, buffers, &deadline)?;
        let reply = ticket.wait(&deadline)?;
        decode::<R>(reply)
    }

    /// Sends a request as soon as the server's limits allow.
    pub(crate) fn start<R: Request>(
        &self,
        body: &R::Body,
        buffers: Buffers,
        deadline: &Deadline,
    ) -> Result<Ticket, RpcError> {
        let body = body.encode_to_vec();
        self.submit_by(R::METHOD, &body, buffers, deadline)
            .map_err(|(error, _)| error)
    }

    /// As [`Self::submit`], but waits for room where the server's limits leave none: behind a request that
    /// tolerates no other, or behind two ordinary ones.
    ///
    /// # Errors
    /// As [`Self::submit`]; no room in time.
    pub fn submit_by(
        &self,
        method: Method,
        body: &[u8],
        buffers: Buffers,
        deadline: &Deadline,
    ) -> Result<Ticket, (RpcError, Buffers)> {
        self.submit_to(method, body, buffers, None, deadline)
    }

    /// The same; the request holds its place in a queue until its reply has come.
    pub(crate) fn submit_to(
        &self,
        method: Method,
        body: &[u8],
        mut buffers: Buffers,
        mut place: Option<QueuePlace>,
        deadline: &Deadline,
    ) -> Result<Ticket, (RpcError, Buffers)> {
        loop {
            match self.try_submit(method, body, buffers, &mut place) {
                Err((RpcError::Full { .. }, back)) => buffers = back,
                Ok(ticket) => {
                    if !is_pipelined(method) {
                        // There may be room for one more.
                        self.core().gate.signal();
                    }
                    return Ok(ticket);
                }
                failed => return failed,
            }
            if let Err(error) = self.core().pass_gate(method, deadline) {
                return Err((error, buffers));
            }
        }
    }

    /// Sends a request with an encoded body and buffers, without waiting.
    ///
    /// # Errors
    /// The buffers come back: the method is not in the dialect, something does not fit, or the connection is
    /// over (some may then be gone).
    pub fn submit(
        &self,
        method: Method,
        body: &[u8],
        buffers: Buffers,
    ) -> Result<Ticket, (RpcError, Buffers)> {
        self.try_submit(method, body, buffers, &mut None)
    }

    fn try_submit(
        &self,
        method: Method,
        body: &[u8],
        buffers: Buffers,
        place: &mut Option<QueuePlace>,
    ) -> Result<Ticket, (RpcError, Buffers)> {
        let core = self.core();
        let polls = core.polls();
        let mut state = core.state();
        let (slot, id) = core.send(&mut state, method, body, buffers)?;
        state.slots[slot].place = place.take();
        drop(state);
        core.watch.begin(core.pair.hub().interrupts());
        Ok(Ticket::new(core.clone(), slot, id, method, polls))
    }

    /// Takes the oldest notification, if there is one.
    #[must_use]
    pub fn try_notice(&self) -> Option<Notice> {
        let mut state = self.core().state();
        if self.core().polls() {
            self.core().pump_or_end(&mut state);
        }
        state.notices.pop_front()
    }

    /// Waits for a notification; `None` where none came in time.
    ///
    /// # Errors
    /// The connection is over.
    pub fn notice(&self, deadline: &Deadline) -> Result<Option<Notice>, RpcError> {
        let core = self.core();
        let mut spins = Spins::default();
        loop {
            let expired = deadline.expired();
            if let Some(notice) = self.try_notice() {
                return Ok(Some(notice));
            }
            if let Some(cause) = self.over() {
                return Err(cause.into());
            }
            if expired {
                return Ok(None);
            }
            let polls = core.polls();
            if !polls || !spins.go_on(deadline) {
                let interrupts = core.pair.hub().interrupts();
                interrupts.wait(&core.news, &look(polls, deadline));
            }
        }
    }

    /// Messages that were dropped: notifications that nobody took in time or that make no sense, and replies that
    /// nobody waits for.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.core().state().missed
    }

    /// Why the connection is over, once it is.
    #[must_use]
    pub fn over(&self) -> Option<Cause> {
        self.core().state().over.clone()
    }

    /// A descriptor for event loops: it becomes readable (an eventfd: 8 bytes) with each reply, notification,
    /// and the end, and at the first call. Read it, then [`Ticket::try_wait`] and [`Self::try_notice`] tell. All clones
    /// have the same one.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn watch(&self) -> std::io::Result<OwnedFd> {
        let core = self.core();
        core.watch.fd(core.pair.hub().interrupts())
    }

    /// The stream is out of step: the connection is over.
    pub(super) fn abandon(&self, cause: Cause) -> RpcError {
        let core = self.core();
        core.end(&mut core.state(), cause.clone());
        cause.into()
    }

    /// The device goes away: the connection closes without a word to it.
    pub(crate) fn lose(&self, why: &str) {
        self.core().lost(why);
    }

    /// Closes the connection, for all clones; requests in flight fail.
    ///
    /// # Errors
    /// The rings did not stop, or the device did not confirm.
    pub fn close(&self) -> Result<(), RpcError> {
        self.core().close()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            let transport = self.0.pair.hub().transport();
            log::warn!("{}: closing a connection: {error}", transport.name());
        }
    }
}

pub(crate) fn time_limit(method: Method) -> Duration {
    if is_exclusive(method) {
        LONG_REQUEST_TIMEOUT
    } else {
        REQUEST_TIMEOUT
    }
}

/// Reads a reply with status 0.
pub(crate) fn decode<R: Request>(reply: Reply) -> Result<(R::Response, Buffers), RpcError> {
    let method = R::METHOD;
    if reply.status != Status::SUCCESS {
        let status = reply.status;
        return Err(RpcError::Status { method, status });
    }
    let response = R::Response::decode(&*reply.body).map_err(|error| RpcError::BadReply {
        method,
        len: reply.body.len(),
        reason: error.to_string(),
    })?;
    Ok((response, reply.buffers))
}

impl Core {
    pub(super) fn state(&self) -> Locked<'_> {
        Locked::new(&self.state, &self.events)
    }

    pub(super) fn polls(&self) -> bool {
        self.polls.load(Ordering::Relaxed) && !self.watch.is_asked_for()
    }

    /// Does something that ends the connection where it fails.
    pub(super) fn with<T>(
        &self,
        action: impl FnOnce(&Self, &mut State) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        let mut state = self.state();
        if let Some(cause) = &state.over {
            return Err(cause.clone());
        }
        let done = action(self, &mut state);
        if let Err(cause) = &done {
            self.end(&mut state, cause.clone());
        }
        done
    }

    /// The connection is over: everybody is told; who waits closes it.
    pub(super) fn end(&self, state: &mut State, cause: Cause) {
        if state.over.is_none() {
            log::debug!("{}: RPC: {cause}", self.pair.hub().transport().name());
            state.over = Some(cause);
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        for event in &self.events {
            event.signal();
        }
        // Several may wait for these.
        self.gate.lose();
        self.news.lose();
        self.watch.tell();
    }

    /// Waits until the server has room for `method`. It takes one ordinary request that executes and one that
    /// waits; beside one that lasts nothing else.
    fn pass_gate(&self, method: Method, deadline: &Deadline) -> Result<(), RpcError> {
        loop {
            let state = self.state();
            if let Some(cause) = &state.over {
                return Err(cause.clone().into());
            }
            if state.room(method).is_none() {
                return Ok(());
            }
            drop(state);
            let interrupts = self.pair.hub().interrupts();
            if interrupts.wait(&self.gate, deadline) == Waited::TimedOut {
                let waited = deadline.waited();
                return Err(RpcError::TimedOut { method, waited });
            }
        }
    }

    /// Marks a request as answered as far as the server's limits go.
    pub(super) fn leave_gate(&self, state: &mut State, method: Method) {
        state.answered(method);
        self.gate.signal();
    }

    /// Frees the place of a request.
    pub(super) fn release(&self, state: &mut State, slot: usize) {
        state.release(slot);
        self.gate.signal();
    }

    /// A request is complete.
    pub(super) fn complete(&self, state: &mut State, slot: usize) {
        if state.slots[slot].abandoned {
            self.release(state, slot);
        } else {
            state.wake |= 1 << slot;
        }
        self.watch.tell();
    }

    pub(super) fn file_notice(&self, state: &mut State, body: &[u8]) {
        match Notice::decode(body) {
            Some(notice) => {
                state.keep(notice);
            }
            None => {
                state.missed += 1;
                let device = self.pair.hub().transport().name();
                let bytes = body.len();
                log::debug!("{device}: a notification of {bytes} bytes makes no sense");
            }
        }
        self.news.signal();
        self.watch.tell();
    }

    /// Stops the rings, tells the device, and brings every buffer back to its slot. One caller does it; others
    /// return at once.
    pub(super) fn close(&self) -> Result<(), RpcError> {
        let mut state = self.state();
        let cause = state.over.get_or_insert(Cause::Closed).clone();
        let Some(rings) = state.rings.take() else {
            return Ok(());
        };
        drop(state);
        self.pair.unregister();
        let ([to_device, from_device], said) = self.pair.close(rings, &cause);
        let mut state = self.state();
        self.settle(&mut state, to_device, from_device);
        drop(state);
        self.wake_all();
        Ok(said?)
    }

    fn settle(&self, state: &mut State, to_device: Vec<Completion>, from_device: Vec<Completion>) {
        let mut small = std::mem::take(&mut state.spare);
        let sent = std::mem::take(&mut state.sent);
        for (sent, completion) in sent.into_iter().zip(to_device) {
            match sent {
                Sent::Message => small.push(completion.buffer),
                Sent::Buffer(slot) => state.back(slot, 0, completion),
            }
        }
        let posted = std::mem::take(&mut state.posted);
        for (posted, completion) in posted.into_iter().zip(from_device) {
            match posted {
                Posted::Message | Posted::Body(_) => small.push(completion.buffer),
                Posted::Buffer(slot) => state.back(slot, 1, completion),
            }
        }
        self.pair.hub().put_small(small);
        state.settled = true;
    }
}
