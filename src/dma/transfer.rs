//! What goes into a channel and what comes out of it, as data.

use std::sync::Arc;

use super::{DmaBuffer, DmaError};
use crate::transport::{Direction, Transport};

/// How a channel learns that a transfer is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionSignal {
    /// The last descriptor interrupts the host; [`super::Channel::reap`] reads the processed counter.
    Interrupt,
    /// The last descriptor's status word is written; [`super::Channel::reap`] looks at memory only. It
    /// interrupts as well, so a waiter can sleep.
    Memory,
}

/// How a channel is set up.
#[derive(Clone, Copy, Debug)]
pub struct ChannelOptions {
    /// Descriptors in the list: a power of two, 2 to 65,536.
    pub descriptors: u32,
    /// Page size in bytes: a power of two from 64 to 4096, at most [`super::page_limit`].
    pub page: u32,
    /// How completion shows.
    pub signal: CompletionSignal,
}

impl ChannelOptions {
    /// What of it holds on this host.
    pub(super) fn on(mut self, transport: &Arc<dyn Transport>) -> Self {
        if !transport.capabilities().coherent {
            // Four descriptors share a cache line: writing the next one would write the line back over
            // the status of the last one, which the device may be writing just then.
            self.signal = CompletionSignal::Interrupt;
        }
        self
    }
}

/// A transfer's number in its channel: they complete in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its bytes were moved.
    Done,
    /// The channel was stopped before it completed.
    Stopped,
}

/// A transfer that is over, with its buffer.
#[derive(Debug)]
pub struct Completion {
    /// Which transfer.
    pub id: TransferId,
    /// Its buffer, back in the CPU's hands.
    pub buffer: DmaBuffer,
    /// Bytes that were submitted.
    pub bytes: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// A buffer that was not submitted, and why.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SubmitError {
    /// The buffer, unchanged.
    pub buffer: DmaBuffer,
    /// Why.
    #[source]
    pub reason: SubmitProblem,
}

/// Why a buffer was not submitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitProblem {
    /// No room now: reap first.
    #[error(
        "the ring has {free} free descriptors and {in_flight} transfers in flight, {wanted} descriptors are needed"
    )]
    Full {
        /// Descriptors needed.
        wanted: u32,
        /// Descriptors free.
        free: u32,
        /// Buffers in flight.
        in_flight: usize,
    },
    /// No bytes, or more than the buffer has.
    #[error("{bytes} bytes of a buffer of {len} can't be submitted")]
    BadLength {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes there are.
        len: usize,
    },
    /// The buffer is mapped for the other direction.
    #[error("the buffer is mapped {mapped:?}, channel {channel} carries data {needed:?}")]
    WrongDirection {
        /// Which channel.
        channel: u32,
        /// What the buffer is mapped for.
        mapped: Direction,
        /// What the channel carries.
        needed: Direction,
    },
    /// The channel can't take it.
    #[error(transparent)]
    Dma(#[from] DmaError),
}
