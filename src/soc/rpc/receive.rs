//! In: messages, and the buffers behind them.
//!
//! Exactly one message is posted for reading at a time. Only when it has said that buffers follow are those
//! posted, and the next message right behind them: one register write a reply.

use super::connection::Core;
use super::frame::{self, Received};
use super::method::brings_buffers;
use super::send::not_queued;
use super::slot::Phase;
use super::state::State;
use crate::dma::{Channel, Completion, DmaBuffer};
use crate::infer::Part;
use crate::irq::Sink;
use crate::soc::pair::Cause;
use crate::spec::rpc::{Framing, HEADER, MESSAGE, Method, Status};

/// What is posted for reading, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// A message, or the header of one.
    Message,
    /// The body behind this header.
    Body(Received),
    /// A buffer of the request in this slot.
    Buffer(usize),
}

/// Looks at memory before the buffers sent are believed to be still under way.
const LOOKS: u32 = 200;

fn from_device(state: &mut State) -> Result<&mut Channel, Cause> {
    match &mut state.rings {
        Some(rings) => Ok(&mut rings.from_device),
        None => Err(state.over.clone().unwrap_or(Cause::Closed)),
    }
}

impl Core {
    /// Takes in everything that has arrived; what fails ends the connection.
    pub(super) fn pump_or_end(&self, state: &mut State) {
        if state.over.is_some() {
            return;
        }
        if let Err(cause) = self.pump(state) {
            self.end(state, cause);
        }
    }

    /// Takes in everything that has arrived. Looks at memory only, unless something has.
    pub(super) fn pump(&self, state: &mut State) -> Result<(), Cause> {
        while let Some(done) = from_device(state)?.reap()? {
            let Some(posted) = state.posted.pop_front() else {
                let cause = "a buffer came back that was not posted".to_owned();
                return Err(Cause::Failed(cause));
            };
            match posted {
                Posted::Message => self.take_message(state, done)?,
                Posted::Body(header) => self.take_body(state, header, done)?,
                Posted::Buffer(slot) => {
                    state.back(slot, 1, done);
                    self.finish(state, slot)?;
                }
            }
            from_device(state)?.launch()?;
        }
        Ok(())
    }

    /// Posts the read of the next message, and tells the device.
    pub(super) fn post_first(&self, state: &mut State) -> Result<(), Cause> {
        let buffer = self.small(state)?;
        self.post_message(state, buffer)?;
        Ok(from_device(state)?.launch()?)
    }

    fn post_message(&self, state: &mut State, buffer: DmaBuffer) -> Result<(), Cause> {
        let bytes = match self.dialect.framing() {
            Framing::Whole => MESSAGE,
            Framing::HeaderThenBody => HEADER,
        };
        self.post(state, Posted::Message, buffer, bytes, !self.polls())
    }

    fn post(
        &self,
        state: &mut State,
        what: Posted,
        buffer: DmaBuffer,
        bytes: usize,
        interrupt: bool,
    ) -> Result<(), Cause> {
        from_device(state)?
            .queue(buffer, bytes, interrupt)
            .map_err(not_queued)?;
        state.posted.push_back(what);
        Ok(())
    }

    fn take_message(&self, state: &mut State, done: Completion) -> Result<(), Cause> {
        let Completion { buffer, bytes, .. } = done;
        let bad = |error: frame::FrameError| Cause::Protocol(error.to_string());
        match self.dialect.framing() {
            Framing::Whole => {
                let (header, body) = frame::message(&buffer[..bytes]).map_err(bad)?;
                self.route(state, header, body)?;
            }
            Framing::HeaderThenBody => {
                let header = frame::header(&buffer[..bytes]).map_err(bad)?;
                if header.size > 0 {
                    let what = Posted::Body(header);
                    return self.post(state, what, buffer, header.size, !self.polls());
                }
                self.route(state, header, &[])?;
            }
        }
        self.post_message(state, buffer)
    }

    fn take_body(
        &self,
        state: &mut State,
        header: Received,
        done: Completion,
    ) -> Result<(), Cause> {
        let Completion { buffer, bytes, .. } = done;
        self.route(state, header, &buffer[..bytes])?;
        self.post_message(state, buffer)
    }

