//! Edge layers from the schema to the model: shapes, formats, quantization, detection.

use super::super::format::{DataType, Order, Shape};
use super::super::layer::{
    Body, Connection, Direction, EdgeLayer, Layer, LayerQuantization, Peer, hw_frame_bytes,
};
use super::super::nms::ChipNms;
use super::super::schema::types::{self, edge_layer};
use super::at::{At, Build};
use super::composite::{mux, planes};
use super::rules::Rules;
use super::values::{chip_nms, quantization};

/// Longest stream, layer and group name of the vendor's interface in bytes.
pub(crate) const MAX_NAME: usize = 127;
/// Most edge layers of a context: each of 256 stream numbers once in each direction.
pub(crate) const MAX_EDGE_LAYERS: usize = 512;
/// Most layers at the boundary in one direction: stream numbers have 8 bits.
pub(crate) const MAX_BOUNDARY: usize = 256;
/// Rows of the core padding rule may take this many bytes.
const CORE_PADDING_PAGE: u64 = 8192;

/// What the layers of a core op are checked against.
pub(crate) struct Scope<'a> {
    pub(crate) rules: &'a Rules<'a>,
    /// Networks of the core op.
    pub(crate) networks: usize,
    /// Whether every layer is transposed.
    pub(crate) transposed: bool,
    /// Fused detection outputs, empty if the core op has none.
    pub(crate) fused: &'a [types::EdgeLayerFused],
}

/// Which rules hold for a plain layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// At the boundary, on its own.
    Boundary,
    /// A plane of an image at the boundary.
    Plane,
    /// Part of a mux.
    InMux,
    /// Between contexts.
    Internal,
}

/// The outside of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) direction: Direction,
    pub(crate) network_index: u8,
    pub(crate) usage: Use,
}

/// Builds one edge layer.
pub(crate) fn edge_layer(
    message: &types::EdgeLayer,
    at: &At<'_>,
    scope: &Scope<'_>,
) -> Build<EdgeLayer> {
    let direction = match message.direction {
        0 => Direction::HostToDevice,
        1 => Direction::DeviceToHost,
        other => return Err(at.field(1).bad("direction", "0 or 1", other)),
    };
    let default = types::ContextSwitchInformation::default();
    let info = message.context_switch_info.as_ref().unwrap_or(&default);
    let name = match &message.edge {
        Some(edge_layer::Edge::LayerInfo(info)) => &info.name,
        Some(edge_layer::Edge::LayerMux(mux)) => &mux.name,
        Some(edge_layer::Edge::LayerPlanes(planes)) => &planes.name,
        None => "",
    };
    let at = at.named("layer", name);
    let connection = connection(info, &at.field(5))?;
    let network_index = network_index(message.network_index, &at.field(6), scope)?;
    let usage = if connection == Connection::Boundary {
        Use::Boundary
    } else {
        Use::Internal
    };
    let frame = Frame {
        direction,
        network_index,
        usage,
    };
    let body = match (message.edge_layer_type, &message.edge) {
        (0, Some(edge_layer::Edge::LayerInfo(info))) => {
            Body::Plain(plain(info, &at.field(3), scope, frame)?)
        }
        (1 | 2, _) if usage == Use::Internal => {
            return Err(at.field(2).bad(
                "layer type",
                "0 (plain) between contexts",
                message.edge_layer_type,
            ));
        }
        (1, Some(edge_layer::Edge::LayerMux(layer))) => {
            let mut leaves = 0;
            Body::Mux(mux(layer, &at.field(4), scope, frame, &mut leaves)?)
        }
        (2, Some(edge_layer::Edge::LayerPlanes(layer))) => {
            Body::Planes(planes(layer, &at.field(8), scope, frame)?)
        }
        (0..=2, edge) => {
            let found = match edge {
                Some(edge_layer::Edge::LayerInfo(_)) => "a plain layer",
                Some(edge_layer::Edge::LayerMux(_)) => "a mux",
                Some(edge_layer::Edge::LayerPlanes(_)) => "planes",
                None => "nothing",
            };
            let expected = ["a plain layer", "a mux", "planes"]
                .into_iter()
                .zip(0..)
                .find(|(_, number)| *number == message.edge_layer_type)
                .map_or("a layer", |(word, _)| word);
            return Err(at.field(2).bad("layer type", expected, found));
        }
        (other, _) => return Err(at.field(2).bad("layer type", "0, 1 or 2", other)),
    };
    Ok(EdgeLayer {
        direction,
        connection,
        pad: message.pad_index,
        body,
    })
}

