//! Why a network could not be set up, or a frame did not get through.

use std::sync::Arc;
use std::time::Duration;

use crate::dma::{DmaError, SideState};
use crate::error::{Error, ErrorKind};
use crate::hef::HefError;
use crate::nnc::plan::{EncodeError, PlanError};
use crate::nnc::{ControlError, report};
use crate::spec::nnc::context::MAX_APPLICATIONS;
use crate::spec::nnc::status::Status;
use crate::transport::TransportError;

/// Why a network could not be set up, or a frame did not get through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// The exchange with the firmware failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The firmware's memory for action lists is full.
    #[error("the firmware has no memory left for the {bytes} bytes of actions of {network}")]
    OutOfMemory {
        /// Which network.
        network: String,
        /// Bytes of its action lists.
        bytes: usize,
    },
    /// The firmware refuses a part of the network. Its status does not tell which action it stumbled over, its log may.
    #[error("the firmware refuses {part} of {network}{}", log.as_ref().map_or_else(String::new, |line| format!(" ({line})")))]
    Refused {
        /// Which network.
        network: String,
        /// The header, or a context.
        part: String,
        /// What its log said last, if that is text.
        log: Option<String>,
        /// What it answered.
        source: ControlError,
    },
    /// No more networks can be resident.
    #[error("{MAX_APPLICATIONS} networks are on the chip, it takes no more")]
    TooMany,
    /// No plan can be made for the file.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan does not fit where memory came to lie.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The file can't be used here.
    #[error(transparent)]
    Hef(#[from] HefError),
    /// A breakpoint at a place that there is not, or one that is gone.
    #[error("breakpoint of {network}: {problem}")]
    Breakpoint {
        /// Which network.
        network: String,
        /// What is wrong.
        problem: String,
    },
    /// Something that this driver does not do.
    #[error("{0}")]
    Unsupported(String),
    /// A list or a channel failed.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The transport's failure.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Parts of the driver do not agree with each other.
    #[error("the plan contradicts itself: {0}")]
    Inconsistent(String),
    /// The frame is none of this network.
    #[error("the frame does not fit: {0}")]
    BadFrame(String),
    /// As many frames are out as there is room for.
    #[error("{depth} frames of {network} are out, there is room for no more")]
    Full {
        /// Which network.
        network: String,
        /// Frames that it takes at once.
        depth: usize,
    },
    /// Something else had to end first and did not.
    #[error("{what} did not end in {:.1} s", .waited.as_secs_f64())]
    Busy {
        /// What had to end.
        what: String,
        /// How long it was awaited.
        waited: Duration,
    },
    /// The firmware did not open a boundary channel.
    #[error("{network} was activated, but channel {channel} ({stream}) is not open after {:.1} s: {state}", .waited.as_secs_f64())]
    NotOpened {
        /// Which network.
        network: String,
        /// Which channel.
        channel: u32,
        /// Its stream.
        stream: String,
        /// Its registers.
        state: SideState,
        /// How long it was awaited.
        waited: Duration,
    },
    /// A frame took too long; it is still in flight.
    #[error("{network}: no end of the frame in {:.1} s; {seen}", .waited.as_secs_f64())]
    TimedOut {
        /// Which network.
        network: String,
        /// How long it was awaited.
        waited: Duration,
        /// What the rings and the firmware show.
        seen: String,
    },
    /// The frame, or all of them, ended without completing.
    #[error(transparent)]
    Ended(#[from] Cause),
}

/// Why frames ended without completing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// An action failed on the core.
    #[error("{0}")]
    RunTime(Arc<RunTime>),
    /// The firmware closed a channel.
    #[error("{network}: the firmware closed channel {channel} ({state})")]
    Closed {
        /// Which network.
        network: Arc<str>,
        /// Which channel.
        channel: u32,
        /// Its registers.
        state: SideState,
    },
    /// A channel failed.
    #[error("{network}: {reason}")]
    Failed {
        /// Which network.
        network: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The network could not be activated.
    #[error("{network} could not be activated: {reason}")]
    NotActivated {
        /// Which network.
        network: Arc<str>,
        /// Why.
        reason: Arc<str>,
    },
    /// The firmware stopped all inference on the device.
    #[error("all inference was stopped: {0}")]
    Stopped(Arc<str>),
    /// The device was lost or reset.
    #[error("the device was lost: {0}")]
    Lost(Arc<str>),
    /// The user cancelled, or closed the network.
    #[error("the frame was cancelled")]
    Cancelled,
}

/// An action that failed on the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTime {
    /// Which network.
    pub network: String,
    /// Why it failed.
    pub status: Status,
    /// Batch in which it failed.
    pub batch: u32,
    /// Index of the context, as the firmware counts.
    pub context: u16,
    /// Index of the action in it.
    pub action: u16,
    /// The action, readable, where the plan has it.
    pub place: Option<String>,
}

