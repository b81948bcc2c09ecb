//! Bulk transfers between host memory and the chip's before firmware runs: channels with a list on each side, as in
//! the boot transfer, but used as rings, over and over.
//!
//! That the engine also carries data back to the host in this state is inferred from its registers being the same;
//! unconfirmed on silicon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{BootError, ChannelReport};
use super::stages::BootContext;
use crate::addr::{DeviceAddr, Iova};
use crate::deadline::Deadline;
use crate::dma::{Chunk, DescriptorList, DmaBuffer, DmaError, Side, Stop, before_doorbell, part};
use crate::irq::{Event, Interrupts, Sink, Waited};
use crate::spec::descriptor::{control, data_id};
use crate::spec::vdma_bar::{
    ChannelControl, ChannelErrorAndListLow, ChannelProgress, FIRST_FROM_DEVICE, MAX_DESCRIPTORS,
    device_side, host_side,
};
use crate::transport::bars::Bars;
use crate::transport::{Direction, Segment, Sync, Transport, TransportError};

/// Longest wait for one transfer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How the channels are loaded. All sizes are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Which way.
    pub(crate) direction: Direction,
    /// Bytes of a transfer.
    pub(crate) size: u32,
    /// Bytes of a descriptor's page.
    pub(crate) page: u32,
    /// Channels at the same time, 1 to 16.
    pub(crate) channels: u32,
    /// Transfers in flight in each.
    pub(crate) depth: u32,
}

impl Load {
    /// Descriptors of a transfer.
    fn pages(&self) -> u32 {
        self.size.div_ceil(self.page)
    }

    /// Descriptors of a ring that holds what is in flight, and one more transfer: full and empty look alike.
    pub(crate) fn ring(&self) -> u32 {
        (self.pages() * (self.depth + 1)).next_power_of_two()
    }

    /// Whether such a ring can be placed.
    pub(crate) fn fits(&self, transport: &dyn Transport) -> bool {
        self.ring() <= transport.capabilities().longest_list.min(MAX_DESCRIPTORS)
    }
}

/// One channel and its buffer, which holds the transfers in flight side by side.
struct Lane {
    number: u32,
    sides: (Side, Side),
    lists: (DescriptorList, DescriptorList),
    words: Option<(ChannelControl, ChannelControl)>,
    buffer: DmaBuffer,
    given: u64,
    done: u64,
}

/// The interrupt thread signals it when any of the channels has an event.
#[derive(Debug, Default)]
struct Arrivals(Event);

impl Sink for Arrivals {
    fn completed(&self) {
        self.0.signal();
    }
    fn closed(&self) {}
    fn lost(&self, _reason: &str) {
        self.0.lose();
    }
}

/// Channels ready to carry data. Dropping it stops them; where that is not confirmed their memory is leaked.
pub(crate) struct RawTransfer<'a> {
    transport: Arc<dyn Transport>,
    interrupts: &'a Interrupts,
    arrivals: Arc<Arrivals>,
    load: Load,
    lanes: Vec<Lane>,
}

impl<'a> RawTransfer<'a> {
    /// Maps memory, writes the lists, and starts both sides of each channel. The chip's memory from `address` on is
    /// used, `room` bytes of it.
    pub(crate) fn prepare(
        context: &BootContext<'a>,
        load: Load,
        (address, room): (DeviceAddr, u64),
    ) -> Result<Self, BootError> {
        let transport = context.transport;
        let first = if load.direction == Direction::ToDevice {
            0
        } else {
            FIRST_FROM_DEVICE
        };
        let arrivals = Arc::new(Arrivals::default());
        let mask = ((1_u32 << load.channels) - 1) << first;
        context.interrupts.register(mask, arrivals.clone());
        let mut raw = Self {
            transport: transport.clone(),
            interrupts: context.interrupts,
            arrivals,
            load,
            lanes: Vec::new(),
        };
        for number in first..first + load.channels {
            let ring = load.ring();
            let bytes = to_usize(load.size * load.depth);
            raw.lanes.push(Lane {
                number,
                sides: (Side(host_side(number)), Side(device_side(number))),
                lists: (
                    DescriptorList::new(transport, ring, false)?,
                    DescriptorList::new(transport, ring, false)?,
                ),
                words: None,
                buffer: DmaBuffer::new(transport, bytes, load.direction).map_err(DmaError::from)?,
                given: 0,
                done: 0,
            });
        }
        for lane in &mut raw.lanes {
            lane.program(&load, (address, room))?;
            // Set before the second start, so that a failure between the two still stops the first.
            lane.words = Some(Default::default());
            let host = lane.sides.0.start(&**transport, &lane.lists.0)?;
            let device = lane.sides.1.start(&**transport, &lane.lists.1)?;
            lane.words = Some((host, device));
        }
        Ok(raw)
    }

