//! Out: a message and its buffers, with one doorbell.

use zerocopy::IntoBytes;

use super::RpcError;
use super::connection::Core;
use super::slot::{Buffers, Phase};
use super::state::State;
use crate::dma::{Channel, DmaBuffer, DmaError, MAX_IN_FLIGHT, SubmitError, SubmitProblem};
use crate::infer::Part;
use crate::soc::pair::Cause;
use crate::spec::rpc::{Framing, HEADER, Header, MAX_BODY, MESSAGE, Method, REQUEST_STATUS};

/// What is in flight to the device, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A message, or a part of it: a small buffer of the connection.
    Message,
    /// A buffer of the request in this slot.
    Buffer(usize),
}

impl Core {
    /// Sends a request: its slot and id. Nobody waits for the way there: the reply says more.
    pub(super) fn send(
        &self,
        state: &mut State,
        method: Method,
        body: &[u8],
        buffers: Buffers,
    ) -> Result<(usize, u32), (RpcError, Buffers)> {
        let number = match self.check(state, method, body, &buffers) {
            Ok(number) => number,
            Err(error) => return Err((error, buffers)),
        };
        let Some((slot, id)) = state.admit(method) else {
            let reason = "all places for requests are in use";
            return Err((RpcError::Full { method, reason }, buffers));
        };
        let place = &mut state.slots[slot];
        place.phase = Phase::Sent;
        (place.id, place.number, place.method) = (id, number, method);
        place.buffers = buffers;
        self.events[slot].clear();
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let header = Header::new(size, id, number, REQUEST_STATUS);
        let sent = self
            .send_message(state, &header, body)
            .and_then(|()| self.send_parts(state, slot))
            .and_then(|()| Ok(to_device(state)?.launch()?));
        sent.map_err(|cause| {
            self.end(state, cause.clone());
            state.slots[slot].abandoned = true;
            let buffers = std::mem::take(&mut state.slots[slot].buffers);
            (cause.into(), buffers)
        })?;
        Ok((slot, id))
    }

    /// Looks whether the request can be sent now, before anything is touched: its method number.
    fn check(
        &self,
        state: &mut State,
        method: Method,
        body: &[u8],
        buffers: &Buffers,
    ) -> Result<u32, RpcError> {
        let dialect = self.dialect;
        let number = method
            .number(dialect)
            .ok_or(RpcError::NoMethod { method, dialect })?;
        if body.len() > MAX_BODY {
            let len = body.len();
            return Err(RpcError::TooLong { method, len });
        }
        if let Some(reason) = state.room(method) {
            return Err(RpcError::Full { method, reason });
        }
        if state.sent.len() + buffers.to_device.len() + 2 > MAX_IN_FLIGHT {
            // Messages that arrived long ago are taken back with each reply, or here.
            self.reap_sent(state)?;
        }
        if state.sent.len() + buffers.to_device.len() + 2 > MAX_IN_FLIGHT
            || buffers.from_device.len() + 1 > MAX_IN_FLIGHT
        {
            let reason = "the ring holds no more of them".to_owned();
            return Err(RpcError::BadBuffer { method, reason });
        }
        if let Some(cause) = &state.over {
            return Err(cause.clone().into());
        }
        let rings = state.rings.as_ref().ok_or(Cause::Closed)?;
        for (ring, parts) in [
            (&rings.to_device, &buffers.to_device),
            (&rings.from_device, &buffers.from_device),
        ] {
            for part in parts {
                ring.accepts(&part.buffer, part.bytes)
                    .map_err(|problem| RpcError::BadBuffer {
                        method,
                        reason: problem.to_string(),
                    })?;
            }
        }
        Ok(number)
    }