fn network_index(index: u32, at: &At<'_>, scope: &Scope<'_>) -> Build<u8> {
    if !scope.rules.multi_network {
        return Ok(0);
    }
    let narrow = at.u8("network index", index)?;
    if usize::from(narrow) >= scope.networks {
        return Err(at.bad("network index", format!("below {}", scope.networks), index));
    }
    Ok(narrow)
}

fn connection(info: &types::ContextSwitchInformation, at: &At<'_>) -> Build<Connection> {
    let peer = |most: Option<usize>| {
        let count = info.connected_contexts.len();
        let Some(peer) = info.connected_contexts.first() else {
            return Err(at.bad("connected contexts", "at least 1", 0));
        };
        if most.is_some_and(|most| count > most) {
            return Err(at.bad("connected contexts", "exactly 1", count));
        }
        let at = at.nth(8, 0);
        Ok(Peer {
            context: at.field(1).u16("connected context", peer.index)?,
            stream_index: at.field(3).u8("connected stream index", peer.sys_index)?,
            engine: at.field(4).u8("connected engine", peer.engine_id)?,
        })
    };
    Ok(match info.edge_connection_type {
        0 => Connection::Boundary,
        1 => Connection::InterContext { peer: peer(None)? },
        2 => Connection::Ddr {
            peer: peer(Some(1))?,
            rows: at.field(6).u16("buffered rows", info.buffers)?,
        },
        3 => Connection::Cache {
            id: u32::try_from(info.cache_id)
                .map_err(|_| at.field(9).bad("cache id", "0 or more", info.cache_id))?,
        },
        other => return Err(at.field(3).bad("connection type", "0 to 3", other)),
    })
}

/// Builds a plain layer.
pub(crate) fn plain(
    info: &types::EdgeLayerInfo,
    at: &At<'_>,
    scope: &Scope<'_>,
    frame: Frame,
) -> Build<Layer> {
    let empty = types::EdgeLayerBase::default();
    let base = info.edge_layer_base.as_ref().unwrap_or(&empty);
    let mut layer = base_layer(&info.name, base, at, frame)?;
    for (i, name) in info.original_names.iter().enumerate() {
        at.nth(5, i).name("original name", name, MAX_NAME)?;
    }
    layer.original_names.clone_from(&info.original_names);
    let base_at = at.field(2);
    if base.host_argmax {
        return Err(base_at.field(14).bad("host argmax", "false", true));
    }
    if layer.order == Order::NmsOnChip {
        layer.nms = Some(chip_nms(base, &base_at.field(11), scope)?);
        layer.shape = layer.nms.as_ref().map_or(layer.shape, ChipNms::shape);
    } else {
        for (what, field, size, padded) in [
            ("padded height", 2, base.height, base.padded_height),
            ("padded width", 4, base.width, base.padded_width),
            ("padded features", 6, base.features, base.padded_features),
        ] {
            if padded < size {
                return Err(base_at
                    .field(field)
                    .bad(what, format!("at least {size}"), padded));
            }
        }
        if frame.usage != Use::Internal
            && (scope.transposed || info.transposed)
            && layer.order != Order::Nc
        {
            layer.shape = layer.shape.transposed();
            layer.transposed = true;
        }
        if matches!(frame.usage, Use::Boundary | Use::Plane) {
            core_padding(&mut layer, base, &base_at, scope)?;
        }
        sizes_fit(&layer, &base_at)?;
    }
    if frame.usage != Use::Internal && frame.usage != Use::InMux {
        layer.buffer = Some(buffer(base, &base_at)?);
    }
    let numeric_at = at.field(3);
    layer.quantization = quantization(
        info.numeric_info.as_ref(),
        &numeric_at,
        scope,
        &layer,
        frame.direction,
    )?;
    Ok(layer)
}

