//! The net-flow graph: which outputs of the chip go through which post-processing.

use std::collections::BTreeMap;

use super::super::format::{DataType, Order, Shape};
use super::super::layer::{Body, Direction, Layer, LayerQuantization, Quantization};
use super::super::network::CoreOp;
use super::super::postprocess::{PostProcess, PostProcessKind};
use super::super::schema::types::{self, op};
use super::at::{At, Build};
use super::detection::{Inputs, Pads, detection};
use super::layers::{MAX_BOUNDARY, MAX_NAME};

/// Builds the post-processing steps of a group; `at` is the group.
pub(crate) fn post_processing(
    group: &types::NetworkGroup,
    core: &CoreOp,
    at: &At<'_>,
) -> Build<Vec<PostProcess>> {
    let mut pads = Pads::new();
    for edge in core.boundary(Direction::DeviceToHost) {
        let layer = match &edge.body {
            Body::Plain(layer) => Some(layer),
            Body::Mux(mux) => Some(&mux.layer),
            Body::Planes(_) => None,
        };
        if let (Some(pad), Some(layer)) = (edge.pad, layer) {
            pads.entry(pad).or_insert(layer);
        }
    }
    let mut edges = BTreeMap::new();
    for edge in &group.pad_edges {
        edges.entry(edge.dst).or_insert(edge.src);
    }
    if group.ops.len() > MAX_BOUNDARY {
        return Err(at
            .field(8)
            .bad("ops", format!("at most {MAX_BOUNDARY}"), group.ops.len()));
    }
    let mut out = Vec::new();
    for (i, message) in group.ops.iter().enumerate() {
        let at = at.nth(8, i).named("op", &message.name);
        if matches!(message.op, Some(op::Op::CoreOp(_))) {
            continue;
        }
        if message.input_pads.len() > MAX_BOUNDARY {
            return Err(at.field(2).bad(
                "input pads",
                format!("at most {MAX_BOUNDARY}"),
                message.input_pads.len(),
            ));
        }
        let mut layers = Vec::with_capacity(message.input_pads.len());
        for (i, pad) in message.input_pads.iter().enumerate() {
            let at = at.nth(2, i);
            let Some(source) = edges.get(&pad.index) else {
                return Err(at.field(1).bad(
                    "input pad",
                    "an edge that ends here",
                    format!("none at pad {}", pad.index),
                ));
            };
            let Some(&layer) = pads.get(source) else {
                return Err(at.field(1).bad(
                    "source of an input pad",
                    "the pad of an output layer",
                    format!("pad {source}"),
                ));
            };
            layers.push(layer);
        }
        out.push(post_process(
            message,
            &Inputs {
                pads: &pads,
                names: layers.iter().map(|layer| layer.name.as_str()).collect(),
                layers,
            },
            &at,
        )?);
    }
    Ok(out)
}

fn post_process(message: &types::Op, inputs: &Inputs<'_>, at: &At<'_>) -> Build<PostProcess> {
    let Some(pad) = message.output_pads.first() else {
        return Err(at.field(3).bad("output pads", "at least 1", 0));
    };
    let pad_at = at.nth(3, 0);
    pad_at.field(2).name("output name", &pad.name, MAX_NAME)?;
    let mut step = PostProcess {
        name: message.name.clone(),
        inputs: inputs
            .layers
            .iter()
            .map(|layer| layer.name.clone())
            .collect(),
        output: pad.name.clone(),
        data_type: DataType::Float32,
        order: Order::NmsByClass,
        shape: Shape::default(),
        nms: None,
        quantization: LayerQuantization {
            layer: Quantization {
                scale: 1.0,
                ..Quantization::default()
            },
            ..LayerQuantization::default()
        },
        kind: PostProcessKind::Argmax,
    };
    match &message.op {
        Some(op::Op::NmsOp(nms)) => detection(nms, &mut step, inputs, &at.field(5))?,
        Some(op::Op::LogitsOp(logits)) => {
            let [layer] = inputs.layers[..] else {
                return Err(at.field(2).bad(
                    "input pads of a logits op",
                    "exactly 1",
                    inputs.layers.len(),
                ));
            };
            if message.output_pads.len() != 1 {
                return Err(at.field(3).bad(
                    "output pads of a logits op",
                    "exactly 1",
                    message.output_pads.len(),
                ));
            }
            logits_op(logits, pad, layer, &mut step, at)?;
        }
        Some(op::Op::CoreOp(_)) | None => {
            return Err(at.bad("op", "core, detection or logits", "none set"));
        }
    }
    Ok(step)
}

fn logits_op(
    logits: &types::LogitsOp,
    pad: &types::Pad,
    layer: &Layer,
    step: &mut PostProcess,
    at: &At<'_>,
) -> Build<()> {
    let pad_at = at.nth(3, 0);
    let asked_type = match pad.format_type {
        0 => None,
        1 => Some(DataType::Uint8),
        2 => Some(DataType::Uint16),
        other => {
            return Err(pad_at
                .field(8)
                .bad("element type of an output pad", "0, 1 or 2", other));
        }
    };
    let asked_order = match pad.format_order {
        0 => None,
        code => match Order::from_pad(code) {
            Some(order) => Some(order),
            None => {
                return Err(pad_at.field(3).bad(
                    "order of an output pad",
                    "0 to 8 or 10 to 16",
                    code,
                ));
            }
        },
    };
    step.quantization = layer.quantization.clone();
    let (kind, shape, data_type, order) = match logits.logits_type {
        0 => {
            let order = if layer.order == Order::Nc {
                Order::Nc
            } else {
                Order::Nhw
            };
            (
                PostProcessKind::Argmax,
                Shape {
                    features: 1,
                    ..layer.shape
                },
                layer.data_type,
                order,
            )
        }
        1 => (
            PostProcessKind::Softmax,
            layer.shape,
            DataType::Float32,
            layer.order.default_user_order(),
        ),
        other => {
            return Err(at.field(6).field(1).bad(
                "kind of a logits op",
                "0 (argmax) or 1 (softmax)",
                other,
            ));
        }
    };
    step.kind = kind;
    step.shape = shape;
    step.data_type = asked_type.unwrap_or(data_type);
    step.order = asked_order.unwrap_or(order);
    Ok(())
}
