//! One side of a channel: its registers, and starting and stopping it.

use std::fmt;
use std::time::Duration;

use super::{DescriptorList, DmaError};
use crate::addr::Iova;
use crate::deadline::{Backoff, Deadline};
use crate::spec::vdma_bar::{
    ChannelControl, ChannelErrorAndListLow, ChannelListHigh, ChannelProgress, control,
};
use crate::transport::bars::Bars;
use crate::transport::{Result, Transport};

/// How long a paused channel may take to finish what it has fetched.
///
/// Source: the vendor polls 10,000 times (hailort-drivers v5.3.0, `common/vdma_common.c`); at about a
/// microsecond a read that is 10 ms. Ten times that is ours.
const IDLE_TIMEOUT: Duration = Duration::from_millis(100);

/// The host's or the device's half of a channel's registers, by instance number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side(pub u32);

/// What a side's registers read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SideState {
    /// Control, depth, available count.
    pub control: ChannelControl,
    /// Fetched and processed counts.
    pub progress: ChannelProgress,
    /// Error byte.
    pub error: ChannelErrorAndListLow,
}

impl SideState {
    /// Whether the side is active, paused included.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.control.control() & control::ACTIVE != 0
    }
}

impl fmt::Display for SideState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "control {:#04b}, available {}, processed {}, fetched {}, error {:#04x}",
            self.control.control(),
            self.control.available(),
            self.progress.processed(),
            self.progress.ongoing(),
            self.error.error()
        )
    }
}

impl fmt::Debug for SideState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The side was idle, then aborted: memory may be freed.
    Confirmed,
    /// It was aborted, but did not go idle in time: state before the abort.
    NotIdle(SideState),
}

impl Side {
    /// Reads all registers of the side.
    ///
    /// # Errors
    /// The transport's.
    pub fn state(self, transport: &dyn Transport) -> Result<SideState> {
        Ok(SideState {
            control: transport.read_at(self.0)?,
            progress: transport.read_at(self.0)?,
            error: transport.read_at(self.0)?,
        })
    }

    /// Starts the side with `list`, nothing available. Returns the word that runs it, to be written
    /// again with an available count.
    ///
    /// # On the device
    /// Stop; list address; depth and data id 0 (control and count zero); control `01`.
    ///
    /// # Errors
    /// The transport's.
    pub fn start(
        self,
        transport: &dyn Transport,
        list: &DescriptorList,
    ) -> std::result::Result<ChannelControl, DmaError> {
        self.stop(transport)?;
        self.set_list(transport, list.address())?;
        let depth = list.len().next_power_of_two().ilog2();
        let word = ChannelControl::default().with_depth(depth % 16);
        transport.write_at(self.0, word)?;
        let word = word.with_control(control::START);
        transport.write_at(self.0, word)?;
        Ok(word)
    }

    fn set_list(self, transport: &dyn Transport, address: Iova) -> Result<()> {
        let low: ChannelErrorAndListLow = transport.read_at(self.0)?;
        transport.write_at(self.0, low.with_list_low(address.low() >> 16))?;
        transport.write_at(self.0, ChannelListHigh(address.high()))
    }

    /// Stops the side: pause, wait until what was fetched is done, abort whether or not it is.
    ///
    /// # Errors
    /// The transport's; the side may then still run.
    pub fn stop(self, transport: &dyn Transport) -> Result<Stop> {
        let found: ChannelControl = transport.read_at(self.0)?;
        if found.control() == control::ABORT_PAUSE {
            return Ok(Stop::Confirmed);
        }
        transport.write_at(self.0, found.with_control(control::START_PAUSE))?;
        let idle = self.wait_idle(transport, found)?;
        transport.write_at(self.0, found.with_control(control::ABORT))?;
        if idle {
            return Ok(Stop::Confirmed);
        }
        Ok(Stop::NotIdle(self.state(transport)?))
    }

    fn wait_idle(self, transport: &dyn Transport, control: ChannelControl) -> Result<bool> {
        // Depth 0 stands for 16.
        let depth = if control.depth() == 0 {
            16
        } else {
            control.depth()
        };
        let mask = (1 << depth) - 1;
        let deadline = Deadline::after(IDLE_TIMEOUT);
        let mut backoff = Backoff::default();
        loop {
            let progress: ChannelProgress = transport.read_at(self.0)?;
            if (progress.ongoing() ^ progress.processed()) & mask == 0 {
                return Ok(true);
            }
            if deadline.expired() {
                return Ok(false);
            }
            backoff.pause(&deadline);
        }
    }
}
