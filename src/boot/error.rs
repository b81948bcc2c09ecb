//! Why a boot failed, with what the chip says about it.

use std::fmt;
use std::time::Duration;

use super::window::WindowError;
use crate::addr::DeviceAddr;
use crate::dma::{DmaError, SideState};
use crate::spec::board::{BOOT_CHANNELS, BOOT_DESCRIPTORS, Chip, Layout, Mode, Sku};
use crate::transport::TransportError;

/// Registers of a boot channel, for an error.
#[derive(Clone, Debug)]
pub struct ChannelReport {
    /// Channel number.
    pub number: u32,
    /// Descriptors given to it.
    pub given: u32,
    /// The host's side.
    pub host: SideState,
    /// The device's side.
    pub device: SideState,
}

/// A stage that did not complete, and what the chip says about it.
#[derive(Debug)]
pub struct StageFailure {
    /// Stage number.
    pub stage: u32,
    /// What did not come.
    pub what: &'static str,
    /// The trigger that was written.
    pub trigger: DeviceAddr,
    /// How long it was awaited.
    pub waited: Duration,
    /// Boot status word, when the first stage fails.
    pub boot_status: Option<u32>,
    /// The SCU's log, when a later one fails and the log can be read.
    pub scu_log: Option<String>,
    /// Channels of the boot transfer.
    pub channels: Vec<ChannelReport>,
}

/// Why a boot failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The set is for another chip.
    #[error("this firmware set is for the {set}, the device is a {device}")]
    WrongChip {
        /// What the set is for.
        set: Chip,
        /// What the device is.
        device: Chip,
    },
    /// The set is for another mode.
    #[error("this firmware is for {set} mode, the device was opened in {device} mode")]
    WrongMode {
        /// What the set is for.
        set: Mode,
        /// How the device was opened.
        device: Mode,
    },
    /// Running firmware did not let the boot ROM back in.
    #[error("the soft reset {what} in {:.1} s; boot status {}", .waited.as_secs_f64(), shown(.boot_status))]
    SoftReset {
        /// What did not happen.
        what: &'static str,
        /// How long it was awaited.
        waited: Duration,
        /// Boot status word, where it could be read.
        boot_status: Option<u32>,
    },
    /// The set's layout does not exist for this chip.
    #[error("layout {0} does not exist for this chip")]
    NoSuchLayout(Layout),
    /// The set has no device tree for this board.
    #[error("the board is SKU {sku}, and the set has no {} (it has: {})", sku.file_name(), available.join(", "))]
    NoSkuFile {
        /// The board's variant.
        sku: Sku,
        /// Those that the set has.
        available: Vec<String>,
    },
    /// Stage 3 does not fit.
    #[error("stage 3 needs {descriptors} descriptors of {page} bytes, {most} fit")]
    TooMany {
        /// Descriptors needed.
        descriptors: u64,
        /// Page size in bytes.
        page: u32,
        /// Descriptors there are.
        most: u64,
    },
    /// A stage did not complete in time.
    #[error("boot stage {} did not complete", .0.stage)]
    Stage(Box<StageFailure>),
    /// The boot transfer did not complete in time (turned into [`Self::Stage`] on its way up).
    #[error("the boot transfer did not complete in {:.1} s", .waited.as_secs_f64())]
    DmaTimedOut {
        /// How long it was awaited.
        waited: Duration,
        /// Registers of the channels.
        channels: Vec<ChannelReport>,
    },
    /// The user stopped it.
    #[error("stopped on request")]
    Cancelled,
    /// The device was lost in the middle.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// An access through the window failed.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A list or channel failed.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

fn shown(status: &Option<u32>) -> String {
    status.map_or_else(
        || "can't be read".to_owned(),
        |status| format!("{status:#010x}"),
    )
}

impl BootError {
    /// Whether another try after a reset may help: a stage that did not complete.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Stage(_))
    }

    /// Whether this host has no contiguous memory for the lists that the files take. Nothing was given to
    /// the device then.
    pub(super) fn is_lack_of_lists(&self) -> bool {
        match self {
            Self::TooMany { most, .. } => *most < u64::from(BOOT_CHANNELS * BOOT_DESCRIPTORS),
            Self::Dma(DmaError::Transport(error)) => {
                matches!(error, TransportError::NotContiguous { .. })
            }
            _ => false,
        }
    }

    /// In one line, with what was awaited and how long.
    #[must_use]
    pub fn in_short(&self) -> String {
        match self {
            Self::Stage(failure) => failure.to_string(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stage {}: no {} in {:.1} s",
            self.stage,
            self.what,
            self.waited.as_secs_f64()
        )
    }
}
