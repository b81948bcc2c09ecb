//! What has to be in memory: buffers, and descriptor lists that point into them.

use serde::Serialize;

use crate::hef::Direction;
use crate::spec::nnc::context::{BufferInfo, BufferType};

/// Number of a list in [`super::Plan::lists`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ListId(pub usize);

/// Number of a buffer in [`super::Plan::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BufferId(pub usize);

/// A part of a config buffer that comes from the file. What no part covers is zeros, which are config words that do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Where it goes in the buffer.
    pub at: u64,
    /// Where it is in the file, from the zero point; see [`crate::hef::Hef::read_config`].
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// What a buffer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BufferUse {
    /// Config words; the host fills it once, the device reads it.
    Config {
        /// Number of the context in the plan.
        context: usize,
        /// Config stream.
        stream: u8,
        /// Bytes of padding among the words.
        padding: u64,
        /// Where the words come from.
        parts: Vec<Part>,
    },
    /// Data from one context to others; the device writes and reads it.
    InterContext {
        /// Dynamic context that writes it.
        context: usize,
        /// Stream that writes it.
        stream: u8,
    },
    /// A ring that the device writes and reads.
    Ddr {
        /// Dynamic context.
        context: usize,
        /// Stream that writes it.
        stream: u8,
    },
    /// A cache that the device writes and reads, kept from frame to frame and shared by the networks of a device.
    Cache {
        /// Number of the cache in the file.
        id: u32,
    },
}

/// Memory to allocate and map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Buffer {
    /// Length in bytes.
    pub bytes: u64,
    /// What it holds.
    #[serde(flatten)]
    pub holds: BufferUse,
}

/// What a list is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ListUse {
    /// A stream of the user; written for each frame.
    Boundary {
        /// Name of the stream.
        stream: String,
        /// Which way data flows.
        direction: Direction,
    },
    /// Data from one context to others; both ends use it.
    InterContext {
        /// Dynamic context that writes.
        context: usize,
        /// Stream that writes.
        stream: u8,
    },
    /// A ring; both ends use it.
    Ddr {
        /// Dynamic context.
        context: usize,
        /// Stream that writes.
        stream: u8,
    },
    /// One end of a cache.
    Cache {
        /// Number of the cache in the file.
        id: u32,
        /// Which end.
        direction: Direction,
    },
    /// Config words.
    Config {
        /// Number of the context in the plan.
        context: usize,
        /// Config stream.
        stream: u8,
    },
}

/// Transfers of one size that follow each other in a list and, at a distance, in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Where.
    pub buffer: BufferId,
    /// Where the first begins in the buffer.
    pub offset: u64,
    /// From one to the next in bytes.
    pub stride: u64,
    /// Bytes of each.
    pub bytes: u64,
    /// How many.
    pub count: u32,
}

/// A descriptor to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// Its number in the list.
    pub index: u32,
    /// The buffer it points into.
    pub buffer: BufferId,
    /// Where it points in the buffer.
    pub offset: u64,
    /// Bytes it covers: a page, or what is left of the transfer.
    pub bytes: u32,
}

/// A descriptor list to allocate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct List {
    /// What it is for.
    #[serde(flatten)]
    pub serves: ListUse,
    /// Page size in bytes.
    pub page: u32,
    /// Length; a power of two if circular.
    pub descriptors: u32,
    /// Bytes of one transfer, or of the whole configuration: what the firmware is told.
    pub pattern: u32,
    /// Whether it is a ring.
    pub circular: bool,
    /// What to write into it when the network is configured, from descriptor 0 on. Empty for streams of the user and
    /// caches, whose lists follow the offset that is read from.
    pub runs: Vec<Run>,
}

impl List {
    /// The descriptors to write when the network is configured, each with plain control and without an interrupt.
    pub fn programmed(&self) -> impl Iterator<Item = Slot> {
        slots(self.page, &self.runs)
    }

    /// What the firmware is told, without the address.
    pub(super) fn info(&self) -> BufferInfo {
        BufferInfo {
            buffer_type: BufferType::DESCRIPTORS,
            address: 0,
            page: u16::try_from(self.page).unwrap_or(u16::MAX),
            descriptors: self.descriptors,
            pattern: self.pattern,
        }
    }
}

/// The descriptors of transfers that follow each other in a list.
pub fn slots(page: u32, runs: &[Run]) -> impl Iterator<Item = Slot> {
    let pieces = runs.iter().flat_map(move |run| {
        (0..run.count).flat_map(move |number| {
            let start = run.offset + u64::from(number) * run.stride;
            let pages = run.bytes.div_ceil(u64::from(page));
            (0..pages).map(move |i| {
                let done = i * u64::from(page);
                let left = (run.bytes - done).min(page.into());
                (
                    run.buffer,
                    start + done,
                    u32::try_from(left).unwrap_or(page),
                )
            })
        })
    });
    (0..)
        .zip(pieces)
        .map(|(index, (buffer, offset, bytes))| Slot {
            index,
            buffer,
            offset,
            bytes,
        })
}
