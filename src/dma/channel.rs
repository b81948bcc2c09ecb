//! One direction of a session: a circular list, its register side, and the buffers in flight.

use std::collections::VecDeque;
use std::sync::Arc;

use super::list::{Chunk, check_page, to_u32, to_usize};
use super::side::{Side, Stop};
use super::{
    ChannelOptions, Completion, CompletionSignal, DescriptorList, DmaBuffer, DmaError, Outcome,
    Ring, SubmitError, SubmitProblem, TransferId, fence,
};
use crate::spec::descriptor::{control, data_id};
use crate::spec::vdma_bar::{
    CHANNELS, ChannelControl, ChannelProgress, FIRST_FROM_DEVICE, device_side, host_side,
};
use crate::transport::bars::Bars;
use crate::transport::{Direction, Sync, Transport};

/// Transfers in flight in one channel, as the vendor's driver has them at most.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`.
#[doc(alias = "HAILO_VDMA_MAX_ONGOING_TRANSFERS")]
pub(super) const MAX_IN_FLIGHT: usize = 127;

#[derive(Debug)]
struct InFlight {
    buffer: DmaBuffer,
    bytes: usize,
    last: u32,
    count: u32,
}

/// One channel, driven from the host's side. Not `Clone`; dropping it stops it.
///
/// Submitting costs no lock, allocation, system call or MMIO read: descriptors are written to
/// memory, then the available count by one register write. The word is written from a shadow, since
/// only this type writes it; after [`Self::distrust`] each submit reads it first.
#[derive(Debug)]
pub struct Channel {
    transport: Arc<dyn Transport>,
    number: u32,
    side: Side,
    options: ChannelOptions,
    ring: Ring,
    list: Option<DescriptorList>,
    word: Option<ChannelControl>,
    in_flight: VecDeque<InFlight>,
    submitted: u64,
    distrusted: bool,
}

impl Channel {
    /// Allocates the list of channel `number`, 0..=31. Nothing is written to the device.
    ///
    /// # Errors
    /// Options that the engine can't do, or no memory.
    pub fn new(
        transport: &Arc<dyn Transport>,
        number: u32,
        options: ChannelOptions,
    ) -> Result<Self, DmaError> {
        check_page(options.page)?;
        let ring = Ring::new(options.descriptors).filter(|_| number < CHANNELS);
        let ring = ring.ok_or(DmaError::BadListLength(options.descriptors))?;
        let list = DescriptorList::new(
            transport,
            options.descriptors,
            options.signal == CompletionSignal::Memory,
        )?;
        Ok(Self {
            transport: transport.clone(),
            number,
            side: Side(host_side(number)),
            options,
            ring,
            list: Some(list),
            word: None,
            in_flight: VecDeque::with_capacity(MAX_IN_FLIGHT),
            submitted: 0,
            distrusted: false,
        })
    }

    /// Which way this channel carries data.
    #[must_use]
    pub fn direction(&self) -> Direction {
        if self.number < FIRST_FROM_DEVICE {
            Direction::ToDevice
        } else {
            Direction::FromDevice
        }
    }

    /// Its number, 0..=31.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Transfers in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Descriptors that can be submitted now.
    #[must_use]
    pub fn free_descriptors(&self) -> u32 {
        self.ring.free()
    }

    /// Starts the channel, ring empty.
    ///
    /// # Errors
    /// Transfers are in flight (stop first), or the transport's.
    pub fn start(&mut self) -> Result<(), DmaError> {
        let list = self.list.as_ref().filter(|_| self.in_flight.is_empty());
        let list = list.ok_or(DmaError::NotStarted(self.number))?;
        self.word = Some(self.side.start(&*self.transport, list)?);
        self.ring = Ring::new(self.options.descriptors)
            .ok_or(DmaError::BadListLength(self.options.descriptors))?;
        self.distrusted = false;
        Ok(())
    }