    /// Puts the message into the ring. What is behind the body is zero.
    fn send_message(&self, state: &mut State, header: &Header, body: &[u8]) -> Result<(), Cause> {
        let mut buffer = self.small(state)?;
        buffer[..HEADER].copy_from_slice(header.as_bytes());
        match self.dialect.framing() {
            Framing::Whole => {
                let end = HEADER + body.len();
                buffer[HEADER..end].copy_from_slice(body);
                buffer[end..MESSAGE].fill(0);
                self.queue(state, Sent::Message, buffer, MESSAGE, false)
            }
            Framing::HeaderThenBody => {
                self.queue(state, Sent::Message, buffer, HEADER, false)?;
                if body.is_empty() {
                    return Ok(());
                }
                let mut buffer = self.small(state)?;
                buffer[..body.len()].copy_from_slice(body);
                self.queue(state, Sent::Message, buffer, body.len(), false)
            }
        }
    }

    fn send_parts(&self, state: &mut State, slot: usize) -> Result<(), Cause> {
        let mut parts = std::mem::take(&mut state.slots[slot].buffers.to_device);
        let mut sent = Ok(());
        for Part { buffer, bytes } in parts.drain(..) {
            if sent.is_ok() {
                sent = self.send_part(state, slot, Part { buffer, bytes }, false);
            }
        }
        // Its memory is used again as the buffers come back.
        state.slots[slot].buffers.to_device = parts;
        sent
    }

    /// Puts one buffer of a request into the ring; with `interrupt` its arrival wakes who waits.
    pub(super) fn send_part(
        &self,
        state: &mut State,
        slot: usize,
        part: Part,
        interrupt: bool,
    ) -> Result<(), Cause> {
        let Part { buffer, bytes } = part;
        self.queue(state, Sent::Buffer(slot), buffer, bytes, interrupt)?;
        state.slots[slot].out[0] += 1;
        Ok(())
    }

    /// As [`Self::send_part`] with an interrupt, and tells the device; who waits for the request is woken when
    /// it has arrived.
    pub(super) fn send_more(
        &self,
        state: &mut State,
        slot: usize,
        part: Part,
    ) -> Result<(), Cause> {
        state.slots[slot].streams = true;
        self.send_part(state, slot, part, true)?;
        Ok(to_device(state)?.launch()?)
    }

    fn queue(
        &self,
        state: &mut State,
        what: Sent,
        buffer: DmaBuffer,
        bytes: usize,
        interrupt: bool,
    ) -> Result<(), Cause> {
        to_device(state)?
            .queue(buffer, bytes, interrupt)
            .map_err(not_queued)?;
        state.sent.push_back(what);
        Ok(())
    }

    /// A small buffer: one that came back, or one from the shelf.
    pub(super) fn small(&self, state: &mut State) -> Result<DmaBuffer, Cause> {
        if state.spare.is_empty() {
            self.reap_sent(state)?;
        }
        match state.spare.pop() {
            Some(small) => Ok(small),
            None => Ok(self.pair.hub().small().map_err(DmaError::from)?),
        }
    }

    /// Takes back what the device has taken.
    pub(super) fn reap_sent(&self, state: &mut State) -> Result<(), Cause> {
        while let Some(done) = to_device(state)?.reap()? {
            match state.sent.pop_front() {
                Some(Sent::Message) => state.spare.push(done.buffer),
                Some(Sent::Buffer(slot)) => {
                    state.back(slot, 0, done);
                    if state.slots[slot].is_done() {
                        self.complete(state, slot);
                    } else if state.slots[slot].streams {
                        state.wake |= 1 << slot;
                    }
                }
                None => return Err(Cause::Failed("a buffer came back that was not sent".into())),
            }
        }
        Ok(())
    }
}

pub(super) fn to_device(state: &mut State) -> Result<&mut Channel, Cause> {
    match &mut state.rings {
        Some(rings) => Ok(&mut rings.to_device),
        None => Err(state.over.clone().unwrap_or(Cause::Closed)),
    }
}

/// A buffer that was looked at before was not taken.
pub(super) fn not_queued(error: SubmitError) -> Cause {
    match error.reason {
        SubmitProblem::Dma(error) => error.into(),
        other => Cause::Failed(other.to_string()),
    }
}
