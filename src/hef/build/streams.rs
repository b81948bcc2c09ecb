//! From layers to streams: what moves at the border of the chip, and what the user sees of it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::format::{DataType, Order, Shape};
use super::super::layer::{Body, Direction, EdgeLayer, Layer, LayerQuantization};
use super::super::network::CoreOp;
use super::super::postprocess::PostProcess;
use super::super::stream::{NmsShape, PhysicalStream, VirtualStream, user_frame_bytes};
use super::at::{At, Build};

const DIRECTIONS: [Direction; 2] = [Direction::HostToDevice, Direction::DeviceToHost];

fn network(core: &CoreOp, group: &str, index: u8) -> String {
    let name = core
        .networks
        .get(usize::from(index))
        .map_or(group, String::as_str);
    format!("{group}/{name}")
}

/// Physical streams: inputs, then outputs, each in the order of the contexts.
pub(crate) fn physical(core: &CoreOp, group: &str) -> Vec<PhysicalStream> {
    let mut out = Vec::new();
    for direction in DIRECTIONS {
        for edge in core.boundary(direction) {
            for (layer, number) in edge.streams().iter().zip(0..=u8::MAX) {
                out.push(PhysicalStream {
                    name: layer.name.clone(),
                    direction,
                    network: network(core, group, layer.network_index),
                    stream_index: layer.stream_index,
                    engine: layer.engine,
                    data_type: layer.data_type,
                    order: layer.order,
                    transposed: layer.transposed,
                    shape: layer.shape,
                    hw_shape: layer.hw_shape,
                    frame_bytes: layer.frame_bytes(),
                    is_mux: matches!(edge.body, Body::Mux(_)),
                    plane: matches!(edge.body, Body::Planes(_)).then_some(number),
                    quantization: layer.quantization.shown(direction),
                    nms: layer.nms.clone(),
                    fifo_bytes: layer.fifo_bytes,
                });
            }
        }
    }
    out
}

/// Virtual streams: inputs, then outputs in presentation order.
pub(crate) fn virtual_streams(
    core: &CoreOp,
    group: &str,
    ops: &[PostProcess],
    output_order: &[String],
    at: &At<'_>,
) -> Build<Vec<VirtualStream>> {
    let scope = Scope { core, group, at };
    let mut inputs = Vec::new();
    for edge in core.boundary(Direction::HostToDevice) {
        scope.of_edge(edge, &mut inputs)?;
    }
    let mut outputs = Vec::new();
    for edge in core.boundary(Direction::DeviceToHost) {
        if !ops
            .iter()
            .any(|op| op.inputs.iter().any(|name| name == edge.name()))
        {
            scope.of_edge(edge, &mut outputs)?;
        }
    }
    for (i, op) in ops.iter().enumerate() {
        outputs.push(scope.of_op(i, op)?);
    }
    let mut places = BTreeMap::new();
    for (place, name) in output_order.iter().enumerate() {
        places.entry(name).or_insert(place);
    }
    if let Some(missing) = outputs
        .iter()
        .find(|stream| !places.contains_key(&stream.name))
    {
        let found = format!("no {:?}", missing.name);
        return Err(at
            .field(4)
            .bad("order of outputs", "the name of every output", found));
    }
    outputs.sort_by_key(|stream| places.get(&stream.name).copied());
    inputs.extend(outputs);
    let mut names = BTreeSet::new();
    if let Some(twice) = inputs.iter().find(|stream| !names.insert(&stream.name)) {
        return Err(at.bad(
            "virtual stream name",
            "a name of its own",
            format!("{:?} again", twice.name),
        ));
    }
    Ok(inputs)
}

struct Scope<'a> {
    core: &'a CoreOp,
    group: &'a str,
    at: &'a At<'a>,
}

