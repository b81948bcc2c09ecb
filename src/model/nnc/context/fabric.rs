//! What the running application has open: channels, configuration, and the frames that pass through them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::output::{ConfigDigest, config_key, context_key};
use super::check::{Opened, Problem};
use super::code::{other, switch};
use super::lane::Lane;
use super::layers::{CHANNELS, Flow, Layer, Role};
use super::mover::{Moved, Mover};
use crate::model::nnc::access::Access;
use crate::spec::nnc::context::BufferInfo;
use crate::spec::nnc::state::LogLevel;

/// How far something got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// To its end.
    Done,
    /// A little; there is more to do at once.
    Moved,
    /// Nothing before the host does something.
    Blocked,
    /// Nothing before then.
    Until(Instant),
}

impl Progress {
    /// Of two things that go on side by side, neither of them done.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Moved, _) | (_, Self::Moved) => Self::Moved,
            (Self::Until(one), Self::Until(two)) => Self::Until(one.min(two)),
            (Self::Until(due), _) | (_, Self::Until(due)) => Self::Until(due),
            _ => Self::Blocked,
        }
    }
}

impl From<Moved> for Progress {
    fn from(moved: Moved) -> Self {
        match moved {
            Moved::Nothing => Self::Blocked,
            Moved::Busy(due) => Self::Until(due),
            Moved::Some => Self::Moved,
            Moved::All => Self::Done,
        }
    }
}

/// A config stream that is open.
#[derive(Debug)]
pub(super) struct Fetch {
    channel: u8,
    stream: u8,
    digest: ConfigDigest,
    bursts: u32,
    done: bool,
}

/// Which context configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Preliminary,
    Dynamic,
}

/// Everything that is open.
#[derive(Debug, Default)]
pub(super) struct Fabric {
    pub(super) lanes: Vec<Lane>,
    pub(super) mover: Mover,
    pub(super) fetches: Vec<Fetch>,
    /// Streams and digests of what was fetched, by owner.
    pub(super) fetched: [Vec<(u8, u64)>; 2],
    pub(super) key: Option<u64>,
    /// Digests of the frames that inter-context outputs wrote, by their list.
    pub(super) handed: BTreeMap<u64, Vec<u64>>,
    /// Boundary inputs may fetch what they were granted.
    pub(super) credits: bool,
    /// Frames made in this context, by network.
    pub(super) fired: [u64; 8],
    /// Frames of a batch.
    pub(super) batch: u64,
    /// How long the core takes for a frame, and when it is done with the last one.
    pub(super) frame_time: Duration,
    pub(super) due: Option<Instant>,
    pub(super) loopback: bool,
}

impl Fabric {
    /// An application begins to run. Memory of the one before is used again.
    pub(super) fn start(&mut self, batch: u16, frame_time: Duration, loopback: bool) {
        self.lanes.resize_with(CHANNELS, Lane::default);
        self.fetches.clear();
        self.fetched = Default::default();
        self.key = None;
        self.handed.clear();
        self.credits = false;
        self.batch = batch.into();
        self.frame_time = frame_time;
        self.due = None;
        self.loopback = loopback;
    }

    /// Closes every channel. Nothing is in flight: the one who moves data is the one who closes.
    pub(super) fn close_all(&mut self, chip: &Access<'_>) {
        for (channel, lane) in (0..).zip(&mut self.lanes) {
            if let Some((bytes, whole)) = lane.partial().filter(|_| lane.open) {
                chip.log(
                    LogLevel::Warning,
                    &format!(
                        "channel {channel} is closed with {bytes} of the {whole} bytes of a frame"
                    ),
                );
            }
            lane.close(chip, channel);
        }
    }

    /// The channels were closed by somebody else.
    pub(super) fn forget(&mut self) {
        for lane in &mut self.lanes {
            lane.open = false;
            lane.bound = false;
        }
        self.fetches.clear();
    }

    pub(super) fn lane(&mut self, channel: u8) -> Result<&mut Lane, Problem> {
        let lane = self.lanes.get_mut(usize::from(channel));
        lane.filter(|lane| lane.open).ok_or_else(|| {
            Problem::new(switch::NOT_SET_UP, format!("channel {channel} is not open"))
        })
    }

    fn open_lane(&mut self, chip: &Access<'_>, channel: u8, role: Role, list: BufferInfo) {
        if let Some(lane) = self.lanes.get_mut(usize::from(channel)) {
            lane.close(chip, channel);
            lane.open(chip, channel, role, list);
        }
    }

    // Configuration.

    /// 22: opens a config channel; all of its descriptors are made available at once.
    pub(super) fn open_config(
        &mut self,
        chip: &Access<'_>,
        channel: u8,
        stream: u8,
        list: BufferInfo,
    ) -> Result<(), Problem> {
        self.open_lane(chip, channel, Role::Config, list);
        let count = list.pattern.div_ceil(list.page.max(1).into());
        self.lane(channel)?.feed(chip, channel, count);
        self.fetches.push(Fetch {
            channel,
            stream,
            digest: ConfigDigest::new(),
            bursts: 0,
            done: false,
        });
        Ok(())
    }

