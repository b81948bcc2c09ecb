//! The vDMA engine: fetches descriptors of both sides, moves data, tells progress.
//!
//! It works in slices: a batch of descriptors is chosen under the chip's lock, fetched and copied
//! without it, and its progress is noted under the lock again. What was stopped or reset in between
//! (another [`Channel::life`](super::channel::Channel)) is dropped. Pages that follow each other on
//! both sides travel as one copy; order, progress, events and failures are those of single pages.

use std::sync::Arc;
use std::time::Instant;

use zerocopy::FromBytes;

use super::bridge::EventSide;
use super::channel::{Side, error};
use super::chip::Shared;
use super::core::Core;
use super::fault::Fault;
use super::memory::{Dram, NoMemory};
use crate::addr::{DeviceAddr, Iova};
use crate::spec::descriptor::{Descriptor, LEN, MAX_PAGE, Status, control, data_id};
use crate::spec::vdma_bar::FIRST_FROM_DEVICE;
use crate::transport::local::Host;

/// Descriptors of one side fetched at a time.
const BATCH: u32 = 512;
/// Most bytes moved by one copy.
const SLICE: usize = 1 << 18;

const SOURCE: usize = 0;
const DESTINATION: usize = 1;
const NAMES: [&str; 2] = ["source", "destination"];

/// Control bits that have a meaning.
const KNOWN_CONTROL: u32 =
    control::INTERRUPT_HOST | control::REQUEST_STATUS | control::DEVICE_INTERRUPT;

/// A batch of descriptors of one channel, with all that is needed to process it unlocked.
pub(super) struct Job {
    channel: u32,
    life: u32,
    sides: [Side; 2],
    count: u32,
    host: Arc<dyn Host>,
    dram: Arc<Dram>,
    /// The descriptor that fails (a fault).
    bad: Option<u32>,
    /// The fault that ends uploads: its limit, and the bytes that may still arrive.
    room: Option<(u64, u64)>,
    dram_ready: bool,
}

impl Core {
    /// The next batch, of the first channel from `from` on that has one.
    pub(super) fn next_job(&mut self, from: u32) -> Option<Job> {
        let host = self.host.clone()?;
        let from_host = (from..FIRST_FROM_DEVICE).chain(0..from.min(FIRST_FROM_DEVICE));
        let channel = from_host
            .into_iter()
            .find(|&channel| self.may_move(channel))?;
        let found = self.channels.get(channel);
        let [source, destination] = found.sides;
        let batch = |side: &Side| side.waiting().min(side.len() - side.next());
        let count = batch(&source).min(batch(&destination)).min(BATCH);
        if let Some(place) = self.channels.get_mut(channel) {
            for side in &mut place.sides {
                side.fetch(count);
            }
        }
        let bad = self.faults.look(|fault| match fault {
            Fault::DescriptorError(index) => Some(*index),
            _ => None,
        });
        let room = self.faults.look(|fault| match fault {
            Fault::FailAfter(bytes) => Some(*bytes),
            _ => None,
        });
        let room = room.map(|limit| (limit, limit.saturating_sub(self.memory.received.total())));
        Some(Job {
            channel,
            life: found.life,
            sides: found.sides,
            count,
            host,
            dram: self.memory.dram().clone(),
            bad,
            room: if self.upload_broken {
                Some((0, 0))
            } else {
                room
            },
            dram_ready: self.memory.dram_ready,
        })
    }

    /// Whether the channel has descriptors on both sides and nothing holds them back.
    fn may_move(&mut self, channel: u32) -> bool {
        let found = self.channels.get(channel);
        let ready = found
            .sides
            .iter()
            .all(|side| side.runs() && side.waiting() > 0);
        let fed = ready || found.sides[SOURCE].runs() && found.sides[SOURCE].waiting() > 0;
        if !fed || found.stuck {
            return false;
        }
        let obstacle = if !self.config.is_master() {
            "bus mastering is off"
        } else if self.firmware.is_running() {
            "no session uses it"
        } else if !self.vdma_is_open() {
            "bit 2 of the PCIe config register is clear"
        } else if !ready {
            return false; // The other side comes later.
        } else if self.faults.fires(Fault::StuckChannel(channel)) {
            if let Some(place) = self.channels.get_mut(channel) {
                place.stuck = true;
            }
            return false;
        } else {
            return true;
        };
        self.complaints.add(format!(
            "channel {channel} was given descriptors, but {obstacle}"
        ));
        false
    }

