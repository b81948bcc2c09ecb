//! Moving data through the channels that the firmware opens: descriptors of the host's list, one after the other.
//!
//! The host's side of a channel is its list; on the device's side is the core, which takes pages as they come. Where the
//! sizes must add up to a transfer they are checked here. The data of a frame is in the lane; configuration words go
//! into a digest.

use std::time::Instant;

use zerocopy::FromBytes;

use super::super::output::ConfigDigest;
use super::check::Problem;
use super::code::other;
use super::lane::Lane;
use super::layers::Role;
use crate::addr::Iova;
use crate::model::engine::{KNOWN_CONTROL, wants};
use crate::model::fault::Fault;
use crate::model::job::Ready;
use crate::model::nnc::NncWrong;
use crate::model::nnc::access::Access;
use crate::model::side::{Side, error};
use crate::spec::descriptor::{Descriptor, LEN, Status, control, data_id};

/// Most descriptors fetched at a time.
const BATCH: u32 = 512;
/// Most bytes of one copy.
const SLICE: usize = 1 << 18;

/// What became of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Nothing: there are no descriptors.
    Nothing,
    /// Nothing: the link has no time until then.
    Busy(Instant),
    /// Some data.
    Some,
    /// The rest of the frame, or of the configuration.
    All,
}

/// What moves the data: memory that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Mover {
    list: Vec<u8>,
    slice: Vec<u8>,
    /// Whether the time of the link counts.
    pub(super) unpaced: bool,
}

/// Pages that follow each other in the host's memory.
#[derive(Clone, Copy, Default)]
struct Run {
    host: u64,
    len: usize,
    pages: u32,
}

impl Mover {
    /// Moves what a channel has descriptors for, up to the end of a frame.
    pub(super) fn pump(
        &mut self,
        chip: &mut Access<'_>,
        lane: &mut Lane,
        channel: u8,
        digest: Option<&mut ConfigDigest>,
    ) -> Result<Moved, Problem> {
        let Ready {
            side,
            life,
            count,
            faults,
            bad,
        } = chip.ready(channel.into());
        if life != lane.life || !side.is_active() {
            return Err(Problem::new(
                other::ABORTED,
                format!("channel {channel} is not active any more"),
            ));
        }
        // A host that left or switched bus mastering off is not there to be blamed.
        if lane.stuck || !chip.reaches_host() {
            return Ok(Moved::Nothing);
        }
        if count == 0 {
            if side.waiting() == 0 {
                lane.note_short(chip, channel);
            }
            return Ok(Moved::Nothing);
        }
        if let Some(due) = (!self.unpaced)
            .then(|| chip.link_free(channel.into()))
            .flatten()
        {
            return Ok(Moved::Busy(due));
        }
        let count = count
            .min(side.len() - side.next())
            .min(lane.wants())
            .min(BATCH);
        let len = usize::try_from(count).unwrap_or(0) * LEN;
        self.list.resize(len, 0);
        let read = chip.read(side.descriptor(side.next()), &mut self.list);
        if let Err(fault) = read {
            chip.fail(channel.into(), error::BUS);
            return Err(Problem::new(
                other::NOT_ALL_MOVED,
                format!("channel {channel}: its list can't be read: {fault}"),
            ));
        }
        let mut batch = Batch {
            chip,
            channel,
            lane,
            side,
            faults,
            bad,
            digest,
            slice: &mut self.slice,
            run: Run::default(),
            pages: 0,
            bytes: 0,
        };
        let moved = batch.pages(&self.list);
        if let Err(problem) = &moved {
            batch.finish(false)?;
            chip.fail(
                channel.into(),
                if problem.code == other::NOT_ALL_MOVED {
                    error::BUS
                } else {
                    error::DESCRIPTOR
                },
            );
        }
        moved
    }
}

/// Descriptors on their way.
struct Batch<'a, 'b> {
    chip: &'a mut Access<'b>,
    channel: u8,
    lane: &'a mut Lane,
    side: Side,
    /// Something of the fault plan is still to come.
    faults: bool,
    /// The descriptor that fails (a fault).
    bad: Option<u32>,
    digest: Option<&'a mut ConfigDigest>,
    slice: &'a mut Vec<u8>,
    run: Run,
    /// Copied, not told yet.
    pages: u32,
    bytes: u64,
}

impl Batch<'_, '_> {
    fn pages(&mut self, list: &[u8]) -> Result<Moved, Problem> {
        if self.faults && self.lane.role.is_boundary() {
            self.look_for_stop();
        }
        for (index, bytes) in (0u32..).zip(list.as_chunks::<LEN>().0) {
            let number = self.side.next() + index;
            let descriptor = Descriptor::read_from_bytes(bytes).unwrap_or_default();
            if self.bad == Some(number) && self.chip.fires(Fault::DescriptorError(number)) {
                let text = format!("channel {}, descriptor {number} fails", self.channel);
                return Err(Problem::planned(other::NOT_ALL_MOVED, text));
            }
            let len = self.check(number, &descriptor)?;
            if self
                .lane
                .stops_at
                .is_some_and(|stop| self.lane.at + self.run.len >= stop)
            {
                self.lane.stuck = true;
                self.flush()?;
                self.finish(false)?;
                return Ok(Moved::Nothing);
            }
            let address = descriptor.address().0;
            let so_far = u64::try_from(self.run.len).unwrap_or(u64::MAX);
            if self.run.len > 0
                && (self.run.host.wrapping_add(so_far) != address || self.run.len + len > SLICE)
            {
                self.flush()?;
            }
            if self.run.len == 0 {
                self.run.host = address;
            }
            self.run.len += len;
            self.run.pages += 1;
            let bits = descriptor.control();
            let whole = self.lane.role != Role::Config
                && self.lane.at + self.run.len == self.lane.frame.len();
            let asked = wants(bits, control::INTERRUPT_WHEN_PROCESSED);
            if bits & control::REQUEST_STATUS != 0 {
                self.flush()?;
                self.write_status(number, Status::new(0, false));
            }
            if asked || whole {
                self.flush()?;
                self.finish(asked)?;
            }
            if whole {
                self.lane.at = 0;
                self.lane.short = false;
                return Ok(Moved::All);
            }
        }
        self.flush()?;
        self.finish(false)?;
        let all = self.lane.role == Role::Config && self.lane.left == 0;
        Ok(if all { Moved::All } else { Moved::Some })
    }

