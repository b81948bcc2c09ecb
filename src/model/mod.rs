//! A software Hailo-10H: the chip as it looks from the bus, and firmware sets to boot it with.

pub mod mkfw;
pub mod server;
