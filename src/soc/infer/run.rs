//! One run: a frame on its way through the chip.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::infer::{self, Frame};
use crate::soc::report;
use crate::soc::rpc::{Buffers, Kept, Reply, RpcError, Ticket};
use crate::spec::rpc::{Method, Status};

/// A run that did not start or end well.
pub type RunError = infer::RunError<Run, RpcError>;

impl RunError {
    /// The error as a person reads it, of `action` on `device`; what is left of the run is dropped.
    #[must_use]
    pub fn into_error(self, device: &str, action: &str) -> Error {
        report::failure(device, action, *self.reason)
    }
}

/// A run in flight. Dropping it forgets it: the chip finishes it all the same, and its frame goes then.
#[derive(Debug)]
pub struct Run {
    pub(super) ticket: Ticket,
}

impl Run {
    /// Waits for its end and gives the frame back, with outputs.
    ///
    /// # Errors
    /// A status; no end in time, which leaves it in flight; the connection is over.
    pub fn wait(self, deadline: &Deadline) -> Result<Frame, RunError> {
        match self.ticket.wait_or_keep(deadline) {
            Ok(reply) => ended(reply),
            Err((reason, Kept::Ticket(ticket))) => Err(RunError::going_on(reason, Self { ticket })),
            Err((reason, Kept::Buffers(buffers))) => Err(RunError::new(reason, buffers.into())),
        }
    }

    /// Looks for its end; gives it back where it is still under way.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_wait(mut self) -> Result<Result<Frame, Self>, RunError> {
        match self.ticket.look() {
            Ok(Some(reply)) => ended(reply).map(Ok),
            Ok(None) => Ok(Err(self)),
            Err((reason, buffers)) => Err(RunError::new(reason, buffers.into())),
        }
    }
}

impl From<Frame> for Buffers {
    fn from(frame: Frame) -> Self {
        let (to_device, from_device) = frame.into_parts();
        Self {
            to_device,
            from_device,
        }
    }
}

impl From<Buffers> for Frame {
    fn from(buffers: Buffers) -> Self {
        Self::of(buffers.to_device, buffers.from_device)
    }
}

fn ended(reply: Reply) -> Result<Frame, RunError> {
    let Reply {
        status, buffers, ..
    } = reply;
    let frame = buffers.into();
    if status == Status::SUCCESS {
        Ok(frame)
    } else {
        let method = Method::RunAsync;
        Err(RunError::new(RpcError::Status { method, status }, frame))
    }
}