    /// The buffer of the first channel, while nothing is in flight.
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        &mut self.lanes[0].buffer
    }

    /// Carries data for as long as `time` lasts and `go_on` says so, at least one transfer a channel; gives the bytes and how long they took.
    pub(crate) fn run(
        &mut self,
        time: Duration,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(u64, Duration), BootError> {
        for lane in &self.lanes {
            lane.sync(&*self.transport, Sync::ForDevice);
        }
        let started = Instant::now();
        let before: u64 = self.lanes.iter().map(|lane| lane.done).sum();
        let mut open = true;
        loop {
            let mut moved = false;
            let mut busy = false;
            for lane in &mut self.lanes {
                moved |= lane.collect(&*self.transport, &self.load)?;
                if open {
                    lane.feed(&*self.transport, &self.load)?;
                }
                busy |= lane.given != lane.done;
            }
            if !busy {
                break;
            }
            open = started.elapsed() < time && go_on();
            if !moved {
                self.wait()?;
            }
        }
        let took = started.elapsed();
        for lane in &self.lanes {
            lane.sync(&*self.transport, Sync::ForCpu);
        }
        let after: u64 = self.lanes.iter().map(|lane| lane.done).sum();
        Ok(((after - before) * u64::from(self.load.size), took))
    }

    fn wait(&self) -> Result<(), BootError> {
        let deadline = Deadline::after(TIMEOUT);
        match self.interrupts.wait(&self.arrivals.0, &deadline) {
            Waited::Fired => Ok(()),
            Waited::Lost => Err(BootError::Lost(
                self.interrupts.loss().unwrap_or_default().to_owned(),
            )),
            Waited::TimedOut => {
                self.transport.check_present()?;
                let lanes = self.lanes.iter();
                let channels = lanes.map(|lane| lane.report(&*self.transport));
                Err(BootError::DmaTimedOut {
                    waited: deadline.waited(),
                    channels: channels.collect::<Result<_, _>>()?,
                })
            }
        }
    }

    /// Stops all channels and frees the memory.
    pub(crate) fn finish(mut self) -> Result<(), BootError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), BootError> {
        let mut failed = None;
        for lane in &mut self.lanes {
            if lane.words.take().is_none() {
                continue;
            }
            for side in [lane.sides.0, lane.sides.1] {
                match side.stop(&*self.transport) {
                    Ok(Stop::Confirmed) => {}
                    Ok(Stop::NotIdle(state)) => {
                        let channel = lane.number;
                        failed = Some(DmaError::Closed { channel, state }.into());
                    }
                    Err(error) => failed = Some(error.into()),
                }
            }
        }
        let Some(error) = failed else { return Ok(()) };
        // With bus mastering off the device reaches nothing, whatever its channels do.
        if let Err(quiesce) = self.transport.quiesce() {
            log::warn!(
                "{}: neither the channels ({error}) nor bus mastering ({quiesce}) could be stopped; their memory is leaked",
                self.transport.name()
            );
            std::mem::forget(self.lanes.drain(..).collect::<Vec<_>>());
        }
        Err(error)
    }
}

impl Drop for RawTransfer<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::debug!("{}: stopping channels: {error}", self.transport.name());
        }
        let numbers = self.lanes.iter().map(|lane| 1_u32 << lane.number);
        self.interrupts.unregister(numbers.sum());
    }
}

