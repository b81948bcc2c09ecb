//! Streams inside a network: between contexts, DDR rings, caches. Their lists are written once.
//!
//! Every buffer is memory of its own; sharing it between contexts that never run together is left to who allocates.
//!
//! Source: vendor hailort v5.2.0, `internal_buffer_planner.cpp`, `cache_manager.cpp`, `cache_buffer.cpp`,
//! `sg_edge_layer.cpp`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::channels::Channels;
use super::error::{Reason, Refusal};
use super::geometry::{Wish, fit};
use super::memory::{Buffer, BufferId, BufferUse, List, ListId, ListUse, Run};
use super::resources::{Ddr, End, Port, Resources, size};
use crate::hef::{Connection, Direction, Layer};
use crate::spec::nnc::context::{MAX_DESCRIPTORS, MIN_DESCRIPTORS, MIN_PAGE};

/// Extension: rows of DDR rings are padded.
const PADDED_DDR: u32 = 3;
/// Longest DDR ring: its length travels in 16 bits.
const MAX_DDR_DESCRIPTORS: u64 = 32_768;

/// A buffer that lives from frame to frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// Number in the file.
    pub id: u32,
    /// Its memory.
    pub buffer: BufferId,
    /// Entries in all: those that a frame reads and those that it writes.
    pub entries: u32,
    /// Bytes of an entry.
    pub entry_bytes: u32,
    /// Bytes from one entry to the next.
    pub stride: u32,
    /// Entries that a frame reads.
    pub read_entries: u32,
    /// The list by which they are read.
    pub read_list: ListId,
    /// Entries that a frame writes.
    pub write_entries: u32,
    /// The list by which they are written.
    pub write_list: ListId,
}

impl Cache {
    /// What the two lists hold when reading starts at entry `offset`: first the list that is read, then the other.
    #[must_use]
    pub fn runs(&self, offset: u32) -> [Vec<Run>; 2] {
        let start = u64::from(offset) % u64::from(self.entries.max(1));
        let write = start + u64::from(self.read_entries);
        [
            self.around(start, self.read_entries),
            self.around(write, self.write_entries),
        ]
    }

    /// `count` entries from `first` on, around the end.
    fn around(&self, first: u64, count: u32) -> Vec<Run> {
        let entries = u64::from(self.entries.max(1));
        let first = first % entries;
        let to_end = u32::try_from(entries - first)
            .unwrap_or(u32::MAX)
            .min(count);
        let run = |first: u64, count| Run {
            buffer: self.buffer,
            offset: first * u64::from(self.stride),
            stride: self.stride.into(),
            bytes: self.entry_bytes.into(),
            count,
        };
        [run(first, to_end), run(0, count - to_end)]
            .into_iter()
            .filter(|run| run.count > 0)
            .collect()
    }
}

