//! One run: a frame on its way through the chip.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::soc::report;
use crate::soc::rpc::{Buffers, Kept, Part, Reply, RpcError, Ticket};
use crate::spec::rpc::{Method, Status};

/// The buffers of one run: inputs and outputs, in the order of the model's streams.
#[derive(Debug)]
pub struct Frame {
    pub(super) buffers: Buffers,
}

impl Frame {
    /// A frame of the caller's buffers, each with the bytes that a frame of its stream has.
    #[must_use]
    pub fn of(inputs: Vec<Part>, outputs: Vec<Part>) -> Self {
        Self {
            buffers: Buffers {
                to_device: inputs,
                from_device: outputs,
            },
        }
    }

    /// Inputs: what the chip gets.
    #[must_use]
    pub fn inputs(&self) -> &[Part] {
        &self.buffers.to_device
    }

    /// Inputs, to be filled.
    pub fn inputs_mut(&mut self) -> &mut [Part] {
        &mut self.buffers.to_device
    }

    /// Outputs: what the chip gave, after a run.
    #[must_use]
    pub fn outputs(&self) -> &[Part] {
        &self.buffers.from_device
    }

    /// The buffers: inputs, outputs.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Part>, Vec<Part>) {
        (self.buffers.to_device, self.buffers.from_device)
    }
}

/// A run that did not start or end well.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct RunError {
    /// Why.
    #[source]
    pub reason: Box<RpcError>,
    /// What is left of it.
    pub left: Left,
}

/// What is left of a run.
#[derive(Debug)]
pub enum Left {
    /// Its frame; its outputs hold nothing of use.
    Frame(Frame),
    /// It goes on: a time-out is no cancellation.
    Run(Run),
}

impl RunError {
    pub(super) fn new(reason: RpcError, frame: Frame) -> Self {
        Self {
            reason: Box::new(reason),
            left: Left::Frame(frame),
        }
    }
}

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
            Err((reason, Kept::Ticket(ticket))) => Err(RunError {
                reason: Box::new(reason),
                left: Left::Run(Self { ticket }),
            }),
            Err((reason, Kept::Buffers(buffers))) => Err(RunError::new(reason, Frame { buffers })),
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
            Err((reason, buffers)) => Err(RunError::new(reason, Frame { buffers })),
        }
    }
}

fn ended(reply: Reply) -> Result<Frame, RunError> {
    let Reply {
        status, buffers, ..
    } = reply;
    let frame = Frame { buffers };
    if status == Status::SUCCESS {
        Ok(frame)
    } else {
        let method = Method::RunAsync;
        Err(RunError::new(RpcError::Status { method, status }, frame))
    }
}
