//! One network's frames: places for them, the rings they go through, and the order in which they come back.
//!
//! A frame has a fixed place from its submission on, and rings hold no more than places, so a frame in the steady state
//! allocates nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cause;
use super::memory::Memory;
use super::schedule::{Load, PATIENCE};
use crate::dma::{Channel, Completion, DmaError, SideState, SubmitError, SubmitProblem};
use crate::infer::{Frame, Part, StreamInfo};
use crate::irq::{Event, Watch};
use crate::nnc::plan::{Plan, Upload};

/// Frames in flight in one network: one bit each in a word.
pub(super) const MOST: usize = 64;

/// What of a network does not change while it is configured.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) name: Arc<str>,
    pub(super) plan: Plan,
    pub(super) upload: Upload,
    pub(super) inputs: Vec<StreamInfo>,
    pub(super) outputs: Vec<StreamInfo>,
    /// Frames it takes at once.
    pub(super) depth: usize,
    /// Frames a batch, as configured.
    pub(super) batch: usize,
    /// One for each place of a frame.
    pub(super) events: Box<[Event]>,
    /// For whoever waits for none of them.
    pub(super) watch: Arc<Watch>,
}

impl Net {
    /// Whether the chip takes a whole batch before it goes on.
    pub(super) fn takes_batches(&self) -> bool {
        self.plan.header.dynamic_contexts > 1
    }

    /// Wakes whoever waits for these frames.
    pub(super) fn wake(&self, mut places: u64) {
        if places != 0 {
            self.watch.tell();
        }
        while places != 0 {
            let place = usize::try_from(places.trailing_zeros()).unwrap_or(MOST);
            places &= places - 1;
            if let Some(event) = self.events.get(place) {
                event.signal();
            }
        }
    }
}

/// Which buffer of a frame a ring carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Input(usize),
    Output(usize),
}

/// A boundary channel, with the frames whose buffers it has, oldest first.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) channel: Channel,
    pub(super) of: Of,
    /// Whether the firmware pauses and resumes it.
    pub(super) shared: bool,
    pub(super) flight: VecDeque<usize>,
}

#[derive(Debug)]
enum Phase {
    Free,
    Waiting,
    /// Buffers in the rings.
    Out(usize),
    Done,
    Failed(Cause),
}

/// The place of a frame.
#[derive(Debug)]
struct Slot {
    phase: Phase,
    /// Which frame it is, for whoever comes late.
    number: u64,
    /// Nobody waits any more.
    abandoned: bool,
    /// The frame's own, empty meanwhile.
    inputs: Vec<Part>,
    outputs: Vec<Part>,
    /// Its buffers that are not in a ring.
    held: [Box<[Option<Part>]>; 2],
}

/// A frame in its owner's hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) place: usize,
    pub(super) number: u64,
}

/// How the scheduler treats a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) threshold: Option<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) priority: u8,
    /// Frames a batch, at most.
    pub(super) batch: usize,
}

/// A configured network.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) net: Arc<Net>,
    /// Its number in the firmware.
    pub(super) index: u8,
    /// What the chip reads and writes beside the frames.
    memory: Memory,
    pub(super) manners: Manners,
    /// Outputs first: a buffer waits for what an input sets going.
    pub(super) rings: Vec<Ring>,
    slots: Box<[Slot]>,
    free: Vec<usize>,
    waiting: VecDeque<usize>,
    in_flight: usize,
    next_number: u64,
    since: Instant,
    served: usize,
    /// Frames a batch that the firmware goes by; 0 while it does not run.
    current: usize,
    /// When a frame was last given or came back.
    pub(super) moved: Instant,
}

impl Network {
    pub(super) fn new(net: Arc<Net>, memory: Memory, manners: Manners, rings: Vec<Ring>) -> Self {
        let none = |streams: &[StreamInfo]| streams.iter().map(|_| None).collect();
        let slot = |_| Slot {
            phase: Phase::Free,
            number: 0,
            abandoned: false,
            inputs: Vec::new(),
            outputs: Vec::new(),
            held: [none(&net.inputs), none(&net.outputs)],
        };
        let now = Instant::now();
        Self {
            index: 0,
            memory,
            manners,
            rings,
            slots: (0..net.depth).map(slot).collect(),
            free: (0..net.depth).rev().collect(),
            waiting: VecDeque::with_capacity(net.depth),
            in_flight: 0,
            next_number: 0,
            since: now,
            served: 0,
            current: 0,
            moved: now,
            net,
        }
    }

    /// Frames that the chip has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Frames that it does not have yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What the chip reads and writes beside the frames.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Keeps its memory mapped and allocated for good: nobody knows whether the chip still uses it.
    pub(super) fn leak(&mut self) {
        log::warn!(
            "{}: {} bytes that the chip may still use are leaked",
            self.net.name,
            self.memory.bytes()
        );
        std::mem::forget(std::mem::take(&mut self.memory));
    }