    /// Whether the channel shall stop in the middle of a frame (a fault).
    fn look_for_stop(&mut self) {
        let own = u32::from(self.channel);
        let stops = self.chip.fire(|wrong| wrong == NncWrong::StopChannel(own));
        if stops.is_some() {
            self.lane.stops_at = Some((self.lane.frame.len() / 2).max(1));
        }
    }

    /// What a descriptor must be; gives its bytes.
    fn check(&self, number: u32, descriptor: &Descriptor) -> Result<usize, Problem> {
        let channel = self.channel;
        let bad = |code, text: String| {
            Err(Problem::new(
                code,
                format!("channel {channel}, descriptor {number}: {text}: {descriptor:?}"),
            ))
        };
        let bits = descriptor.control();
        if bits & control::REQUEST_STATUS_ON_ERROR == 0 {
            return bad(other::DESCRIPTOR, "control bit 1 is missing".to_owned());
        }
        if bits & !KNOWN_CONTROL != 0 {
            return bad(other::DESCRIPTOR, "unknown control bits".to_owned());
        }
        if descriptor.data_id() != data_id::HOST {
            return bad(other::DESCRIPTOR, "not an address of the host".to_owned());
        }
        let list = self.lane.list();
        let len = descriptor.page_size();
        if len == 0 || len > list.page.into() {
            return bad(
                other::PAGE_SIZE,
                format!("{len} bytes, the page is {}", list.page),
            );
        }
        let len = usize::try_from(len).unwrap_or(0);
        let role = self.lane.role;
        if role == Role::Config {
            return Ok(len);
        }
        let pattern = usize::try_from(list.pattern).unwrap_or(usize::MAX).max(1);
        let at = self.lane.at + self.run.len;
        let room = pattern - at % pattern;
        if len > room {
            return bad(
                other::PATTERN,
                format!(
                    "{len} bytes where {room} of a transfer of {pattern} are left: sizes that do not add up"
                ),
            );
        }
        // A user's buffer may begin off a page; the firmware's own lists are cut evenly.
        if !role.is_boundary() && len < room.min(list.page.into()) {
            return bad(
                other::PATTERN,
                format!(
                    "{len} bytes where {} are expected: sizes that do not add up",
                    room.min(list.page.into())
                ),
            );
        }
        if !role.is_boundary() && bits & control::HOST_INTERRUPT != 0 {
            self.chip.complain(format!(
                "channel {channel}: a list of the firmware asks for interrupts of the host"
            ));
        }
        Ok(len)
    }

    /// Copies the pages gathered so far.
    fn flush(&mut self) -> Result<(), Problem> {
        let Run { host, len, pages } = std::mem::take(&mut self.run);
        if len == 0 {
            return Ok(());
        }
        let at = self.lane.at;
        let moved = if self.lane.role == Role::Config {
            self.slice.resize(SLICE, 0);
            let slice = &mut self.slice[..len];
            let read = self.chip.read(Iova(host), slice);
            if let Some(digest) = self.digest.as_mut().filter(|_| read.is_ok()) {
                digest.update(slice);
            }
            read
        } else {
            let bytes = self.lane.frame.get_mut(at..at + len).unwrap_or_default();
            if self.lane.role.is_input() {
                self.chip.read(Iova(host), bytes)
            } else {
                self.chip.write(Iova(host), bytes)
            }
        };
        if let Err(fault) = moved {
            return Err(Problem::new(
                other::NOT_ALL_MOVED,
                format!(
                    "channel {}: its data can't be reached: {fault}",
                    self.channel
                ),
            ));
        }
        self.lane.at += len;
        self.pages += pages;
        self.bytes += u64::try_from(len).unwrap_or(0);
        Ok(())
    }

    /// Makes progress visible, with the interrupt that was asked for.
    fn finish(&mut self, asked: bool) -> Result<(), Problem> {
        let (pages, bytes) = (
            std::mem::take(&mut self.pages),
            std::mem::take(&mut self.bytes),
        );
        if pages == 0 {
            return Ok(());
        }
        self.lane.left = self.lane.left.saturating_sub(pages);
        let lost = asked
            && self.faults
            && self
                .chip
                .fire(|wrong| wrong == NncWrong::LoseBoundaryInterrupt)
                .is_some();
        if self.chip.finish(
            self.channel.into(),
            self.lane.life,
            pages,
            bytes,
            asked && !lost,
        ) {
            return Ok(());
        }
        Err(Problem::new(
            other::ABORTED,
            format!("channel {} was stopped", self.channel),
        ))
    }

    fn write_status(&self, number: u32, status: Status) {
        let at = self.side.descriptor(number);
        let word = Iova(at.0.wrapping_add(u64::try_from(Status::OFFSET).unwrap_or(0)));
        if let Err(fault) = self.chip.write(word, &status.0.to_le_bytes()) {
            // A host that maps its list for reading only never sees a status: its choice.
            log::debug!("sim: channel {}: no status written: {fault}", self.channel);
        }
    }
}
