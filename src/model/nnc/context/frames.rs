//! Frames: from the inputs of a context through the core to its outputs.

use std::collections::BTreeMap;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::super::output::{fill_output, frame_seed};
use super::check::Problem;
use super::code::other;
use super::fabric::{Fabric, Progress};
use super::lane::Lane;
use super::layers::{Flow, Pair, Role};
use super::mover::Moved;
use crate::model::nnc::access::Access;

impl Fabric {
    /// Moves what can be moved.
    pub(super) fn pump(
        &mut self,
        chip: &mut Access<'_>,
        flows: &[Flow],
    ) -> Result<Progress, Problem> {
        let mut progress = Progress::Blocked;
        for flow in flows {
            progress = progress.and(self.pump_flow(chip, flow)?);
        }
        Ok(progress)
    }

    fn pump_flow(&mut self, chip: &mut Access<'_>, flow: &Flow) -> Result<Progress, Problem> {
        let mut progress = Progress::Blocked;
        for &channel in &flow.inputs {
            let Some(lane) = self.lanes.get_mut(usize::from(channel)) else {
                continue;
            };
            let may = lane.open
                && !lane.ready
                && lane.frames < lane.granted
                && (self.credits || lane.role != Role::BoundaryInput);
            if !may {
                continue;
            }
            let moved = self.mover.pump(chip, lane, channel, None)?;
            if moved == Moved::All {
                lane.ready = true;
                let digest = (lane.role == Role::InterContextInput).then(|| xxh3_64(&lane.frame));
                if let Some(digest) = digest {
                    check_handed(&self.handed, lane, channel, digest)?;
                }
                lane.frames += 1;
                progress = Progress::Moved;
            }
            progress = progress.and(moved.into());
        }
        if self.may_fire(flow) {
            self.fire(chip, flow)?;
            progress = Progress::Moved;
        }
        if let Some(due) = self.due {
            if Instant::now() < due {
                return Ok(progress.and(Progress::Until(due)));
            }
            self.due = None;
        }
        for &channel in &flow.outputs {
            let Some(lane) = self.lanes.get_mut(usize::from(channel)) else {
                continue;
            };
            if !(lane.open && lane.ready) {
                continue;
            }
            let moved = self.mover.pump(chip, lane, channel, None)?;
            if moved == Moved::All {
                lane.ready = false;
                lane.frames += 1;
                progress = Progress::Moved;
            }
            progress = progress.and(moved.into());
        }
        Ok(progress)
    }

    fn may_fire(&self, flow: &Flow) -> bool {
        let lane = |channel: &u8| self.lanes.get(usize::from(*channel));
        let full = flow
            .inputs
            .iter()
            .all(|channel| lane(channel).is_some_and(|lane| lane.ready));
        let empty = flow.outputs.iter().all(|channel| {
            lane(channel).is_some_and(|lane| lane.open && lane.bound && !lane.ready)
        });
        let fired = self.fired.get(usize::from(flow.network)).copied();
        full && empty && self.due.is_none() && fired.is_some_and(|fired| fired < self.limit(flow))
    }

