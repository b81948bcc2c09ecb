//! The RPC of a running SoC: how a message is framed, method numbers of each firmware, status numbers, and the
//! values that bodies carry.
//!
//! Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.hpp`, `src/hrpc_protocol/serializer.hpp`,
//! `include/hailo/hailort.h`, and the same files of 5.0.0 to 5.1.1.

mod method;
mod status;
#[cfg(test)]
mod tests;
pub mod value;

pub use method::{Method, NOTIFICATION};
pub use status::Status;

use std::time::Duration;

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::firmware::Version;

/// Bodies, generated from `rpc/rpc.proto` by `tools/proto`.
pub mod types {
    include!("rpc/types.rs");
}

/// First word of every message.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.hpp`.
pub const MAGIC: u32 = 0x8a55_4432;

/// Most bytes of a body.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.hpp`.
pub const MAX_BODY: usize = 2048;

/// Bytes of a header.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.hpp`.
pub const HEADER: usize = 20;

/// Bytes of a message that travels whole, whatever its body needs.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.cpp`.
pub const MESSAGE: usize = HEADER + MAX_BODY;

/// What the status field of a request holds.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/client.cpp`.
pub const REQUEST_STATUS: u32 = 1;

/// How long a client waits for a reply.
///
/// Source: vendor hailort v5.2.0, `src/hrpc_protocol/serializer.hpp`.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client waits for the reply to CREATE_INFER_MODEL and CREATE_CONFIGURED_INFER_MODEL.
///
/// Source: vendor hailort v5.2.0, `src/hrpc_protocol/serializer.hpp`.
pub const LONG_REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// How long either end waits for one buffer behind a message.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.cpp`.
pub const BUFFER_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that the server takes from one connection at a time: one that executes, one that waits.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.cpp` (two message buffers a connection).
pub const SERVER_WINDOW: u32 = 2;

/// In front of every body.
///
/// Source: vendor hailort v5.2.0, `common/hrpc/rpc_connection.hpp` (struct rpc_message_header_t).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: U32,
    /// Bytes of body in use, at most [`MAX_BODY`].
    pub size: U32,
    /// Chosen by the client, echoed by the server; a notification has that of its registration.
    pub message_id: U32,
    /// Method number.
    pub action_id: U32,
    /// [`REQUEST_STATUS`] in a request, a [`Status`] in a reply.
    pub status: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER);

impl Header {
    /// The header of a message.
    #[must_use]
    pub const fn new(size: u32, message_id: u32, action_id: u32, status: u32) -> Self {
        Self {
            magic: U32::new(MAGIC),
            size: U32::new(size),
            message_id: U32::new(message_id),
            action_id: U32::new(action_id),
            status: U32::new(status),
        }
    }
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One transfer of [`MESSAGE`] bytes, also where the body is shorter.
    Whole,
    /// A transfer of [`HEADER`] bytes, then one of the body's size, none where that is 0.
    HeaderThenBody,
}

/// What changed on the wire between releases. Nothing on the wire tells them apart: the version that
/// QUERY_DRIVER_INFO gives does.
///
/// Source: vendor hailort v5.0.0, v5.0.1, v5.1.0, v5.1.1, v5.2.0, `src/hrpc_protocol/serializer.hpp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Firmware 5.0.0 and 5.0.1.
    A,
    /// Firmware 5.1.0.
    B,
    /// Firmware 5.1.1.
    C,
    /// Firmware 5.2.0.
    D,
}

impl Dialect {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// The dialect of firmware `version`; `None` where it is not known.
    #[must_use]
    pub const fn of(version: Version) -> Option<Self> {
        match (version.major, version.minor, version.revision) {
            (5, 0, 0 | 1) => Some(Self::A),
            (5, 1, 0) => Some(Self::B),
            (5, 1, 1) => Some(Self::C),
            (5, 2, 0) => Some(Self::D),
            _ => None,
        }
    }

    /// How its messages travel.
    #[must_use]
    pub const fn framing(self) -> Framing {
        match self {
            Self::D => Framing::Whole,
            Self::A | Self::B | Self::C => Framing::HeaderThenBody,
        }
    }

    /// The action id that its notifications carry: before 5.1.1 that of the registering method.
    ///
    /// Source: vendor hailort v5.0.1, v5.1.0, v5.1.1, v5.2.0, `hailort_server.cpp`.
    #[must_use]
    pub const fn notification_action(self) -> u32 {
        match self {
            Self::A => 27,
            Self::B => 31,
            Self::C | Self::D => NOTIFICATION,
        }
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "A (5.0)",
            Self::B => "B (5.1.0)",
            Self::C => "C (5.1.1)",
            Self::D => "D (5.2.0)",
        })
    }
}
