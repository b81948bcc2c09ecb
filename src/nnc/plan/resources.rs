//! What a network takes: channels, lists and buffers, and the streams of each context with all that their actions need.
//!
//! Source: vendor hailort v5.2.0, `resource_manager.cpp`, `resource_manager_builder.cpp`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::Parameters;
use super::channels::Channels;
use super::error::Refusal;
use super::geometry::{self, Pages};
use super::memory::{Buffer, List, ListId, ListUse};
use crate::hef::{
    Connection, CoreOp, Direction, EdgeLayer, Hef, Layer, RegisterInputs, stream_registers,
};
use crate::spec::nnc::context::{ChannelId, StreamRegisters};

/// Extension: padding of the core is configured by the compiler.
const HW_PADDING: u32 = 11;
/// Extension: a stream number may serve both directions.
const DUAL_DIRECTION: u32 = 20;
/// Classes, chunks and batch of on-chip detection multiply to less than this.
const NMS_LIMIT: u64 = 1024;

/// A stream between the user and the chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Boundary {
    /// Name.
    pub name: String,
    /// Which way data flows.
    pub direction: Direction,
    /// Network it belongs to.
    pub network: u8,
    /// Stream number.
    pub stream: u8,
    /// Plane number if it is one plane of an image.
    pub plane: Option<u8>,
    /// Dynamic context that uses it.
    pub context: usize,
    /// Channel.
    pub channel: ChannelId,
    /// Its ring.
    pub list: ListId,
    /// Bytes of a transfer.
    pub transfer_bytes: u32,
    /// Transfers of a frame, at most.
    pub transfers_per_frame: u32,
    /// Transfers that wait at once.
    pub queue: u16,
    /// Registers.
    pub registers: StreamRegisters,
}

impl Boundary {
    /// Bytes of a frame as the stream counts them.
    pub(super) fn frame_size(&self) -> u32 {
        u32::from(self.registers.periph_bytes).saturating_mul(self.registers.periph_buffers)
    }
}

/// What a stream of a context is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Boundary,
    InterContext,
    Cache { entries: u32 },
    Ddr(Ddr),
}

/// One end of a DDR ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ddr {
    /// Channel of the other end.
    pub(super) pair: ChannelId,
    /// Rows to buffer.
    pub(super) rows: u32,
    pub(super) descriptors_per_frame: u32,
}

/// A stream of a context.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: Arc<str>,
    pub(super) direction: Direction,
    pub(super) end: End,
    pub(super) stream: u8,
    pub(super) network: u8,
    pub(super) channel: ChannelId,
    pub(super) list: ListId,
    pub(super) registers: StreamRegisters,
    /// Credit to begin with in bytes.
    pub(super) credit: u32,
}

/// Who reads a stream between contexts: context, bytes of a frame, name.
pub(super) type Reader<'a> = (usize, u64, &'a str);

/// Everything that is handed out.
pub(super) struct Resources<'a> {
    pub(super) hef: &'a Hef,
    pub(super) core: &'a CoreOp,
    pub(super) parameters: &'a Parameters,
    pub(super) pages: Pages,
    pub(super) channels: Channels,
    pub(super) buffers: Vec<Buffer>,
    pub(super) lists: Vec<List>,
    pub(super) boundary: Vec<Boundary>,
    pub(super) config_channels: Vec<ChannelId>,
    /// Readers of streams between contexts by writing context and stream.
    pub(super) readers: BTreeMap<(usize, u8), Vec<Reader<'a>>>,
    /// Lists of streams between contexts by writing context and stream.
    pub(super) between: BTreeMap<(usize, u8), ListId>,
    /// Lists of caches by id and direction.
    pub(super) caches: BTreeMap<(u32, bool), (ListId, u32)>,
}