    /// Fetches configuration words.
    pub(super) fn pump_config(
        &mut self,
        chip: &mut Access<'_>,
        channel: u8,
        owner: Owner,
    ) -> Result<Progress, Problem> {
        let Some(fetch) = self
            .fetches
            .iter_mut()
            .find(|fetch| fetch.channel == channel)
        else {
            return Ok(Progress::Done);
        };
        let Some(lane) = self.lanes.get_mut(usize::from(channel)) else {
            return Ok(Progress::Done);
        };
        let moved = self
            .mover
            .pump(chip, lane, channel, Some(&mut fetch.digest))?;
        if moved == Moved::All && !fetch.done {
            fetch.done = true;
            let bytes = lane.moved();
            if !bytes.is_multiple_of(8) {
                return Err(Problem::new(
                    other::CSM_BUFFER,
                    format!(
                        "config stream {}: {bytes} bytes, not whole words of 8",
                        fetch.stream
                    ),
                ));
            }
            let fetched = &mut self.fetched[owner as usize];
            fetched.push((fetch.stream, fetch.digest.finish()));
            fetched.sort_by_key(|(stream, _)| *stream);
            self.key = None;
        }
        Ok(moved.into())
    }

    /// 27.
    pub(super) fn count_bursts(&mut self, stream: u8, bursts: u16) {
        for fetch in self
            .fetches
            .iter_mut()
            .filter(|fetch| fetch.stream == stream)
        {
            fetch.bursts = fetch.bursts.saturating_add(bursts.into());
        }
    }

    /// 23.
    pub(super) fn close_config(&mut self, chip: &Access<'_>, channel: u8) -> Result<(), Problem> {
        let left = self.lane(channel)?.left();
        if left > 0 {
            return Err(Problem::new(
                other::CSM_CREDITS,
                format!("config channel {channel} is closed with {left} descriptors to do"),
            ));
        }
        let place = self
            .fetches
            .iter()
            .position(|fetch| fetch.channel == channel);
        let fetch = place.map(|place| self.fetches.swap_remove(place));
        if let Some(fetch) = fetch.filter(|fetch| fetch.bursts == 0) {
            return Err(Problem::new(
                other::CSM_BURSTS,
                format!("no burst of config stream {} was fetched", fetch.stream),
            ));
        }
        self.lane(channel)?.close(chip, channel);
        Ok(())
    }

    pub(super) fn key(&mut self) -> u64 {
        let [preliminary, own] = &self.fetched;
        *self
            .key
            .get_or_insert_with(|| context_key(config_key(preliminary), config_key(own)))
    }

    // Channels.

    /// 32, 33.
    pub(super) fn open_boundary(&mut self, chip: &Access<'_>, opened: &Opened) {
        let role = if opened.input.is_some() {
            Role::BoundaryInput
        } else {
            Role::BoundaryOutput
        };
        self.open_lane(chip, opened.channel, role, opened.buffer);
    }

    /// Makes descriptors of a boundary list available that the host has filled.
    pub(super) fn feed(
        &mut self,
        chip: &Access<'_>,
        channel: u8,
        count: u32,
    ) -> Result<(), Problem> {
        self.lane(channel)?.feed(chip, channel, count);
        Ok(())
    }

    /// 6 to 11, 40, 41. Again with equal values it changes nothing.
    pub(super) fn set_up(&mut self, chip: &Access<'_>, layer: &Layer) -> Result<(), Problem> {
        let channel = layer.channel;
        let known = self
            .lane(channel)
            .is_ok_and(|lane| lane.role == layer.role && lane.address() == layer.buffer.address);
        if !known {
            if layer.role.is_boundary() {
                return Err(Problem::new(
                    switch::NOT_SET_UP,
                    format!("channel {channel} is not open"),
                ));
            }
            self.open_lane(chip, channel, layer.role, layer.buffer);
            let transfers = match layer.role {
                Role::InterContextOutput => u32::try_from(self.batch).unwrap_or(1),
                Role::CacheOutput => layer.entries(),
                _ => 0,
            };
            if layer.role == Role::InterContextOutput {
                self.handed.entry(layer.buffer.address).or_default().clear();
            }
            self.lane(channel)?.feed(
                chip,
                channel,
                transfers.saturating_mul(layer.descriptors_per_transfer()),
            );
        }
        let lane = self.lane(channel)?;
        if !lane.bound || lane.stream != layer.stream {
            lane.bind(layer);
        }
        Ok(())
    }

