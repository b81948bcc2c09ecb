//! What a network group takes in memory when it is configured, by the rules of the vendor library.
//!
//! Covers config words, buffers between contexts, DDR rings and caches; buffers at the boundary belong to the user.
//! Only for devices that share the host's DRAM through DMA: the 15, 10H and 12L families.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/memory_requirements_calculator.cpp`,
//! `src/vdma/memory/buffer_requirements.cpp`, `src/core_op/resource_manager/internal_buffer_planner.cpp`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Hef;
use super::arch::Architecture;
use super::config::ChannelConfig;
use super::error::{HefError, Result};
use super::extension::number;
use super::layer::{Body, Connection, Direction, EdgeLayer, Layer};
use super::network::CoreOp;

/// Page a plan starts from in bytes.
const PAGE: u64 = 512;
/// Largest page in bytes.
const MAX_PAGE: u64 = 4096;
/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;
/// Alignment of a descriptor list in bytes.
const LIST_ALIGNMENT: u64 = 65_536;
/// Most buffers between contexts that are placed; placing takes time by the square of their number.
const MAX_PLACED: usize = 4096;
/// A config section above this is used in place.
const IN_PLACE_ABOVE: u64 = 536_870_912;

/// A kind of descriptor ring.
#[derive(Clone, Copy)]
struct Ring {
    min_page: u64,
    min_count: u64,
    max_count: u64,
}

impl Ring {
    fn contiguous(architecture: Architecture) -> Self {
        Self {
            min_page: 512,
            min_count: if architecture.0 == 108 { 32 } else { 16 },
            max_count: 262_144,
        }
    }

    const SCATTER_GATHER: Self = Self {
        min_page: 64,
        min_count: 2,
        max_count: 65_536,
    };
}

/// How a plan is made.
#[derive(Clone, Copy, Default)]
struct Options {
    circular: bool,
    fixed_page: bool,
    ddr: bool,
}

/// Descriptors of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    page: u64,
    count: u64,
}

impl Plan {
    fn bytes(self) -> u64 {
        self.page.saturating_mul(self.count)
    }

    fn list_bytes(self) -> u64 {
        DESCRIPTOR
            .saturating_mul(self.count)
            .saturating_add(LIST_ALIGNMENT - 1)
            / LIST_ALIGNMENT
            * LIST_ALIGNMENT
    }
}

fn too_large(size: u64, ring: Ring) -> HefError {
    HefError::Unusable {
        place: "memory estimate".to_owned(),
        what: "descriptors",
        expected: format!("at most {} of {MAX_PAGE} bytes", ring.max_count),
        found: format!("{size} bytes to cover"),
    }
}

/// Page size and number of descriptors for one buffer.
fn single(ring: Ring, batch: u64, size: u64, options: Options) -> Result<Plan> {
    let mut page = PAGE;
    if !options.fixed_page && PAGE > size {
        page = size.max(1).next_power_of_two().max(ring.min_page);
    }
    let count = |page: u64| size.div_ceil(page) + u64::from(!options.ddr);
    if count(MAX_PAGE) > ring.max_count {
        return Err(too_large(size, ring));
    }
    while count(page).saturating_mul(batch) > ring.max_count - 1 {
        page *= 2;
        if page > MAX_PAGE {
            return Err(too_large(size, ring));
        }
    }
    let needed = size.div_ceil(page).saturating_mul(batch).saturating_add(1);
    let mut count = needed.clamp(ring.min_count, ring.max_count);
    if options.circular {
        count = count.next_power_of_two();
    }
    Ok(Plan { page, count })
}

/// A buffer between contexts and its place in the common memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedBuffer {
    /// Context that produces it.
    pub context: usize,
    /// Stream number of its producer.
    pub stream_index: u8,
    /// Offset in the common memory in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// A cache buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CacheEstimate {
    /// Number of the cache.
    pub id: u32,
    /// Length in bytes.
    pub bytes: u64,
    /// Bytes of one entry with padding.
    pub entry_bytes: u64,
}

