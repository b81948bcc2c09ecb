//! One direction of a session: a circular list, its register side, and the buffers in flight.

mod firmware;
mod launch;

use std::collections::VecDeque;
use std::sync::Arc;

use super::list::{check_page, to_u32, to_usize};
use super::side::{Side, Stop};
use super::{
    ChannelOptions, Completion, CompletionSignal, DescriptorList, DmaBuffer, DmaError, Outcome,
    Ring, TransferId, fence,
};
use crate::spec::session::{BUFFERS_PER_LAUNCH, MAX_LAUNCHES};
use crate::spec::vdma_bar::{
    CHANNELS, ChannelControl, ChannelProgress, FIRST_FROM_DEVICE, control, device_side, host_side,
};
use crate::transport::bars::Bars;
use crate::transport::{Direction, Sync, Transport};

/// Buffers in flight in one channel: as many launches as the vendor's driver has at most, of as many buffers.
///
/// Source: vendor hailort-drivers v5.3.0, `common/vdma_common.h`, `common/hailo_ioctl_common.h`.
#[doc(alias = "HAILO_VDMA_MAX_ONGOING_TRANSFERS")]
pub(crate) const MAX_IN_FLIGHT: usize = MAX_LAUNCHES * BUFFERS_PER_LAUNCH;

/// A buffer that is not complete.
#[derive(Debug)]
struct Held {
    buffer: DmaBuffer,
    bytes: usize,
    /// Bytes of it that lie in the ring, or went through it.
    placed: usize,
    interrupt: bool,
}

/// What of a buffer lies in the ring: all of it, unless it is longer than the ring has room.
#[derive(Debug)]
struct Piece {
    last: u32,
    count: u32,
    ends: bool,
}

