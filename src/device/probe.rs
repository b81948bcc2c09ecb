//! Measuring a device and the way to it: registers, interrupts, bulk transfers, sessions.
//!
//! Times are what this process sees on this machine, by a clock that it can read in some tens of nanoseconds. On the
//! software chip they tell about the software.

mod irq;
mod latency;
mod link;
mod mmio;
mod session;

pub use irq::IrqProbe;
pub use latency::Latency;
pub use link::{LinkOptions, LinkPoint, LinkProbe, RoundTrip, Way};
pub use mmio::{MmioProbe, ReadProbe, WriteProbe};
pub use session::{EchoPoint, SessionOptions, SessionProbe};