    /// Notes that `count` descriptors are done; `false` where the channel was stopped meanwhile.
    fn commit(&mut self, job: &Job, done: &Done, asked: [bool; 2]) -> bool {
        let Some(channel) = self.channels.get_mut(job.channel) else {
            return false;
        };
        if channel.life != job.life {
            return false;
        }
        for side in &mut channel.sides {
            side.finish(done.pages);
        }
        self.counters.descriptors += u64::from(done.pages);
        self.counters.bytes_to_device += done.bytes;
        for &(address, len) in &done.landed {
            self.memory.received.add(address, len);
        }
        for (asked, side) in asked
            .into_iter()
            .zip([EventSide::Source, EventSide::Destination])
        {
            if asked {
                self.bridge.raise_channel(side, job.channel);
            }
        }
        let stage = match self.firmware.state() {
            super::boot::ChipState::Rom => 1,
            super::boot::ChipState::Stage(done) => done + 1,
            _ => 0,
        };
        if !self.faults.is_empty()
            && done.pages > 0
            && self.faults.fires(Fault::ResetAtStage(stage))
        {
            self.reset_chip();
            return false;
        }
        true
    }

    /// A descriptor failed, or could not be fetched.
    fn refuse(&mut self, job: &Job, refusal: &Refusal, asked: [bool; 2]) {
        if self.channels.get(job.channel).life != job.life {
            return; // Stopped by the host: what is gone by now is no failure.
        }
        match &refusal.cause {
            Cause::Host(text) => self
                .complaints
                .add(format!("channel {}: {text}", job.channel)),
            Cause::Fault(fault) => {
                let fired = self.faults.fires(*fault);
                if matches!(fault, Fault::FailAfter(_)) {
                    self.upload_broken |= fired;
                }
            }
            Cause::Own => {}
        }
        self.channels.fail(job.channel, refusal.side, refusal.code);
        for (asked, side) in asked
            .into_iter()
            .zip([EventSide::Source, EventSide::Destination])
        {
            if asked {
                self.bridge.raise_channel(side, job.channel);
            }
        }
    }
}

/// Whose doing a failure is.
enum Cause {
    /// The host's: a complaint.
    Host(String),
    /// The fault plan's.
    Fault(Fault),
    /// The chip's own: its memory failed.
    Own,
}

struct Refusal {
    side: usize,
    code: u8,
    cause: Cause,
}

impl Refusal {
    fn of_host(side: usize, code: u8, text: String) -> Self {
        Self {
            side,
            code,
            cause: Cause::Host(text),
        }
    }
}

/// Pages that follow each other on both sides, not yet copied.
#[derive(Clone, Copy, Default)]
struct Run {
    first: u32,
    pages: u32,
    host: u64,
    device: u64,
    len: usize,
}

impl Run {
    fn continues(&self, host: Iova, device: Iova, len: usize) -> bool {
        let so_far = u64::try_from(self.len).unwrap_or(u64::MAX);
        self.pages > 0
            && self.host.wrapping_add(so_far) == host.0
            && self.device.wrapping_add(so_far) == device.0
            && self.len + len <= SLICE
    }
}

/// Copied, not yet told.
#[derive(Default)]
struct Done {
    pages: u32,
    bytes: u64,
    landed: Vec<(DeviceAddr, u64)>,
}

fn wants(control_bits: u32, when: u32) -> bool {
    let asked = when | control::HOST_INTERRUPT;
    control_bits & asked == asked
}

/// A refusal, and the descriptor in the batch that it is about, once that is known.
type Failure = (Refusal, Option<u32>);