    /// 12, 28.
    pub(super) fn check_used(&mut self, channel: u8, check: bool) -> Result<(), Problem> {
        let lane = self.lane(channel)?;
        if check && !(lane.is_used_up() && lane.is_between_frames()) {
            let left = lane.left();
            return Err(Problem::new(
                other::NOT_ALL_MOVED,
                format!("channel {channel} has {left} descriptors of its list to do"),
            ));
        }
        Ok(())
    }

    pub(super) fn close(&mut self, chip: &Access<'_>, channel: u8) -> Result<(), Problem> {
        self.lane(channel)?.close(chip, channel);
        Ok(())
    }

    /// 38, 39.
    pub(super) fn run_channel(
        &mut self,
        chip: &Access<'_>,
        channel: u8,
        runs: bool,
    ) -> Result<(), Problem> {
        self.lane(channel)?;
        chip.pause(channel.into(), !runs);
        Ok(())
    }

    /// 2 and 37: frames that an input may fetch in this context.
    pub(super) fn grant(
        &mut self,
        chip: &Access<'_>,
        channel: u8,
        frame_descriptors: u32,
    ) -> Result<(), Problem> {
        let batch = self.batch;
        let lane = self.lane(channel)?;
        lane.granted = batch;
        let count = match lane.role {
            Role::InterContextInput => u32::try_from(batch)
                .unwrap_or(1)
                .saturating_mul(frame_descriptors),
            Role::CacheInput => frame_descriptors,
            _ => 0,
        };
        lane.feed(chip, channel, count);
        Ok(())
    }

    /// Whether an input may fetch in this context already.
    pub(super) fn is_granted(&self, channel: u8) -> bool {
        let lane = self.lanes.get(usize::from(channel));
        lane.is_some_and(|lane| lane.granted > 0)
    }

    // Frames.

    /// A context begins: its flows have made nothing yet.
    pub(super) fn enter(&mut self, flows: &[Flow]) {
        self.fired = [0; 8];
        for flow in flows {
            for channel in flow.inputs.iter().chain(&flow.outputs) {
                if let Some(lane) = self.lanes.get_mut(usize::from(*channel)) {
                    lane.restart();
                }
            }
        }
    }

    /// The configuration of a dynamic context begins anew.
    pub(super) fn forget_config(&mut self) {
        self.fetched[Owner::Dynamic as usize].clear();
        self.key = None;
    }

    /// Frames that the flow is to make in this context.
    pub(super) fn limit(&self, flow: &Flow) -> u64 {
        let granted = flow.inputs.iter().filter_map(|channel| {
            self.lanes
                .get(usize::from(*channel))
                .map(|lane| lane.granted)
        });
        granted.min().unwrap_or(self.batch)
    }

    /// The single context of an application runs on and on, or for so many frames.
    pub(super) fn grant_all(&mut self, flows: &[Flow], frames: u64) {
        for channel in flows.iter().flat_map(|flow| &flow.inputs) {
            if let Some(lane) = self.lanes.get_mut(usize::from(*channel)) {
                lane.granted = frames;
            }
        }
    }

    /// Whether an output has sent, or an input received, all frames of this context.
    pub(super) fn is_through(&self, flows: &[Flow], channel: u8) -> bool {
        let lane = self.lanes.get(usize::from(channel));
        let of_channel =
            |flow: &&Flow| flow.inputs.contains(&channel) || flow.outputs.contains(&channel);
        let flow = flows.iter().find(of_channel);
        lane.zip(flow)
            .is_none_or(|(lane, flow)| lane.frames >= self.limit(flow))
    }

    /// Whether everything of this context is done.
    pub(super) fn is_drained(&self, flows: &[Flow]) -> bool {
        let channels = flows
            .iter()
            .flat_map(|flow| flow.inputs.iter().chain(&flow.outputs));
        channels
            .into_iter()
            .all(|channel| self.is_through(flows, *channel))
            && self.is_between(flows)
    }

    /// Whether no frame is on its way.
    pub(super) fn is_between(&self, flows: &[Flow]) -> bool {
        let channels = flows
            .iter()
            .flat_map(|flow| flow.inputs.iter().chain(&flow.outputs));
        channels.into_iter().all(|channel| {
            self.lanes
                .get(usize::from(*channel))
                .is_none_or(Lane::is_between_frames)
        })
    }

    /// Whether no frame of this context was begun.
    pub(super) fn is_fresh(&self, flows: &[Flow]) -> bool {
        let mut inputs = flows.iter().flat_map(|flow| &flow.inputs);
        inputs.all(|channel| {
            self.lanes
                .get(usize::from(*channel))
                .is_none_or(|lane| lane.frames == 0)
        })
    }

    /// Frames that the first network has made in this context.
    pub(super) fn frames_made(&self, flows: &[Flow]) -> u64 {
        flows
            .first()
            .and_then(|flow| self.fired.get(usize::from(flow.network)).copied())
            .unwrap_or(0)
    }
}
