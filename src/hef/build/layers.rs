//! Edge layers from the schema to the model: shapes, formats, quantization, detection.

use super::super::arch::NmsGeneration;
use super::super::format::{DataType, Order, Shape};
use super::super::layer::{
    Body, Connection, Direction, EdgeLayer, Layer, LayerQuantization, Mux, MuxPart, Peer, Planes,
    Quantization, hw_frame_bytes,
};
use super::super::nms::{BurstType, ChipNms, FusedPart};
use super::super::schema::types::{self, edge, edge_layer};
use super::at::{At, Build};
use super::rules::Rules;

/// Longest stream, layer and group name of the vendor's interface in bytes.
pub(crate) const MAX_NAME: usize = 127;
/// Most edge layers of a context: each of 256 stream numbers once in each direction.
pub(crate) const MAX_EDGE_LAYERS: usize = 512;
/// Most layers at the boundary in one direction: stream numbers have 8 bits.
pub(crate) const MAX_BOUNDARY: usize = 256;
/// Most logical layers in one mux: the vendor's demultiplexing tables hold these.
const MAX_MUX_LEAVES: usize = 32;
/// Parts of a fused detection output.
const MAX_CLASS_GROUPS: u64 = 9;
/// Most bytes of a detection burst.
const MAX_NMS_BURST: u64 = 65_536;
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
enum Use {
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
struct Frame {
    direction: Direction,
    network_index: u8,
    usage: Use,
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
fn plain(
    info: &types::EdgeLayerInfo,
    at: &At<'_>,
    scope: &Scope<'_>,
    frame: Frame,
) -> Build<Layer> {
    let empty = types::EdgeLayerBase::default();
    let base = info.edge_layer_base.as_ref().unwrap_or(&empty);
    let mut layer = self::base(&info.name, base, at, frame)?;
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
fn base(name: &str, base: &types::EdgeLayerBase, at: &At<'_>, frame: Frame) -> Build<Layer> {
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
fn sizes_fit(layer: &Layer, at: &At<'_>) -> Build<()> {
    let fits = |shape| hw_frame_bytes(shape, layer.data_type).is_some();
    if !fits(layer.shape) {
        return Err(at.bad("frame size", "at most 32 bits", layer.shape));
    }
    if !fits(layer.hw_shape) {
        return Err(at.bad("frame size with padding", "at most 32 bits", layer.hw_shape));
    }
    Ok(())
}

fn buffer(base: &types::EdgeLayerBase, at: &At<'_>) -> Build<(u32, u32)> {
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

fn quantization(
    info: Option<&types::EdgeLayerNumericInfo>,
    at: &At<'_>,
    scope: &Scope<'_>,
    layer: &Layer,
    direction: Direction,
) -> Build<LayerQuantization> {
    let empty = types::EdgeLayerNumericInfo::default();
    let info = info.unwrap_or(&empty);
    let mut quantization = LayerQuantization {
        layer: Quantization {
            zero_point: info.qp_zp,
            scale: info.qp_scale,
            limit_min: info.limvals_min,
            limit_max: info.limvals_max,
        },
        ..LayerQuantization::default()
    };
    if !scope.rules.by_feature {
        return Ok(quantization);
    }
    let features = if layer.nms.is_some() {
        2
    } else {
        layer.shape.features
    };
    for (what, field, list) in [
        ("zero points by feature", 5, &info.qp_zps),
        ("scales by feature", 6, &info.qp_scales),
    ] {
        if !list.is_empty() && u32::try_from(list.len()) != Ok(features) {
            return Err(at
                .field(field)
                .bad(what, format!("0 or {features} values"), list.len()));
        }
        let equal = list.iter().all(|value| list.first() == Some(value));
        if direction == Direction::HostToDevice && !equal {
            return Err(at
                .field(field)
                .bad(what, "equal values on an input", "different ones"));
        }
    }
    quantization.by_feature = true;
    quantization.zero_points.clone_from(&info.qp_zps);
    quantization.scales.clone_from(&info.qp_scales);
    Ok(quantization)
}

fn chip_nms(base: &types::EdgeLayerBase, at: &At<'_>, scope: &Scope<'_>) -> Build<ChipNms> {
    let Some(info) = base
        .additional_info
        .as_ref()
        .and_then(|info| info.nms_info.as_ref())
    else {
        return Err(at.bad("detection parameters", "set for format 6", "none"));
    };
    let at = at.field(1);
    let mut nms = nms_info(info, &at, scope)?;
    if info.is_defused && !scope.fused.is_empty() {
        let empty = types::NmsDefuseInfo::default();
        let part = info.defuse_info.as_ref().unwrap_or(&empty);
        let part_at = at.field(6);
        if part.class_group_index >= MAX_CLASS_GROUPS {
            return Err(part_at
                .field(1)
                .bad("class group", "0 to 8", part.class_group_index));
        }
        let whole = scope
            .fused
            .iter()
            .find(|fused| fused_name(fused) == part.original_name);
        let Some(whole) = whole else {
            return Err(part_at.field(3).bad(
                "fused layer",
                "the name of one",
                format!("{:?}", part.original_name),
            ));
        };
        let default = types::NmsInfo::default();
        nms.fused = Some(Box::new(FusedPart {
            class_group: u8::try_from(part.class_group_index).unwrap_or(u8::MAX),
            name: fused_name(whole).to_owned(),
            whole: nms_info(whole.nms_info.as_ref().unwrap_or(&default), &at, scope)?,
        }));
    }
    Ok(nms)
}

fn fused_name(fused: &types::EdgeLayerFused) -> &str {
    fused.layer_info.as_ref().map_or("", |info| &info.name)
}

fn nms_info(info: &types::NmsInfo, at: &At<'_>, scope: &Scope<'_>) -> Build<ChipNms> {
    let Some(generation) = scope.rules.architecture.nms_generation() else {
        return Err(at.bad(
            "architecture",
            "one with on-chip detection",
            scope.rules.architecture,
        ));
    };
    let bbox_bytes = at.field(4).u32("bytes of a box", info.bbox_size)?;
    let (burst, burst_type) = match (scope.rules.nms_burst, generation, info.burst_type) {
        (false, NmsGeneration::First, 0) => (1, BurstType::H8Bbox),
        (false, NmsGeneration::Second, 0) => (1, BurstType::H15Bbox),
        (false, _, other) => {
            return Err(at
                .field(9)
                .bad("burst type", "0 without extension 19", other));
        }
        (true, NmsGeneration::First, 1) => (info.burst_size, BurstType::H8PerClass),
        (true, NmsGeneration::Second, 2) => (info.burst_size, BurstType::H15PerClass),
        (true, NmsGeneration::Second, 3) => (info.burst_size, BurstType::H15PerFrame),
        (true, NmsGeneration::First, other) => {
            return Err(at.field(9).bad("burst type", "1 on this chip", other));
        }
        (true, NmsGeneration::Second, other) => {
            return Err(at.field(9).bad("burst type", "2 or 3 on this chip", other));
        }
    };
    let burst_bytes = u64::from(burst) * u64::from(bbox_bytes);
    if burst_bytes > MAX_NMS_BURST {
        return Err(at.field(8).bad(
            "detection burst",
            format!("at most {MAX_NMS_BURST} bytes"),
            burst_bytes,
        ));
    }
    let nms = ChipNms {
        classes: at.field(2).u32("classes", info.number_of_classes)?,
        bbox_bytes,
        max_per_class: at.field(3).u32("boxes per class", info.max_output_size)?,
        chunks: at
            .field(7)
            .u32("division factor", info.input_division_factor)?
            .max(1),
        burst,
        burst_type,
        fused: None,
    };
    let per_class = u64::from(nms.max_per_class) * u64::from(nms.chunks);
    let fits = u32::try_from(per_class).is_ok()
        && u32::try_from(per_class.saturating_mul(nms.classes.into())).is_ok()
        && u32::try_from(nms.frame_bytes()).is_ok();
    if !fits {
        let found = format!(
            "{} classes x {} boxes x {} chunks",
            nms.classes, nms.max_per_class, nms.chunks
        );
        return Err(at.bad("detection frame", "at most 32 bits", found));
    }
    Ok(nms)
}

fn mux(
    message: &types::EdgeLayerMux,
    at: &At<'_>,
    scope: &Scope<'_>,
    frame: Frame,
    leaves: &mut usize,
) -> Build<Mux> {
    let empty = types::EdgeLayerBase::default();
    let base = message.edge_layer_base.as_ref().unwrap_or(&empty);
    let mut layer = self::base(&message.name, base, at, frame)?;
    let base_at = at.field(2);
    if layer.order == Order::NmsOnChip {
        return Err(base_at
            .field(7)
            .bad("format code of a mux", "a tensor", base.format));
    }
    sizes_fit(&layer, &base_at)?;
    if frame.usage == Use::Boundary {
        layer.buffer = Some(buffer(base, &base_at)?);
    }
    let data = message.mux_data.clone().unwrap_or_default();
    let count = usize::try_from(data.number_of_predecessors).unwrap_or(usize::MAX);
    if count > message.predecessors.len() {
        let expected = format!("at most the {} listed", message.predecessors.len());
        return Err(at
            .field(3)
            .field(1)
            .bad("number of predecessors", expected, count));
    }
    let inner = Frame {
        usage: Use::InMux,
        ..frame
    };
    let mut parts = Vec::with_capacity(count);
    for (i, edge) in message.predecessors.iter().take(count).enumerate() {
        let at = at.nth(5, i).numbered("predecessor");
        parts.push(match &edge.edge {
            Some(edge::Edge::LayerInfo(info)) => {
                *leaves += 1;
                if *leaves > MAX_MUX_LEAVES {
                    return Err(at.bad(
                        "layers in a mux",
                        format!("at most {MAX_MUX_LEAVES}"),
                        "more",
                    ));
                }
                MuxPart::Plain(plain(info, &at.field(1), scope, inner)?)
            }
            Some(edge::Edge::LayerMux(nested)) => {
                MuxPart::Mux(mux(nested, &at.field(2), scope, inner, leaves)?)
            }
            Some(edge::Edge::LayerPlanes(_)) => {
                return Err(at
                    .field(3)
                    .bad("predecessor", "a plain layer or a mux", "planes"));
            }
            None => return Err(at.bad("predecessor", "a plain layer or a mux", "nothing")),
        });
    }
    Ok(Mux {
        layer,
        height_gcd: data.height_gcd,
        height_ratios: data.height_ratios_list,
        parts,
    })
}

fn planes(
    message: &types::EdgeLayerPlanes,
    at: &At<'_>,
    scope: &Scope<'_>,
    frame: Frame,
) -> Build<Planes> {
    at.field(1).name("layer name", &message.name, MAX_NAME)?;
    let order = match message.planes_format {
        0 => Order::Nv12,
        1 => Order::Nv21,
        2 => Order::I420,
        other => return Err(at.field(2).bad("planes format", "0, 1 or 2", other)),
    };
    let mut planes: Vec<Layer> = Vec::with_capacity(message.planes.len());
    for (i, edge) in message.planes.iter().enumerate() {
        let at = at.nth(3, i).numbered("plane");
        let Some(edge::Edge::LayerInfo(info)) = &edge.edge else {
            return Err(at.bad("plane", "a plain layer", "something else"));
        };
        let plane = plain(
            info,
            &at.field(1),
            scope,
            Frame {
                usage: Use::Plane,
                ..frame
            },
        )?;
        if planes
            .first()
            .is_some_and(|first| first.data_type != plane.data_type)
        {
            return Err(at.field(1).field(2).field(12).bad(
                "bytes of an element",
                "the same in all planes",
                plane.data_type,
            ));
        }
        planes.push(plane);
    }
    let shape = Shape::new(message.height, message.width, message.features);
    let Some(data_type) = planes.first().map(|plane| plane.data_type) else {
        return Err(at.field(3).bad("planes", "at least 1", 0));
    };
    if planes.len() > usize::from(u8::MAX) {
        return Err(at.field(3).bad("planes", "at most 255", planes.len()));
    }
    if hw_frame_bytes(shape, data_type).is_none() {
        return Err(at.bad("frame size", "at most 32 bits", shape));
    }
    Ok(Planes {
        name: message.name.clone(),
        order,
        shape,
        data_type,
        planes,
    })
}
