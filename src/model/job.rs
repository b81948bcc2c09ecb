//! What the engine gets from the chip and gives back to it, under the chip's lock: a batch of
//! descriptors to process, progress, and failures.

use std::sync::Arc;

use super::boot::ChipState;
use super::bridge::EventSide;
use super::channel::Event;
use super::core::Core;
use super::fault::Fault;
use super::memory::Dram;
use super::session::Part;
use super::side::Side;
use crate::addr::DeviceAddr;
use crate::spec::board::{Mode, PCIE_CONFIG_OPEN_VDMA};
use crate::spec::vdma_bar::{CHANNELS, FIRST_FROM_DEVICE, control};
use crate::transport::local::Host;

/// Descriptors of one side fetched at a time.
const BATCH: u32 = 512;

/// Index of the source side in pairs.
pub(super) const SOURCE: usize = 0;
/// Index of the destination side in pairs.
pub(super) const DESTINATION: usize = 1;

/// A batch of descriptors of one channel, with all that is needed to process it unlocked.
pub(super) struct Job {
    pub(super) channel: u32,
    pub(super) life: u32,
    pub(super) sides: [Side; 2],
    pub(super) count: u32,
    pub(super) host: Arc<dyn Host>,
    pub(super) dram: Arc<Dram>,
    /// The descriptor that fails (a fault).
    pub(super) bad: Option<u32>,
    /// Where the engine writes before it does its work (a fault).
    pub(super) stray: Option<u64>,
    /// The fault that ends uploads: its limit, and the bytes that may still arrive.
    pub(super) room: Option<(u64, u64)>,
    pub(super) dram_ready: bool,
    /// Nothing that could be moved waits behind it on its channel.
    pub(super) last: bool,
    /// Of a session: the buffer of the chip that the data goes to or comes from.
    pub(super) part: Option<Part>,
}

impl Job {
    /// Which way it carries data.
    pub(super) fn to_device(&self) -> bool {
        self.channel < FIRST_FROM_DEVICE
    }

    /// The side whose list describes host memory.
    pub(super) fn host_side(&self) -> usize {
        if self.to_device() {
            SOURCE
        } else {
            DESTINATION
        }
    }

    /// The side whose list describes the chip's memory.
    pub(super) fn device_side(&self) -> usize {
        DESTINATION - self.host_side()
    }
}

impl Core {
    /// The next batch, of the first channel from `from` on that has one. `busy` tells for each direction whether
    /// the link has no time for it.
    pub(super) fn next_job(&mut self, from: u32, busy: [bool; 2]) -> Option<Job> {
        let host = self.host.clone()?;
        let channel = (from..CHANNELS)
            .chain(0..from.min(CHANNELS))
            .filter(|&channel| !busy[usize::from(channel >= FIRST_FROM_DEVICE)])
            .find(|&channel| self.may_move(channel))?;
        let found = self.channels.get(channel);
        let [source, destination] = found.sides;
        let batch = |side: &Side| side.waiting().min(side.len() - side.next());
        let waiting = source.waiting().min(destination.waiting());
        let mut count = batch(&source).min(batch(&destination)).min(BATCH);
        let part = self.begin_part(channel);
        let adrift = part.as_ref().is_some_and(|(part, _)| part.drift.is_some());
        if adrift {
            // Each side goes by its own descriptors.
            let host = [&source, &destination][usize::from(channel >= FIRST_FROM_DEVICE)];
            count = batch(host).min(BATCH);
        } else if let Some((_, left)) = part {
            count = count.min(left);
        }
        if let Some(place) = self.channels.get_mut(channel).filter(|_| !adrift) {
            for side in &mut place.sides {
                side.fetch(count);
            }
        }
        let bad = self.faults.look(|fault| match fault {
            Fault::DescriptorError(index) => Some(*index),
            _ => None,
        });
        let stray = self.faults.fire(|fault| match fault {
            Fault::StrayDma(address) => Some(*address),
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
            stray,
            room: if self.upload_broken {
                Some((0, 0))
            } else {
                room
            },
            dram_ready: self.memory.dram_ready,
            last: count == waiting,
            part: part.map(|(part, _)| part),
        })
    }

