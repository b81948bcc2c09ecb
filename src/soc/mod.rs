//! The running SoC: its control mailbox.

mod control;

pub use control::{ControlError, Mailbox};
