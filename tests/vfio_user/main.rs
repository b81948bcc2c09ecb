//! Our vfio-user client and server against each other and against hostile peers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod board;
mod clients;
mod pair;
mod raw;
mod servers;