    /// In which of the busy directions there is something to move.
    pub(super) fn waits_for_link(&self, busy: [bool; 2]) -> [bool; 2] {
        let first = [0, FIRST_FROM_DEVICE];
        [0, 1].map(|way| {
            let mut channels = first[way]..first[way] + FIRST_FROM_DEVICE;
            busy[way] && channels.any(|channel| self.both_sides_wait(channel))
        })
    }

    /// Whether the channel has descriptors on both sides and nothing holds them back.
    fn may_move(&mut self, channel: u32) -> bool {
        if self.runs_networks()
            || self.channels.get(channel).stuck
            || !self.both_sides_wait(channel)
            || self.obstacle(channel).is_some()
        {
            return false;
        }
        let stuck = self.faults.fires(Fault::StuckChannel(channel));
        if let Some(place) = self.channels.get_mut(channel) {
            place.stuck = stuck;
        }
        !stuck
    }

    /// Whether both sides of a channel run and have descriptors.
    pub(super) fn both_sides_wait(&self, channel: u32) -> bool {
        let ready = |side: &Side| side.runs() && side.waiting() > 0;
        self.channels.get(channel).sides.iter().all(ready)
    }

    /// What keeps descriptors of a channel from being processed, beside a side without any.
    fn obstacle(&mut self, channel: u32) -> Option<&'static str> {
        if self.firmware.is_running() {
            if !self.sessions.uses(channel) {
                Some("no session uses it")
            } else if !self.config.is_master() {
                Some("bus mastering is off")
            } else {
                None
            }
        } else if !self.config.is_master() {
            Some("bus mastering is off")
        } else if self.pcie_config & PCIE_CONFIG_OPEN_VDMA == 0 {
            Some("bit 2 of the PCIe config register is clear")
        } else {
            None
        }
    }

    /// Whether the firmware moves what goes through channels, not the engine.
    pub(super) fn runs_networks(&self) -> bool {
        self.board.mode == Mode::Nnc && self.firmware.is_running()
    }

    /// In NNC mode the host only counts descriptors up, of channels that the firmware opened.
    pub(super) fn note_channel_write(&mut self, event: Event) {
        match event {
            Event::None => {}
            Event::Fed(channel) => {
                if !self.config.is_master() {
                    self.complaints.add(format!(
                        "channel {channel} was given descriptors, but bus mastering is off"
                    ));
                }
            }
            // Count and control share a word: a host that read it before the chip closed the channel starts it unawares.
            Event::Started(channel) if self.channels.get(channel).revived => {
                self.channels.stop_both_sides(channel);
            }
            Event::Started(channel) => self.complaints.add(format!(
                "the host started its side of channel {channel}: in NNC mode the firmware does"
            )),
            Event::Failed(channel) => self.channels.stop_both_sides(channel),
        }
        self.nnc.step = true;
        self.work = true;
    }

    /// The host's side of a channel, with the descriptors that can be processed now: available, not yet processed, on a
    /// channel that runs and is not stuck.
    pub(super) fn ready_descriptors(&mut self, channel: u32) -> Ready {
        let found = self.channels.get(channel);
        let side = found.sides[usize::from(channel >= FIRST_FROM_DEVICE)];
        let mut ready = Ready {
            side,
            life: found.life,
            count: 0,
            faults: !self.faults.is_empty(),
            bad: None,
        };
        // The firmware holds a channel by its own side.
        let own = found.sides[usize::from(channel < FIRST_FROM_DEVICE)];
        let held = own.control == control::START_PAUSE;
        if !side.runs() || held || found.stuck || side.waiting() == 0 {
            return ready;
        }
        if ready.faults {
            if self.faults.fires(Fault::StuckChannel(channel)) {
                if let Some(place) = self.channels.get_mut(channel) {
                    place.stuck = true;
                }
                return ready;
            }
            ready.bad = self.faults.look(|fault| match fault {
                Fault::DescriptorError(index) => Some(*index),
                _ => None,
            });
        }
        ready.count = side.waiting();
        ready
    }

    /// The firmware of NNC mode is done with `count` descriptors of the host's side; `false` where the channel was
    /// stopped since it had the life `life`.
    pub(super) fn finish_descriptors(
        &mut self,
        channel: u32,
        life: u32,
        count: u32,
        bytes: u64,
        interrupt: bool,
    ) -> bool {
        let side = usize::from(channel >= FIRST_FROM_DEVICE);
        let Some(place) = self.channels.get_mut(channel) else {
            return false;
        };
        if place.life != life {
            return false;
        }
        place.moved |= count > 0;
        place.sides[side].fetch(count);
        place.sides[side].finish(count);
        self.counters.descriptors += u64::from(count);
        let (counter, asker) = if side == SOURCE {
            (&mut self.counters.bytes_to_device, EventSide::Source)
        } else {
            (&mut self.counters.bytes_from_device, EventSide::Destination)
        };
        *counter += bytes;
        if interrupt {
            self.bridge.raise_channel(asker, channel);
        }
        true
    }

    /// The host made descriptors of a channel available.
    pub(super) fn note_fed(&mut self, channel: u32) {
        if self.sessions.is_over(channel) {
            return; // The host has not noticed yet.
        }
        if let Some(obstacle) = self.obstacle(channel) {
            self.complaints.add(format!(
                "channel {channel} was given descriptors, but {obstacle}"
            ));
        }
        self.work |= self.both_sides_wait(channel);
    }

    /// Notes that `count` descriptors are done; `false` where the channel was stopped meanwhile.
    pub(super) fn commit(&mut self, job: &Job, done: &Done, asked: [bool; 2]) -> bool {
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
        if job.channel < FIRST_FROM_DEVICE {
            self.counters.bytes_to_device += done.bytes;
        } else {
            self.counters.bytes_from_device += done.bytes;
        }
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
        if self.firmware.is_running() {
            return true;
        }
        let stage = match self.firmware.state() {
            ChipState::Rom => 1,
            ChipState::Stage(done) => done + 1,
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

    /// Whether the channel still is as it was when the batch was chosen.
    pub(super) fn is_current(&self, job: &Job) -> bool {
        self.channels.get(job.channel).life == job.life
    }

    /// A descriptor failed, or could not be fetched.
    pub(super) fn refuse(&mut self, job: &Job, refusal: &Refusal, asked: [bool; 2]) {
        if !self.is_current(job) {
            return; // Stopped by the host: what is gone by now is no failure.
        }
        match &refusal.cause {
            Cause::Host(text) | Cause::Mismatch(text) => self
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
        if matches!(refusal.cause, Cause::Mismatch(_)) {
            if self.profile.nnc.lenient {
                self.set_adrift(job.channel);
                return;
            }
            self.channels.stop_both_sides(job.channel);
        } else {
            self.channels.fail(job.channel, refusal.side, refusal.code);
        }
        self.break_channel(job.channel);
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

/// The host's side of a channel that the firmware of NNC mode moves data through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) side: Side,
    pub(super) life: u32,
    /// Descriptors that can be processed now.
    pub(super) count: u32,
    /// Something of the fault plan is still to come.
    pub(super) faults: bool,
    /// The descriptor that fails (a fault).
    pub(super) bad: Option<u32>,
}

/// Whose doing a failure is.
pub(super) enum Cause {
    /// The host's: a complaint.
    Host(String),
    /// The sizes of the two ends differ: a complaint, but no error of the engine.
    Mismatch(String),
    /// The fault plan's.
    Fault(Fault),
    /// The chip's own: its memory failed.
    Own,
}

pub(super) struct Refusal {
    pub(super) side: usize,
    pub(super) code: u8,
    pub(super) cause: Cause,
}

impl Refusal {
    pub(super) fn of_host(side: usize, code: u8, text: String) -> Self {
        Self {
            side,
            code,
            cause: Cause::Host(text),
        }
    }
}

/// Copied, not yet told.
#[derive(Default)]
pub(super) struct Done {
    pub(super) pages: u32,
    pub(super) bytes: u64,
    pub(super) landed: Vec<(DeviceAddr, u64)>,
}

impl Done {
    /// More of a session.
    pub(super) fn add(&mut self, pages: u32, len: usize) {
        self.pages += pages;
        self.bytes += u64::try_from(len).unwrap_or(0);
    }

    pub(super) fn len(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(0)
    }
}
