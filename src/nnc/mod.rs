//! The chip in NNC mode: its firmware is driven by the host, control by control.
//!
//! A [`Hub`] is what everybody on one device shares: the one control slot, notifications, the interrupt thread. An
//! [`Nnc`] is the handle of a chip whose firmware runs.

mod control;
mod error;
mod handle;
mod hub;
pub mod infer;
mod log;
mod notify;
pub mod plan;
mod report;
mod stored;

pub use control::Control;
pub use error::ControlError;
pub use handle::Nnc;
pub use hub::Hub;
pub use log::{LogError, LogReader, Ring};
pub use notify::{Notice, Notices, Watcher};
pub(crate) use report::{failed, unidentified};
pub use stored::ConfigError;
