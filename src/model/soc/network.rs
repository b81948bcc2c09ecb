//! A network that a client brought: its streams, and the bytes of their frames in the formats that were asked for.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::output::network_key;
use super::{Settings, lock};
use crate::hef::{Body, Connection, DataType, DeviceArch, Direction, Hef, HefError};
use crate::hef::{NetworkGroup, Order, VirtualStream};
use crate::spec::board::Chip;
use crate::spec::rpc::Status;
use crate::spec::rpc::types::StreamParams;
use crate::spec::rpc::value::{format_order, format_type, unset};

/// A network with its streams.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) owner: u32,
    pub(super) vdevice: u32,
    pub(super) handle: u32,
    /// Of the network group.
    pub(super) name: String,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// What its outputs are made from, beside the inputs.
    pub(super) key: u64,
    pub(super) inputs: Vec<VirtualStream>,
    pub(super) outputs: Vec<VirtualStream>,
    /// Entries of its KV caches; none without.
    pub(super) cache_len: Option<u32>,
    /// Frames a second by the compiler's estimate, 0 where it has none.
    pub(super) fps: f64,
    /// Frames as the last configured model of it has them.
    pub(super) latest: Mutex<Ports>,
}

/// Inputs and outputs of a configured model.
pub(super) type Ports = [Vec<Port>; 2];

/// One stream of a configured model.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// Bytes of a frame.
    pub(super) bytes: usize,
    /// Whether it is made of 32-bit floating-point numbers.
    pub(super) float: bool,
}

/// Its bytes: what tells ports apart in complaints.
impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

/// The status that the server gives to a file that it does not take.
fn status_of(error: &HefError) -> Status {
    match error {
        HefError::NotHef { .. } | HefError::ContainerVersion { .. } => Status::HEF_NOT_SUPPORTED,
        HefError::TooShort { .. }
        | HefError::Length { .. }
        | HefError::Header { .. }
        | HefError::Digest { .. } => Status::HEF_FILE_CORRUPTED,
        HefError::Architecture { .. } | HefError::Layout { .. } | HefError::Runtime { .. } => {
            Status::HEF_NOT_COMPATIBLE_WITH_DEVICE
        }
        HefError::NotFound { .. } => Status::NOT_FOUND,
        _ => Status::INVALID_HEF,
    }
}

impl Model {
    /// Takes a file. The error is a status, and why.
    pub(super) fn new(
        file: Vec<u8>,
        name: &str,
        raw: bool,
        settings: &Settings,
    ) -> Result<Self, (Status, String)> {
        let failed = |error: HefError| (status_of(&error), error.to_string());
        let file: Arc<[u8]> = file.into();
        let hef = Hef::from_bytes(file.clone()).map_err(failed)?;
        if !hef.is_description_verified() {
            hef.verify(|_| std::ops::ControlFlow::Continue(()))
                .map_err(failed)?;
        }
        // A Hailo-12L takes what is compiled for its family.
        let runtime = (settings.version.major, settings.version.minor);
        if settings.chip == Chip::Hailo10h {
            hef.check_device(DeviceArch::Hailo10H, Some(runtime))
                .map_err(failed)?;
        }
        let group = hef.group(name).map_err(failed)?;
        // A group's own name stands for all of its networks.
        let network = if name == group.name { "" } else { name };
        let of = |direction| -> Result<Vec<VirtualStream>, HefError> {
            let mut streams = if raw {
                group.raw_streams(direction)?
            } else {
                group.virtual_streams_of(direction).cloned().collect()
            };
            streams.retain(|stream| group.selects(network, &stream.network));
            Ok(streams)
        };
        let inputs = of(Direction::HostToDevice).map_err(failed)?;
        let outputs = of(Direction::DeviceToHost).map_err(failed)?;
        Ok(Self {
            owner: 0,
            vdevice: 0,
            handle: 0,
            name: group.name.clone(),
            bytes: u64::try_from(file.len()).unwrap_or(0),
            key: network_key(&file, &group.name),
            inputs,
            outputs,
            cache_len: cache_len(group),
            fps: group.bottleneck_fps,
            latest: Mutex::default(),
        })
    }

    /// Another configured model was made of it.
    pub(super) fn set_latest(&self, ports: &Ports) {
        lock(&self.latest).clone_from(ports);
    }

    /// Frames as the last configured model of it has them, where `ports` are others.
    pub(super) fn latest_but(&self, ports: &Ports) -> Option<Ports> {
        let latest = lock(&self.latest);
        (*latest != *ports).then(|| latest.clone())
    }
}

/// Entries of the longest KV cache.
fn cache_len(group: &NetworkGroup) -> Option<u32> {
    let contexts = &group.core_op().contexts;
    let edges = contexts.iter().flat_map(|context| &context.layers);
    let caches = edges.filter(|edge| matches!(edge.connection, Connection::Cache { .. }));
    let lens = caches.map(|edge| match &edge.body {
        Body::Plain(layer) => layer.hw_shape.height.saturating_mul(layer.hw_shape.width),
        _ => 0,
    });
    lens.max()
}

