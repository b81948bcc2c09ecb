//! Hardware facts, each once, each with its source. No I/O, no logic of driver or model.

pub mod access_bar;
pub mod board;
pub mod config_bar;
pub mod config_space;
pub mod control;
pub mod descriptor;
pub mod firmware;
pub mod nnc;
pub mod register;
pub mod rpc;
pub mod session;
pub mod vdma_bar;
pub mod vfio;
pub mod vfio_user;

use register::{Bar, RegisterInfo};

/// All registers that have a name, BAR by BAR.
pub fn registers() -> impl Iterator<Item = &'static RegisterInfo> {
    [
        config_bar::REGISTERS,
        vdma_bar::REGISTERS,
        access_bar::REGISTERS,
    ]
    .into_iter()
    .flatten()
}

/// The register at `offset` of `bar` and which instance of it.
#[must_use]
pub fn register_at(bar: Bar, offset: u32) -> Option<(&'static RegisterInfo, u32)> {
    registers().find_map(|info| Some((info, info.instance_at(bar, offset)?)))
}
