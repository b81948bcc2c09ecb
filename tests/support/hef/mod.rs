//! A small HEF writer for tests: makes every structure that the parser accepts, of any size.
//!
//! It shares no code with the parser, only the types of the model: field numbers are written down here a second time,
//! from the format specification, so that a wrong number in the schema does not cancel out.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test binary uses a part of it, and a test may fail"
)]

pub(crate) mod container;
pub(crate) mod flow;
pub(crate) mod maker;
pub(crate) mod model;
pub(crate) mod random;
pub(crate) mod steps;
pub(crate) mod wire;