/// Memory of one core op.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Batch size it is for.
    pub batch: u32,
    /// Contiguous bytes for config words of the preliminary program, then of each context; empty if the config
    /// section is used in place.
    pub config_contiguous: Vec<u64>,
    /// Pinned bytes of a config section that is used in place; counts once for the whole file.
    pub config_in_place: u64,
    /// Bytes of descriptor lists for config words.
    pub config_lists: u64,
    /// Contiguous bytes for buffers between contexts.
    pub inter_context: u64,
    /// Where each of these buffers lies.
    pub inter_context_buffers: Vec<PlacedBuffer>,
    /// Pinned bytes of DDR rings.
    pub ddr: u64,
    /// Bytes of descriptor lists of DDR rings.
    pub ddr_lists: u64,
    /// Cache buffers.
    pub caches: Vec<CacheEstimate>,
}

impl MemoryEstimate {
    /// Contiguous bytes in all.
    #[must_use]
    pub fn contiguous(&self) -> u64 {
        self.config_contiguous
            .iter()
            .sum::<u64>()
            .saturating_add(self.inter_context)
    }

    /// Pinned bytes in all, descriptor lists included.
    #[must_use]
    pub fn pinned(&self) -> u64 {
        [
            self.config_in_place,
            self.config_lists,
            self.ddr,
            self.ddr_lists,
        ]
        .into_iter()
        .chain(self.caches.iter().map(|cache| cache.bytes))
        .fold(0, u64::saturating_add)
    }
}

/// A buffer that lives from one context to another.
struct Item {
    context: usize,
    stream_index: u8,
    transfer: u64,
    plan: Plan,
    first: usize,
    last: usize,
}

/// Places buffers in one memory, so that those in use at the same time do not overlap.
fn place(mut items: Vec<Item>) -> (u64, Vec<PlacedBuffer>) {
    items.sort_by_key(|item| std::cmp::Reverse(item.transfer));
    let mut placed: Vec<(Item, u64)> = Vec::with_capacity(items.len());
    for item in items {
        let size = item.plan.bytes();
        let mut used: Vec<(u64, u64)> = placed
            .iter()
            .filter(|(other, _)| other.first <= item.last && item.first <= other.last)
            .map(|(other, offset)| (*offset, offset + other.plan.bytes()))
            .collect();
        used.sort_unstable();
        let round_up = |at: u64| at.next_multiple_of(item.plan.page);
        let mut at = 0;
        for (start, end) in used {
            if start / item.plan.page * item.plan.page >= at + size {
                break;
            }
            at = at.max(round_up(end));
        }
        placed.push((item, at));
    }
    let end = placed
        .iter()
        .map(|(item, at)| at + item.plan.bytes())
        .max()
        .unwrap_or(0);
    let mut out: Vec<PlacedBuffer> = placed
        .into_iter()
        .map(|(item, offset)| PlacedBuffer {
            context: item.context,
            stream_index: item.stream_index,
            offset,
            bytes: item.plan.bytes(),
        })
        .collect();
    out.sort_by_key(|buffer| (buffer.context, buffer.stream_index));
    (end, out)
}

impl Hef {
    /// Whether the config section is used in place instead of being copied.
    #[must_use]
    pub fn uses_config_in_place(&self) -> bool {
        let container = self.container();
        container.version == 3
            && (self.features().requires(number::SHARED_CONFIG)
                || container.config_bytes > IN_PLACE_ABOVE)
    }

    /// Estimates what a variant of a group of this file takes; batch 0 means 1.
    ///
    /// # Errors
    ///
    /// [`HefError::Unusable`] if a buffer needs more descriptors than there are.
    pub fn memory(&self, core: &CoreOp, batch: u32) -> Result<MemoryEstimate> {
        let batch = batch.max(1);
        let mut estimate = MemoryEstimate {
            batch,
            ..MemoryEstimate::default()
        };
        config(self, core, &mut estimate)?;
        inter_context(self, core, &mut estimate)?;
        ddr(core, &mut estimate)?;
        estimate.caches = caches(core);
        Ok(estimate)
    }
}

fn config(hef: &Hef, core: &CoreOp, estimate: &mut MemoryEstimate) -> Result<()> {
    let fixed = Options {
        fixed_page: true,
        ..Options::default()
    };
    let in_place = hef.uses_config_in_place();
    if in_place {
        estimate.config_in_place = hef.container().config_bytes;
    }
    for program in core.programs() {
        let mut bytes = 0_u64;
        for size in program.config.iter().map(ChannelConfig::bytes) {
            if in_place {
                let plan = single(Ring::SCATTER_GATHER, 1, size, fixed)?;
                estimate.config_lists = estimate.config_lists.saturating_add(plan.list_bytes());
            } else {
                let plan = single(Ring::contiguous(hef.architecture()), 1, size, fixed)?;
                bytes = bytes.saturating_add(plan.bytes());
            }
        }
        if !in_place {
            estimate.config_contiguous.push(bytes);
        }
    }
    Ok(())
}

