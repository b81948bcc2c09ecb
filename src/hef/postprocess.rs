//! What the host does with outputs of the chip, as the net-flow graph of a file says.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/hef/hef.cpp`, `src/net_flow/ops`.

use serde::Serialize;

use super::format::{DataType, Order, Shape};
use super::layer::LayerQuantization;
use super::stream::NmsShape;

/// One post-processing step: some outputs of the chip in, one virtual output out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostProcess {
    /// Label of the compiler.
    pub name: String,
    /// Names of the layers it reads, in pad order.
    pub inputs: Vec<String>,
    /// Name of the virtual output it makes.
    pub output: String,
    /// Element type of the output.
    pub data_type: DataType,
    /// Memory order of the output.
    pub order: Order,
    /// Shape of the output; meaningless for detections.
    pub shape: Shape,
    /// Set if the output holds detections.
    pub nms: Option<NmsShape>,
    /// Quantization shown with the output.
    pub quantization: LayerQuantization,
    /// What is computed.
    pub kind: PostProcessKind,
}

/// What a post-processing step computes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PostProcessKind {
    /// Index of the largest feature.
    Argmax,
    /// Normalised exponentials over features.
    Softmax,
    /// Detection.
    Nms(Box<Detection>),
}

/// Settings of a detection step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Boxes below this score are dropped.
    pub score_threshold: f32,
    /// Boxes that overlap a better one by more are dropped.
    pub iou_threshold: f32,
    /// Most boxes kept of a class.
    pub max_per_class: u32,
    /// Classes, the background included.
    pub classes: u32,
    /// Class that is left out of the result.
    pub background: Option<u32>,
    /// Boxes are decoded, but not suppressed.
    pub decode_only: bool,
    /// The input image, `None` for [`Decoder::Iou`].
    pub image: Option<ImageSize>,
    /// Which decoder, with its tables.
    pub decoder: Decoder,
}

/// Size of the input image in pixels; the file holds floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ImageSize {
    /// Rows.
    pub height: f32,
    /// Columns.
    pub width: f32,
}

/// Anchors of one output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anchors {
    /// Layer that is decoded.
    pub layer: String,
    /// Heights and widths in pixels.
    pub sizes: Vec<(u32, u32)>,
}

/// Box and class outputs that belong together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoxAndClass {
    /// Layer of the boxes.
    pub boxes: String,
    /// Layer of the classes.
    pub classes: String,
    /// Layer of the objectness, YOLOX only.
    pub objectness: Option<String>,
    /// Pixels of one cell, YOLOv8 only.
    pub stride: Option<u32>,
    /// Heights and widths of the anchors as parts of the image, SSD only.
    pub anchors: Vec<(f32, f32)>,
}

/// Which network family made the boxes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "family", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decoder {
    /// YOLOv5.
    Yolov5 {
        /// Anchors of each output.
        outputs: Vec<Anchors>,
    },
    /// YOLOv5 with instance masks.
    Yolov5Seg {
        /// Anchors of each output.
        outputs: Vec<Anchors>,
        /// Layer of the mask prototypes.
        prototypes: String,
        /// Mask values below this are background.
        mask_threshold: f32,
    },
    /// YOLOX.
    Yolox {
        /// Output triples.
        outputs: Vec<BoxAndClass>,
    },
    /// YOLOv8.
    Yolov8 {
        /// Output pairs.
        outputs: Vec<BoxAndClass>,
    },
    /// SSD.
    Ssd {
        /// Output pairs.
        outputs: Vec<BoxAndClass>,
        /// Scale of box centres.
        centers_scale: u32,
        /// Scale of box sizes.
        sizes_scale: u32,
        /// Positions of y, x, height and width in a box.
        positions: [u32; 4],
    },
    /// Suppression of boxes the chip has already produced.
    Iou,
}

impl PostProcessKind {
    /// The lines by which the vendor's tool describes the step.
    #[must_use]
    pub fn description(&self) -> Vec<String> {
        let detection = match self {
            Self::Argmax => {
                return vec![
                    "ARGMAX Op".to_owned(),
                    "Name: Argmax-Post-Process".to_owned(),
                ];
            }
            Self::Softmax => {
                return vec![
                    "SOFTMAX Op".to_owned(),
                    "Name: Softmax-Post-Process".to_owned(),
                ];
            }
            Self::Nms(detection) => detection,
        };
        let (kind, title) = match (&detection.decoder, detection.decode_only) {
            (Decoder::Yolov5 { .. }, false) => ("YOLOV5", "YOLOv5-Post-Process"),
            (Decoder::Yolov5 { .. }, true) => ("YOLOV5", "YOLOv5Bbox-Only-Post-Process"),
            (Decoder::Yolov5Seg { .. }, _) => ("YOLOV5SEG", "YOLOv5Seg-Post-Process"),
            (Decoder::Yolox { .. }, _) => ("YOLOX", "YOLOX-Post-Process"),
            (Decoder::Yolov8 { .. }, false) => ("YOLOV8", "YOLOV8-Post-Process"),
            (Decoder::Yolov8 { .. }, true) => ("YOLOV8", "YOLOv8Bbox-Only-Post-Process"),
            (Decoder::Ssd { .. }, _) => ("SSD", "SSD-Post-Process"),
            (Decoder::Iou, _) => ("IOU", "IoU-Post-Process"),
        };
        let mut lines = vec![format!("Op {kind}"), format!("Name: {title}")];
        if !detection.decode_only {
            lines.push(format!("Score threshold: {:.3}", detection.score_threshold));
            lines.push(format!("IoU threshold: {:.2}", detection.iou_threshold));
        }
        lines.push(format!("Classes: {}", detection.classes));
        if !detection.decode_only {
            if matches!(detection.decoder, Decoder::Yolov5Seg { .. }) {
                let total = u64::from(detection.max_per_class) * u64::from(detection.classes);
                lines.push(format!("Max bboxes total: {total}"));
            } else {
                lines.push(format!("Max bboxes per class: {}", detection.max_per_class));
            }
            if let Some(index) = detection.background {
                lines.push(format!("Background removal index: {index}"));
            }
        }
        if let Some(image) = detection.image {
            lines.push(format!("Image height: {:.0}", image.height.trunc()));
            lines.push(format!("Image width: {:.0}", image.width.trunc()));
        }
        match &detection.decoder {
            Decoder::Ssd {
                centers_scale,
                sizes_scale,
                ..
            } => {
                lines.push(format!("Centers scales factor: {centers_scale}"));
                lines.push(format!("Bbox dimension scale factor: {sizes_scale}"));
                lines.push("Normalize boxes: false".to_owned());
            }
            Decoder::Yolov5Seg { mask_threshold, .. } => {
                lines.push(format!("Mask threshold: {mask_threshold:.2}"))
            }
            _ => {}
        }
        lines
    }
}