/// One channel, driven from the host's side. Not `Clone`; dropping it stops it.
///
/// Submitting costs no lock, allocation, system call or MMIO read: descriptors are written to
/// memory, then the available count by one register write. The word is written from a shadow, since
/// only this type writes it.
#[derive(Debug)]
pub struct Channel {
    transport: Arc<dyn Transport>,
    number: u32,
    side: Side,
    options: ChannelOptions,
    ring: Ring,
    list: Option<DescriptorList>,
    word: Option<ChannelControl>,
    /// Oldest first.
    held: VecDeque<Held>,
    pieces: VecDeque<Piece>,
    /// How many of `held`, the youngest, are not completely in the ring.
    waiting: usize,
    /// Descriptors that the device finished and that no reaped piece accounts for.
    owed: u32,
    submitted: u64,
    /// The device's side is known to have run.
    peer_ran: bool,
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
        let options = options.on(transport);
        let statuses = options.signal == CompletionSignal::Memory;
        let list = DescriptorList::new(transport, options.descriptors, statuses)?;
        Self::with_list(transport, number, options, list)
    }

    /// As [`Self::new`], with a list that was used before (see [`Self::into_list`]).
    ///
    /// # Errors
    /// Options that the engine can't do, or that the list does not fit.
    pub fn with_list(
        transport: &Arc<dyn Transport>,
        number: u32,
        options: ChannelOptions,
        list: DescriptorList,
    ) -> Result<Self, DmaError> {
        check_page(options.page)?;
        let fits = number < CHANNELS && list.len() == options.descriptors;
        let ring = Ring::new(options.descriptors).filter(|_| fits);
        let ring = ring.ok_or(DmaError::BadListLength(options.descriptors))?;
        let options = options.on(transport);
        Ok(Self {
            transport: transport.clone(),
            number,
            side: Side(host_side(number)),
            options,
            ring,
            list: Some(list),
            word: None,
            held: VecDeque::with_capacity(MAX_LAUNCHES),
            pieces: VecDeque::with_capacity(MAX_LAUNCHES),
            waiting: 0,
            owed: 0,
            submitted: 0,
            peer_ran: false,
        })
    }

    /// The list of a channel that was stopped, to be used again; `None` where the stop was not confirmed.
    #[must_use]
    pub fn into_list(mut self) -> Option<DescriptorList> {
        if self.word.is_some() {
            return None; // Dropped, and stopped by that.
        }
        self.list.take()
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
        self.held.len()
    }

    /// Starts the channel, ring empty.
    ///
    /// # Errors
    /// Transfers are in flight (stop first), or the transport's.
    pub fn start(&mut self) -> Result<(), DmaError> {
        let list = self.list.as_ref().filter(|_| self.held.is_empty());
        let list = list.ok_or(DmaError::NotStarted(self.number))?;
        self.word = Some(self.side.start(&*self.transport, list)?);
        self.ring = Ring::new(self.options.descriptors)
            .ok_or(DmaError::BadListLength(self.options.descriptors))?;
        self.owed = 0;
        self.peer_ran = false;
        Ok(())
    }

    /// Looks whether the device's own side runs. If it does, [`Self::diagnose`] takes it for closed where it does not
    /// any more: a launch that crosses with a close starts the host's side again, which then looks open.
    ///
    /// # Errors
    /// The transport's.
    pub fn note_peer(&mut self) -> Result<(), DmaError> {
        self.peer_ran = self.peer_runs()?;
        Ok(())
    }

    fn peer_runs(&self) -> Result<bool, DmaError> {
        let word: ChannelControl = self.transport.read_at(device_side(self.number))?;
        Ok(word.control() & control::ACTIVE != 0)
    }

    /// Reads the control word and checks that the peer has not closed the channel.
    fn check_active(&self) -> Result<(), DmaError> {
        let state = self.side.state(&*self.transport)?;
        if !state.is_active() {
            return Err(DmaError::Closed {
                channel: self.number,
                state,
            });
        }
        Ok(())
    }

    /// Takes back the oldest transfer if it is complete. By [`CompletionSignal::Memory`] this touches
    /// memory only; by [`CompletionSignal::Interrupt`] it reads one register, but only when nothing
    /// that an earlier read completed is left. Where a buffer waits for room it then follows.
    ///
    /// # Errors
    /// The device's counters make no sense, a descriptor failed, or the transport's. What is in
    /// flight stays so until [`Self::stop`].
    pub fn reap(&mut self) -> Result<Option<Completion>, DmaError> {
        while let Some(&Piece { last, count, ends }) = self.pieces.front() {
            if self.owed < count && !self.is_done(last, count)? {
                return Ok(None);
            }
            self.owed -= count;
            self.pieces.pop_front();
            fence::after_completion();
            let finished = if ends { self.held.pop_front() } else { None };
            if self.waiting > 0 {
                self.place()?;
                self.launch()?;
            }
            if let Some(held) = finished {
                return Ok(Some(self.finish(held, Outcome::Done)));
            }
        }
        Ok(None)
    }

    /// Looks whether the oldest piece, of `count` descriptors up to `last`, is done.
    fn is_done(&mut self, last: u32, count: u32) -> Result<bool, DmaError> {
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
                    return Ok(false);
                }
                self.complete(self.ring.after(last, 1))?;
            }
            CompletionSignal::Interrupt => {
                let progress: ChannelProgress = self.transport.read_at(self.side.0)?;
                if progress.0 == u32::MAX {
                    self.transport.check_present()?;
                }
                self.complete(progress.processed())?;
            }
        }
        Ok(self.owed >= count)
    }

    /// Looks at the device's counter where the memory shows nothing: whether something is complete that no
    /// status word tells of. From then on the channel goes by the counter.
    ///
    /// # Errors
    /// The counter makes no sense, or the transport's.
    pub fn look_at_counter(&mut self) -> Result<bool, DmaError> {
        let Some(&Piece { last, count, .. }) = self.pieces.front() else {
            return Ok(false);
        };
        if self.owed >= count || self.is_done(last, count)? {
            return Ok(true);
        }
        if self.options.signal == CompletionSignal::Interrupt {
            return Ok(false);
        }
        self.options.signal = CompletionSignal::Interrupt;
        let counted = self.is_done(last, count);
        self.options.signal = CompletionSignal::Memory;
        let done = match counted {
            // Behind the status words, which may come first: no news, and no close either.
            Err(DmaError::OutOfStep { problem, .. }) if problem.found <= self.ring.len() => false,
            counted => counted?,
        };
        // What the device wrote before it answered the read is there now: it may be done since the first look.
        let list = self.list.as_ref();
        let list = list.ok_or(DmaError::NotStarted(self.number))?;
        let told = list.status(last)?.is_done();
        if done && !told {
            log::warn!(
                "{}: channel {} writes no status words; going by its counter",
                self.transport.name(),
                self.number
            );
            self.options.signal = CompletionSignal::Interrupt;
        }
        Ok(done)
    }

    fn complete(&mut self, processed: u32) -> Result<(), DmaError> {
        let mut ring = self.ring;
        match ring.complete(processed) {
            Ok(finished) => {
                self.owed += finished;
                self.ring = ring;
                Ok(())
            }
            Err(problem) => {
                self.diagnose()?; // A close clears the counter, too.
                let channel = self.number;
                Err(DmaError::OutOfStep { channel, problem })
            }
        }
    }

    fn finish(&self, held: Held, outcome: Outcome) -> Completion {
        let Held { buffer, bytes, .. } = held;
        if !self.transport.capabilities().coherent && self.direction() == Direction::FromDevice {
            self.transport
                .sync(buffer.mapping().memory(), 0, bytes, Sync::ForCpu);
        }
        let id = TransferId(self.submitted - 1 - to_u64(self.held.len()));
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
        let closed = !state.is_active() || self.peer_ran && !self.peer_runs()?;
        if self.word.is_some() && closed {
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

    /// The function was reset, or the device's firmware says that it closed the channel: gives back what was in flight
    /// without a look at the registers, which may be another's by now.
    pub fn was_reset(&mut self) -> Vec<Completion> {
        self.word = None;
        self.take_back()
    }

    fn take_back(&mut self) -> Vec<Completion> {
        self.pieces.clear();
        self.waiting = 0;
        let mut all = Vec::with_capacity(self.held.len());
        while let Some(held) = self.held.pop_front() {
            all.push(self.finish(held, Outcome::Stopped));
        }
        all
    }

    /// Keeps the memory of a channel whose stop is not confirmed mapped and allocated for good.
    fn leak(&mut self) {
        let bytes: usize = self.held.iter().map(|held| held.buffer.len()).sum();
        log::warn!(
            "{}: channel {} did not confirm its stop; {} buffers ({bytes} bytes) and its list are leaked",
            self.transport.name(),
            self.number,
            self.held.len()
        );
        std::mem::forget(self.held.drain(..).collect::<Vec<_>>());
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
