//! Interrupts: one thread for each open device, and latched events for whoever waits.

mod event;
mod pace;
mod thread;

pub use event::{Event, Waited};
pub use thread::{Counts, Interrupts, IrqError, Sink};
