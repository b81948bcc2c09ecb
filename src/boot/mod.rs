//! Firmware: what a set is, whether it is whole, and how it gets into the chip.
//!
//! A [`FirmwareSet`] is validated completely before the device is touched. [`upload`] takes it
//! through the stages, checks each stage's effect, and explains a failure with what the chip says.

mod image;
mod layout;
mod set;
mod stages;
mod vdma;
mod window;

pub use image::{Container, ContainerError};
pub use layout::{LayoutEvidence, LayoutProblem};
pub use set::{
    FileProblem, Finding, FirmwareError, FirmwareFile, FirmwareSet, Inspection, Severity,
};
pub use stages::{
    BootContext, BootError, BootOptions, BootReport, ChannelReport, Phase, Progress, StageFailure,
    Verify, Via, is_loaded, upload,
};
pub use window::{Window, WindowError};