    /// What the scheduler goes by.
    pub(super) fn load(&self) -> Load {
        let Manners {
            threshold,
            timeout,
            priority,
            batch,
        } = self.manners;
        let batch = if self.net.takes_batches() { batch } else { 1 };
        Load {
            waiting: self.waiting.len(),
            since: self.since,
            in_flight: self.in_flight,
            served: self.served,
            share: self.net.depth.max(batch),
            batch,
            rounds: self.net.takes_batches(),
            current: self.current,
            threshold: threshold.unwrap_or(1),
            patience: match (threshold, timeout) {
                (_, Some(timeout)) => Some(timeout),
                (Some(_), None) => None,
                (None, None) => Some(PATIENCE),
            },
            priority,
        }
    }

    /// Takes a frame that fits; it comes back where there is no place for it.
    pub(super) fn submit(&mut self, frame: Frame) -> Result<Ticket, Frame> {
        let Some(place) = self.free.pop() else {
            return Err(frame);
        };
        let number = self.next_number;
        self.next_number += 1;
        let slot = &mut self.slots[place];
        let (mut inputs, mut outputs) = frame.into_parts();
        let [to, from] = &mut slot.held;
        for (held, parts) in [(to, &mut inputs), (from, &mut outputs)] {
            for (held, part) in held.iter_mut().zip(parts.drain(..)) {
                *held = Some(part);
            }
        }
        (slot.inputs, slot.outputs) = (inputs, outputs);
        (slot.phase, slot.number, slot.abandoned) = (Phase::Waiting, number, false);
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting.push_back(place);
        Ok(Ticket { place, number })
    }

    /// Takes over the channels that the firmware opens; false where one of them is not open yet.
    pub(super) fn adopt(&mut self, done: &mut usize) -> Result<bool, DmaError> {
        while let Some(ring) = self.rings.get_mut(*done) {
            if !ring.channel.adopt()? {
                return Ok(false);
            }
            *done += 1;
        }
        Ok(true)
    }

    /// The firmware goes by batches of so many frames from now on.
    pub(super) fn begin(&mut self, batch: usize) {
        self.current = batch;
        self.served = 0;
        self.moved = Instant::now();
    }

