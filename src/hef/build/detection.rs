//! Detection steps of the net-flow graph: which outputs a decoder reads, and the shape of what it makes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::format::{DataType, Order, Shape};
use super::super::layer::Layer;
use super::super::postprocess::{
    Anchors, BoxAndClass, Decoder, Detection, ImageSize, PostProcess, PostProcessKind,
};
use super::super::schema::types::{self, nms_op};
use super::super::stream::NmsShape;
use super::at::{At, Build};

/// Outputs of the chip by pad number.
pub(crate) type Pads<'a> = BTreeMap<u32, &'a Layer>;

/// What a step reads and what its pads lead to.
pub(crate) struct Inputs<'a> {
    pub(crate) pads: &'a Pads<'a>,
    pub(crate) layers: Vec<&'a Layer>,
    pub(crate) names: BTreeSet<&'a str>,
}

pub(crate) fn detection(
    message: &types::NmsOp,
    step: &mut PostProcess,
    inputs: &Inputs<'_>,
    at: &At<'_>,
) -> Build<()> {
    use nms_op::NmsOp as Kind;
    let (decoder, image) = match &message.nms_op {
        Some(Kind::YoloNmsOp(op)) => {
            let at = at.field(7);
            (
                Decoder::Yolov5 {
                    outputs: anchors(&op.bbox_decoders, 4, inputs, &at)?,
                },
                Some((op.image_height, op.image_width)),
            )
        }
        Some(Kind::YoloSegOp(op)) => {
            let at = at.field(11);
            let prototypes = op.proto_info.as_ref().map_or("", |info| &info.proto_layer);
            if !inputs.names.contains(prototypes) {
                let found = format!("{prototypes:?}");
                return Err(at.field(4).field(3).bad(
                    "layer of mask prototypes",
                    "an input of the op",
                    found,
                ));
            }
            let decoder = Decoder::Yolov5Seg {
                outputs: anchors(&op.bbox_decoders, 3, inputs, &at)?,
                prototypes: prototypes.to_owned(),
                mask_threshold: narrow(op.mask_threshold),
            };
            (decoder, Some((op.image_height, op.image_width)))
        }
        Some(Kind::YoloxNmsOp(op)) => {
            let at = at.field(8);
            let triple = |(i, decoder): (usize, &types::YoloxBboxDecoder)| {
                let at = at.nth(3, i).numbered("decoder");
                let boxes = inputs.own(decoder.reg_pad_index, &at.field(2))?;
                let classes = inputs.like(boxes, decoder.cls_pad_index, &at.field(3), true)?;
                let objectness = inputs.like(boxes, decoder.obj_pad_index, &at.field(4), true)?;
                Ok(BoxAndClass {
                    objectness: Some(objectness.name.clone()),
                    ..pair(boxes, classes)
                })
            };
            let outputs = op
                .bbox_decoders
                .iter()
                .enumerate()
                .map(triple)
                .collect::<Build<_>>()?;
            (
                Decoder::Yolox { outputs },
                Some((op.image_height, op.image_width)),
            )
        }
        Some(Kind::Yolov8NmsOp(op)) => {
            let at = at.field(12);
            let pair = |(i, decoder): (usize, &types::Yolov8BboxDecoder)| {
                let at = at.nth(4, i).numbered("decoder");
                let boxes = inputs.own(decoder.reg_pad_index, &at.field(2))?;
                if !boxes.shape.features.is_multiple_of(4) {
                    return Err(at.field(2).bad(
                        "features of a box output",
                        "a multiple of 4",
                        boxes.shape.features,
                    ));
                }
                let classes = inputs.like(boxes, decoder.cls_pad_index, &at.field(3), true)?;
                Ok(BoxAndClass {
                    stride: Some(decoder.stride),
                    ..pair(boxes, classes)
                })
            };
            let outputs = op
                .bbox_decoders
                .iter()
                .enumerate()
                .map(pair)
                .collect::<Build<_>>()?;
            (
                Decoder::Yolov8 { outputs },
                Some((op.image_height, op.image_width)),
            )
        }
        Some(Kind::SsdNmsOp(op)) => (
            ssd(op, inputs, &at.field(9))?,
            Some((op.image_height, op.image_width)),
        ),
        Some(Kind::IouOp(_)) => (Decoder::Iou, None),
        None => return Err(at.bad("detection op", "one of six families", "none set")),
    };
    let cannot_decode_only = matches!(
        decoder,
        Decoder::Yolox { .. } | Decoder::Ssd { .. } | Decoder::Yolov5Seg { .. }
    );
    if message.bbox_decoding_only && cannot_decode_only {
        return Err(at
            .field(13)
            .bad("box decoding only", "YOLOv5 or YOLOv8", "another family"));
    }
    let detection = Detection {
        score_threshold: narrow(message.nms_score_th),
        iou_threshold: narrow(message.nms_iou_th),
        max_per_class: message.max_proposals_per_class,
        classes: message.classes,
        background: message
            .background_removal
            .then_some(message.background_removal_index),
        decode_only: message.bbox_decoding_only,
        image: image.map(|(height, width)| ImageSize {
            height: narrow(height),
            width: narrow(width),
        }),
        decoder,
    };
    result(&detection, step, inputs, at)?;
    step.kind = PostProcessKind::Nms(Box::new(detection));
    Ok(())
}

