//! PCI as Linux shows it: functions in sysfs, their config space, link and how to reach them.
//!
//! Nothing here opens a device or changes anything; all is read under one [`Root`], so that a copy
//! of another machine's sysfs can be looked at.

pub mod access;
pub mod bind;
pub mod capability;
pub mod config;
pub mod inbound;
pub mod link;
pub mod list;
pub(crate) mod nodes;
pub mod platform;
mod process;
pub mod switches;
pub mod sysfs;
pub mod topology;

pub use access::{Access, AccessPath, Obstacle};
pub use inbound::Inbound;
pub use list::{FunctionInfo, Group, Link, ListError, list};
pub use process::{Holder, Holders};
pub use sysfs::Root;
