//! Firmware: what a set is, whether it is whole, and how it gets into the chip.
//!
//! A [`FirmwareSet`] is validated completely before the device is touched. [`upload`] takes it
//! through the stages, checks each stage's effect, and explains a failure with what the chip says.

mod error;
mod finding;
mod image;
mod inspect;
mod layout;
mod options;
pub(crate) mod raw;
mod set;
mod soft_reset;
mod stages;
mod vdma;
mod window;

pub use error::{BootError, ChannelReport, StageFailure};
pub use finding::{FileProblem, Finding, FirmwareError, Severity};
pub use image::{Container, ContainerError};
pub use inspect::Inspection;
pub use layout::{LayoutEvidence, LayoutProblem};
pub use options::{BootOptions, BootReport, Phase, Progress, Verify, Via};
pub use set::{FirmwareFile, FirmwareSet};
pub use soft_reset::{soft_reset, wait_until_loaded};
pub(crate) use stages::upload_before_dma;
pub use stages::{BootContext, is_loaded, upload};
pub use window::{Window, WindowError};
