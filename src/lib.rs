//! Userspace PCIe driver for the Hailo-10H AI accelerator.
//!
//! The layers, top to bottom: [`device`] (what embedders use) over [`boot`] (firmware upload), [`soc`] (the chip that
//! runs: sessions, RPC, inference) and [`nnc`] (its firmware, driven by the host) over [`dma`] and [`irq`] (rings,
//! completions, events) over [`transport`] (the seam). [`hef`] reads network files, [`transform`] converts frames.
//! [`spec`] holds the hardware facts, [`model`] a software chip that stands behind the same seam as a real card.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod addr;
pub mod boot;
pub mod deadline;
pub mod device;
pub mod dma;
pub mod doctor;
pub mod error;
pub mod hef;
pub mod infer;
pub mod irq;
pub mod mem;
pub mod model;
pub mod nnc;
pub mod pci;
pub mod soc;
pub mod spec;
pub mod transform;
pub mod transport;

pub use device::Device;
pub use error::{Error, ErrorKind};
