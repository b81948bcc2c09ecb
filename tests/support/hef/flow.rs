//! Net-flow graphs: post-processing steps with their pads.

use hailo_vfio::hef::{
    Anchors, BoxAndClass, DataType, Decoder, Detection, PostProcess, PostProcessKind,
};

use super::wire::Msg;

/// The graph of a group. Layers are connected through pads: the pad of an output layer is in its
/// [`hailo_vfio::hef::EdgeLayer`], a step's own pads are numbered from 1000.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) steps: Vec<PostProcess>,
    /// Layer names and their pads.
    pub(crate) pads: Vec<(String, u32)>,
}

impl Flow {
    fn pad(&self, layer: &str) -> u32 {
        self.pads.iter().find(|(name, _)| name == layer).unwrap().1
    }

    /// Adds the core op, the steps and the edges to a group.
    pub(crate) fn write(&self, group: Msg, core: &Msg) -> Msg {
        let mut msg = group.msg(8, &Msg::new().bytes(1, "core").msg(4, core));
        let mut edges = Msg::new();
        let mut next = 1000_u32;
        for step in &self.steps {
            let mut op = Msg::new().bytes(1, &step.name);
            for input in &step.inputs {
                op = op.msg(2, &Msg::new().u(1, next));
                edges = edges.msg(9, &Msg::new().u(1, self.pad(input)).u(2, next));
                next += 1;
            }
            op = op.msg(3, &self.output_pad(step, next));
            next += 1;
            let (field, kind) = self.kind(&step.kind);
            msg = msg.msg(8, &op.msg(field, &kind));
        }
        let mut bytes = msg.finish();
        bytes.extend(edges.finish());
        Msg::from(bytes)
    }

    fn output_pad(&self, step: &PostProcess, index: u32) -> Msg {
        let msg = Msg::new().u(1, index).bytes(2, &step.output);
        if matches!(step.kind, PostProcessKind::Nms(_)) {
            return msg;
        }
        let format_type = match step.data_type {
            DataType::Uint8 => 1_u32,
            DataType::Uint16 => 2,
            _ => 0,
        };
        msg.u(3, step.order.number()).u(8, format_type)
    }

    fn kind(&self, kind: &PostProcessKind) -> (u32, Msg) {
        match kind {
            PostProcessKind::Argmax => (6, Msg::new()),
            PostProcessKind::Softmax => (6, Msg::new().u(1, 1_u32)),
            PostProcessKind::Nms(detection) => (5, self.detection(detection)),
            other => panic!("the writer does not know {other:?}"),
        }
    }

    fn detection(&self, d: &Detection) -> Msg {
        let msg = Msg::new()
            .f64(1, d.score_threshold.into())
            .f64(2, d.iou_threshold.into())
            .u(3, d.max_per_class)
            .u(4, d.classes)
            .flag(5, d.background.is_some())
            .u(6, d.background.unwrap_or(0))
            .flag(13, d.decode_only);
        let image = d.image.map_or_else(Msg::new, |i| {
            Msg::new().f64(1, i.height.into()).f64(2, i.width.into())
        });
        let anchors = |a: &Anchors| {
            Msg::new()
                .packed_u32(2, a.sizes.iter().map(|s| s.0))
                .packed_u32(3, a.sizes.iter().map(|s| s.1))
                .u(5, self.pad(&a.layer))
        };
        let pair = |b: &BoxAndClass| {
            Msg::new()
                .u(2, self.pad(&b.boxes))
                .u(3, self.pad(&b.classes))
        };
        match &d.decoder {
            Decoder::Yolov5 { outputs } => msg.msg(7, &image.all(4, outputs, anchors)),
            Decoder::Yolov5Seg {
                outputs,
                prototypes,
                mask_threshold,
            } => {
                let proto = Msg::new().bytes(3, prototypes);
                msg.msg(
                    11,
                    &image
                        .all(3, outputs, anchors)
                        .msg(4, &proto)
                        .f64(5, f64::from(*mask_threshold)),
                )
            }
            Decoder::Yolox { outputs } => {
                let triple =
                    |b: &BoxAndClass| pair(b).u(4, self.pad(b.objectness.as_ref().unwrap()));
                msg.msg(8, &image.all(3, outputs, triple))
            }
            Decoder::Yolov8 { outputs } => {
                let with_stride = |b: &BoxAndClass| pair(b).u(1, b.stride.unwrap());
                msg.msg(12, &image.all(4, outputs, with_stride))
            }
            Decoder::Ssd {
                outputs,
                centers_scale,
                sizes_scale,
                positions,
            } => {
                let [y, x, h, w] = *positions;
                let image = image
                    .u(3, *centers_scale)
                    .u(4, *sizes_scale)
                    .u(5, y)
                    .u(6, x)
                    .u(7, h)
                    .u(8, w);
                let decoder = |b: &BoxAndClass| {
                    Msg::new()
                        .packed_f32(1, b.anchors.iter().map(|a| a.0))
                        .packed_f32(2, b.anchors.iter().map(|a| a.1))
                        .u(3, self.pad(&b.boxes))
                        .u(4, self.pad(&b.classes))
                };
                msg.msg(9, &image.all(9, outputs, decoder))
            }
            Decoder::Iou => msg.msg(10, &Msg::new()),
            other => panic!("the writer does not know {other:?}"),
        }
    }
}

impl From<Vec<u8>> for Msg {
    fn from(bytes: Vec<u8>) -> Self {
        Self::raw(bytes)
    }
}