impl std::fmt::Display for RunTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            network,
            status,
            batch,
            context,
            action,
            place,
        } = self;
        write!(
            f,
            "{network} failed on the core with {status}, batch {batch}, "
        )?;
        match place {
            Some(place) => f.write_str(place),
            None => write!(f, "context {context}, action {action}"),
        }
    }
}

impl InferError {
    /// The error as a person reads it, of `action` on `device`.
    #[must_use]
    pub fn into_error(self, device: &str, action: &str) -> Error {
        let (kind, hint) = (self.kind(), hint(&self));
        let shown = match self {
            Self::Control(error) => return report::failure(device, action, error),
            other => Error::new(kind, device, action).because(other),
        };
        hint.into_iter().fold(shown, Error::with_hint)
    }

    /// As [`Self::into_error`], of `action`, a phrase like "load the network".
    pub(crate) fn failed_to(self, device: &str, action: &str) -> Error {
        self.into_error(device, &format!("failed to {action}"))
    }

    /// What kind of failure it is for the person at the shell.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Control(error) => error.kind(),
            Self::Dma(DmaError::Transport(error)) | Self::Transport(error) => error.kind(),
            Self::Dma(_) | Self::Encode(_) | Self::Inconsistent(_) => ErrorKind::Io,
            Self::OutOfMemory { .. } | Self::TooMany | Self::Full { .. } => ErrorKind::Busy,
            Self::Plan(_) | Self::Hef(_) | Self::BadFrame(_) | Self::Breakpoint { .. } => {
                ErrorKind::BadInput
            }
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Busy { .. } | Self::NotOpened { .. } | Self::TimedOut { .. } => {
                ErrorKind::TimedOut
            }
            Self::Ended(Cause::Lost(_)) => ErrorKind::Gone,
            Self::Ended(Cause::Cancelled) => ErrorKind::Interrupted,
            Self::Ended(_) | Self::Refused { .. } => ErrorKind::Protocol,
        }
    }

    /// Whether the firmware answered, and refused.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Control(error) => error.refusal().is_some(),
            Self::OutOfMemory { .. } | Self::Refused { .. } => true,
            _ => false,
        }
    }
}

/// What to do next.
fn hint(error: &InferError) -> Option<&'static str> {
    match error {
        InferError::OutOfMemory { .. } => {
            Some("close other networks; each takes memory for its action lists")
        }
        InferError::Busy { .. } | InferError::NotOpened { .. } | InferError::TimedOut { .. } => {
            Some("hailoctl reset, then load the firmware again")
        }
        InferError::Ended(Cause::Lost(_)) => {
            Some("the link is down or the device was reset: hailoctl scan")
        }
        InferError::Ended(Cause::Stopped(_)) => {
            Some("let it cool down where it was too hot; then open the device again")
        }
        InferError::Ended(Cause::Cancelled) => None,
        InferError::Ended(_) | InferError::Refused { .. } => Some("hailoctl logs may say why"),
        _ => None,
    }
}
