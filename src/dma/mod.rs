//! Rings, buffers and transfers: who owns which memory, and when the device may touch it.
//!
//! A [`DmaBuffer`] belongs to the CPU and derefs to bytes. [`Channel::submit`] moves it into a
//! transfer; [`Channel::reap`] gives it back. While it is in flight nobody has a reference to it.
//! Teardown is always: stop the channel, confirm, unmap, free; where the stop can't be confirmed the
//! pages are leaked and said so.

mod buffer;
mod channel;
mod fence;
mod list;
mod mapping;
mod ring;
mod side;
mod transfer;

pub use buffer::DmaBuffer;
pub use channel::Channel;
pub(crate) use channel::MAX_IN_FLIGHT;
pub(crate) use fence::before_doorbell;
pub(crate) use list::part;
pub use list::{Chunk, DescriptorList, page_limit};
pub use mapping::{FilePages, Mapping};
pub use ring::{OutOfStep, Ring};
pub use side::{Side, SideState, Stop};
pub use transfer::{
    ChannelOptions, Completion, CompletionSignal, Outcome, SubmitError, SubmitProblem, TransferId,
};

use crate::mem::MemoryError;
use crate::transport::TransportError;

/// Why an operation on a list or channel failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DmaError {
    /// The transport's failure.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The memory's failure.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The list's length is outside 2..=65,536, or no power of two where it wraps.
    #[error(
        "a list of {0} descriptors is not possible (2 to 65536, a power of two where it wraps)"
    )]
    BadListLength(u32),
    /// The page size is outside 64..=4096 or no power of two.
    #[error("a descriptor page of {0} bytes is not possible (a power of two from 64 to 4096)")]
    BadPageSize(u32),
    /// The list does not lie where the engine can take it from.
    #[error("a descriptor list at {0} is not aligned to 64 KiB or not contiguous")]
    BadListAddress(crate::addr::Iova),
    /// A run of bus addresses is not cut where pages can be.
    #[error("data at {address} of {len} bytes can't be cut into pages of {page} bytes")]
    BadSegment {
        /// First address of the run.
        address: crate::addr::Iova,
        /// Bytes of the run.
        len: usize,
        /// Page size in bytes.
        page: u32,
    },
    /// The device's counters do not fit what it was given.
    #[error("channel {channel}: {problem}")]
    OutOfStep {
        /// Which channel.
        channel: u32,
        /// Which counter, found and possible.
        problem: OutOfStep,
    },
    /// The channel is not active: the peer closed or reset it.
    #[error("channel {channel} was closed by the device ({state})")]
    Closed {
        /// Which channel.
        channel: u32,
        /// Its registers.
        state: SideState,
    },
    /// The engine reports an error.
    #[error(
        "channel {channel} failed: {host}; device side: {device}; descriptor {index}: {descriptor:?}"
    )]
    Engine {
        /// Which channel.
        channel: u32,
        /// Registers of the host's side.
        host: SideState,
        /// Registers of the device's side.
        device: SideState,
        /// Index of the descriptor that the engine was at.
        index: u32,
        /// That descriptor as it lies in memory.
        descriptor: crate::spec::descriptor::Descriptor,
    },
    /// A buffer that should have fitted did not.
    #[error("{0}")]
    Refused(String),
    /// The channel is not started.
    #[error("channel {0} is not started")]
    NotStarted(u32),
}
