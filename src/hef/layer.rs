//! Edge layers: the data streams at the border of a context.

use serde::Serialize;

use super::format::{DataType, Order, Shape};
use super::nms::ChipNms;

/// Which way data flows, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the chip: an input of the network.
    HostToDevice,
    /// Out of the chip: an output of the network.
    DeviceToHost,
}

impl Direction {
    /// "input" or "output", the network's view.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::HostToDevice => "input",
            Self::DeviceToHost => "output",
        }
    }
}

/// Affine quantization: real value = (code - zero point) x scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantization {
    /// Code of the real value 0.
    pub zero_point: f32,
    /// Real value of one step.
    pub scale: f32,
    /// Real value of the smallest code.
    pub limit_min: f32,
    /// Real value of the largest code.
    pub limit_max: f32,
}

/// Quantization of a layer, possibly by feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LayerQuantization {
    /// The set that holds for the whole layer, and for features that have no entry of their own.
    pub layer: Quantization,
    /// Zero point of each feature; empty, or as long as the layer has features.
    pub zero_points: Vec<f64>,
    /// Scale of each feature; empty, or as long as the layer has features.
    pub scales: Vec<f64>,
    /// Whether the values by feature count (extension 25). If they do, an output has no set for the whole layer.
    pub by_feature: bool,
}

impl LayerQuantization {
    /// Zero point and scale of one feature.
    #[must_use]
    pub fn feature(&self, index: usize) -> (f64, f64) {
        let pick =
            |list: &[f64], layer: f32| list.get(index).copied().unwrap_or_else(|| f64::from(layer));
        (
            pick(&self.zero_points, self.layer.zero_point),
            pick(&self.scales, self.layer.scale),
        )
    }

    /// The set the vendor library shows: all zero for an output that is quantized by feature.
    #[must_use]
    pub fn shown(&self, direction: Direction) -> Quantization {
        if self.by_feature && direction == Direction::DeviceToHost {
            Quantization::default()
        } else {
            self.layer
        }
    }

    /// Whether every scale can be divided by.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let usable = |scale: f64| scale != 0.0 && scale.is_finite();
        if self.by_feature && !self.scales.is_empty() {
            self.scales.iter().all(|&scale| usable(scale))
        } else {
            usable(f64::from(self.layer.scale))
        }
    }
}

/// A plain layer, or the combined stream of a mux.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// Stream name, at most 127 bytes.
    pub name: String,
    /// Names in the source model.
    pub original_names: Vec<String>,
    /// Index into [`super::CoreOp::networks`].
    pub network_index: u8,
    /// Stream number in its direction.
    pub stream_index: u8,
    /// DMA engine.
    pub engine: u8,
    /// Shape as the user sees it.
    pub shape: Shape,
    /// Shape as the chip sees it, padding included.
    pub hw_shape: Shape,
    /// Element type on the chip.
    pub data_type: DataType,
    /// Memory order on the chip.
    pub order: Order,
    /// Whether height and width are exchanged between user and chip.
    pub transposed: bool,
    /// Bytes of one buffer on the core side.
    pub core_bytes_per_buffer: u16,
    /// Buffers of one frame on the core side.
    pub core_buffers_per_frame: u16,
    /// Size of the stream FIFO in bytes, 0 if unknown.
    pub fifo_bytes: u32,
    /// Value of the stream register of this name, set when the core adds the padding of a row itself.
    pub feature_padding_payload: Option<u16>,
    /// Quantization.
    pub quantization: LayerQuantization,
    /// Set for detections computed on the chip.
    pub nms: Option<ChipNms>,
    /// Buffer number and cluster, for simulation only.
    pub buffer: Option<(u32, u32)>,
}

impl Layer {
    /// Bytes that move for one frame.
    ///
    /// Source: vendor hailort v5.2.0, `include/hailo/hailort_common.hpp`.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        match &self.nms {
            Some(nms) => nms.frame_bytes(),
            None => hw_frame_bytes(self.hw_shape, self.data_type).unwrap_or(u64::MAX),
        }
    }

    /// Bytes of one row on the chip.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        u64::from(self.hw_shape.width)
            .saturating_mul(self.hw_shape.features.into())
            .saturating_mul(self.data_type.bytes().into())
    }
}

