//! Loading and running networks: opcodes 32, 33, 36, 37, 52 to 54, 59, 71, 72, 74 and 79.

use std::time::Instant;

use super::Signal;
use super::access::Access;
use super::refusal::{Outcome, Refusal};
use crate::spec::nnc::message::Request;
use crate::spec::nnc::status::code;

/// When there is something to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "nothing runs yet")]
pub(in crate::model) enum Next {
    /// At once.
    Again,
    /// Then, or when the host does something.
    At(Instant),
    /// When the host does something.
    Wait,
}

/// Applications, and the one that runs.
pub(in crate::model) struct Executor {}

impl Executor {
    pub(in crate::model) fn new() -> Self {
        Self {}
    }

    pub(in crate::model) fn control(
        &mut self,
        _: &mut Access<'_>,
        request: &Request<'_>,
    ) -> Outcome {
        let why = format!("{} is not there yet", request.opcode);
        Err(Refusal::framing(code::UNSUPPORTED_CONTROL, why))
    }

    pub(in crate::model) fn signal(&mut self, _: &mut Access<'_>, _: Signal) {}

    pub(in crate::model) fn step(&mut self, _: &mut Access<'_>) -> Next {
        Next::Wait
    }
}