impl Lane {
    /// Writes both lists completely: the ring holds the same transfers over and over.
    fn program(&self, load: &Load, (address, room): (DeviceAddr, u64)) -> Result<(), DmaError> {
        let size = to_usize(load.size);
        let slots = load.ring() / load.pages();
        for slot in 0..slots {
            let offset = to_usize(slot % load.depth) * size;
            let segments = part(self.buffer.segments(), offset, size);
            let chunk = |segments, data_id, last_control| Chunk {
                segments,
                bytes: size,
                page: load.page,
                data_id,
                last_control,
            };
            let host = chunk(&segments, data_id::HOST, control::INTERRUPT_HOST);
            self.lists.0.program(&host, slot * load.pages())?;
            let place = u64::from(self.number % FIRST_FROM_DEVICE * load.depth + slot % load.depth)
                * u64::from(load.size);
            let target = [Segment {
                address: Iova(address.0 + place % room.max(1)),
                len: size,
            }];
            let device = chunk(&target, data_id::DEVICE, control::PLAIN);
            self.lists.1.program(&device, slot * load.pages())?;
        }
        Ok(())
    }

    /// Makes transfers available until as many are in flight as there may be.
    fn feed(&mut self, transport: &dyn Transport, load: &Load) -> Result<(), TransportError> {
        let depth = u64::from(load.depth);
        if self.given - self.done == depth {
            return Ok(());
        }
        self.given = self.done + depth;
        before_doorbell();
        let (host, device) = self.words.unwrap_or_default();
        let ring = u64::from(load.ring());
        let available = self.given * u64::from(load.pages()) % ring;
        let available = u32::try_from(available).unwrap_or_default();
        transport.write_at(self.sides.0.0, host.with_available(available))?;
        transport.write_at(self.sides.1.0, device.with_available(available))
    }

    /// Counts what is done; whether that is more than before.
    fn collect(&mut self, transport: &dyn Transport, load: &Load) -> Result<bool, BootError> {
        if self.given == self.done {
            return Ok(false);
        }
        let progress: ChannelProgress = transport.read_at(self.sides.0.0)?;
        let (ring, pages) = (load.ring(), u64::from(load.pages()));
        let seen = (self.done * pages) % u64::from(ring);
        let seen = u32::try_from(seen).unwrap_or_default();
        let ahead = progress.processed().wrapping_sub(seen) & (ring - 1);
        let more = u64::from(ahead) / pages;
        if more > self.given - self.done {
            return Err(self.failure(transport)?);
        }
        if more == 0 {
            let host: ChannelErrorAndListLow = transport.read_at(self.sides.0.0)?;
            let device: ChannelErrorAndListLow = transport.read_at(self.sides.1.0)?;
            if host.error() != 0 || device.error() != 0 {
                return Err(self.failure(transport)?);
            }
        }
        self.done += more;
        Ok(more > 0)
    }

    fn report(&self, transport: &dyn Transport) -> Result<ChannelReport, TransportError> {
        Ok(ChannelReport {
            number: self.number,
            given: u32::try_from(self.given - self.done).unwrap_or(u32::MAX),
            host: self.sides.0.state(transport)?,
            device: self.sides.1.state(transport)?,
        })
    }

    /// What the registers say about a failure.
    fn failure(&self, transport: &dyn Transport) -> Result<BootError, BootError> {
        let ChannelReport { host, device, .. } = self.report(transport)?;
        let index = host.progress.processed() & (self.lists.0.len() - 1);
        Ok(DmaError::Engine {
            channel: self.number,
            host,
            device,
            index,
            descriptor: self.lists.0.look(index)?,
        }
        .into())
    }

    fn sync(&self, transport: &dyn Transport, whose: Sync) {
        if !transport.capabilities().coherent {
            transport.sync(self.buffer.mapping().memory(), 0, self.buffer.len(), whose);
        }
    }
}

/// Lossless on the hosts that this runs on.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