/// Bytes of a frame on the chip, a multiple of 8; `None` above 32 bits.
pub(crate) fn hw_frame_bytes(shape: Shape, data_type: DataType) -> Option<u64> {
    let bytes = super::format::align(shape.elements().checked_mul(data_type.bytes().into())?, 8);
    u32::try_from(bytes).ok().map(u64::from)
}

/// The other end of a stream between contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Context of the other end.
    pub context: u16,
    /// Its stream number.
    pub stream_index: u8,
    /// Its DMA engine.
    pub engine: u8,
}

/// What a layer is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Connection {
    /// The user.
    Boundary,
    /// A layer of another context, through host memory.
    InterContext {
        /// The other end.
        peer: Peer,
    },
    /// A layer of the same context, through a ring in memory.
    Ddr {
        /// The other end.
        peer: Peer,
        /// Rows to buffer at least.
        rows: u16,
    },
    /// A buffer that lives from frame to frame.
    Cache {
        /// Number of the buffer.
        id: u32,
    },
}

/// Several logical layers interleaved in one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mux {
    /// The combined stream.
    pub layer: Layer,
    /// Number of interleaving periods in a frame.
    pub height_gcd: u32,
    /// Rows that each part contributes to a period.
    pub height_ratios: Vec<u32>,
    /// The logical layers.
    pub parts: Vec<MuxPart>,
}

/// One logical layer in a mux.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MuxPart {
    /// A plain layer.
    Plain(Layer),
    /// A mux in a mux.
    Mux(Mux),
}

impl Mux {
    /// The plain layers inside, in order.
    #[must_use]
    pub fn leaves(&self) -> Vec<&Layer> {
        let mut out = Vec::new();
        self.collect(&mut out);
        out
    }

    fn collect<'a>(&'a self, out: &mut Vec<&'a Layer>) {
        for part in &self.parts {
            match part {
                MuxPart::Plain(layer) => out.push(layer),
                MuxPart::Mux(mux) => mux.collect(out),
            }
        }
    }
}

/// An image whose planes are streams of their own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planes {
    /// Name of the image.
    pub name: String,
    /// NV12, NV21 or I420.
    pub order: Order,
    /// Shape of the image: for a WxH image height H/2, width W, features 3.
    pub shape: Shape,
    /// Element type of all planes.
    pub data_type: DataType,
    /// The planes, in order.
    pub planes: Vec<Layer>,
}

/// What an edge layer is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// One stream, one layer.
    Plain(Layer),
    /// One stream, several layers.
    Mux(Mux),
    /// Several streams, one image.
    Planes(Planes),
}

/// A data stream at the border of a context.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EdgeLayer {
    /// Which way data flows.
    pub direction: Direction,
    /// What it is connected to.
    pub connection: Connection,
    /// Pad that links a boundary layer to the net-flow graph.
    pub pad: Option<u32>,
    /// What it is.
    pub body: Body,
}

impl EdgeLayer {
    /// Name of the layer.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.body {
            Body::Plain(layer) => &layer.name,
            Body::Mux(mux) => &mux.layer.name,
            Body::Planes(planes) => &planes.name,
        }
    }

    /// The layers that are streams of their own: one, or one for each plane.
    #[must_use]
    pub fn streams(&self) -> &[Layer] {
        match &self.body {
            Body::Plain(layer) => std::slice::from_ref(layer),
            Body::Mux(mux) => std::slice::from_ref(&mux.layer),
            Body::Planes(planes) => &planes.planes,
        }
    }

    /// Whether the other end is the user.
    #[must_use]
    pub fn is_boundary(&self) -> bool {
        self.connection == Connection::Boundary
    }

    /// Bytes of one transfer: a frame, a burst of detections, or a row of a DDR ring.
    #[must_use]
    pub fn transfer_bytes(&self) -> u64 {
        let layer = match &self.body {
            Body::Plain(layer) => layer,
            Body::Mux(mux) => &mux.layer,
            Body::Planes(planes) => return planes.planes.iter().map(Layer::frame_bytes).sum(),
        };
        match (self.connection, &layer.nms) {
            (Connection::Ddr { .. }, _) => layer.core_bytes_per_buffer.into(),
            (_, Some(nms)) => nms.transfer_bytes(),
            (_, None) => layer.frame_bytes(),
        }
    }
}