fn layers(core: &CoreOp) -> impl Iterator<Item = (usize, &EdgeLayer, &Layer)> {
    core.contexts.iter().enumerate().flat_map(|(i, context)| {
        context
            .layers
            .iter()
            .filter_map(move |edge| match &edge.body {
                Body::Plain(layer) => Some((i, edge, layer)),
                _ => None,
            })
    })
}

fn inter_context(hef: &Hef, core: &CoreOp, estimate: &mut MemoryEstimate) -> Result<()> {
    let mut last_reader: BTreeMap<(usize, u8), usize> = BTreeMap::new();
    for (context, edge, _) in layers(core) {
        if let (Connection::InterContext { peer }, Direction::HostToDevice) =
            (edge.connection, edge.direction)
        {
            let last = last_reader
                .entry((peer.context.into(), peer.stream_index))
                .or_insert(context);
            *last = (*last).max(context);
        }
    }
    let mut items = BTreeMap::new();
    for (context, edge, layer) in layers(core) {
        if let (Connection::InterContext { .. }, Direction::DeviceToHost) =
            (edge.connection, edge.direction)
        {
            let ring = Ring::contiguous(hef.architecture());
            let transfer = edge.transfer_bytes();
            let plan = single(ring, estimate.batch.into(), transfer, Options::default())?;
            let key = (context, layer.stream_index);
            let last = last_reader
                .get(&key)
                .copied()
                .unwrap_or(context)
                .max(context);
            items.insert(
                key,
                Item {
                    context,
                    stream_index: layer.stream_index,
                    transfer,
                    plan,
                    first: context,
                    last,
                },
            );
        }
    }
    if items.len() > MAX_PLACED {
        return Err(HefError::Unusable {
            place: "memory estimate".to_owned(),
            what: "buffers between contexts",
            expected: format!("at most {MAX_PLACED}"),
            found: items.len().to_string(),
        });
    }
    (estimate.inter_context, estimate.inter_context_buffers) = place(items.into_values().collect());
    Ok(())
}

fn ddr(core: &CoreOp, estimate: &mut MemoryEstimate) -> Result<()> {
    let mut items = Vec::new();
    for (context, edge, layer) in layers(core) {
        if let (Connection::Ddr { rows, .. }, Direction::DeviceToHost) =
            (edge.connection, edge.direction)
        {
            let options = Options {
                circular: true,
                ddr: true,
                ..Options::default()
            };
            let transfer = edge.transfer_bytes();
            let plan = single(Ring::SCATTER_GATHER, rows.into(), transfer, options)?;
            estimate.ddr_lists = estimate.ddr_lists.saturating_add(plan.list_bytes());
            items.push(Item {
                context,
                stream_index: layer.stream_index,
                transfer,
                plan,
                first: context,
                last: context,
            });
        }
    }
    estimate.ddr = place(items).0;
    Ok(())
}

/// Cache buffers, from the layer that reads and the layer that writes each.
///
/// Source: vendor hailort v5.2.0, `src/core_op/resource_manager/cache_manager.cpp`.
fn caches(core: &CoreOp) -> Vec<CacheEstimate> {
    let mut out: BTreeMap<u32, CacheEstimate> = BTreeMap::new();
    for (_, edge, layer) in layers(core) {
        if let Connection::Cache { id } = edge.connection {
            let entry = u64::from(layer.hw_shape.features);
            let padded = entry
                .max(1)
                .next_multiple_of(entry.max(1).next_power_of_two().clamp(64, PAGE));
            let entries =
                u64::from(layer.hw_shape.height).saturating_mul(layer.hw_shape.width.into());
            let cache = out.entry(id).or_insert(CacheEstimate {
                id,
                bytes: 0,
                entry_bytes: padded,
            });
            cache.bytes = cache.bytes.saturating_add(padded.saturating_mul(entries));
        }
    }
    out.into_values().collect()
}
