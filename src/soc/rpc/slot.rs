//! Requests in flight: a fixed number of places, so that a request in the steady state allocates nothing.

use crate::infer::Part;
use crate::spec::rpc::{Method, Status};

/// Requests in flight on one connection.
pub(super) const SLOTS: usize = 128;

/// What travels behind a request, and behind its reply. It comes back as it went, in the same order.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Behind the request, in order.
    pub to_device: Vec<Part>,
    /// Behind the reply, in order.
    pub from_device: Vec<Part>,
}

/// What became of a request.
#[derive(Debug)]
pub struct Reply {
    /// The server's status.
    pub status: Status,
    /// Body.
    pub body: Vec<u8>,
    /// The request's buffers; those from the device hold what it sent where the status is 0.
    pub buffers: Buffers,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody's.
    Free,
    /// Its reply has not come.
    Sent,
    /// Its reply has come; buffers are still under way.
    Answered,
}

/// One request.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    pub(super) id: u32,
    pub(super) number: u32,
    pub(super) method: Method,
    pub(super) status: u32,
    pub(super) body: Vec<u8>,
    pub(super) buffers: Buffers,
    /// Buffers in the rings: to the device, from it.
    pub(super) out: [usize; 2],
    /// Its owner fills buffers again as they come back.
    pub(super) streams: bool,
    /// Nobody waits any more: the place is kept until the stream is past it.
    pub(super) abandoned: bool,
}

impl Slot {
    pub(super) fn free() -> Self {
        Self {
            phase: Phase::Free,
            id: 0,
            number: 0,
            method: Method::Identify,
            status: 0,
            body: Vec::new(),
            buffers: Buffers::default(),
            out: [0; 2],
            streams: false,
            abandoned: false,
        }
    }

    /// Whether the reply and all buffers are there.
    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Answered && self.out == [0; 2]
    }
}