/// Builds what plain layers and muxes have in common, without quantization.
pub(crate) fn base_layer(
    name: &str,
    base: &types::EdgeLayerBase,
    at: &At<'_>,
    frame: Frame,
) -> Build<Layer> {
    at.field(1).name("layer name", name, MAX_NAME)?;
    let at = at.field(2);
    let Some(order) = Order::from_format_code(base.format) else {
        return Err(at
            .field(7)
            .bad("format code", "0 to 8, 11 or 13 to 16", base.format));
    };
    let data_type = match base.data_bytes {
        1 => DataType::Uint8,
        2 => DataType::Uint16,
        other => return Err(at.field(12).bad("bytes of an element", "1 or 2", other)),
    };
    Ok(Layer {
        name: name.to_owned(),
        original_names: Vec::new(),
        network_index: frame.network_index,
        stream_index: at.field(8).u8("stream index", base.sys_index)?,
        engine: at.field(16).u8("engine", base.engine_id)?,
        shape: Shape::new(base.height, base.width, base.features),
        hw_shape: Shape::new(base.padded_height, base.padded_width, base.padded_features),
        data_type,
        order,
        transposed: false,
        core_bytes_per_buffer: at
            .field(9)
            .u16("core bytes per buffer", base.core_bytes_per_buffer)?,
        core_buffers_per_frame: at
            .field(10)
            .u16("core buffers per frame", base.core_buffers_per_frame)?,
        fifo_bytes: base.max_shmifo_size,
        feature_padding_payload: None,
        quantization: LayerQuantization::default(),
        nms: None,
        buffer: None,
    })
}

/// The two products that later code relies on.
pub(crate) fn sizes_fit(layer: &Layer, at: &At<'_>) -> Build<()> {
    let fits = |shape| hw_frame_bytes(shape, layer.data_type).is_some();
    if !fits(layer.shape) {
        return Err(at.bad("frame size", "at most 32 bits", layer.shape));
    }
    if !fits(layer.hw_shape) {
        return Err(at.bad("frame size with padding", "at most 32 bits", layer.hw_shape));
    }
    Ok(())
}

pub(crate) fn buffer(base: &types::EdgeLayerBase, at: &At<'_>) -> Build<(u32, u32)> {
    let Some(first) = base.buffer_indices.first() else {
        return Err(at
            .field(13)
            .bad("buffer indices of a boundary layer", "1 entry", 0));
    };
    Ok((first.index, first.cluster_index))
}

/// Old files leave the padding of rows to the core; the sizes on the wire are then the unpadded ones.
///
/// Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`.
fn core_padding(
    layer: &mut Layer,
    base: &types::EdgeLayerBase,
    at: &At<'_>,
    scope: &Scope<'_>,
) -> Build<()> {
    let row = u64::from(base.width) * u64::from(base.features);
    let bytes = u64::from(layer.data_type.bytes());
    let page = match base.max_shmifo_size {
        0 => CORE_PADDING_PAGE,
        fifo => CORE_PADDING_PAGE.min(fifo.into()),
    };
    let applies = !scope.rules.hw_padding
        && layer.order == Order::Nhcw
        && u32::from(layer.core_buffers_per_frame) == base.height
        && row.is_multiple_of(8)
        && row.saturating_mul(bytes) < page;
    if applies {
        layer.hw_shape = Shape::new(base.height, base.width, base.features);
        let payload = base.width.saturating_mul(layer.data_type.bytes());
        layer.feature_padding_payload = Some(at.field(3).u16("feature padding payload", payload)?);
    }
    Ok(())
}
