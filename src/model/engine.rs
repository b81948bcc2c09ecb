//! The vDMA engine: fetches descriptors of both sides, moves data, tells progress.
//!
//! It works in slices: a batch of descriptors is chosen under the chip's lock, fetched and copied
//! without it, and its progress is noted under the lock again. What was stopped or reset in between
//! (another [`Channel::life`](super::channel::Channel)) is dropped. Pages that follow each other on
//! both sides travel as one copy; order, progress, events and failures are those of single pages.

use zerocopy::FromBytes;

use super::chip::Shared;
use super::fault::Fault;
use super::job::{Cause, DESTINATION, Done, Job, Refusal, SOURCE};
use super::memory::{Dram, NoMemory};
use super::side::error;
use super::timing::{LinkClock, Timing};
use crate::addr::{DeviceAddr, Iova};
use crate::spec::descriptor::{Descriptor, LEN, MAX_PAGE, Status, control, data_id};
use crate::transport::local::DmaFault;

/// Most bytes moved by one copy.
pub(super) const SLICE: usize = 1 << 18;

pub(super) const NAMES: [&str; 2] = ["source", "destination"];

/// Control bits that have a meaning.
pub(super) const KNOWN_CONTROL: u32 =
    control::INTERRUPT_HOST | control::REQUEST_STATUS | control::DEVICE_INTERRUPT;

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

pub(super) fn wants(control_bits: u32, when: u32) -> bool {
    let asked = when | control::HOST_INTERRUPT;
    control_bits & asked == asked
}

/// A refusal, and the descriptor in the batch that it is about, once that is known.
pub(super) type Failure = (Refusal, Option<u32>);

/// Buffers of the engine, and when its link is free again.
pub(super) struct Engine {
    lists: [Vec<u8>; 2],
    slice: Vec<u8>,
    run: Run,
    pub(super) done: Done,
    pub(super) link: LinkClock,
    /// The channel that is looked at first: they take turns.
    pub(super) turn: u32,
}

impl Engine {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            lists: [Vec::new(), Vec::new()],
            slice: vec![0; SLICE],
            run: Run::default(),
            done: Done::default(),
            link: LinkClock::new(timing),
            turn: 0,
        }
    }

    /// Processes a batch. The chip is not locked.
    pub(super) fn process(&mut self, shared: &Shared, job: &mut Job) {
        self.link.begin();
        self.turn = job.channel + 1;
        self.run = Run::default();
        self.done = Done::default();
        if let Some(address) = job.stray {
            let refused = job.host.write(Iova(address), &[0xa5; 16]).is_err();
            shared.change(|core| core.counters.stray_writes[usize::from(refused)] += 1);
        }
        if let Some(part) = job.part.take() {
            self.stream(shared, job, part);
            return;
        }
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
                && shared.change(|core| core.is_current(job))
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
            let (host, device) = (
                pair[job.host_side()].address(),
                pair[job.device_side()].address(),
            );
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

    pub(super) fn fetch(&mut self, job: &Job, side: usize) -> Result<(), Refusal> {
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

    pub(super) fn descriptor(&self, side: usize, index: u32) -> Descriptor {
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
            let host = self.descriptor(job.host_side(), index);
            let device = DeviceAddr(self.descriptor(job.device_side(), index).address().0);
            let len = usize::try_from(host.page_size()).unwrap_or(0);
            self.copy(job, host.address(), device, len, 1)
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
                let text = format!("it can't reach {len} bytes at device address {device}: {why}");
                Refusal::of_host(job.device_side(), error::BUS, text)
            })?;
        let slice = &mut self.slice[..len];
        let own = || Refusal {
            side: job.device_side(),
            code: error::BUS,
            cause: Cause::Own,
        };
        let of_host = |what: &str, fault: DmaFault| {
            let text = format!("its data can't be {what}: {fault}");
            Refusal::of_host(job.host_side(), error::BUS, text)
        };
        if job.to_device() {
            job.host
                .read(host, slice)
                .map_err(|fault| of_host("read", fault))?;
            job.dram.store(offset, slice).map_err(|NoMemory| own())?;
        } else {
            job.dram.load(offset, slice).map_err(|_| own())?;
            job.host
                .write(host, slice)
                .map_err(|fault| of_host("written", fault))?;
        }
        let bytes = u64::try_from(len).unwrap_or(0);
        self.done.pages += pages;
        self.done.bytes += bytes;
        if job.to_device() {
            self.done.landed.push((device, bytes));
        }
        Ok(())
    }

    /// Makes progress visible, with the events that were asked for; `false` where the channel was
    /// stopped meanwhile.
    fn tell(&mut self, shared: &Shared, job: &Job, asked: [bool; 2]) -> bool {
        let done = std::mem::take(&mut self.done);
        self.link.occupy(usize::from(!job.to_device()), done.bytes);
        done.pages == 0 || shared.change(|core| core.commit(job, &done, asked))
    }

    pub(super) fn write_status(job: &Job, side: usize, index: u32, status: Status) {
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
    let (host, device) = (job.host_side(), job.device_side());
    for (side, id) in [(host, data_id::HOST), (device, data_id::DEVICE)] {
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
    let (bytes, other) = (pair[host].page_size(), pair[device].page_size());
    if !(1..=MAX_PAGE).contains(&bytes) {
        let text = format!(
            "descriptor {number} of the {} side has a page of {bytes} bytes",
            NAMES[host]
        );
        return Err(Refusal::of_host(host, error::DESCRIPTOR, text));
    }
    // Page size 0 in the device's list: drivers 4.21.0 to 5.0.1; the host side's size holds.
    if other != 0 && other != bytes {
        let text = format!(
            "descriptor {number} has {bytes} bytes on the {} side, {other} on the {} side",
            NAMES[host], NAMES[device]
        );
        return Err(Refusal::of_host(device, error::DESCRIPTOR, text));
    }
    if let Some((limit, _)) = job
        .room
        .filter(|_| job.to_device())
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
