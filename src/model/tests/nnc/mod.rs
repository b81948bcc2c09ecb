//! NNC mode, driven by a raw host: bytes at the bus in the order in which the vendor's kernel driver moves them.

mod batches;
mod boot;
mod context;
mod controls;
mod faults;
mod golden;
mod host;
mod left_out;
mod logs;
mod misplaced;
mod mistakes;
mod net;
mod notifications;
mod random;
mod ring;
mod run_time;
mod wrong_host;