    /// Stops trusting the shadow of the control word: from the first sign of a close on, each submit
    /// reads the register, since a blind write could restart a channel that the peer has stopped.
    pub fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Gives the first `bytes` of `buffer` to the device.
    ///
    /// # On the device
    /// Descriptors to memory, then one write of the available count.
    ///
    /// # Errors
    /// The buffer comes back with the reason; nothing was given to the device.
    #[expect(clippy::result_large_err, reason = "the error carries the buffer back")]
    pub fn submit(&mut self, buffer: DmaBuffer, bytes: usize) -> Result<TransferId, SubmitError> {
        match self.try_submit(&buffer, bytes) {
            Ok((last, count)) => {
                self.in_flight.push_back(InFlight {
                    buffer,
                    bytes,
                    last,
                    count,
                });
                self.submitted += 1;
                Ok(TransferId(self.submitted - 1))
            }
            Err(reason) => Err(SubmitError { buffer, reason }),
        }
    }

    fn try_submit(
        &mut self,
        buffer: &DmaBuffer,
        bytes: usize,
    ) -> Result<(u32, u32), SubmitProblem> {
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
        let last_control = match self.options.signal {
            CompletionSignal::Interrupt => control::INTERRUPT_HOST,
            CompletionSignal::Memory => control::INTERRUPT_HOST | control::REQUEST_STATUS,
        };
        let segments = buffer.segments();
        let chunk = Chunk {
            segments,
            bytes,
            page: self.options.page,
            data_id: data_id::HOST,
            last_control,
        };
        let wanted = chunk.descriptors();
        if wanted > self.ring.free() || self.in_flight.len() >= MAX_IN_FLIGHT {
            let (free, in_flight) = (self.ring.free(), self.in_flight.len());
            return Err(SubmitProblem::Full {
                wanted,
                free,
                in_flight,
            });
        }
        let mut word = self.word.ok_or(DmaError::NotStarted(self.number))?;
        if self.distrusted {
            word = self.check_active()?;
        }
        let list = self
            .list
            .as_ref()
            .ok_or(DmaError::NotStarted(self.number))?;
        let first = self.ring.next();
        list.program(&chunk, first)?;
        if !self.transport.capabilities().coherent {
            self.transport
                .sync(buffer.mapping().memory(), 0, bytes, Sync::ForDevice);
        }
        let mut ring = self.ring;
        ring.give(wanted);
        fence::before_doorbell();
        let word = word.with_available(ring.next());
        self.transport
            .write_at(self.side.0, word)
            .map_err(DmaError::from)?;
        self.ring = ring;
        self.word = Some(word);
        Ok((ring.after(first, wanted - 1), wanted))
    }

    /// Reads the control word and checks that the peer has not closed the channel.
    fn check_active(&self) -> Result<ChannelControl, DmaError> {
        let state = self.side.state(&*self.transport)?;
        if !state.is_active() {
            return Err(DmaError::Closed {
                channel: self.number,
                state,
            });
        }
        Ok(state.control)
    }

    /// Takes back the oldest transfer if it is complete. By [`CompletionSignal::Memory`] this touches
    /// memory only; by [`CompletionSignal::Interrupt`] it reads one register, but only when nothing
    /// that an earlier read completed is left.
    ///
    /// # Errors
    /// The device's counters make no sense, a descriptor failed, or the transport's. What is in
    /// flight stays so until [`Self::stop`].
    pub fn reap(&mut self) -> Result<Option<Completion>, DmaError> {
        let Some(oldest) = self.in_flight.front() else {
            return Ok(None);
        };
        let (last, count) = (oldest.last, oldest.count);
        match self.options.signal {
            CompletionSignal::Memory => {
                let list = self
                    .list
                    .as_ref()
                    .ok_or(DmaError::NotStarted(self.number))?;
                let status = list.status(last)?;
                if status.is_error() {
                    return Err(self.engine_error(last)?);
                }
                if !status.is_done() {
                    return Ok(None);
                }
                let processed = self.ring.after(last, 1);
                self.complete(processed)?;
            }
            CompletionSignal::Interrupt => {
                if self.owed() < count {
                    let progress: ChannelProgress = self.transport.read_at(self.side.0)?;
                    if progress.0 == u32::MAX {
                        self.transport.check_present()?;
                    }
                    self.complete(progress.processed())?;
                }
                if self.owed() < count {
                    return Ok(None);
                }
            }
        }
        fence::after_completion();
        let finished = self.in_flight.pop_front();
        Ok(finished.map(|transfer| self.finish(transfer, Outcome::Done)))
    }