/// Buffers of the engine, and when its link is free again.
pub(super) struct Engine {
    lists: [Vec<u8>; 2],
    slice: Vec<u8>,
    run: Run,
    done: Done,
    link_free: Instant,
    /// The channel that is looked at first: they take turns.
    pub(super) turn: u32,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            lists: [Vec::new(), Vec::new()],
            slice: vec![0; SLICE],
            run: Run::default(),
            done: Done::default(),
            link_free: Instant::now(),
            turn: 0,
        }
    }

    /// Processes a batch. The chip is not locked.
    pub(super) fn process(&mut self, shared: &Shared, job: &Job) {
        self.turn = job.channel + 1;
        self.run = Run::default();
        self.done = Done::default();
        let outcome = self.move_pages(shared, job);
        self.tell(shared, job, [false; 2]);
        if let Err((refusal, index)) = outcome {
            let pair =
                index.map(|index| [SOURCE, DESTINATION].map(|side| self.descriptor(side, index)));
            let controls = pair.map_or([0; 2], |pair| pair.map(|descriptor| descriptor.control()));
            let asked = controls.map(|bits| wants(bits, control::INTERRUPT_ON_ERROR));
            let status = control::REQUEST_STATUS | control::REQUEST_STATUS_ON_ERROR;
            if let Some((index, pair)) = index.zip(pair)
                && controls[refusal.side] & status != 0
            {
                let remaining = pair[refusal.side].page_size();
                Self::write_status(job, refusal.side, index, Status::new(remaining, true));
            }
            shared.change(|core| core.refuse(job, &refusal, asked));
        }
    }

    fn move_pages(&mut self, shared: &Shared, job: &Job) -> Result<(), Failure> {
        for side in [SOURCE, DESTINATION] {
            self.fetch(job, side).map_err(|refusal| (refusal, None))?;
        }
        let [source, destination] = job.sides.map(|side| side.len());
        if source != destination {
            let text = format!("its lists have {source} and {destination} descriptors");
            return Err((Refusal::of_host(DESTINATION, error::DESCRIPTOR, text), None));
        }
        let mut room = job.room.map(|(_, room)| room);
        for index in 0..job.count {
            let pair = [SOURCE, DESTINATION].map(|side| self.descriptor(side, index));
            let len = match check(job, index, pair, room) {
                Ok(len) => len,
                Err(refusal) => {
                    self.flush(job)?;
                    return Err((refusal, Some(index)));
                }
            };
            room = room.map(|room| room.saturating_sub(u64::try_from(len).unwrap_or(0)));
            let (host, device) = (pair[SOURCE].address(), pair[DESTINATION].address());
            if !self.run.continues(host, device, len) {
                self.flush(job)?;
                self.run = Run {
                    first: index,
                    pages: 0,
                    host: host.0,
                    device: device.0,
                    len: 0,
                };
            }
            self.run.pages += 1;
            self.run.len += len;
            let controls = pair.map(|descriptor| descriptor.control());
            let asked = controls.map(|bits| wants(bits, control::INTERRUPT_WHEN_PROCESSED));
            let status = controls.map(|bits| bits & control::REQUEST_STATUS != 0);
            if asked.contains(&true) || status.contains(&true) {
                self.flush(job)?;
                for (side, status) in status.into_iter().enumerate() {
                    if status {
                        Self::write_status(job, side, index, Status::new(0, false));
                    }
                }
                if !self.tell(shared, job, asked) {
                    return Ok(());
                }
            }
        }
        self.flush(job)
    }

    fn fetch(&mut self, job: &Job, side: usize) -> Result<(), Refusal> {
        let registers = &job.sides[side];
        if registers.list_data_id() != data_id::HOST {
            let text = format!(
                "its list has data id {}, lists lie in host memory",
                registers.list_data_id()
            );
            return Err(Refusal::of_host(side, error::DESCRIPTOR, text));
        }
        let count = usize::try_from(job.count).unwrap_or(0);
        let list = &mut self.lists[side];
        list.resize(count * LEN, 0);
        let address = registers.descriptor(registers.next());
        job.host.read(address, list).map_err(|fault| {
            let text = format!(
                "the list of the {} side can't be read: {fault}",
                NAMES[side]
            );
            Refusal::of_host(side, error::BUS, text)
        })
    }

    fn descriptor(&self, side: usize, index: u32) -> Descriptor {
        let at = usize::try_from(index).unwrap_or(0) * LEN;
        let bytes = self.lists[side].get(at..at + LEN).unwrap_or_default();
        Descriptor::read_from_bytes(bytes).unwrap_or_default()
    }

    /// Copies the pages gathered so far. Where the copy fails it is made again page by page, up to
    /// the page that is to blame.
    fn flush(&mut self, job: &Job) -> Result<(), Failure> {
        let run = std::mem::take(&mut self.run);
        if run.pages == 0
            || self
                .copy(
                    job,
                    Iova(run.host),
                    DeviceAddr(run.device),
                    run.len,
                    run.pages,
                )
                .is_ok()
        {
            return Ok(());
        }
        for index in run.first..run.first + run.pages {
            let source = self.descriptor(SOURCE, index);
            let device = DeviceAddr(self.descriptor(DESTINATION, index).address().0);
            let len = usize::try_from(source.page_size()).unwrap_or(0);
            self.copy(job, source.address(), device, len, 1)
                .map_err(|refusal| (refusal, Some(index)))?;
        }
        Ok(())
    }

    fn copy(
        &mut self,
        job: &Job,
        host: Iova,
        device: DeviceAddr,
        len: usize,
        pages: u32,
    ) -> Result<(), Refusal> {
        let offset = Dram::place(device, len)
            .filter(|_| job.dram_ready)
            .ok_or_else(|| {
                let why = if job.dram_ready {
                    "no memory there"
                } else {
                    "DRAM is not trained yet"
                };
                let text = format!("it can't write {len} bytes to device address {device}: {why}");
                Refusal::of_host(DESTINATION, error::BUS, text)
            })?;
        let slice = &mut self.slice[..len];
        job.host.read(host, slice).map_err(|fault| {
            Refusal::of_host(
                SOURCE,
                error::BUS,
                format!("its data can't be read: {fault}"),
            )
        })?;
        job.dram.store(offset, slice).map_err(|NoMemory| Refusal {
            side: DESTINATION,
            code: error::BUS,
            cause: Cause::Own,
        })?;
        let bytes = u64::try_from(len).unwrap_or(0);
        self.done.pages += pages;
        self.done.bytes += bytes;
        self.done.landed.push((device, bytes));
        Ok(())
    }

    /// Makes progress visible, with the events that were asked for; `false` where the channel was
    /// stopped meanwhile.
    fn tell(&mut self, shared: &Shared, job: &Job, asked: [bool; 2]) -> bool {
        let done = std::mem::take(&mut self.done);
        let goes_on = done.pages == 0 || shared.change(|core| core.commit(job, &done, asked));
        shared.timing.moved(done.bytes, &mut self.link_free);
        goes_on
    }

    fn write_status(job: &Job, side: usize, index: u32, status: Status) {
        let registers = &job.sides[side];
        let at = registers.descriptor(registers.next() + index);
        let word = Iova(at.0.wrapping_add(u64::try_from(Status::OFFSET).unwrap_or(0)));
        if let Err(fault) = job.host.write(word, &status.0.to_le_bytes()) {
            // A host that maps its list for reading only never sees a status: its choice.
            log::debug!("sim: channel {}: no status written: {fault}", job.channel);
        }
    }
}

