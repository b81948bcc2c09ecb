//! Inference: a HEF becomes a model on the chip, a configured model, and runs with the caller's buffers.
//!
//! Frames are what the server takes and gives: for each virtual stream of the file one buffer in the type and order
//! that was asked for. Formats of users are another layer's business.

mod cache;
mod configured;
mod model;
mod run;

pub use crate::infer::{
    Cache, ConfigureOptions, DetectionOptions, Frame, Latency, Left, NoThreshold, PostProcessing,
    PowerMode, StreamFormat, StreamInfo, Threshold, streams,
};
pub use configured::Configured;
pub use model::{Model, Scheduling, Vdevice, VdeviceOptions};
pub use run::{Run, RunError};
