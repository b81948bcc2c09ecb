//! Interrupts: one thread for each open device, and latched events for whoever waits.

mod event;
mod pace;
mod sink;
mod sleep;
mod thread;
mod watch;

#[cfg(test)]
mod tests;

pub use event::{Event, Waited};
pub use sink::Sink;
pub use thread::{Counts, Interrupts, IrqError};
pub use watch::Watch;