impl<'a> Resources<'a> {
    /// Takes config channels.
    pub(super) fn new(
        hef: &'a Hef,
        core: &'a CoreOp,
        parameters: &'a Parameters,
    ) -> Result<Self, Refusal> {
        let mut channels = Channels::new();
        // The engines of the file are ignored: PCIe has one.
        let config_channels = core.config_channel_engines.iter();
        let config_channels = config_channels
            .map(|_| channels.take(Direction::HostToDevice))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hef,
            core,
            parameters,
            pages: Pages::new(parameters.max_page),
            channels,
            buffers: Vec::new(),
            lists: Vec::new(),
            boundary: Vec::new(),
            config_channels,
            readers: BTreeMap::new(),
            between: BTreeMap::new(),
            caches: BTreeMap::new(),
        })
    }

    pub(super) fn add_list(&mut self, list: List) -> ListId {
        self.lists.push(list);
        ListId(self.lists.len() - 1)
    }

    /// The layers of a context in one direction and of one kind.
    pub(super) fn layers(
        &self,
        context: usize,
        direction: Direction,
        kind: fn(&Connection) -> bool,
    ) -> impl Iterator<Item = (&'a EdgeLayer, &'a Layer)> + use<'a> {
        let layers: &'a [EdgeLayer] = self
            .core
            .contexts
            .get(context)
            .map_or(&[], |context| &context.layers);
        layers
            .iter()
            .filter(move |edge| edge.direction == direction && kind(&edge.connection))
            .flat_map(|edge| edge.streams().iter().map(move |layer| (edge, layer)))
    }

    /// Stream numbers are used once in a context: in each direction, or at all in older files.
    pub(super) fn check_streams(&self, context: usize) -> Result<(), Refusal> {
        let dual = self.hef.features().requires(DUAL_DIRECTION);
        let mut seen = BTreeSet::new();
        for direction in [Direction::HostToDevice, Direction::DeviceToHost] {
            // More than there are channels in any case; it also bounds the work that follows.
            let mut channels = Channels::new();
            for _ in self.layers(context, direction, |_| true) {
                channels.take(direction)?;
            }
            for (_, layer) in self.layers(context, direction, |_| true) {
                let side = dual && direction == Direction::DeviceToHost;
                if !seen.insert((layer.stream_index, side)) {
                    let expected = if dual {
                        "used once in each direction of a context"
                    } else {
                        "used once in a context without extension 20"
                    };
                    let refusal = Refusal::file("stream number", expected, layer.stream_index);
                    return Err(refusal.of(&layer.name));
                }
            }
        }
        Ok(())
    }

    /// Takes channel and ring for every stream of the user.
    pub(super) fn add_boundary(&mut self, context: usize) -> Result<(), Refusal> {
        for direction in [Direction::HostToDevice, Direction::DeviceToHost] {
            let boundary = |c: &Connection| *c == Connection::Boundary;
            for (edge, layer) in self.layers(context, direction, boundary) {
                let plane = edge
                    .streams()
                    .iter()
                    .position(|other| other.name == layer.name);
                let plane = plane.filter(|_| edge.streams().len() > 1);
                let stream = self.boundary_stream(context, direction, layer, plane);
                let stream = stream.map_err(|refusal| refusal.of(&layer.name))?;
                self.boundary.push(stream);
            }
        }
        Ok(())
    }

    fn boundary_stream(
        &mut self,
        context: usize,
        direction: Direction,
        layer: &Layer,
        plane: Option<usize>,
    ) -> Result<Boundary, Refusal> {
        let batch = u64::from(self.parameters.batch);
        let (transfer, transfers) = match &layer.nms {
            Some(nms) => {
                let product = u64::from(nms.classes)
                    .saturating_mul(nms.chunks.into())
                    .saturating_mul(batch);
                if product >= NMS_LIMIT {
                    let expected = format!("below {NMS_LIMIT}");
                    return Err(Refusal::resource(
                        "classes x chunks x batch",
                        expected,
                        product,
                    ));
                }
                (nms.transfer_bytes(), nms.transfers_per_frame())
            }
            None => (layer.frame_bytes(), 1),
        };
        let transfer_bytes = size("bytes of a transfer", transfer)?;
        let transfers_per_frame = size("transfers of a frame", transfers)?;
        let channel = self.channels.take(direction)?;
        let device = self.parameters.device;
        let (fit, queue) = geometry::boundary(
            self.pages,
            device,
            transfer,
            transfers,
            batch,
            layer.fifo_bytes,
        )?;
        let registers = self.registers(layer, direction, false, fit.page)?;
        let list = self.add_list(List {
            serves: ListUse::Boundary {
                stream: layer.name.clone(),
                direction,
            },
            page: fit.page,
            descriptors: fit.descriptors,
            pattern: transfer_bytes,
            circular: true,
            runs: Vec::new(),
        });
        Ok(Boundary {
            name: layer.name.clone(),
            direction,
            network: layer.network_index,
            stream: layer.stream_index,
            plane: plane.and_then(|plane| u8::try_from(plane).ok()),
            context,
            channel,
            list,
            transfer_bytes,
            transfers_per_frame,
            queue,
            registers,
        })
    }

    /// Registers of a stream whose list has this page size.
    pub(super) fn registers(
        &self,
        layer: &Layer,
        direction: Direction,
        is_ddr: bool,
        page: u32,
    ) -> Result<StreamRegisters, Refusal> {
        let hw_padding = self.hef.features().offers(HW_PADDING);
        let inputs = RegisterInputs {
            page,
            default_fifo: self.parameters.default_initial_credit,
            outbound: self.parameters.outbound_stream_bytes,
            architecture: self.hef.architecture(),
            hw_padding,
        };
        let found = stream_registers(layer, direction, is_ddr, inputs)?;
        Ok(StreamRegisters {
            core_bytes: layer.core_bytes_per_buffer,
            core_buffers: layer.core_buffers_per_frame,
            periph_bytes: narrow("bytes of an interface buffer", found.bytes_per_buffer)?,
            periph_buffers: found.buffers_per_frame,
            feature_padding_payload: layer.feature_padding_payload.unwrap_or(0),
            buffer_padding_payload: found.padding_payload,
            buffer_padding: narrow("bytes of frame padding", found.padding)?,
            core_padding: hw_padding.into(),
        })
    }

    /// A stream of a context, channel and list known.
    pub(super) fn port(
        &self,
        layer: &Layer,
        direction: Direction,
        end: End,
        channel: ChannelId,
        list: ListId,
    ) -> Result<Port, Refusal> {
        let page = self.lists.get(list.0).map_or(0, |list| list.page);
        let is_ddr = matches!(end, End::Ddr { .. });
        Ok(Port {
            name: layer.name.as_str().into(),
            direction,
            end,
            stream: layer.stream_index,
            network: layer.network_index,
            channel,
            list,
            registers: self.registers(layer, direction, is_ddr, page)?,
            credit: match layer.fifo_bytes {
                0 => self.parameters.default_initial_credit,
                bytes => bytes,
            },
        })
    }

    /// The streams of a context, in the order in which they are set up.
    pub(super) fn ports(&mut self, context: usize) -> Result<Vec<Port>, Refusal> {
        use Direction::{DeviceToHost, HostToDevice};
        let channels = &mut self.channels.clone();
        let (ddr_out, ddr_in) = self.ddr_ports(context, channels)?;
        let between_out = self.between_ports(context, DeviceToHost, channels)?;
        let cache_out = self.cache_ports(context, DeviceToHost, channels)?;
        let between_in = self.between_ports(context, HostToDevice, channels)?;
        let cache_in = self.cache_ports(context, HostToDevice, channels)?;
        let boundary_out = self.boundary_ports(context, DeviceToHost)?;
        let boundary_in = self.boundary_ports(context, HostToDevice)?;
        Ok([
            ddr_out,
            boundary_out,
            between_out,
            cache_out,
            ddr_in,
            boundary_in,
            between_in,
            cache_in,
        ]
        .concat())
    }

    fn boundary_ports(&self, context: usize, direction: Direction) -> Result<Vec<Port>, Refusal> {
        let layers = self.layers(context, direction, |c| *c == Connection::Boundary);
        let streams = self
            .boundary
            .iter()
            .filter(|stream| stream.context == context && stream.direction == direction);
        // Both follow the order of the file.
        layers
            .zip(streams)
            .map(|((_, layer), stream)| {
                self.port(layer, direction, End::Boundary, stream.channel, stream.list)
            })
            .collect()
    }
}

/// A size that the firmware takes in 32 bits, and that is not 0.
pub(super) fn size(what: &'static str, value: u64) -> Result<u32, Refusal> {
    match u32::try_from(value) {
        Ok(value @ 1..) => Ok(value),
        _ => Err(Refusal::file(what, "1 to 4294967295", value)),
    }
}

fn narrow(what: &'static str, value: u32) -> Result<u16, Refusal> {
    u16::try_from(value).map_err(|_| Refusal::resource(what, "at most 65535", value))
}
