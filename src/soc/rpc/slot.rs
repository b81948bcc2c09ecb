//! Requests in flight: a fixed number of places, so that a request in the steady state allocates nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// A place in the queue of a model on the chip. It is given back with the reply, whoever waits for that.
#[derive(Debug)]
pub(crate) struct QueuePlace(Arc<AtomicUsize>);

impl QueuePlace {
    /// Takes one of `depth` places; `taken` counts them.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, depth: usize) -> Option<Self> {
        let more = |now| (now < depth).then_some(now + 1);
        let took = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        took.is_ok().then(|| Self(taken.clone()))
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    /// Of a run: its place in the model's queue.
    pub(super) place: Option<QueuePlace>,
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
            place: None,
        }
    }

    /// Whether the reply and all buffers are there.
    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Answered && self.out == [0; 2]
    }
}
