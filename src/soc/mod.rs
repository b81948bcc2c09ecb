//! The running SoC: its control mailbox, sessions, RPC, and what is asked through them.
//!
//! | part | file |
//! |---|---|
//! | control mailbox | `control` |
//! | what all sessions share: mapped memory, channels in use | `hub` |
//! | life of a session; a raw one | `pair`; `session` |
//! | requests and replies | [`rpc`] |
//! | how the chip is | `telemetry` |
//! | models and their runs | [`infer`] |

mod control;
mod handle;
mod hub;
pub mod infer;
mod pair;
pub(crate) mod report;
pub mod rpc;
mod session;
mod telemetry;

pub use control::{ControlError, Mailbox, Notice};
pub use handle::Soc;
pub use hub::Hub;
pub(crate) use hub::SMALL;
pub use pair::{Cause, SessionError};
pub use session::{NotTaken, Session};
pub use telemetry::{
    Extended, Health, Identity, LogSource, NOTICE_SLICE, Performance, Quantity, Samples, Sampling,
    Telemetry, Temperature,
};
pub(crate) use telemetry::{hexadecimal, printable};
