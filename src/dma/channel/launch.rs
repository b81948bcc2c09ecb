//! Into the ring: buffers become descriptors, and one register write tells the device.

use super::super::list::{Chunk, part, to_u32, to_usize};
use super::super::{
    CompletionSignal, DmaBuffer, DmaError, SubmitError, SubmitProblem, TransferId, fence,
};
use super::{Channel, Held, MAX_IN_FLIGHT, Piece};
use crate::spec::descriptor::{control, data_id};
use crate::spec::session::MAX_LAUNCHES;
use crate::transport::bars::Bars;
use crate::transport::{Direction, Sync};

impl Channel {
    /// Gives the first `bytes` of `buffer` to the device.
    ///
    /// # On the device
    /// Descriptors to memory, then one write of the available count.
    ///
    /// # Errors
    /// The buffer comes back with the reason; nothing was given to the device.
    #[expect(clippy::result_large_err, reason = "the error carries the buffer back")]
    pub fn submit(&mut self, buffer: DmaBuffer, bytes: usize) -> Result<TransferId, SubmitError> {
        if let Err(reason) = self.accepts(&buffer, bytes) {
            return Err(SubmitError { buffer, reason });
        }
        let wanted = to_u32(bytes.div_ceil(to_usize(self.options.page)));
        if wanted > self.ring.free() || self.held.len() >= MAX_LAUNCHES || self.waiting > 0 {
            let (free, in_flight) = (self.ring.free(), self.held.len());
            let reason = SubmitProblem::Full {
                wanted,
                free,
                in_flight,
            };
            return Err(SubmitError { buffer, reason });
        }
        let before = self.ring;
        let id = self.queue(buffer, bytes, true)?;
        match (self.launch(), self.held.pop_back()) {
            (Err(reason), Some(held)) => {
                self.pieces.pop_back();
                self.ring = before;
                self.submitted -= 1;
                let (buffer, reason) = (held.buffer, reason.into());
                Err(SubmitError { buffer, reason })
            }
            (_, held) => {
                self.held.extend(held);
                Ok(id)
            }
        }
    }

    /// Puts the first `bytes` of `buffer` into the ring, behind what is there; the device knows of it after
    /// [`Self::launch`]. What does not fit now follows by itself as [`Self::reap`] makes room. With
    /// `interrupt` its completion interrupts.
    ///
    /// # Errors
    /// The buffer comes back with the reason.
    #[expect(clippy::result_large_err, reason = "the error carries the buffer back")]
    pub fn queue(
        &mut self,
        buffer: DmaBuffer,
        bytes: usize,
        interrupt: bool,
    ) -> Result<TransferId, SubmitError> {
        if let Err(reason) = self.accepts(&buffer, bytes) {
            return Err(SubmitError { buffer, reason });
        }
        self.held.push_back(Held {
            buffer,
            bytes,
            placed: 0,
            interrupt,
        });
        self.waiting += 1;
        if let Err(reason) = self.place() {
            self.waiting -= 1;
            if let Some(Held { buffer, .. }) = self.held.pop_back() {
                let reason = reason.into();
                return Err(SubmitError { buffer, reason });
            }
        }
        self.submitted += 1;
        Ok(TransferId(self.submitted - 1))
    }

    /// Whether a buffer can be given to this channel at all.
    ///
    /// # Errors
    /// Why not.
    pub fn accepts(&self, buffer: &DmaBuffer, bytes: usize) -> Result<(), SubmitProblem> {
        if bytes == 0 || bytes > buffer.len() {
            return Err(SubmitProblem::BadLength {
                bytes,
                len: buffer.len(),
            });
        }
        let (mapped, needed) = (buffer.direction(), self.direction());
        if mapped != needed && mapped != Direction::Both {
            return Err(SubmitProblem::WrongDirection {
                channel: self.number,
                mapped,
                needed,
            });
        }
        if self.held.len() >= MAX_IN_FLIGHT {
            let (free, in_flight) = (self.ring.free(), self.held.len());
            return Err(SubmitProblem::Full {
                wanted: to_u32(bytes.div_ceil(to_usize(self.options.page))),
                free,
                in_flight,
            });
        }
        if self.word.is_none() {
            return Err(DmaError::NotStarted(self.number).into());
        }
        Ok(())
    }

    /// Puts as much of what waits into the ring as fits. A buffer that does not fit as a whole goes in pieces
    /// of a quarter of the ring, each a multiple of the page size: the other end does not see the cut.
    pub(super) fn place(&mut self) -> Result<(), DmaError> {
        let list = self
            .list
            .as_ref()
            .ok_or(DmaError::NotStarted(self.number))?;
        let page = to_usize(self.options.page);
        while self.waiting > 0 {
            let index = self.held.len() - self.waiting;
            let Some(held) = self.held.get_mut(index) else {
                break;
            };
            let (left, free) = (held.bytes - held.placed, self.ring.free());
            let quarter = self.ring.len() / 4;
            let ends = to_u32(left.div_ceil(page)) <= free;
            if !ends && (free < quarter || quarter == 0) {
                break;
            }
            let bytes = if ends { left } else { to_usize(quarter) * page };
            let whole = held.placed == 0 && ends;
            let cut = (!whole).then(|| part(held.buffer.segments(), held.placed, bytes));
            let chunk = Chunk {
                segments: cut.as_deref().unwrap_or(held.buffer.segments()),
                bytes,
                page: self.options.page,
                data_id: data_id::HOST,
                last_control: last_control(self.options.signal, held.interrupt || !ends),
            };
            let first = self.ring.next();
            let count = list.program(&chunk, first)?;
            if !self.transport.capabilities().coherent {
                self.transport.sync(
                    held.buffer.mapping().memory(),
                    held.placed,
                    bytes,
                    Sync::ForDevice,
                );
            }
            self.ring.give(count);
            held.placed += bytes;
            let last = self.ring.after(first, count - 1);
            self.pieces.push_back(Piece { last, count, ends });
            self.waiting -= usize::from(ends);
        }
        Ok(())
    }

    /// Tells the device of everything that was queued since the last launch.
    ///
    /// # On the device
    /// One write of the available count; nothing where nothing was queued.
    ///
    /// # Errors
    /// The transport's.
    pub fn launch(&mut self) -> Result<(), DmaError> {
        let word = self.word.ok_or(DmaError::NotStarted(self.number))?;
        if word.available() == self.ring.next() {
            return Ok(());
        }
        fence::before_doorbell();
        let word = word.with_available(self.ring.next());
        self.transport.write_at(self.side.0, word)?;
        self.word = Some(word);
        Ok(())
    }
}

/// Control bits of the last descriptor of a piece.
fn last_control(signal: CompletionSignal, interrupt: bool) -> u32 {
    let status = match signal {
        CompletionSignal::Interrupt => control::PLAIN,
        CompletionSignal::Memory => control::PLAIN | control::REQUEST_STATUS,
    };
    if interrupt {
        status | control::INTERRUPT_HOST
    } else {
        status
    }
}
