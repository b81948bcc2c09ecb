//! The chip as those see it who run networks: the host's memory, channels, and ways to say something.
//!
//! Everything here is called by the worker alone, without the chip's lock; each call takes it for as long as it needs.

use std::sync::Arc;
use std::time::Instant;

use super::refusal::Refusal;
use super::{NncOptions, NncWrong};
use crate::addr::Iova;
use crate::model::chip::Shared;
use crate::model::fault::Fault;
use crate::model::job::Ready;
use crate::model::profile::Profile;
use crate::model::timing::LinkClock;
use crate::spec::nnc::Cpu;
use crate::spec::nnc::command::Command;
use crate::spec::nnc::event::Event;
use crate::spec::nnc::message::Request;
use crate::spec::nnc::state::LogLevel;
use crate::spec::vdma_bar::FIRST_FROM_DEVICE;
use crate::transport::local::{DmaFault, Host};

/// The chip, for one task.
pub(in crate::model) struct Access<'a> {
    shared: &'a Shared,
    /// `None` while there is no host, or bus mastering is off.
    host: Option<Arc<dyn Host>>,
    link: &'a mut LinkClock,
}

impl<'a> Access<'a> {
    pub(super) fn new(shared: &'a Shared, link: &'a mut LinkClock) -> Self {
        let state = shared.lock();
        let core = &state.core;
        let host = core.host.clone().filter(|_| core.config.is_master());
        drop(state);
        Self { shared, host, link }
    }

    /// What the chip is made from.
    pub(in crate::model) fn profile(&self) -> &Profile {
        &self.shared.profile
    }

    /// What its firmware is like.
    pub(in crate::model) fn options(&self) -> NncOptions {
        self.shared.profile.nnc
    }

    /// The command in a request whose number and lengths of parameters were checked.
    pub(in crate::model) fn decode<C: Command>(&self, request: &Request<'_>) -> Result<C, Refusal> {
        Ok(C::from_request(request)?)
    }

    /// Whether there is a host whose memory can be reached.
    pub(in crate::model) fn reaches_host(&self) -> bool {
        self.host.is_some()
    }

    /// Reads the host's memory.
    pub(in crate::model) fn read(&self, address: Iova, into: &mut [u8]) -> Result<(), DmaFault> {
        let fault = DmaFault {
            address,
            len: into.len(),
            write: false,
        };
        self.host.as_ref().ok_or(fault)?.read(address, into)
    }

    /// Writes the host's memory.
    pub(in crate::model) fn write(&self, address: Iova, from: &[u8]) -> Result<(), DmaFault> {
        let fault = DmaFault {
            address,
            len: from.len(),
            write: true,
        };
        self.host.as_ref().ok_or(fault)?.write(address, from)
    }

    // Channels.

    /// Opens a channel on a list in the host's memory: 1 << `depth` descriptors as the registers count, none available.
    /// Gives the channel's life.
    pub(in crate::model) fn open(&self, channel: u32, list: u64, depth: u32) -> u32 {
        self.shared.change(|core| {
            core.channels.open(channel, list, depth);
            core.channels.get(channel).life
        })
    }

    /// Stops both sides of a channel.
    pub(in crate::model) fn close(&self, channel: u32) {
        self.shared
            .change(|core| core.channels.stop_both_sides(channel));
    }

    /// Holds a channel, or lets it go on.
    pub(in crate::model) fn pause(&self, channel: u32, pause: bool) {
        self.shared
            .change(|core| core.channels.pause(channel, pause));
    }

    /// Makes `count` more descriptors of the host's list available, as the firmware does it for lists of its own.
    pub(in crate::model) fn feed(&self, channel: u32, count: u32) {
        self.shared
            .change(|core| core.channels.feed_host_side(channel, count));
    }

    /// The host's side of a channel, with the descriptors that can be processed now.
    pub(in crate::model) fn ready(&mut self, channel: u32) -> Ready {
        self.link.begin();
        self.shared.change(|core| core.ready_descriptors(channel))
    }

    /// Tells that `count` descriptors with `bytes` of data are processed; `false` where the channel was stopped since it
    /// had the life `life`. With `interrupt` the host's side asks for one.
    pub(in crate::model) fn finish(
        &mut self,
        channel: u32,
        life: u32,
        count: u32,
        bytes: u64,
        interrupt: bool,
    ) -> bool {
        self.link
            .occupy(usize::from(channel >= FIRST_FROM_DEVICE), bytes);
        self.shared
            .change(|core| core.finish_descriptors(channel, life, count, bytes, interrupt))
    }

    /// A channel fails: both sides stop, the host's shows `code` in its error byte.
    pub(in crate::model) fn fail(&self, channel: u32, code: u8) {
        self.shared.change(|core| {
            let side = usize::from(channel >= FIRST_FROM_DEVICE);
            core.channels.fail(channel, side, code);
        });
    }

    /// When the link has time again for the direction of a channel; `None`: now.
    pub(in crate::model) fn link_free(&mut self, channel: u32) -> Option<Instant> {
        let way = usize::from(channel >= FIRST_FROM_DEVICE);
        let now = Instant::now();
        if !self.link.busy(now)[way] {
            return None;
        }
        let mut waiting = [false; 2];
        waiting[way] = true;
        self.link.hold(waiting);
        self.link.due(now)
    }

    // Words.

    /// Tells the host of an event.
    pub(in crate::model) fn event(&self, event: Event) {
        self.shared.change(|core| core.notify(event));
    }

    /// A line in the core CPU's log ring.
    pub(in crate::model) fn log(&self, level: LogLevel, text: &str) {
        self.shared
            .change(|core| core.firmware_says(Cpu::Core, level, text));
    }

    /// Something that no host may do.
    pub(in crate::model) fn complain(&self, text: String) {
        self.shared.change(|core| core.complaints.add(text));
    }

    /// What goes wrong now, of the kinds that `wanted` picks; counted as fired.
    pub(in crate::model) fn fire(&self, wanted: impl Fn(NncWrong) -> bool) -> Option<NncWrong> {
        self.shared.change(|core| {
            let planned = !core.faults.is_empty();
            planned
                .then(|| core.faults.fire_nnc(None, wanted))
                .flatten()
        })
    }

    /// Whether a fault of the whole chip is due; counted as fired.
    pub(in crate::model) fn fires(&self, fault: Fault) -> bool {
        self.shared.change(|core| core.faults.fires(fault))
    }
}
