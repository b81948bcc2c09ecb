//! RPC on a session: requests and replies by number, notifications, buffers behind messages.
//!
//! Replies are untrusted: every length is checked, bodies are decoded within bounds, and what does not fit ends
//! the connection with a reason, never the process.

mod connection;
pub mod frame;
pub mod method;
mod notice;
mod receive;
mod send;
mod slot;
mod state;
mod ticket;
mod upload;

pub use crate::infer::Part;
pub use connection::Connection;
pub(crate) use connection::{decode, time_limit};
pub use method::Request;
pub use notice::Notice;
pub(crate) use slot::QueuePlace;
pub use slot::{Buffers, Reply};
pub use ticket::{Kept, Ticket};
pub use upload::Fill;

use std::time::Duration;

use super::pair::{Cause, SessionError};
use crate::dma::DmaError;
use crate::spec::firmware::Version;
use crate::spec::rpc::{Dialect, MAX_BODY, Method, Status};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The session could not be opened, or its rings failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The connection is over.
    #[error(transparent)]
    Over(#[from] Cause),
    /// The server answered with a status.
    #[error("the device answered {method} with {status}")]
    Status {
        /// Which method.
        method: Method,
        /// Its status.
        status: Status,
    },
    /// The reply's body is no message of its kind.
    #[error("the reply to {method} ({len} bytes) can't be decoded: {reason}")]
    BadReply {
        /// Which method.
        method: Method,
        /// Bytes of the body.
        len: usize,
        /// Why.
        reason: String,
    },
    /// No reply came. The buffers of the request stay with the connection until it comes, or closes.
    #[error("no reply to {method} in {:.1} s", .waited.as_secs_f64())]
    TimedOut {
        /// Which method.
        method: Method,
        /// How long it was awaited.
        waited: Duration,
    },
    /// The firmware's dialect does not have the method.
    #[error("firmware of dialect {dialect} has no {method}")]
    NoMethod {
        /// Which method.
        method: Method,
        /// Which dialect.
        dialect: Dialect,
    },
    /// The version is none whose dialect is known.
    #[error("firmware {0} speaks a dialect that is not known (5.0.0 to 5.2.0 are)")]
    UnknownDialect(Version),
    /// The body is too long.
    #[error("the body of {method} needs {len} bytes, at most {MAX_BODY} are possible")]
    TooLong {
        /// Which method.
        method: Method,
        /// Bytes needed.
        len: usize,
    },
    /// A buffer can't be given to the device.
    #[error("a buffer of {method} can't be used: {reason}")]
    BadBuffer {
        /// Which method.
        method: Method,
        /// Why.
        reason: String,
    },
    /// Too many requests are in flight, or one that tolerates no other.
    #[error("{method} can't be sent now: {reason}")]
    Full {
        /// Which method.
        method: Method,
        /// What is in the way.
        reason: &'static str,
    },
}

impl From<DmaError> for RpcError {
    fn from(error: DmaError) -> Self {
        Self::Session(error.into())
    }
}

impl RpcError {
    /// The server's status, where it answered with one.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
