//! Networks in NNC mode: the host plans what they need, brings them to the firmware, and switches between them.
//!
//! Frames are what travels: for each stream of the chip a buffer in the chip's own layout, without a copy. Formats of
//! users are another layer's business.
//!
//! | part | file |
//! |---|---|
//! | memory and descriptor lists of a network | `memory` |
//! | frames of a network, and its rings | `network` |
//! | who runs next | `schedule` |
//! | what all threads share | `core` |
//! | switching, and curing what went wrong | `worker` |
//! | controls | `firmware` |
//! | configuring, removing, the end | `runtime`, `configured` |
//! | what a frame that does not end waits for | `stuck` |
//! | caches that move on | `caches` |
//! | the core alone, without the host | `benchmark` |
//! | stopping in front of an action | `breakpoint` |

mod benchmark;
mod breakpoint;
mod caches;
mod configured;
mod core;
mod error;
mod firmware;
mod heard;
mod memory;
mod network;
mod run;
mod runtime;
mod schedule;
mod stuck;
mod worker;

pub use benchmark::Benchmark;
pub use breakpoint::{Breakpoint, Reached, StopAt};
pub use configured::{Configured, Model};
pub use error::{Cause, InferError, RunTime};
pub use run::{Run, RunError};
pub use runtime::Runtime;