/// Type, order and shape of the output of a detection step.
fn result(
    detection: &Detection,
    step: &mut PostProcess,
    inputs: &Inputs<'_>,
    at: &At<'_>,
) -> Build<()> {
    let cells =
        |layer: &Layer| u64::from(layer.shape.height).saturating_mul(layer.shape.width.into());
    let too_many = |what: &'static str, value: u64| at.bad(what, "at most 32 bits", value);
    let fit = |what, value: u64| u32::try_from(value).map_err(|_| too_many(what, value));
    if detection.decode_only {
        let (boxes, values) = match &detection.decoder {
            Decoder::Yolov5 { outputs } => {
                let boxes = outputs.iter().try_fold(0_u64, |sum, output| {
                    let layer = inputs
                        .layers
                        .iter()
                        .find(|layer| layer.name == output.layer)?;
                    let anchors = u64::try_from(output.sizes.len()).ok()?;
                    sum.checked_add(anchors.checked_mul(cells(layer))?)
                });
                (
                    boxes.ok_or_else(|| at.bad("decoders", "inputs of the op", "another layer"))?,
                    5,
                )
            }
            _ => (
                inputs
                    .layers
                    .iter()
                    .map(|layer| cells(layer))
                    .fold(0, u64::saturating_add)
                    / 2,
                4,
            ),
        };
        step.order = Order::Nhwc;
        step.shape = Shape::new(
            1,
            fit("boxes", boxes)?,
            fit("values of a box", u64::from(detection.classes) + values)?,
        );
        return Ok(());
    }
    let mut mask_bytes = 0;
    if let (Decoder::Yolov5Seg { .. }, Some(image)) = (&detection.decoder, detection.image) {
        step.order = Order::NmsWithByteMask;
        step.data_type = DataType::Uint8;
        mask_bytes = whole(image.height * image.width * 4.0).ok_or_else(|| {
            at.field(11).field(1).bad(
                "image size",
                "at most 32 bits of mask",
                format!("{} x {}", image.height, image.width),
            )
        })?;
    }
    let total = u64::from(detection.max_per_class).saturating_mul(detection.classes.into());
    let removed = u32::from(detection.background.is_some());
    step.nms = Some(NmsShape {
        classes: detection.classes.saturating_sub(removed),
        max_per_class: detection.max_per_class,
        max_total: fit("boxes", total)?,
        mask_bytes,
    });
    Ok(())
}