    /// The core makes a frame of all outputs from a frame of all inputs.
    fn fire(&mut self, chip: &mut Access<'_>, flow: &Flow) -> Result<(), Problem> {
        let key = self.key();
        let inputs = flow
            .inputs
            .iter()
            .filter_map(|channel| self.lanes.get(usize::from(*channel)));
        let seed = frame_seed(
            key,
            inputs.map(|lane| lane.frame.get(..lane.payload).unwrap_or_default()),
        );
        for pair in &flow.pairs {
            self.turn_ring(chip, pair, seed)?;
        }
        for (place, &channel) in flow.outputs.iter().enumerate() {
            let source = flow.inputs.get(place).filter(|_| self.loopback).copied();
            let Some(lane) = self.lanes.get_mut(usize::from(channel)) else {
                continue;
            };
            let mut frame = std::mem::take(&mut lane.frame);
            let stream = lane.stream;
            let source = source.and_then(|source| self.lanes.get(usize::from(source)));
            match source.filter(|source| source.frame.len() == frame.len()) {
                Some(source) => frame.copy_from_slice(&source.frame),
                None => fill_output(seed, stream, &mut frame),
            }
            let lane = self.lane(channel)?;
            lane.frame = frame;
            lane.send();
            if lane.role == Role::InterContextOutput {
                let (address, digest) = (lane.address(), xxh3_64(&lane.frame));
                self.handed.entry(address).or_default().push(digest);
            }
        }
        for &channel in &flow.inputs {
            self.lane(channel)?.consume();
        }
        if let Some(fired) = self.fired.get_mut(usize::from(flow.network)) {
            *fired += 1;
        }
        if !self.frame_time.is_zero() {
            self.due = Some(Instant::now() + self.frame_time);
        }
        Ok(())
    }

    /// A frame's rows go out into a DDR ring and come back.
    fn turn_ring(&mut self, chip: &mut Access<'_>, pair: &Pair, seed: u64) -> Result<(), Problem> {
        let list = self.lane(pair.output)?.list();
        let each = list.pattern.div_ceil(list.page.max(1).into()).max(1);
        self.mover.unpaced = true;
        let turned = self.turn_rows(chip, pair, seed, each);
        self.mover.unpaced = false;
        turned
    }

    fn turn_rows(
        &mut self,
        chip: &mut Access<'_>,
        pair: &Pair,
        seed: u64,
        each: u32,
    ) -> Result<(), Problem> {
        for row in 0..pair.descriptors_per_frame / each {
            let lane = self.lane(pair.output)?;
            let stream = lane.stream;
            fill_output(seed ^ u64::from(row), stream, &mut lane.frame);
            lane.feed(chip, pair.output, each);
            lane.send();
            self.pump_row(chip, pair.output)?;
            let lane = self.lane(pair.input)?;
            lane.feed(chip, pair.input, each);
            lane.consume();
            self.pump_row(chip, pair.input)?;
            let same = self
                .lanes
                .get(usize::from(pair.input))
                .map(|lane| &lane.frame)
                == self
                    .lanes
                    .get(usize::from(pair.output))
                    .map(|lane| &lane.frame);
            if !same {
                let text = format!(
                    "row {row} that channel {} wrote is not what channel {} reads",
                    pair.output, pair.input
                );
                return Err(Problem::new(other::NOT_ALL_MOVED, text));
            }
            self.lane(pair.output)?.consume();
            self.lane(pair.input)?.consume();
        }
        Ok(())
    }

    fn pump_row(&mut self, chip: &mut Access<'_>, channel: u8) -> Result<(), Problem> {
        loop {
            let Some(lane) = self.lanes.get_mut(usize::from(channel)) else {
                return Ok(());
            };
            match self.mover.pump(chip, lane, channel, None)? {
                Moved::All => return Ok(()),
                Moved::Some => {}
                Moved::Nothing | Moved::Busy(_) => {
                    return Err(Problem::new(
                        other::NOT_ALL_MOVED,
                        format!("channel {channel} has no descriptors for a row"),
                    ));
                }
            }
        }
    }
}

/// What a context wrote must be what the next one reads.
fn check_handed(
    handed: &BTreeMap<u64, Vec<u64>>,
    lane: &Lane,
    channel: u8,
    digest: u64,
) -> Result<(), Problem> {
    let number = usize::try_from(lane.frames).unwrap_or(usize::MAX);
    let written = handed
        .get(&lane.address())
        .and_then(|frames| frames.get(number));
    if written == Some(&digest) {
        return Ok(());
    }
    let text = format!(
        "channel {channel}, frame {number} of the batch: what comes back is not what the context before wrote"
    );
    Err(Problem::new(other::NOT_ALL_MOVED, text))
}