impl Scope<'_> {
    fn of_edge(&self, edge: &EdgeLayer, out: &mut Vec<VirtualStream>) -> Build<()> {
        match &edge.body {
            Body::Plain(layer) => self.of_layer(layer, edge, out),
            Body::Mux(mux) => mux
                .leaves()
                .into_iter()
                .try_for_each(|leaf| self.of_layer(leaf, edge, out)),
            Body::Planes(planes) => {
                let index = planes.planes.first().map_or(0, |plane| plane.network_index);
                let mut stream = self.tensor(edge, planes.name.clone(), index);
                stream.data_type = planes.data_type;
                stream.order = planes.order;
                stream.shape = planes.shape;
                stream.layers = planes
                    .planes
                    .iter()
                    .map(|plane| plane.name.clone())
                    .collect();
                out.push(self.sized(stream)?);
                Ok(())
            }
        }
    }

    fn of_layer(&self, layer: &Layer, edge: &EdgeLayer, out: &mut Vec<VirtualStream>) -> Build<()> {
        let fused = layer.nms.as_ref().and_then(|nms| nms.fused.as_deref());
        let name = fused.map_or(&layer.name, |part| &part.name);
        if fused.is_some()
            && let Some(known) = out.iter_mut().find(|stream| stream.name == *name)
        {
            known.streams.push(edge.name().to_owned());
            known.layers.push(layer.name.clone());
            return Ok(());
        }
        let mut stream = self.tensor(edge, name.clone(), layer.network_index);
        stream.order = layer.order.default_user_order();
        stream.data_type = layer.data_type;
        stream.transposed = layer.transposed;
        stream.shape = layer.shape;
        stream.quantization = layer.quantization.shown(edge.direction);
        stream.by_feature = layer.quantization.clone();
        stream.layers = vec![layer.name.clone()];
        if let Some(nms) = layer
            .nms
            .as_ref()
            .map(|nms| fused.map_or(nms, |part| &part.whole))
        {
            let max_per_class = nms.max_per_class.saturating_mul(nms.chunks);
            stream.data_type = DataType::Float32;
            stream.shape = nms.shape();
            stream.nms = Some(NmsShape {
                classes: nms.classes,
                max_per_class,
                max_total: max_per_class.saturating_mul(nms.classes),
                mask_bytes: 0,
            });
        }
        out.push(self.sized(stream)?);
        Ok(())
    }

    fn of_op(&self, index: usize, op: &PostProcess) -> Build<VirtualStream> {
        let streams = self
            .core
            .boundary(Direction::DeviceToHost)
            .filter(|edge| op.inputs.iter().any(|name| name == edge.name()))
            .flat_map(|edge| edge.streams().iter().map(|layer| layer.name.clone()));
        let mut streams: Vec<String> = streams.collect();
        streams.sort();
        self.sized(VirtualStream {
            name: op.output.clone(),
            direction: Direction::DeviceToHost,
            network: format!("{0}/{0}", self.group),
            data_type: op.data_type,
            order: op.order,
            transposed: false,
            shape: op.shape,
            quantization: op.quantization.shown(Direction::DeviceToHost),
            by_feature: op.quantization.clone(),
            nms: op.nms,
            frame_bytes: 0,
            streams,
            layers: op.inputs.clone(),
            post_processing: Some(index),
        })
    }

    /// What all kinds have in common.
    fn tensor(&self, edge: &EdgeLayer, name: String, network_index: u8) -> VirtualStream {
        VirtualStream {
            name,
            direction: edge.direction,
            network: network(self.core, self.group, network_index),
            data_type: DataType::Uint8,
            order: Order::Nhwc,
            transposed: false,
            shape: Shape::default(),
            quantization: LayerQuantization::default().layer,
            by_feature: LayerQuantization::default(),
            nms: None,
            frame_bytes: 0,
            streams: edge
                .streams()
                .iter()
                .map(|layer| layer.name.clone())
                .collect(),
            layers: Vec::new(),
            post_processing: None,
        }
    }

    fn sized(&self, mut stream: VirtualStream) -> Build<VirtualStream> {
        match user_frame_bytes(stream.order, stream.data_type, stream.shape, stream.nms) {
            Some(bytes) => {
                stream.frame_bytes = bytes;
                Ok(stream)
            }
            None => Err(self.at.bad(
                "user frame size",
                "at most 32 bits",
                format!("more for {:?}", stream.name),
            )),
        }
    }
}