    /// Whether the firmware keeps an input paused: it is given nothing then, since a write to the register that tells of
    /// it could pause it again just when it is resumed.
    pub(super) fn is_paused(&self) -> Result<bool, DmaError> {
        for ring in self.rings.iter().filter(|ring| ring.shared) {
            if ring.channel.is_paused()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives `frames` of the waiting frames to the chip.
    pub(super) fn launch(&mut self, frames: usize, polls: bool) -> Result<(), DmaError> {
        for _ in 0..frames {
            let Some(place) = self.waiting.pop_front() else {
                break;
            };
            self.in_flight += 1;
            self.served += 1;
            let slot = &mut self.slots[place];
            slot.phase = Phase::Out(self.rings.len());
            let mut out = 0;
            let mut failed = None;
            for ring in &mut self.rings {
                let Some(Part { buffer, bytes }) = slot.part(ring.of).take() else {
                    continue;
                };
                // An input is through before the outputs that follow from it.
                let interrupt = !polls && matches!(ring.of, Of::Output(_));
                match ring.channel.queue(buffer, bytes, interrupt) {
                    Ok(_) => {
                        ring.flight.push_back(place);
                        out += 1;
                    }
                    Err(SubmitError { buffer, reason }) => {
                        *slot.part(ring.of) = Some(Part { buffer, bytes });
                        failed = Some(reason);
                        break;
                    }
                }
            }
            slot.phase = Phase::Out(out);
            if let Some(reason) = failed {
                return Err(match reason {
                    SubmitProblem::Dma(error) => error,
                    // The frame was checked, and there are no more places than room: the ring is out of step.
                    other => DmaError::Refused(other.to_string()),
                });
            }
        }
        if frames > 0 {
            self.since = Instant::now();
            self.moved = self.since;
            for ring in &mut self.rings {
                ring.channel.launch()?;
            }
        }
        Ok(())
    }

    /// Takes in what the chip has finished; a bit for each frame that is complete.
    pub(super) fn reap(&mut self) -> Result<u64, DmaError> {
        let mut done = 0;
        for ring in &mut self.rings {
            while let Some(completion) = ring.channel.reap()? {
                if let Some(place) = ring.flight.pop_front() {
                    let finished = self.slots[place].take_in(ring.of, completion);
                    done |= u64::from(finished) << place;
                }
            }
        }
        Ok(self.settle(done))
    }

    /// Looks at the rings' counters where memory shows nothing.
    pub(super) fn look_at_counters(&mut self) -> Result<bool, DmaError> {
        let mut told = false;
        for ring in &mut self.rings {
            told |= ring.channel.look_at_counter()?;
        }
        Ok(told)
    }

    /// Registers of all rings: channel, stream, state.
    pub(super) fn states(&self) -> Result<Vec<(u32, &str, SideState)>, DmaError> {
        let state = |ring: &Ring| {
            let stream = match ring.of {
                Of::Input(index) => self.net.inputs.get(index),
                Of::Output(index) => self.net.outputs.get(index),
            };
            let name = stream.map_or("", |stream| stream.name.as_str());
            Ok((ring.channel.number(), name, ring.channel.state()?))
        };
        self.rings.iter().map(state).collect()
    }

    /// Whether the firmware still runs all channels, and none failed.
    pub(super) fn diagnose(&self) -> Result<(), DmaError> {
        self.rings
            .iter()
            .try_for_each(|ring| ring.channel.diagnose())
    }

    /// The firmware has closed the channels: what was in flight ends with `cause`. `confirmed` says that the firmware
    /// said so, or the function was reset; otherwise the channels are stopped by their registers.
    pub(super) fn end(&mut self, cause: &Cause, confirmed: bool) -> u64 {
        let mut ended = 0;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if matches!(slot.phase, Phase::Out(_)) {
                slot.phase = Phase::Failed(cause.clone());
                ended |= 1 << place;
            }
        }
        for ring in &mut self.rings {
            let back = if confirmed {
                ring.channel.was_reset()
            } else {
                ring.channel.stop().unwrap_or_else(|error| {
                    log::warn!("{}: {error}", self.net.name);
                    Vec::new()
                })
            };
            for (place, completion) in ring.flight.drain(..).zip(back) {
                let Completion { buffer, bytes, .. } = completion;
                *self.slots[place].part(ring.of) = Some(Part { buffer, bytes });
            }
        }
        self.current = 0;
        self.settle(ended)
    }

    /// What waits ends with `cause`, too.
    pub(super) fn drop_waiting(&mut self, cause: &Cause) -> u64 {
        let mut ended = 0;
        while let Some(place) = self.waiting.pop_front() {
            self.slots[place].phase = Phase::Failed(cause.clone());
            self.in_flight += 1;
            ended |= 1 << place;
        }
        self.settle(ended)
    }

    /// Counts what ended; places that nobody waits for are free again.
    fn settle(&mut self, ended: u64) -> u64 {
        let mut rest = ended;
        if rest != 0 {
            self.moved = Instant::now();
        }
        while rest != 0 {
            let place = usize::try_from(rest.trailing_zeros()).unwrap_or(MOST);
            rest &= rest - 1;
            self.in_flight -= 1;
            if self.slots[place].abandoned {
                self.release(place);
            }
        }
        ended
    }

    fn release(&mut self, place: usize) -> (Frame, Phase) {
        let slot = &mut self.slots[place];
        let phase = std::mem::replace(&mut slot.phase, Phase::Free);
        let frame = slot.frame();
        self.free.push(place);
        (frame, phase)
    }

    /// The frame, once it ended: with its cause where it failed.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<(Frame, Option<Cause>)> {
        let slot = self.slots.get(ticket.place)?;
        if slot.number != ticket.number || !matches!(slot.phase, Phase::Done | Phase::Failed(_)) {
            return None;
        }
        let (frame, phase) = self.release(ticket.place);
        match phase {
            Phase::Failed(cause) => Some((frame, Some(cause))),
            _ => Some((frame, None)),
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(ticket.place) else {
            return;
        };
        if slot.number != ticket.number {
            return;
        }
        slot.abandoned = true;
        if matches!(slot.phase, Phase::Done | Phase::Failed(_)) {
            self.release(ticket.place);
        }
    }
}

impl Slot {
    fn part(&mut self, of: Of) -> &mut Option<Part> {
        match of {
            Of::Input(index) => &mut self.held[0][index],
            Of::Output(index) => &mut self.held[1][index],
        }
    }

    /// A buffer is back; whether it was the last.
    fn take_in(&mut self, of: Of, completion: Completion) -> bool {
        let Completion { buffer, bytes, .. } = completion;
        *self.part(of) = Some(Part { buffer, bytes });
        let Phase::Out(out) = &mut self.phase else {
            return false;
        };
        *out -= 1;
        let last = *out == 0;
        if last {
            self.phase = Phase::Done;
        }
        last
    }

    fn frame(&mut self) -> Frame {
        let mut inputs = std::mem::take(&mut self.inputs);
        let mut outputs = std::mem::take(&mut self.outputs);
        let [to, from] = &mut self.held;
        for (held, parts) in [(to, &mut inputs), (from, &mut outputs)] {
            parts.extend(held.iter_mut().filter_map(Option::take));
        }
        Frame::of(inputs, outputs)
    }
}