    /// Descriptors that the device finished and that no reaped transfer accounts for.
    fn owed(&self) -> u32 {
        let given: u32 = self.in_flight.iter().map(|transfer| transfer.count).sum();
        given - self.ring.in_flight()
    }

    fn complete(&mut self, processed: u32) -> Result<(), DmaError> {
        let problem = |problem| DmaError::OutOfStep {
            channel: self.number,
            problem,
        };
        let mut ring = self.ring;
        ring.complete(processed).map_err(problem)?;
        self.ring = ring;
        Ok(())
    }

    fn finish(&self, transfer: InFlight, outcome: Outcome) -> Completion {
        let InFlight { buffer, bytes, .. } = transfer;
        if !self.transport.capabilities().coherent && self.direction() == Direction::FromDevice {
            self.transport
                .sync(buffer.mapping().memory(), 0, bytes, Sync::ForCpu);
        }
        let id = TransferId(self.submitted - 1 - to_u64(self.in_flight.len()));
        Completion {
            id,
            buffer,
            bytes,
            outcome,
        }
    }

    /// Looks why a channel makes no progress: closed by the peer, failed, or simply not done yet.
    ///
    /// # Errors
    /// [`DmaError::Closed`], [`DmaError::Engine`], device gone, or the transport's.
    pub fn diagnose(&self) -> Result<(), DmaError> {
        self.transport.check_present()?;
        let state = self.side.state(&*self.transport)?;
        if state.error.error() != 0 {
            return Err(self.engine_error(state.progress.processed() & (self.ring.len() - 1))?);
        }
        if self.word.is_some() && !state.is_active() {
            return Err(DmaError::Closed {
                channel: self.number,
                state,
            });
        }
        Ok(())
    }

    fn engine_error(&self, index: u32) -> Result<DmaError, DmaError> {
        let list = self
            .list
            .as_ref()
            .ok_or(DmaError::NotStarted(self.number))?;
        let host = self.side.state(&*self.transport)?;
        let device = Side(device_side(self.number)).state(&*self.transport)?;
        Ok(DmaError::Engine {
            channel: self.number,
            host,
            device,
            index,
            descriptor: list.look(index)?,
        })
    }

    /// Stops the channel and gives back what was in flight, oldest first.
    ///
    /// # Errors
    /// The stop is not confirmed: the transport failed or the engine did not go idle. What was in
    /// flight, and the list, are then leaked on purpose, since the device may still use them; the
    /// channel can't be started again.
    pub fn stop(&mut self) -> Result<Vec<Completion>, DmaError> {
        if self.word.is_none() {
            return Ok(Vec::new());
        }
        let stopped = self.side.stop(&*self.transport).and_then(|stop| {
            self.transport.check_present()?;
            Ok(stop)
        });
        self.word = None;
        match stopped {
            Ok(Stop::Confirmed) => Ok(self.take_back()),
            Ok(Stop::NotIdle(state)) => {
                self.leak();
                Err(DmaError::Closed {
                    channel: self.number,
                    state,
                })
            }
            Err(error) => {
                self.leak();
                Err(error.into())
            }
        }
    }

    fn take_back(&mut self) -> Vec<Completion> {
        let mut all = Vec::with_capacity(self.in_flight.len());
        while let Some(transfer) = self.in_flight.pop_front() {
            all.push(self.finish(transfer, Outcome::Stopped));
        }
        all
    }

    /// Keeps the memory of a channel whose stop is not confirmed mapped and allocated for good.
    fn leak(&mut self) {
        let bytes: usize = self
            .in_flight
            .iter()
            .map(|transfer| transfer.buffer.len())
            .sum();
        log::warn!(
            "{}: channel {} did not confirm its stop; {} buffers ({bytes} bytes) and its list are leaked",
            self.transport.name(),
            self.number,
            self.in_flight.len()
        );
        std::mem::forget(self.in_flight.drain(..).collect::<Vec<_>>());
        std::mem::forget(self.list.take());
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::warn!(
                "{}: stopping channel {} on drop: {error}",
                self.transport.name(),
                self.number
            );
        }
    }
}

fn to_u64(value: usize) -> u64 {
    u64::from(to_u32(value))
}

const _: () = assert!(MAX_IN_FLIGHT < to_usize(u32::MAX));
