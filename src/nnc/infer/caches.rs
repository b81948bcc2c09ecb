//! Caches that move on from frame to frame.

use std::collections::BTreeSet;
use std::time::Duration;

use super::core::Core;
use super::{Configured, InferError, firmware};
use crate::deadline::{Backoff, Deadline};
use crate::error::Error;
use crate::nnc::plan::Plan;
use crate::spec::nnc::context::ActionKind;
use crate::spec::vdma_bar::{ChannelControl, control, host_side};
use crate::transport::bars::Bars;

/// How long the firmware may take from the last output of a frame until it has closed the channels of its caches.
const CLOSING: Duration = Duration::from_secs(1);

impl Configured {
    /// Moves the caches on: from the next frame on reading starts at entry `offset`, modulo the length of the caches. Once
    /// after each frame, none may be in flight.
    ///
    /// # On the device
    /// Reads until the channels inside are closed: an output that is there says nothing of a cache that is still being
    /// written. Then the lists are written in place, and a control tells the firmware.
    ///
    /// # Errors
    /// The network has no caches that move, frames are in flight, or the firmware refuses.
    pub fn set_cache_offset(&self, offset: u32) -> Result<(), Error> {
        let core = &self.shared.core;
        self.move_caches(core, offset)
            .map_err(|error| error.failed_to(core.device(), "move the caches"))
    }

    fn move_caches(&self, core: &Core, offset: u32) -> Result<(), InferError> {
        let plan = &self.net.plan;
        if plan.caches.is_empty() || !plan.parameters.kv_cache {
            let what = format!("{} has no caches that move", self.net.name);
            return Err(InferError::Unsupported(what));
        }
        // Nobody switches or gives frames meanwhile.
        let firmware = core.firmware();
        let mut state = core.state();
        let running = state.active == Some(self.id);
        let frames = state
            .network(self.id)
            .map_or(0, |network| network.in_flight() + network.waiting());
        if frames > 0 {
            let what = format!("{frames} frames of {}", self.net.name);
            let waited = Duration::ZERO;
            return Err(InferError::Busy { what, waited });
        }
        state.steady = false;
        drop(state);
        let moved = self.point(core, offset, running);
        core.settle();
        drop(firmware);
        moved
    }

    fn point(&self, core: &Core, offset: u32, running: bool) -> Result<(), InferError> {
        let plan = &self.net.plan;
        if running {
            wait_closed(core, plan)?;
        }
        if let Some(network) = core.state().network(self.id) {
            for cache in &plan.caches {
                network.memory().point(plan, cache, offset)?;
            }
        }
        if running {
            firmware::cache_updated(&core.nnc)?;
        }
        Ok(())
    }
}

/// Waits until the firmware has closed all channels but those of the user: it then waits for the caches.
fn wait_closed(core: &Core, plan: &Plan) -> Result<(), InferError> {
    let inside = |kind| {
        matches!(
            kind,
            ActionKind::ActivateInterContextInput
                | ActionKind::ActivateInterContextOutput
                | ActionKind::ActivateDdrInput
                | ActionKind::ActivateDdrOutput
                | ActionKind::ActivateCacheInput
                | ActionKind::ActivateCacheOutput
        )
    };
    let actions = plan.contexts.iter().flat_map(|context| context.actions());
    let channels: BTreeSet<u8> = actions
        .filter(|planned| inside(planned.action.kind()))
        .filter_map(|planned| planned.action.channel())
        .map(|channel| channel.index())
        .collect();
    let deadline = Deadline::after(CLOSING);
    let mut backoff = Backoff::default();
    for channel in channels {
        loop {
            let word: ChannelControl = core.transport().read_at(host_side(channel.into()))?;
            if word.control() & control::ACTIVE == 0 {
                break;
            }
            if deadline.expired() {
                return Err(InferError::Busy {
                    what: format!("channel {channel} of the caches' context"),
                    waited: deadline.waited(),
                });
            }
            backoff.pause(&deadline);
        }
    }
    Ok(())
}
