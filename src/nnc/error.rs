//! Why a control failed.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::spec::firmware::Version;
use crate::spec::nnc::command::ParamError;
use crate::spec::nnc::message::{FramingError, TooLong};
use crate::spec::nnc::opcode::Opcode;
use crate::spec::nnc::status::{Status, code};
use crate::spec::nnc::version::Generation;
use crate::transport::TransportError;

/// Why an exchange with the firmware failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The transport's failure.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No firmware runs; nothing was written.
    #[error(
        "no firmware runs: ATR_TARGET_LOW of entry 1 (BAR0 + 0x728) reads {found:#010x} (expected 0x00200000)"
    )]
    NotLoaded {
        /// What the register reads.
        found: u32,
    },
    /// The request is longer than the slot; nothing was written.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The firmware is of another version, and the opcode is not one that both share; nothing was written.
    #[error("{opcode} is not sent to firmware {version}, {}", foreign(version))]
    Foreign {
        /// What was asked.
        opcode: Opcode,
        /// Version of the firmware.
        version: Version,
    },
    /// The slot does not hold what was written; the doorbell was not rung.
    #[error("request slot (BAR4 + {offset:#x}): wrote {wrote:#010x}, reads {found:#010x}")]
    Mismatch {
        /// Byte offset in BAR 4.
        offset: u32,
        /// What was written.
        wrote: u32,
        /// What it reads.
        found: u32,
    },
    /// No answer came.
    #[error("no answer to {opcode} in {:.1} s; the response slot is {}", .waited.as_secs_f64(), if *.changed { "changed" } else { "as before" })]
    TimedOut {
        /// What was asked.
        opcode: Opcode,
        /// How long it was awaited.
        waited: Duration,
        /// Whether the response slot holds something new, though no answer to this.
        changed: bool,
    },
    /// No answer came, and no firmware runs any more.
    #[error(
        "the firmware ended before it answered {opcode}: ATR_TARGET_LOW of entry 1 (BAR0 + 0x728) reads {found:#010x} (expected 0x00200000)"
    )]
    Ended {
        /// What was asked.
        opcode: Opcode,
        /// What the register reads.
        found: u32,
    },
    /// The answer claims a length that does not fit its slot.
    #[error("answer to {opcode}: {length} bytes (at most 1500)")]
    Length {
        /// What was asked.
        opcode: Opcode,
        /// What the slot says.
        length: u32,
    },
    /// The answer is damaged, also when read again.
    #[error("answer to {opcode}: MD5 {} (its slot says {})", hex(.found), hex(.expected))]
    Digest {
        /// What was asked.
        opcode: Opcode,
        /// What the slot says.
        expected: [u8; 16],
        /// What its bytes have.
        found: [u8; 16],
    },
    /// The answer is no response.
    #[error("answer to {opcode}: {error}")]
    Framing {
        /// What was asked.
        opcode: Opcode,
        /// What is wrong.
        error: FramingError,
    },
    /// The answer is to something else.
    #[error("answer to {expected}: it is one to {found}")]
    OtherOpcode {
        /// What was asked.
        expected: Opcode,
        /// What was answered.
        found: Opcode,
    },
    /// The answer's parameters are not as they should be.
    #[error("answer to {opcode}: {error}")]
    Param {
        /// What was asked.
        opcode: Opcode,
        /// What is wrong.
        error: ParamError,
    },
    /// The firmware refused.
    #[error("{opcode} was refused: {major}{}", because(.minor))]
    Refused {
        /// What was asked.
        opcode: Opcode,
        /// Which step failed.
        major: Status,
        /// Why; may be 0.
        minor: Status,
    },
    /// The device was lost in the middle.
    #[error("the device was lost: {0}")]
    Lost(String),
}

fn foreign(version: &Version) -> &'static str {
    match Generation::of(*version) {
        Some(_) => "where it has another layout than in 5.1 and 5.2",
        None => "whose layouts are not known (known are 4.17 to 5.2)",
    }
}

fn because(minor: &Status) -> String {
    if minor.is_ok() {
        String::new()
    } else {
        format!(", because {minor}")
    }
}

fn hex(digest: &[u8; 16]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl ControlError {
    /// Major and minor status of a refusal.
    #[must_use]
    pub fn refusal(&self) -> Option<(Status, Status)> {
        match self {
            Self::Refused { major, minor, .. } => Some((*major, *minor)),
            _ => None,
        }
    }

    /// What kind of failure it is for the person at the shell.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport(error) => error.kind(),
            Self::Lost(_) => ErrorKind::Gone,
            Self::NotLoaded { .. } | Self::Foreign { .. } => ErrorKind::Unsupported,
            Self::TooLong(_) => ErrorKind::BadInput,
            Self::Mismatch { .. } => ErrorKind::Io,
            Self::TimedOut { .. } => ErrorKind::TimedOut,
            Self::Refused { .. } if self.is_unsupported() => ErrorKind::Unsupported,
            _ => ErrorKind::Protocol,
        }
    }

    /// Whether the firmware says that it has no such control, in any of the ways it has for that.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        const WAYS: [Status; 4] = [
            code::UNSUPPORTED_DEVICE,
            code::UNSUPPORTED_CONTROL,
            code::NO_HANDLER,
            code::OPCODE_RANGE,
        ];
        self.refusal()
            .is_some_and(|(major, minor)| WAYS.contains(&major) || WAYS.contains(&minor))
    }

    /// Whether the firmware has no memory for another context.
    #[must_use]
    pub fn is_memory_full(&self) -> bool {
        self.refusal()
            .is_some_and(|(major, minor)| [major, minor].contains(&code::MEMORY_FULL))
    }
}
