//! A software Hailo-10H: the chip as it looks from the bus, and firmware sets to boot it with.
//!
//! It is a device, not a mock: an [`Endpoint`](crate::transport::local::Endpoint) with config space,
//! BARs, interrupts, a vDMA engine and a boot ROM, written from the specification and sharing no
//! logic with the driver. What a host does wrong it answers as the hardware would and keeps as a
//! complaint ([`Chip::complaints`]); what it shall do wrong itself is a [`FaultPlan`].
//!
//! | part | file |
//! |---|---|
//! | what others hold, worker thread | `chip` |
//! | accesses, resets, power | `core` |
//! | PCI config space | `config_space` |
//! | BAR 0: interrupts, address translation | `bridge` |
//! | BAR 2: channel registers; moving data | `channel`, `side`; `job`, `engine` |
//! | memory map, what the host wrote there | `memory`, `received` |
//! | boot stages; control mailbox | `boot`, `rom`; `mailbox` |
//! | sessions, their memory; moving their data; what is behind the ports | `session`, `spare`; `stream`; `service`, `echo` |
//! | the RPC server | [`soc`] |
//! | the firmware of NNC mode | `nnc` |
//! | what it is made from, what it does wrong | `profile`, `timing`, `fault` |
//! | firmware sets for tests | [`mkfw`] |

mod boot;
mod bridge;
mod channel;
mod chip;
mod complaint;
mod config_space;
mod core;
mod counters;
mod echo;
mod engine;
mod fault;
mod job;
mod mailbox;
mod mailbox_fault;
mod memory;
pub mod mkfw;
pub mod nnc;
mod profile;
mod received;
mod rom;
mod rpc_fault;
pub mod server;
mod service;
mod session;
mod side;
pub mod soc;
mod spare;
mod stream;
mod timing;

#[cfg(test)]
mod tests;

pub use boot::ChipState;
pub use chip::Chip;
pub use counters::Counters;
pub use fault::{Fault, FaultError, FaultPlan, Times};
pub use mailbox_fault::{MailboxFault, MailboxWrong};
pub use nnc::{NncFault, NncOptions, NncWrong, Opcodes};
pub use profile::{Profile, ProfileError};
pub use received::ReceivedFile;
pub use rpc_fault::{RpcFault, RpcWrong};