    /// Files a message: a notification, or the reply to the request with its id.
    fn route(&self, state: &mut State, header: Received, body: &[u8]) -> Result<(), Cause> {
        // Before the waiter is looked up: a notification has the id of its registration. A reply to a
        // registration has no body.
        if header.action_id == self.dialect.notification_action() && !body.is_empty() {
            self.file_notice(state, body);
            return Ok(());
        }
        let waits =
            |slot: &super::slot::Slot| slot.phase == Phase::Sent && slot.id == header.message_id;
        let Some(slot) = state.slots.iter().position(waits) else {
            state.missed += 1;
            let method = Method::from_number(self.dialect, header.action_id);
            // Its buffers can't be told from the next message.
            if header.status == Status::SUCCESS.0 && method.is_none_or(brings_buffers) {
                return Err(Cause::Protocol(format!(
                    "a reply to request {} (method {}), which nobody sent",
                    header.message_id, header.action_id
                )));
            }
            return Ok(());
        };
        let place = &mut state.slots[slot];
        let method = place.method;
        place.phase = Phase::Answered;
        place.status = header.status;
        place.body.clear();
        place.body.extend_from_slice(body);
        let number = place.number;
        self.leave_gate(state, method);
        if header.action_id != number {
            state.slots[slot].status = Status::RPC_FAILED.0;
            self.finish(state, slot)?;
            return Err(Cause::Protocol(format!(
                "the reply to request {} names method {} (expected {number})",
                header.message_id, header.action_id
            )));
        }
        if header.status == Status::SUCCESS.0 {
            self.post_parts(state, slot)?;
        }
        self.finish(state, slot)
    }

    /// Posts the buffers behind a reply; the last one interrupts.
    fn post_parts(&self, state: &mut State, slot: usize) -> Result<(), Cause> {
        let mut parts = std::mem::take(&mut state.slots[slot].buffers.from_device);
        let (mut left, mut posted) = (parts.len(), Ok(()));
        for Part { buffer, bytes } in parts.drain(..) {
            left -= 1;
            if posted.is_ok() {
                let interrupt = left == 0 && !self.polls();
                posted = self.post(state, Posted::Buffer(slot), buffer, bytes, interrupt);
                state.slots[slot].out[1] += usize::from(posted.is_ok());
            }
        }
        state.slots[slot].buffers.from_device = parts;
        posted
    }

    /// Completes the request where all of it is there. What was sent has arrived when its answer has: its
    /// status words are in memory, or will be in a moment.
    fn finish(&self, state: &mut State, slot: usize) -> Result<(), Cause> {
        if state.slots[slot].phase != Phase::Answered || state.slots[slot].out[1] > 0 {
            return Ok(());
        }
        let mut looks = 0;
        while state.slots[slot].out[0] > 0 && looks < LOOKS {
            // Completes the slot by itself with the last buffer.
            self.reap_sent(state)?;
            if state.slots[slot].phase == Phase::Free || state.slots[slot].is_done() {
                return Ok(());
            }
            looks += 1;
            std::hint::spin_loop();
        }
        if state.slots[slot].is_done() {
            self.complete(state, slot);
        }
        Ok(())
    }

    /// Looks at the counters of both rings, where memory shows nothing; whether that told anything.
    pub(super) fn look_at_counters(&self, state: &mut State) -> Result<bool, Cause> {
        self.pump(state)?;
        let Some(rings) = &mut state.rings else {
            return Ok(false);
        };
        let told = rings.from_device.look_at_counter()? | rings.to_device.look_at_counter()?;
        if told {
            self.pump(state)?;
            self.reap_sent(state)?;
        }
        Ok(told)
    }
}

impl Sink for Core {
    fn completed(&self) {
        let mut state = self.state();
        if state.over.is_none() {
            let done = self
                .pump(&mut state)
                .and_then(|()| self.reap_sent(&mut state));
            if let Err(cause) = done {
                self.end(&mut state, cause);
            }
        }
    }

    fn closed(&self) {
        let mut state = self.state();
        let Some(rings) = &mut state.rings else {
            return;
        };
        // The lock keeps launches away meanwhile: what is active now was not meant.
        let open = rings
            .to_device
            .diagnose()
            .and_then(|()| rings.from_device.diagnose());
        // What arrived before the close counts.
        self.pump_or_end(&mut state);
        if let Err(error) = open {
            self.end(&mut state, error.into());
        }
    }

    fn lost(&self, reason: &str) {
        let mut state = self.state();
        self.end(&mut state, Cause::Lost(reason.to_owned()));
    }

    fn attend(&self) -> bool {
        // What fails ends the connection, and is told.
        if !self.watch.is_asked_for() || self.with(Self::look_at_counters).is_err() {
            return false;
        }
        self.state().is_under_way()
    }
}