impl Resources<'_> {
    fn add_buffer(&mut self, bytes: u64, holds: BufferUse) -> BufferId {
        self.buffers.push(Buffer { bytes, holds });
        BufferId(self.buffers.len() - 1)
    }

    /// Makes buffer and list of every stream that a context writes for others.
    pub(super) fn add_between(&mut self, context: usize) -> Result<(), Refusal> {
        let between = |c: &Connection| matches!(c, Connection::InterContext { .. });
        for (edge, layer) in self.layers(context, Direction::DeviceToHost, between) {
            let transfer = edge.transfer_bytes();
            let list = self.between_list(context, layer, transfer);
            let list = list.map_err(|refusal| refusal.of(&layer.name))?;
            self.between.insert((context, layer.stream_index), list);
        }
        Ok(())
    }

    fn between_list(
        &mut self,
        context: usize,
        layer: &Layer,
        transfer: u64,
    ) -> Result<ListId, Refusal> {
        self.check_readers(context, layer, transfer)?;
        let pattern = size("bytes of a frame", transfer)?;
        let batch = u32::from(self.parameters.batch);
        let wish_sizes = [transfer];
        let wish = Wish::new(&wish_sizes, batch.into(), self.pages.max);
        let page = fit(self.pages, &wish)
            .map_err(|error| error.refuse(wish.cap))?
            .page;
        let pages = pattern.div_ceil(page);
        let descriptors = (pages.saturating_mul(batch) + 1).clamp(MIN_DESCRIPTORS, MAX_DESCRIPTORS);
        let stream = layer.stream_index;
        let bytes = u64::from(descriptors) * u64::from(page);
        let buffer = self.add_buffer(bytes, BufferUse::InterContext { context, stream });
        Ok(self.add_list(List {
            serves: ListUse::InterContext { context, stream },
            page,
            descriptors,
            pattern,
            circular: false,
            runs: vec![Run {
                buffer,
                offset: 0,
                stride: u64::from(pages) * u64::from(page),
                bytes: transfer,
                count: batch,
            }],
        }))
    }

    /// Who reads what contexts write for others, by writing context and stream.
    pub(super) fn find_readers(&mut self) {
        let between = |c: &Connection| matches!(c, Connection::InterContext { .. });
        for context in 0..self.core.contexts.len() {
            for (edge, layer) in self.layers(context, Direction::HostToDevice, between) {
                if let Connection::InterContext { peer } = edge.connection {
                    let key = (usize::from(peer.context), peer.stream_index);
                    let readers = self.readers.entry(key).or_default();
                    readers.push((context, edge.transfer_bytes(), &layer.name));
                }
            }
        }
    }

    /// Somebody reads what a context writes, later, and as much of it.
    fn check_readers(&self, context: usize, layer: &Layer, transfer: u64) -> Result<(), Refusal> {
        let readers = self.readers.get(&(context, layer.stream_index));
        let readers = readers.map_or(&[][..], Vec::as_slice);
        if readers.is_empty() {
            let what = "readers of a stream between contexts";
            return Err(Refusal::file(what, "at least 1", 0));
        }
        for &(reader, bytes, name) in readers {
            if reader <= context {
                let expected = format!("a context after {context}, which writes");
                return Err(Refusal::file("reader of a stream", expected, reader));
            }
            if bytes != transfer {
                let expected = format!("{transfer} bytes, as its writer");
                let found = format!("{bytes} of `{name}`");
                return Err(Refusal::file("frame of a reader", expected, found));
            }
        }
        Ok(())
    }

    pub(super) fn between_ports(
        &self,
        context: usize,
        direction: Direction,
        channels: &mut Channels,
    ) -> Result<Vec<Port>, Refusal> {
        let between = |c: &Connection| matches!(c, Connection::InterContext { .. });
        let mut ports = Vec::new();
        for (edge, layer) in self.layers(context, direction, between) {
            let key = match (edge.connection, direction) {
                (Connection::InterContext { peer }, Direction::HostToDevice) => {
                    (usize::from(peer.context), peer.stream_index)
                }
                _ => (context, layer.stream_index),
            };
            let list = self.between.get(&key).copied().ok_or_else(|| {
                let found = format!("none in context {}, stream {}", key.0, key.1);
                Refusal::file("writer of a stream between contexts", "an output", found)
                    .of(&layer.name)
            })?;
            let port = channels
                .take(direction)
                .and_then(|channel| self.port(layer, direction, End::InterContext, channel, list));
            ports.push(port.map_err(|refusal| refusal.of(&layer.name))?);
        }
        Ok(ports)
    }

    /// DDR rings of a context: writing ends, reading ends.
    pub(super) fn ddr_ports(
        &mut self,
        context: usize,
        channels: &mut Channels,
    ) -> Result<(Vec<Port>, Vec<Port>), Refusal> {
        let ddr = |c: &Connection| matches!(c, Connection::Ddr { .. });
        let mut ends = (Vec::new(), Vec::new());
        for (edge, output) in self.layers(context, Direction::DeviceToHost, ddr) {
            let Connection::Ddr { peer, rows } = edge.connection else {
                continue;
            };
            let mut inputs = self.layers(context, Direction::HostToDevice, ddr);
            let input = inputs.find(|(_, input)| input.stream_index == peer.stream_index);
            let Some((_, input)) = input else {
                let expected = format!("an input with stream {}", peer.stream_index);
                return Err(Refusal::file("ddr pair", expected, "none").of(&output.name));
            };
            let pair = self.ddr_pair(context, (output, input), rows, channels);
            let (out, into) = pair.map_err(|refusal| refusal.of(&output.name))?;
            ends.0.push(out);
            ends.1.push(into);
        }
        Ok(ends)
    }

    fn ddr_pair(
        &mut self,
        context: usize,
        (output, input): (&Layer, &Layer),
        rows: u16,
        channels: &mut Channels,
    ) -> Result<(Port, Port), Refusal> {
        if !self.hef.features().requires(PADDED_DDR) {
            return Err(Refusal::file("ddr ring", "extension 3 in the file", "none"));
        }
        let (row, rows) = (u64::from(output.core_bytes_per_buffer), u64::from(rows));
        let pattern = size("bytes of a ddr row", row)?;
        size("rows of a ddr ring", rows)?;
        let wish_sizes = [row];
        let wish = Wish {
            circular: true,
            ddr: true,
            ..Wish::new(&wish_sizes, rows, self.pages.max)
        };
        let page = fit(self.pages, &wish)
            .map_err(|error| error.refuse(wish.cap))?
            .page;
        if !row.is_multiple_of(page.into()) {
            // The ring is written without residues, so every row has to begin on a page.
            let expected = format!("a multiple of the page of {page} bytes");
            return Err(Refusal::file("bytes of a ddr row", expected, row));
        }
        let pages = row / u64::from(page);
        let length = (pages * rows + 1).next_power_of_two();
        if length > MAX_DDR_DESCRIPTORS {
            let expected = format!("at most {MAX_DDR_DESCRIPTORS}");
            return Err(Refusal::resource(
                "descriptors of a ddr ring",
                expected,
                length,
            ));
        }
        let descriptors = size("descriptors of a ddr ring", length)?;
        let stream = output.stream_index;
        let bytes = length * u64::from(page);
        let buffer = self.add_buffer(bytes, BufferUse::Ddr { context, stream });
        let run = Run {
            buffer,
            offset: 0,
            stride: bytes,
            bytes,
            count: 1,
        };
        let list = self.add_list(List {
            serves: ListUse::Ddr { context, stream },
            page,
            descriptors,
            pattern,
            circular: true,
            runs: vec![run],
        });
        let to_device = channels.take(Direction::HostToDevice)?;
        let from_device = channels.take(Direction::DeviceToHost)?;
        let frame = pages * u64::from(output.core_buffers_per_frame);
        let end = |pair| {
            Ok::<_, Refusal>(End::Ddr(Ddr {
                pair,
                rows: size("rows of a ddr ring", rows)?,
                descriptors_per_frame: size("descriptors of a ddr frame", frame)?,
            }))
        };
        Ok((
            self.port(
                output,
                Direction::DeviceToHost,
                end(to_device)?,
                from_device,
                list,
            )?,
            self.port(
                input,
                Direction::HostToDevice,
                end(from_device)?,
                to_device,
                list,
            )
            .map_err(|refusal| refusal.of(&input.name))?,
        ))
    }

    /// Makes buffer and lists of every cache.
    pub(super) fn add_caches(&mut self) -> Result<Vec<Cache>, Refusal> {
        let mut caches = Vec::new();
        let cache = |c: &Connection| matches!(c, Connection::Cache { .. });
        let contexts = self.core.contexts.len();
        let all = |resources: &Self, direction| {
            let layers = (0..contexts).flat_map(move |c| resources.layers(c, direction, cache));
            let with_id = layers.filter_map(|(edge, layer)| match edge.connection {
                Connection::Cache { id } => Some((id, layer)),
                _ => None,
            });
            with_id.collect::<Vec<_>>()
        };
        let readers = all(self, Direction::HostToDevice);
        let mut writers: BTreeMap<u32, &Layer> =
            all(self, Direction::DeviceToHost).into_iter().collect();
        for (id, reader) in readers {
            let Some(writer) = writers.remove(&id) else {
                return Err(Refusal::file("cache", "a writer", "none").of(&reader.name));
            };
            let made = self.cache(id, reader, writer, caches.first());
            caches.push(made.map_err(|refusal| refusal.of(&reader.name))?);
        }
        if let Some(writer) = writers.values().next() {
            return Err(Refusal::file("cache", "a reader", "none").of(&writer.name));
        }
        Ok(caches)
    }

    fn cache(
        &mut self,
        id: u32,
        reader: &Layer,
        writer: &Layer,
        first: Option<&Cache>,
    ) -> Result<Cache, Refusal> {
        if self.core.contexts.len() == 1 {
            return Err(Refusal::file(
                "contexts of a network with caches",
                "several",
                1,
            ));
        }
        if self.parameters.batch != 1 {
            let batch = self.parameters.batch;
            return Err(Refusal::new(
                Reason::Parameter,
                "batch size of a network with caches",
                1,
                batch,
            ));
        }
        if reader.hw_shape.features != writer.hw_shape.features {
            let (expected, found) = (writer.hw_shape.features, reader.hw_shape.features);
            return Err(Refusal::file("bytes of a cache entry", expected, found));
        }
        let entry = size("bytes of a cache entry", reader.hw_shape.features.into())?;
        let unit = entry
            .checked_next_power_of_two()
            .unwrap_or(u32::MAX)
            .clamp(MIN_PAGE, self.pages.default.max(MIN_PAGE));
        let stride = entry.checked_next_multiple_of(unit);
        let stride =
            stride.ok_or_else(|| Refusal::resource("bytes of a cache entry", "less", entry))?;
        let count = |layer: &Layer| {
            let shape = layer.hw_shape;
            size(
                "entries of a cache",
                u64::from(shape.height) * u64::from(shape.width),
            )
        };
        let (read_entries, write_entries) = (count(reader)?, count(writer)?);
        let entries = size(
            "entries of a cache",
            u64::from(read_entries) + u64::from(write_entries),
        )?;
        if let Some(other) = first.filter(|first| first.entries != entries) {
            let expected = format!("{}, as cache {}", other.entries, other.id);
            return Err(Refusal::file("entries of a cache", expected, entries));
        }
        let buffer = self.add_buffer(
            u64::from(entries) * u64::from(stride),
            BufferUse::Cache { id },
        );
        let mut list = |count, direction| self.cache_list(id, entry, stride, count, direction);
        let read_list = list(read_entries, Direction::HostToDevice)?;
        let write_list = list(write_entries, Direction::DeviceToHost)?;
        Ok(Cache {
            id,
            buffer,
            entries,
            entry_bytes: entry,
            stride,
            read_entries,
            read_list,
            write_entries,
            write_list,
        })
    }

    fn cache_list(
        &mut self,
        id: u32,
        entry: u32,
        stride: u32,
        count: u32,
        direction: Direction,
    ) -> Result<ListId, Refusal> {
        let wish_sizes = [entry.into()];
        let wish = Wish::new(&wish_sizes, count.into(), stride.min(self.pages.max));
        let page = fit(self.pages, &wish)
            .map_err(|error| error.refuse(wish.cap))?
            .page;
        let wanted = u64::from(entry.div_ceil(page)) * u64::from(count) + 1;
        let descriptors = u32::try_from(wanted).unwrap_or(MAX_DESCRIPTORS);
        let list = self.add_list(List {
            serves: ListUse::Cache { id, direction },
            page,
            descriptors: descriptors.clamp(MIN_DESCRIPTORS, MAX_DESCRIPTORS),
            pattern: entry,
            circular: false,
            runs: Vec::new(),
        });
        let writes = direction == Direction::DeviceToHost;
        self.caches.insert((id, writes), (list, count));
        Ok(list)
    }

    pub(super) fn cache_ports(
        &self,
        context: usize,
        direction: Direction,
        channels: &mut Channels,
    ) -> Result<Vec<Port>, Refusal> {
        let cache = |c: &Connection| matches!(c, Connection::Cache { .. });
        let writes = direction == Direction::DeviceToHost;
        let mut ports = Vec::new();
        for (edge, layer) in self.layers(context, direction, cache) {
            let known = match edge.connection {
                Connection::Cache { id } => self.caches.get(&(id, writes)),
                _ => None,
            };
            let Some(&(list, entries)) = known else {
                return Err(Refusal::file("cache", "both ends", "one").of(&layer.name));
            };
            let port = channels.take(direction).and_then(|channel| {
                self.port(layer, direction, End::Cache { entries }, channel, list)
            });
            ports.push(port.map_err(|refusal| refusal.of(&layer.name))?);
        }
        Ok(ports)
    }
}