fn data_type(number: u32, own: DataType) -> Option<DataType> {
    match number {
        format_type::AUTO => Some(own),
        format_type::UINT8 => Some(DataType::Uint8),
        format_type::UINT16 => Some(DataType::Uint16),
        format_type::FLOAT32 => Some(DataType::Float32),
        _ => None,
    }
}

fn order(number: u32, own: Order) -> Option<Order> {
    const ALL: [Order; 22] = [
        Order::Nhwc,
        Order::Nhcw,
        Order::Fcr,
        Order::F8cr,
        Order::Nhw,
        Order::Nc,
        Order::BayerRgb,
        Order::BayerRgb12,
        Order::Rgb888,
        Order::Nchw,
        Order::Yuy2,
        Order::Nv12,
        Order::Nv21,
        Order::Yyuv,
        Order::Yyvu,
        Order::Rgb4,
        Order::I420,
        Order::Yyyyuv,
        Order::NmsWithByteMask,
        Order::NmsOnChip,
        Order::NmsByClass,
        Order::NmsByScore,
    ];
    if number == format_order::AUTO {
        return Some(own);
    }
    ALL.into_iter().find(|order| order.number() == number)
}

/// Whether a stream takes what was asked of its detection.
///
/// Source: vendor hailort v5.2.0, `libhailort/src/net_flow/pipeline/infer_model.cpp`, `src/network_group/network_group.cpp`.
fn takes_detection(
    stream: &VirtualStream,
    params: &StreamParams,
    order: Order,
) -> Result<(), Status> {
    let set = |count: u32| count != unset::COUNT;
    let (each, total) = (
        set(params.nms_max_proposals_per_class),
        set(params.nms_max_proposals_total),
    );
    let masks = set(params.nms_max_accumulated_mask_size);
    let thresholds = [params.nms_score_threshold, params.nms_iou_threshold];
    let scores = thresholds.iter().any(|score| *score != unset::SCORE);
    if !(each || total || masks || scores) {
        return Ok(());
    }
    if stream.direction == Direction::HostToDevice {
        return Err(Status::INVALID_OPERATION);
    }
    let detects = stream.nms.is_some() && stream.post_processing.is_some();
    if !detects
        || each && order == Order::NmsByScore
        || total && order == Order::NmsByClass
        || masks && stream.order != Order::NmsWithByteMask
    {
        return Err(Status::INVALID_ARGUMENT);
    }
    Ok(())
}

/// Frames of a stream as they were asked for.
fn port(stream: &VirtualStream, params: Option<&StreamParams>) -> Result<Port, Status> {
    let mut stream = stream.clone();
    let params = params.cloned().unwrap_or_else(|| StreamParams {
        nms_score_threshold: unset::SCORE,
        nms_iou_threshold: unset::SCORE,
        nms_max_proposals_per_class: unset::COUNT,
        nms_max_accumulated_mask_size: unset::COUNT,
        nms_max_proposals_total: unset::COUNT,
        ..StreamParams::default()
    });
    let bad = Status::INVALID_ARGUMENT;
    let data_type = data_type(params.format_type, stream.data_type).ok_or(bad)?;
    let order = order(params.format_order, stream.order).ok_or(bad)?;
    takes_detection(&stream, &params, order)?;
    if let Some(nms) = &mut stream.nms {
        let set = |number: u32, place: &mut u32| {
            if number != unset::COUNT {
                *place = number;
            }
        };
        set(params.nms_max_proposals_per_class, &mut nms.max_per_class);
        set(params.nms_max_proposals_total, &mut nms.max_total);
        set(params.nms_max_accumulated_mask_size, &mut nms.mask_bytes);
    }
    let own = order == stream.order && data_type == stream.data_type && stream.nms.is_none();
    let bytes = if own {
        stream.frame_bytes
    } else {
        stream.frame_bytes_as(data_type, order).map_err(|_| bad)?
    };
    Ok(Port {
        bytes: usize::try_from(bytes).map_err(|_| bad)?,
        float: data_type == DataType::Float32,
    })
}

/// All streams of one direction. A name that the network lacks is an error.
pub(super) fn ports(
    streams: &[VirtualStream],
    params: &[StreamParams],
) -> Result<Vec<Port>, Status> {
    let known = |params: &StreamParams| streams.iter().any(|stream| stream.name == params.name);
    if !params.iter().all(known) {
        return Err(Status::NOT_FOUND);
    }
    streams
        .iter()
        .map(|stream| {
            port(
                stream,
                params.iter().find(|params| params.name == stream.name),
            )
        })
        .collect()
}
