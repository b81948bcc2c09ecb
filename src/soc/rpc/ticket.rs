//! A request in flight, in its owner's hand.

use std::sync::Arc;

use super::RpcError;
use super::connection::Core;
use super::slot::{Buffers, Phase, Reply};
use crate::deadline::Deadline;
use crate::infer::Part;
use crate::irq::Waited;
use crate::soc::pair::Cause;
use crate::soc::session::{Spins, look};
use crate::spec::rpc::{Method, Status};

/// A request in flight. Dropping it forgets the request: its buffers go when its reply has come.
#[derive(Debug)]
pub struct Ticket {
    core: Arc<Core>,
    slot: usize,
    id: u32,
    method: Method,
    polls: bool,
    open: bool,
}

impl Ticket {
    pub(super) fn new(core: Arc<Core>, slot: usize, id: u32, method: Method, polls: bool) -> Self {
        Self {
            core,
            slot,
            id,
            method,
            polls,
            open: true,
        }
    }

    /// Waits for the reply, whatever its status.
    ///
    /// # Errors
    /// No reply in time: the request is then forgotten. The connection is over.
    pub fn wait(self, deadline: &Deadline) -> Result<Reply, RpcError> {
        self.wait_or_keep(deadline).map_err(|(error, _)| error)
    }

    /// As [`Self::wait`], but after a time-out the ticket comes back, to wait on. After the end of the connection
    /// the request's buffers come back.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_or_keep(mut self, deadline: &Deadline) -> Result<Reply, (RpcError, Kept)> {
        let mut spins = Spins::default();
        loop {
            match self.look() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err((error, buffers)) => return Err((error, Kept::Buffers(buffers))),
            }
            if self.polls && spins.go_on(deadline) {
                continue;
            }
            let interrupts = self.core.pair.hub().interrupts();
            let event = &self.core.events[self.slot];
            let look = look(self.polls, deadline);
            if !deadline.expired() && interrupts.wait(event, &look) == Waited::Fired {
                continue;
            }
            // No sign of it: memory and counters may know more.
            let seen = self.core.with(Core::look_at_counters);
            if seen == Ok(false) && deadline.expired() {
                let (method, waited) = (self.method, deadline.waited());
                return Err((RpcError::TimedOut { method, waited }, Kept::Ticket(self)));
            }
        }
    }

    /// Looks for the reply. `None` where it is not there yet.
    ///
    /// # Errors
    /// The connection is over.
    pub fn try_wait(&mut self) -> Result<Option<Reply>, RpcError> {
        self.look().map_err(|(error, _)| error)
    }

    pub(crate) fn look(&mut self) -> Result<Option<Reply>, (RpcError, Buffers)> {
        let core = &*self.core;
        let mut state = core.state();
        if self.polls && state.over.is_none() {
            core.pump_or_end(&mut state);
        }
        if !self.open || state.slots[self.slot].id != self.id {
            let cause = state.over.clone().unwrap_or(Cause::Closed);
            return Err((cause.into(), Buffers::default()));
        }
        if state.slots[self.slot].is_done() {
            self.open = false;
            let slot = &mut state.slots[self.slot];
            let reply = Reply {
                status: Status(slot.status),
                body: std::mem::take(&mut slot.body),
                buffers: std::mem::take(&mut slot.buffers),
            };
            core.release(&mut state, self.slot);
            return Ok(Some(reply));
        }
        let Some(cause) = state.over.clone() else {
            return Ok(None);
        };
        if !state.settled {
            drop(state);
            if let Err(error) = core.close() {
                log::warn!("{}: {error}", core.pair.hub().transport().name());
            }
            state = core.state();
            if !state.settled {
                return Ok(None); // Somebody else is at it, and wakes everybody.
            }
        }
        self.open = false;
        let buffers = std::mem::take(&mut state.slots[self.slot].buffers);
        core.release(&mut state, self.slot);
        Err((cause.into(), buffers))
    }

    /// Buffers of a request whose reply has not come that are back from the device, to be filled again.
    pub(crate) fn take_sent(&self) -> Vec<Part> {
        std::mem::take(&mut self.core.state().slots[self.slot].buffers.to_device)
    }

    /// Sends more behind the request: the next piece of a buffer that is longer than memory has to be.
    pub(crate) fn send_more(&self, part: Part) -> Result<(), RpcError> {
        let slot = self.slot;
        Ok(self
            .core
            .with(|core, state| core.send_more(state, slot, part))?)
    }

    /// Whether the reply has come, be all buffers back or not.
    pub(crate) fn is_answered(&self) -> bool {
        let state = self.core.state();
        state.over.is_some() || state.slots[self.slot].phase == Phase::Answered
    }

    /// Waits until something happens to the request.
    pub(crate) fn wait_event(&self, deadline: &Deadline) -> Waited {
        let interrupts = self.core.pair.hub().interrupts();
        interrupts.wait(&self.core.events[self.slot], deadline)
    }
}

/// What is left of a request that did not complete.
#[derive(Debug)]
pub enum Kept {
    /// It is still in flight.
    Ticket(Ticket),
    /// It never will complete.
    Buffers(Buffers),
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut state = self.core.state();
        let slot = &mut state.slots[self.slot];
        if slot.id == self.id && slot.phase != Phase::Free {
            slot.abandoned = true;
            if slot.is_done() {
                self.core.release(&mut state, self.slot);
            }
        }
    }
}