/// What both descriptors of a page must be; gives the page's bytes. `room` is what may still arrive.
fn check(
    job: &Job,
    index: u32,
    pair: [Descriptor; 2],
    room: Option<u64>,
) -> Result<usize, Refusal> {
    let number = job.sides[SOURCE].next() + index;
    if job.bad == Some(number) {
        return Err(Refusal {
            side: SOURCE,
            code: error::BUS,
            cause: Cause::Fault(Fault::DescriptorError(number)),
        });
    }
    for (side, id) in [(SOURCE, data_id::HOST), (DESTINATION, data_id::DEVICE)] {
        let descriptor = pair[side];
        let wrong = if descriptor.control() & control::REQUEST_STATUS_ON_ERROR == 0 {
            "lacks control bit 1"
        } else if descriptor.control() & !KNOWN_CONTROL != 0 {
            "has unknown control bits"
        } else if descriptor.data_id() != id {
            "has a wrong data id"
        } else {
            continue;
        };
        let text = format!(
            "descriptor {number} of the {} side {wrong}: {descriptor:?}",
            NAMES[side]
        );
        return Err(Refusal::of_host(side, error::DESCRIPTOR, text));
    }
    let (bytes, other) = (pair[SOURCE].page_size(), pair[DESTINATION].page_size());
    if !(1..=MAX_PAGE).contains(&bytes) {
        let text = format!("descriptor {number} of the source side has a page of {bytes} bytes");
        return Err(Refusal::of_host(SOURCE, error::DESCRIPTOR, text));
    }
    // Page size 0 in the device's list: drivers 4.21.0 to 5.0.1; the source side's size holds.
    if other != 0 && other != bytes {
        let text = format!(
            "descriptor {number} has {bytes} bytes on the source side, {other} on the destination side"
        );
        return Err(Refusal::of_host(DESTINATION, error::DESCRIPTOR, text));
    }
    if let Some((limit, _)) = job
        .room
        .filter(|_| room.is_some_and(|room| room < bytes.into()))
    {
        return Err(Refusal {
            side: DESTINATION,
            code: error::BUS,
            cause: Cause::Fault(Fault::FailAfter(limit)),
        });
    }
    Ok(usize::try_from(bytes).unwrap_or(0))
}
