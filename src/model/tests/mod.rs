//! The chip driven from outside, as a raw host would.

mod boot;
mod boot_failures;
mod bus;
mod drift;
mod fault;
mod files;
mod frames;
mod host;
mod infer;
mod mailbox;
mod nnc;
mod random;
mod rpc;
mod rpc_faults;
mod rpc_limits;
mod session;
mod vdma;
