//! One run: a frame on its way through the chip.

use std::sync::Arc;

use super::core::{LOOK_AGAIN, SPINS};
use super::network::{Net, Ticket};
use super::runtime::Shared;
use super::{InferError, stuck};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::infer::{self, Frame};
use crate::irq::Waited;

/// Looks of a polling waiter between two at the counters.
const LOOKS: u32 = 1 << 20;

/// A run that did not start or end well.
pub type RunError = infer::RunError<Run, InferError>;

impl RunError {
    /// The error as a person reads it, of `action` on `device`; what is left of the run is dropped.
    #[must_use]
    pub fn into_error(self, device: &str, action: &str) -> Error {
        self.reason.into_error(device, action)
    }
}

/// A run in flight. Dropping it forgets it: the chip finishes it all the same, and its frame goes then.
pub struct Run {
    shared: Arc<Shared>,
    net: Arc<Net>,
    /// Place of the network.
    id: usize,
    ticket: Option<Ticket>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Run(a frame of {})", self.net.name)
    }
}

impl Run {
    pub(super) fn new(shared: Arc<Shared>, net: Arc<Net>, id: usize, ticket: Ticket) -> Self {
        Self {
            shared,
            net,
            id,
            ticket: Some(ticket),
        }
    }

    /// Waits for its end and gives the frame back, with outputs.
    ///
    /// # Errors
    /// The network failed; no end in time, which leaves it in flight; the device is lost.
    pub fn wait(mut self, deadline: &Deadline) -> Result<Frame, RunError> {
        let mut looks = 0_u32;
        loop {
            if let Some(end) = self.look() {
                return end;
            }
            let core = &self.shared.core;
            let expired = deadline.expired();
            if core.polls() && !expired {
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(LOOKS) {
                    core.look();
                } else if looks.is_multiple_of(SPINS) {
                    std::thread::yield_now();
                }
                std::hint::spin_loop();
                continue;
            }
            let event = self
                .ticket
                .and_then(|ticket| self.net.events.get(ticket.place));
            let slice = Deadline::after(deadline.remaining().min(LOOK_AGAIN));
            if let Some(event) = event.filter(|_| !expired)
                && core.interrupts().wait(event, &slice) == Waited::Fired
            {
                continue;
            }
            // No sign of it: memory and counters may know more.
            core.look();
            if !deadline.expired() {
                continue;
            }
            if let Some(end) = self.look() {
                return end;
            }
            let reason = InferError::TimedOut {
                network: self.net.name.to_string(),
                waited: deadline.waited(),
                seen: stuck::explain(&self.shared.core, self.id, &self.net),
            };
            return Err(RunError::going_on(reason, self));
        }
    }

    /// Looks for its end; gives it back where it is still under way.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(mut self) -> Result<Result<Frame, Self>, RunError> {
        match self.look() {
            Some(end) => end.map(Ok),
            None => Ok(Err(self)),
        }
    }

    fn look(&mut self) -> Option<Result<Frame, RunError>> {
        let core = &self.shared.core;
        if core.polls() {
            core.pump();
        }
        let (frame, cause) = core.take(self.id, self.ticket?)?;
        self.ticket = None;
        Some(match cause {
            None => Ok(frame),
            Some(cause) => Err(RunError::new(cause, frame)),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket
            && let Some(network) = self.shared.core.state().network(self.id)
        {
            network.abandon(ticket);
        }
    }
}