impl<'a> Inputs<'a> {
    /// The input of the op that a decoder's pad number means.
    fn own(&self, pad: u32, at: &At<'_>) -> Build<&'a Layer> {
        let layer = self.pads.get(&pad).copied();
        layer
            .filter(|layer| self.layers.iter().any(|input| input.name == layer.name))
            .ok_or_else(|| {
                at.bad(
                    "pad of a decoder",
                    "an input of the op",
                    format!("pad {pad}"),
                )
            })
    }

    /// The same, of equal height and width and, if asked, equal format.
    fn like(&self, first: &Layer, pad: u32, at: &At<'_>, same_format: bool) -> Build<&'a Layer> {
        let layer = self.own(pad, at)?;
        if (layer.shape.height, layer.shape.width) != (first.shape.height, first.shape.width) {
            let expected = format!("height and width of `{}` ({})", first.name, first.shape);
            return Err(at.bad(
                "outputs of a decoder",
                expected,
                format!("`{}` ({})", layer.name, layer.shape),
            ));
        }
        let format = |l: &Layer| (l.data_type, l.order, l.transposed);
        if same_format && format(layer) != format(first) {
            let words = |l: &Layer| {
                format!(
                    "{} {}{}",
                    l.data_type,
                    l.order,
                    if l.transposed { " transposed" } else { "" }
                )
            };
            return Err(at.bad(
                "format of the outputs of a decoder",
                words(first),
                words(layer),
            ));
        }
        Ok(layer)
    }
}

fn pair(boxes: &Layer, classes: &Layer) -> BoxAndClass {
    BoxAndClass {
        boxes: boxes.name.clone(),
        classes: classes.name.clone(),
        objectness: None,
        stride: None,
        anchors: Vec::new(),
    }
}

fn anchors(
    decoders: &[types::YoloBboxDecoder],
    field: u32,
    inputs: &Inputs<'_>,
    at: &At<'_>,
) -> Build<Vec<Anchors>> {
    let one = |(i, decoder): (usize, &types::YoloBboxDecoder)| {
        let at = at.nth(field, i).numbered("decoder");
        if decoder.h.len() != decoder.w.len() {
            return Err(at.field(3).bad(
                "anchor widths",
                format!("{} as heights", decoder.h.len()),
                decoder.w.len(),
            ));
        }
        Ok(Anchors {
            layer: inputs.own(decoder.pad_index, &at.field(5))?.name.clone(),
            sizes: decoder
                .h
                .iter()
                .copied()
                .zip(decoder.w.iter().copied())
                .collect(),
        })
    };
    decoders.iter().enumerate().map(one).collect()
}

fn ssd(op: &types::SsdNmsOp, inputs: &Inputs<'_>, at: &At<'_>) -> Build<Decoder> {
    let one = |(i, decoder): (usize, &types::SsdBboxDecoder)| {
        let at = at.nth(9, i).numbered("decoder");
        if decoder.h.len() != decoder.w.len() {
            return Err(at.field(2).bad(
                "anchor widths",
                format!("{} as heights", decoder.h.len()),
                decoder.w.len(),
            ));
        }
        let boxes = inputs.own(decoder.reg_pad_index, &at.field(3))?;
        let classes = inputs.like(boxes, decoder.cls_pad_index, &at.field(4), false)?;
        let anchors = decoder
            .h
            .iter()
            .copied()
            .zip(decoder.w.iter().copied())
            .collect();
        Ok(BoxAndClass {
            anchors,
            ..pair(boxes, classes)
        })
    };
    let outputs = op
        .bbox_decoders
        .iter()
        .enumerate()
        .map(one)
        .collect::<Build<_>>()?;
    let positions = match [op.ty, op.tx, op.th, op.tw] {
        [0, 0, 0, 0] => [0, 1, 2, 3],
        given => given,
    };
    Ok(Decoder::Ssd {
        outputs,
        centers_scale: op.centers_scale_factor,
        sizes_scale: op.bbox_dimensions_scale_factor,
        positions,
    })
}

/// The vendor's reader narrows thresholds and image sizes so.
fn narrow(value: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "nearest 32-bit float, as the format means it"
    )]
    let narrowed = value as f32;
    narrowed
}

/// The whole part of a number, if it fits 32 bits.
fn whole(value: f32) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked here"
    )]
    let whole = (0.0..4_294_967_040.0)
        .contains(&value)
        .then_some(value as u32);
    whole
}
